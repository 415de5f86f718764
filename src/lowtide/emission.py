"""What is about to be written: staged, verified and measured, then written in its place."""

from __future__ import annotations

from abc import ABC, abstractmethod
from dataclasses import dataclass

__all__ = ["Outcome", "Staged"]


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
