"""Which rows an op has to be fed so that the rows that are wanted of its result come out.

    rows of the whole operand   0 1 2 3 4 5 6 7 8 9 ...
    fed to the op of a tile           [lo ....... hi)
    rows of the whole result            [start .... stop)     what the tile's op computes
                                          [ wanted )          of these, those that are right

Result i of the whole reads the operand's rows `i * stride - before + dilation * k`. An op with a
window of the same size, stride and dilation and `before'` zeros in front, fed the rows [lo, hi),
reads for its result j the rows `lo + j * stride - before' + dilation * k`: the same as result
`i = j + shift` of the whole if `shift = (lo + before - before') / stride` is whole. Result i is
then right when its window lies within [lo, hi), or leaves it only where the whole operand ends too
(at 0 or at its length), since there both see padding. All other rows that come out are garbage:
they must not be read by what is wanted later, and are never part of the result.

Where paddings are free, the op is fed exactly what it reads. Where they are not (TFLite has `SAME`
and `VALID` for all axes at once), garbage makes the difference: of all [lo, hi) near the least
those are taken whose shift is whole.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from enum import StrEnum
from functools import lru_cache
from typing import TYPE_CHECKING

from lowtide.ir.semantics import Window, common_padding

if TYPE_CHECKING:
    from collections.abc import Mapping

__all__ = ["Fit", "Padding", "Rows", "fits", "paddings"]


@dataclass(frozen=True, slots=True, order=True)
class Rows:
    """The rows [start, stop) of a whole tensor; garbage may lie below 0 and past its length."""

    start: int
    stop: int

    def __len__(self) -> int:
        return self.stop - self.start

    def covers(self, other: Rows) -> bool:
        """Whether all of `other` lies within."""
        return self.start <= other.start and other.stop <= self.stop

    def moved(self, by: int) -> Rows:
        """The range that far down."""
        return Rows(self.start + by, self.stop + by)

    def hull(self, other: Rows) -> Rows:
        """The least range with both."""
        return Rows(min(self.start, other.start), max(self.stop, other.stop))


class Padding(StrEnum):
    """How a tile's op may be padded along the axis of the rows."""

    ANY = "any"
    SAME = "same"
    VALID = "valid"


@dataclass(frozen=True, slots=True)
class Fit:
    """One way to feed an op.

    Attributes:
        operand: what it is fed.
        right: of these, the rows that must be right.
        result: what comes out.
        window: of the tile's op.
    """

    operand: Rows
    right: Rows
    result: Rows
    window: Window


def paddings(
    windows: Mapping[int, Window], shape: tuple[int, ...], axis: int, *, free: bool
) -> tuple[Padding, ...]:
    """What an op with these windows on data of `shape` may use along `axis`.

    The other axes stay as they are: where paddings are not free, the op is `VALID` if they need no
    zeros, and `SAME` if their zeros are those of `SAME`. None if it is neither.
    """
    if free:
        return (Padding.ANY,)
    known = common_padding({a: w for a, w in windows.items() if a != axis}, shape)
    found = {"none": Padding.VALID, "same": Padding.SAME}
    return tuple(padding for name, padding in found.items() if name in known)


def _zeros(window: Window, length: int, padding: Padding) -> tuple[int, int, int]:
    """The zeros in front and behind that `length` rows get, and how many results come out."""
    before = after = 0
    if padding is Padding.SAME:  # `Window.same`
        results = -(-length // window.stride)
        total = max(0, (results - 1) * window.stride + window.reach - length)
        before, after = total // 2, total - total // 2
    return before, after, (length + before + after - window.reach) // window.stride + 1


@lru_cache(maxsize=1 << 16)
def fits(
    window: Window,
    length: int,
    wanted: Rows,
    held: Rows,
    allowed: tuple[Padding, ...],
    most: int = 6,
) -> tuple[Fit, ...]:
    """Ways to get the `wanted` rows right and at least the rows `held`, fewest rows first.

    Args:
        window: of the whole op.
        length: rows of its operand.
        wanted: rows of its result, not empty.
        held: rows that must come out, garbage or not; they cover `wanted`.
        allowed: how the tile's op may be padded.
        most: how many are returned.
    """
    if window.before >= window.reach or window.after >= window.reach:
        return ()  # a window wholly within the padding
    first = wanted.start * window.stride - window.before
    last = (wanted.stop - 1) * window.stride - window.before + window.reach
    right = Rows(max(0, first), min(length, last))
    if Padding.ANY in allowed:
        if held != wanted:
            return ()
        free = Window(
            window.size, window.stride, window.dilation, max(0, -first), max(0, last - length)
        )
        return (Fit(right, right, wanted, free),)
    far = min(first, held.start * window.stride - window.before)
    low = max(0, far - window.reach - window.stride)
    far = max(last, (held.stop - 1) * window.stride - window.before + window.reach)
    high = min(length, far + window.reach + window.stride)
    starts = [0] if first < 0 else range(low, right.start + 1)
    stops = [length] if last > length else range(right.stop, high + 1)
    found: dict[Rows, Fit] = {}
    for start in starts:
        for stop in stops:
            for padding in allowed:
                before, after, count = _zeros(window, stop - start, padding)
                shift, rest = divmod(start + window.before - before, window.stride)
                if rest or count < 1 or shift > held.start or shift + count < held.stop:
                    continue
                fed = Rows(start, stop)
                if fed not in found:
                    padded = replace(window, before=before, after=after)
                    found[fed] = Fit(fed, right, Rows(shift, shift + count), padded)
    return tuple(sorted(found.values(), key=lambda f: (len(f.operand), -f.operand.start))[:most])
