"""Other packages' solvers: found by their entry points, loaded only when they are asked for."""

from __future__ import annotations

from typing import TYPE_CHECKING, TypeVar, cast

from lowtide.errors import InputError

if TYPE_CHECKING:
    from collections.abc import Iterable
    from importlib.metadata import EntryPoint

__all__ = ["ENTRY_POINTS", "load", "named", "returned"]

ENTRY_POINTS = "lowtide.solvers"

_Solution = TypeVar("_Solution")


def named(points: Iterable[EntryPoint], prefix: str, built_in: Iterable[str]) -> list[str]:
    """The names behind `prefix`, without it, in order; without built-in ones."""
    found = {p.name.removeprefix(prefix) for p in points if p.name.startswith(prefix)}
    return sorted(found - set(built_in))


def load(points: Iterable[EntryPoint], entry: str, what: str, name: str) -> object | None:
    """What the entry point `entry` names, which can be called; None if there is no such point.

    Args:
        points: of the group.
        entry: its whole name.
        what: for errors: scheduler, allocator, ...
        name: for errors: as the user knows it.

    Raises:
        InputError: it cannot be loaded, or not be called.
    """
    for point in points:
        if point.name == entry:
            try:
                loaded: object = point.load()
            except Exception as error:
                raise InputError(
                    f"the {what} `{name}` ({point.value}) cannot be loaded: "
                    f"{type(error).__name__}: {error}; repair or remove the package"
                ) from error
            if not callable(loaded):
                raise InputError(f"the {what} `{name}` ({point.value}) is not callable")
            return cast("object", loaded)
    return None


def returned(solution: object, kind: type[_Solution], what: str, name: str) -> _Solution:
    """A plugin's answer, whatever its annotations promise.

    Raises:
        InputError: it is of another type.
    """
    if isinstance(solution, kind):
        return solution
    article = "an" if kind.__name__[0] in "AEIOU" else "a"
    raise InputError(
        f"the {what} `{name}` returned {type(solution).__name__}, not {article} {kind.__name__}"
    )
