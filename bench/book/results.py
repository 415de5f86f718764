"""The committed results, as typed records that know where they are from."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING, cast

from lowtide.bench.record import load as read
from lowtide.errors import InputError

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

__all__ = ["RESULTS", "ROOT", "BookError", "Record", "load"]

ROOT = Path(__file__).resolve().parents[2]  # of the repository
RESULTS = "bench/results"


class BookError(InputError):
    """A result has not what a page tells of it, or a page has not what is computed."""


@dataclass(frozen=True, slots=True)
class Record:
    """One JSON object.

    A path to a value is its names, one after another. All readers raise `BookError` where there is
    no such value.

    Attributes:
        where: the file, and the path in it.
        fields: the object.
    """

    where: str
    fields: Mapping[str, object]

    def get(self, *path: str) -> object:
        """The value as it was parsed."""
        if path[0] not in self.fields:
            raise BookError(f"{self.where}: there is no `{path[0]}`")
        found = self.fields[path[0]]
        if len(path) == 1:
            return found
        if not isinstance(found, dict):
            raise BookError(f"{self.where}: `{path[0]}` is {found!r}, not an object")
        inner = cast("dict[str, object]", found)
        return Record(f"{self.where} {path[0]}", inner).get(*path[1:])

    def number(self, *path: str) -> float:
        """An integer or a float."""
        found = self.get(*path)
        if isinstance(found, bool) or not isinstance(found, int | float):
            raise BookError(f"{self.where}: `{'.'.join(path)}` is {found!r}, not a number")
        return found

    def whole(self, *path: str) -> int:
        """An integer, such as bytes."""
        found = self.number(*path)
        if not isinstance(found, int):
            raise BookError(f"{self.where}: `{'.'.join(path)}` is {found!r}, not an integer")
        return found

    def text(self, *path: str) -> str:
        """A string."""
        found = self.get(*path)
        if not isinstance(found, str):
            raise BookError(f"{self.where}: `{'.'.join(path)}` is {found!r}, not text")
        return found

    def flag(self, *path: str) -> bool:
        """True or false."""
        found = self.get(*path)
        if not isinstance(found, bool):
            raise BookError(
                f"{self.where}: `{'.'.join(path)}` is {found!r}, neither true nor false"
            )
        return found

    def list(self, *path: str) -> list[object]:
        """A list as it was parsed."""
        found = self.get(*path)
        if not isinstance(found, list):
            raise BookError(f"{self.where}: `{'.'.join(path)}` is {found!r}, not a list")
        return cast("list[object]", found)

    def numbers(self, *path: str) -> tuple[float, ...]:
        """A list of numbers."""
        parts = {str(i): part for i, part in enumerate(self.list(*path))}
        of = Record(f"{self.where} {'.'.join(path)}", parts)
        return tuple(of.number(i) for i in parts)

    def record(self, *path: str) -> Record:
        """An object in this one."""
        found = self.get(*path)
        if not isinstance(found, dict):
            raise BookError(f"{self.where}: `{'.'.join(path)}` is {found!r}, not an object")
        return Record(f"{self.where} {'.'.join(path)}", cast("dict[str, object]", found))

    def records(self, *path: str) -> tuple[Record, ...]:
        """A list of objects."""
        parts = {str(i): part for i, part in enumerate(self.list(*path))}
        of = Record(f"{self.where} {'.'.join(path)}", parts)
        return tuple(of.record(i) for i in parts)

    def one(
        self, rows: str, matches: Callable[[Record], bool] | None = None, **of: object
    ) -> Record:
        """The only one of a list of objects with these values, and that `matches`."""
        found = [
            row
            for row in self.records(rows)
            if all(row.fields.get(name) == value for name, value in of.items())
            and (matches is None or matches(row))
        ]
        if len(found) != 1:
            raise BookError(f"{self.where}: {len(found)} of {rows} are of {of}, not 1")
        return found[0]


@cache
def load(name: str, root: Path = ROOT) -> Record:
    """A result by the name of its file, such as `models.json`.

    Everything that the book reads comes through here; the machine and the settings of a run are
    not read.

    Raises:
        BookError: there is no such file, or it is no result.
    """
    try:
        found = read(root / RESULTS / name)
    except InputError as error:
        raise BookError(f"no committed result: {error}") from error
    return Record(f"{RESULTS}/{name}", found.rows)
