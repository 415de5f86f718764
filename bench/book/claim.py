"""A figure in prose: a template, and the numbers that fill it, computed from results."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING, TypeAlias

from lowtide.bench.book.results import BookError, load

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from lowtide.bench.book.results import Record

__all__ = ["Claim", "Definition", "Value", "at_most", "holds", "mib", "percent_more", "spelled"]

Value: TypeAlias = int | float | str

_WORDS = (
    *("zero", "one", "two", "three", "four", "five", "six", "seven", "eight", "nine", "ten"),
    *("eleven", "twelve"),
)


@dataclass(frozen=True, slots=True)
class Claim:
    """What a page says of a result.

    Attributes:
        page: the file, from the root of the repository.
        says: the text as it stands there, with a format field for every number that is measured.
        source: the result that it comes from.
        values: of the loaded result, what fills the fields in turn; raises `BookError` where the
            result is not what the words say.
    """

    page: str
    says: str
    source: str
    values: Callable[[Record], Sequence[Value]]

    def text(self) -> str:
        """The fragment as the result has it.

        Raises:
            BookError: the result is not what the words say.
        """
        try:
            return self.says.format(*self.values(load(self.source)))
        except BookError as error:
            raise BookError(f"{self.page}: claim `{self.says}`: {error}") from error


@dataclass(frozen=True, slots=True)
class Definition:
    """Numbers of a page that are no measurement of ours, and what they are."""

    page: str
    says: str
    why: str

    def text(self) -> str:
        """The fragment."""
        return self.says


def holds(condition: bool, what: str) -> None:
    """Check a condition that the words around a number state.

    Raises:
        BookError: it does not hold.
    """
    if not condition:
        raise BookError(f"the results do not say: {what}")


def mib(count: float) -> float:
    """Bytes as MiB."""
    return count / 2**20


def percent_more(value: float, base: float) -> float:
    """How much more a value is, in percent of `base`."""
    return 100 * (value / base - 1)


def at_most(value: float, digits: int = 0) -> float:
    """Rounded up, for a limit that is stated."""
    unit = 10.0**digits
    return math.ceil(value * unit) / unit


def spelled(count: int) -> str:
    """A small number as a word."""
    return _WORDS[count]
