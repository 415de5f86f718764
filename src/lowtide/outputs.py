"""Files that a command writes: none over what it reads, and all of them or none.

`refuse` speaks before any work.  What is ready is collected in `Pending`, written under no name,
and named once nothing can go wrong any more but a rename.
"""

from __future__ import annotations

from contextlib import ExitStack
from pathlib import Path
from tempfile import TemporaryFile
from typing import TYPE_CHECKING

from lowtide.backends.atomic import AtomicFile, commit_together
from lowtide.errors import InputError

if TYPE_CHECKING:
    from collections.abc import Collection, Mapping

__all__ = ["SOURCE", "Pending", "refuse", "write_bytes", "write_text"]

SOURCE = "the source"


def refuse(
    reads: Mapping[str, object],
    writes: Mapping[str, Path | None],
    *,
    folders: Collection[str] = (),
) -> None:
    """Refuse, before any work, what cannot be written, or would be written over something.

    Args:
        reads: what is read, by its option, or as `SOURCE`; what is no file or folder is left out.
        writes: where to write, by option; None is not asked for.
        folders: the options of `writes` that make a folder.

    Raises:
        InputError: an output is or is inside something that is read or written, is a folder where a
            file is meant, or cannot be made where it is.
    """
    known = {
        name: Path(each).resolve()
        for name, each in reads.items()
        if isinstance(each, str | Path) and Path(each).exists()
    }
    for name, path in writes.items():
        if path is None:
            continue
        place = path.resolve()
        for other, taken in known.items():
            _refuse_taken(name, path, other, taken, folder=name in folders)
        known[name] = place
        _refuse_place(path, folder=name in folders)


def _refuse_taken(name: str, path: Path, other: str, taken: Path, *, folder: bool) -> None:
    place = path.resolve()
    if place == taken:
        if other == SOURCE:
            raise InputError(
                f"{path} is the source, which is never written to: choose another output"
            )
        raise InputError(
            f"{name} {path} is read or written already, as {other}: choose another file"
        )
    if place.is_relative_to(taken):
        never = ", which is never written to" if other == SOURCE else ""
        raise InputError(f"{name} {path} is inside {other}{never}: choose another place")
    if folder and taken.is_relative_to(place):
        raise InputError(f"{name} {path} is a folder that {other} is in: choose another one")


def _refuse_place(path: Path, *, folder: bool) -> None:
    if path.is_dir() and not folder:
        raise InputError(f"{path} is a folder: name a file")
    parent = path.absolute().parent
    if not parent.exists():
        raise InputError(f"the folder {path.parent} does not exist: create it first")
    if not parent.is_dir():
        raise InputError(f"{path.parent} is no folder: name a file in one")
    try:
        with TemporaryFile(dir=parent):
            pass
    except OSError as error:
        raise InputError(
            f"cannot write {path}: nothing can be made in its folder: {error.strerror or error}"
        ) from None


class Pending(ExitStack[None]):
    """Files that appear together: written one by one, named at the end.

    with Pending() as files:
        files.add(path, content)
        files.commit()
    """

    def __init__(self) -> None:
        super().__init__()
        self._files: list[AtomicFile] = []

    def add(self, path: Path, content: bytes) -> None:
        """Write a file that has no name yet.

        Raises:
            InputError: it cannot be written.
        """
        try:
            file = self.enter_context(AtomicFile(path))
            file.stream.write(content)
            file.stream.flush()
        except OSError as error:
            raise InputError(f"cannot write {path}: {error.strerror or error}") from None
        self._files.append(file)

    def commit(self) -> None:
        """Name all files.

        Raises:
            InputError: one cannot be named; none is there then that replaced nothing.
        """
        try:
            commit_together(self._files)
        except OSError as error:
            path = error.filename2 or error.filename or "the files"
            raise InputError(f"cannot write {path}: {error.strerror or error}") from None


def write_bytes(path: Path, content: bytes) -> None:
    """Write a file; it appears whole or not at all.

    Raises:
        InputError: it cannot be written.
    """
    with Pending() as files:
        files.add(path, content)
        files.commit()


def write_text(path: Path, text: str) -> None:
    """Write a text file; it appears whole or not at all.

    Raises:
        InputError: it cannot be written.
    """
    write_bytes(path, text.encode())
