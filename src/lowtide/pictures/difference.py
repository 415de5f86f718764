"""What two executions have in common, and what not."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from lowtide.pictures.svg import AFTER, BEFORE, Curve, draw_curves
from lowtide.units import format_bytes

if TYPE_CHECKING:
    from collections.abc import Sequence

    from lowtide.pictures.scene import Run

__all__ = ["Difference", "Side", "draw_difference", "inversions"]

SCHEMA = "lowtide.diff/1"


@dataclass(frozen=True, slots=True)
class Side:
    """One of the two.

    Attributes:
        name: for people.
        sequence: the ops in execution order; one that comes again is a recomputation.
        run: step by step; None for a plan without its model, whose sizes are not known then.
        peak_bytes: None if a plan does not say it.
        arena_bytes: likewise.
        rewrites: that were applied.
    """

    name: str
    sequence: tuple[str, ...]
    run: Run | None
    peak_bytes: int | None
    arena_bytes: int | None
    rewrites: tuple[str, ...] = ()

    @property
    def at_peak(self) -> dict[str, int] | None:
        """The tensors that are live at the peak, with their bytes, largest first."""
        if self.run is None or not self.run.moments:
            return None
        at = self.run.peak_step
        return {block.name_at(at): block.nbytes for block in self.run.live_at(at)}


@dataclass(frozen=True, slots=True)
class Difference:
    """The second execution compared with the first.

    Attributes:
        added: ops that only `b` runs, in its order.
        removed: ops that only `a` runs, in its order.
        common: how many ops both run.
        inverted: pairs of common ops that run in the opposite order (Kendall's tau distance, of
            first runs); 0 is the same order, `pairs` the reverse.
        first: the first step at which they run different ops; None if there is none.
    """

    a: Side
    b: Side
    added: tuple[str, ...] = field(init=False)
    removed: tuple[str, ...] = field(init=False)
    common: int = field(init=False)
    inverted: int = field(init=False)
    first: int | None = field(init=False)

    def __post_init__(self) -> None:
        """Compare. O(n log n)."""
        left, right = (tuple(dict.fromkeys(side.sequence)) for side in (self.a, self.b))
        place = {name: index for index, name in enumerate(left)}
        known = set(right)
        shared = [place[name] for name in right if name in place]
        pairs = enumerate(zip(self.a.sequence, self.b.sequence, strict=False))
        first = next((index for index, (one, two) in pairs if one != two), None)
        if first is None and len(self.a.sequence) != len(self.b.sequence):
            first = min(len(self.a.sequence), len(self.b.sequence))
        object.__setattr__(self, "added", tuple(name for name in right if name not in place))
        object.__setattr__(self, "removed", tuple(name for name in left if name not in known))
        object.__setattr__(self, "common", len(shared))
        object.__setattr__(self, "inverted", inversions(shared))
        object.__setattr__(self, "first", first)

    @property
    def pairs(self) -> int:
        """All pairs of common ops."""
        return self.common * (self.common - 1) // 2

    def to_dict(self) -> dict[str, object]:
        """As JSON-able data."""
        return {
            "schema": SCHEMA,
            "a": _told(self.a),
            "b": _told(self.b),
            "ops_added": list(self.added),
            "ops_removed": list(self.removed),
            "ops_common": self.common,
            "pairs_inverted": self.inverted,
            "pairs": self.pairs,
            "first_difference": self.first,
        }


def _told(side: Side) -> dict[str, object]:
    at_peak = side.at_peak
    return {
        "name": side.name,
        "steps": len(side.sequence),
        "ops": len(set(side.sequence)),
        "peak_bytes": side.peak_bytes,
        "arena_bytes": side.arena_bytes,
        "rewrites": list(side.rewrites),
        "at_peak": at_peak
        and [{"tensor": name, "bytes": count} for name, count in at_peak.items()],
    }


def inversions(values: Sequence[int]) -> int:
    """Pairs that are in descending order, counted while merging. O(n log n)."""
    rows = [[value] for value in values]
    count = 0
    while len(rows) > 1:
        merged: list[list[int]] = []
        for at in range(0, len(rows) - 1, 2):
            left, right = rows[at], rows[at + 1]
            row: list[int] = []
            i = 0
            for value in right:
                while i < len(left) and left[i] <= value:
                    row.append(left[i])
                    i += 1
                count += len(left) - i
                row.append(value)
            merged.append(row + left[i:])
        if len(rows) % 2:
            merged.append(rows[-1])
        rows = merged
    return count


def draw_difference(difference: Difference) -> str | None:
    """Both curves in one frame; None where a plan came without its model."""
    runs = difference.a.run, difference.b.run
    if runs[0] is None or runs[1] is None:
        return None
    curves = [
        Curve(
            f"{side.name} {format_bytes(run.peak_bytes)}",
            tuple(moment.live_bytes for moment in run.moments),
            color,
        )
        for side, run, color in (
            (difference.a, runs[0], BEFORE),
            (difference.b, runs[1], AFTER),
        )
    ]
    return draw_curves("Live bytes over the execution", curves)
