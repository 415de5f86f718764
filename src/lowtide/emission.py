"""What is about to be written: staged, verified and measured, then written in its place."""

from __future__ import annotations

from abc import ABC, abstractmethod
from dataclasses import dataclass
from pathlib import Path

from lowtide.backends.atomic import AtomicFile
from lowtide.errors import InputError

__all__ = ["Outcome", "Staged", "refuse_source", "write_bytes", "write_text"]


@dataclass(frozen=True, slots=True)
class Outcome:
    """What the execution of the result showed, in the report's words.

    Attributes:
        verification: whether it computes the same.
        measured: bytes and seconds.
        session: how to run it.
        seconds: wall time of the execution.
        notes: why a figure is missing.
        is_worse: it was measured to need more than the model did in the runtime's own order.
        needed_bytes: what has to be compared with a budget, where the execution showed it.
    """

    verification: dict[str, object]
    measured: dict[str, object]
    session: str
    seconds: float
    notes: tuple[str, ...] = ()
    is_worse: bool = False
    needed_bytes: int | None = None


class Staged(ABC):
    """A planned model that is about to be written."""

    @abstractmethod
    def verify(self) -> Outcome:
        """Execute the source and the result, compare, and measure both.

        Raises:
            VerificationError: the result computes something else, or ran in another order.
        """

    @abstractmethod
    def commit(self) -> None:
        """Write the result to its destination; it appears whole or not at all.

        Raises:
            InputError: the destination is an input file, or cannot be written.
        """


def refuse_source(source: object, *outputs: Path | None, folder: bool = False) -> None:
    """Refuse, before any work, to write over the source or into a folder that is not there.

    Raises:
        InputError: an output is the source, a folder, or in a folder that does not exist.
    """
    for output in outputs:
        if output is None:
            continue
        if isinstance(source, str | Path) and output.resolve() == Path(source).resolve():
            raise InputError(
                f"{output} is the source, which is never written to: choose another output"
            )
        if output.is_dir() and not folder:
            raise InputError(f"{output} is a folder: name a file")
        if not output.absolute().parent.is_dir():
            raise InputError(f"the folder {output.parent} does not exist: create it first")


def write_text(path: Path, text: str) -> None:
    """Write a text file; it appears whole or not at all.

    Raises:
        InputError: it cannot be written.
    """
    write_bytes(path, text.encode())


def write_bytes(path: Path, content: bytes) -> None:
    """Write a file; it appears whole or not at all.

    Raises:
        InputError: it cannot be written.
    """
    try:
        with AtomicFile(path) as file:
            file.stream.write(content)
            file.commit()
    except OSError as error:
        raise InputError(f"cannot write {path}: {error.strerror or error}") from None
