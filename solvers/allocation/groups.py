"""Layouts of rigid groups: blocks that keep their distance from one another.

A buffer whose bytes come and go at different times is a group of parts, as are buffers that must
lie inside another one:

    offset
      |   ┌──────────────┐              parts of one group: a step down as its first rows die,
      |   │ ┌────────────┘              or a step up as its last ones are written
      |   │ │
      |   └─┘
      +----------------- time

A group is placed whole, each of its parts `offset` bytes above the group's own offset. Two groups
collide at the distances d = offset(g) - offset(h) for which two parts that are alive together
overlap; for parts (a, sa) and (b, sb) these are b - a - sa < d < b + sb - a, so that of each pair
of groups a set of open intervals is forbidden. Groups are put one after another at the lowest
offset that none forbids, or, some of them, at the highest below a target:

      target ┌─────────────────┐       what dies from below leaves room between itself and what
             │ X       ┌───────┘       grows from below, one gap in the middle, if it lies at the
             └─────────┘               top; at the bottom it would leave two
                  ┌────────────┐
             ┌────┘         Y  │
           0 └─────────────────┘

The order in which they are taken and the sides are improved by local search (a heuristic: the bound
is the greatest load, which rigid groups may not reach).
"""

from __future__ import annotations

import random
import time
from dataclasses import dataclass
from itertools import pairwise
from typing import TYPE_CHECKING, NamedTuple

from lowtide.errors import LowtideError

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

__all__ = ["GroupLayout", "Part", "check_groups", "greatest_load", "pack_groups"]


class Part(NamedTuple):
    """`size` bytes, `offset` above the group, alive in the steps [lower, upper)."""

    offset: int
    lower: int
    upper: int
    size: int


Group = tuple[Part, ...]


@dataclass(frozen=True, slots=True)
class GroupLayout:
    """An offset for each group.

    Attributes:
        offsets: in the order of the groups.
        height: one past the highest byte.
        lower_bound: the greatest load.
        work: forbidden intervals that were looked at.
    """

    offsets: tuple[int, ...]
    height: int
    lower_bound: int
    work: int


def greatest_load(groups: Sequence[Group]) -> int:
    """The most bytes that are alive in one step; where parts of a group overlap they count once."""
    changes: dict[int, int] = {}
    for group in groups:
        steps = sorted({p.lower for p in group} | {p.upper for p in group})
        for lower, upper in pairwise(steps):
            load = _covered([p for p in group if p.lower < upper and lower < p.upper])
            changes[lower] = changes.get(lower, 0) + load
            changes[upper] = changes.get(upper, 0) - load
    most = load = 0
    for step in sorted(changes):
        load += changes[step]
        most = max(most, load)
    return most


def _covered(parts: list[Part]) -> int:
    total = end = 0
    for part in sorted(parts):
        begin = max(end, part.offset)
        if part.offset + part.size > begin:
            total += part.offset + part.size - begin
            end = part.offset + part.size
    return total


def check_groups(groups: Sequence[Group], offsets: Sequence[int]) -> int:
    """The height of a layout.

    Raises:
        LowtideError: two parts of different groups that are alive together overlap.
    """
    placed = [
        (part._replace(offset=part.offset + offset), number)
        for number, (group, offset) in enumerate(zip(groups, offsets, strict=True))
        for part in group
    ]
    placed.sort()
    for index, (part, owner) in enumerate(placed):
        if part.offset < 0:
            raise LowtideError(f"group {owner} begins below 0")
        for other, stranger in placed[index + 1 :]:
            if other.offset >= part.offset + part.size:
                break
            together = part.lower < other.upper and other.lower < part.upper
            if stranger != owner and together and other.size:
                raise LowtideError(f"groups {owner} and {stranger} overlap")
    return max((part.offset + part.size for part, _ in placed), default=0)


def pack_groups(
    groups: Sequence[Group],
    *,
    alignment: int = 1,
    starts: Sequence[Sequence[int]] = (),
    time_limit_s: float | None = None,
    work_limit: int = 4_000_000,
    seed: int = 0,
) -> GroupLayout:
    """The lowest layout found; repeatable unless the time limit strikes.

    Args:
        groups: their parts; offsets of parts are multiples of the alignment.
        alignment: of the groups' offsets.
        starts: orders of the groups to begin with, beside the usual ones.
        time_limit_s: None for none.
        work_limit: in forbidden intervals that are looked at.
        seed: of the search.
    """
    search = _Search(groups, alignment)
    bound = greatest_load(groups)
    began = time.perf_counter()

    def over() -> bool:
        late = time_limit_s is not None and time.perf_counter() - began > time_limit_s
        return late or search.work > work_limit

    best: _Try | None = None
    falling = search.falling()
    for order in [*map(list, starts), *search.orders()]:
        for down in (frozenset[int](), falling):
            found = search.attempt(order, down, bound)
            if best is None or found.height < best.height:
                best = found
            if best.height <= bound or over():
                break
        if best is not None and (best.height <= bound or over()):
            break
    if best is None:
        return GroupLayout((), 0, 0, 0)
    rng = random.Random(seed)
    while best.height > bound and not over():
        target = bound if rng.random() < 0.5 else max(bound, best.height - alignment)
        found = search.attempt(search.moved(best, rng), search.turned(best, rng), target)
        if found.height <= best.height:
            best = found
    check_groups(groups, best.offsets)
    return GroupLayout(best.offsets, best.height, bound, search.work)


class _Try(NamedTuple):
    """Groups in the order in which they are placed, those that hang from the target, a layout."""

    order: list[int]
    down: frozenset[int]
    offsets: tuple[int, ...]
    height: int


class _Search:
    def __init__(self, groups: Sequence[Group], alignment: int) -> None:
        self.groups = [tuple(p for p in group if p.size and p.lower < p.upper) for group in groups]
        self.alignment = alignment
        self.work = 0
        self.spans = [
            (min((p.lower for p in g), default=0), max((p.upper for p in g), default=0))
            for g in self.groups
        ]
        self.tops = [max((p.offset + p.size for p in g), default=0) for g in self.groups]
        self.meets: list[list[int]] = [[] for _ in self.groups]
        self.forbidden: dict[tuple[int, int], tuple[tuple[int, int], ...]] = {}
        for g in range(len(self.groups)):
            for h in range(g):
                if self.spans[g][0] < self.spans[h][1] and self.spans[h][0] < self.spans[g][1]:
                    pairs = _collisions(self.groups[g], self.groups[h])
                    if pairs:
                        self.meets[g].append(h)
                        self.meets[h].append(g)
                        self.forbidden[g, h] = pairs
                        self.forbidden[h, g] = tuple((-b, -a) for a, b in pairs)

    def orders(self) -> Iterator[list[int]]:
        """Natural orders: by size, by area, by time, from the step of the greatest load."""
        numbers = range(len(self.groups))
        area = [sum(p.size * (p.upper - p.lower) for p in g) for g in self.groups]
        yield sorted(numbers, key=lambda g: (-self.tops[g], self.spans[g]))
        yield sorted(numbers, key=lambda g: (-area[g], self.spans[g]))
        yield sorted(numbers, key=lambda g: (self.spans[g], -self.tops[g]))
        yield sorted(numbers, key=lambda g: (-self.spans[g][1], -self.tops[g]))
        load: dict[int, int] = {}
        for group in self.groups:
            for part in group:
                for step in range(part.lower, part.upper):
                    load[step] = load.get(step, 0) + part.size
        heaviest = [
            max((load.get(s, 0) for s in range(*self.spans[g])), default=0) if self.groups[g] else 0
            for g in numbers
        ]
        yield sorted(numbers, key=lambda g: (-heaviest[g], -self.tops[g], self.spans[g]))
        yield sorted(numbers, key=lambda g: (-heaviest[g], -area[g], self.spans[g]))

    def falling(self) -> frozenset[int]:
        """The groups of which the lower parts die first, but are not made first."""
        found: set[int] = set()
        for number, group in enumerate(self.groups):
            low, high = min(group, default=None), max(group, default=None)
            if low is None or high is None:
                continue
            if low.upper < high.upper and low.lower >= high.lower:
                found.add(number)
        return frozenset(found)

    def attempt(self, order: list[int], down: frozenset[int], target: int) -> _Try:
        """One group after another at its first place from below, or from the target down."""
        offsets = [-1] * len(self.groups)
        for group in order:
            taken: list[tuple[int, int]] = []
            for other in self.meets[group]:
                at = offsets[other]
                if at >= 0:
                    taken += [(at + a, at + b) for a, b in self.forbidden[group, other]]
            self.work += len(taken) + 1
            offset = -1
            if group in down:
                offset = self._below(taken, target - self.tops[group])
            offsets[group] = offset if offset >= 0 else self._above(taken)
        height = max((o + t for o, t in zip(offsets, self.tops, strict=True)), default=0)
        return _Try(order, down, tuple(offsets), height)

    def _above(self, taken: list[tuple[int, int]]) -> int:
        """The lowest offset within none of the open intervals."""
        offset = 0
        for low, high in sorted(taken):
            if low >= offset:
                break
            if high > offset:
                offset = -(-high // self.alignment) * self.alignment
        return offset

    def _below(self, taken: list[tuple[int, int]], offset: int) -> int:
        """The highest offset of at most `offset` within none of them; negative if there is none."""
        offset = offset // self.alignment * self.alignment
        for low, high in sorted(taken, key=lambda interval: -interval[1]):
            if high <= offset:
                break
            if low < offset:
                offset = low // self.alignment * self.alignment
        return offset

    def moved(self, best: _Try, rng: random.Random) -> list[int]:
        """One of the highest groups, or one that it meets, put earlier or elsewhere."""
        high = [g for g in best.order if best.offsets[g] + self.tops[g] == best.height]
        chosen = rng.choice(high)
        if self.meets[chosen] and rng.random() < 0.5:
            chosen = rng.choice(self.meets[chosen])
        changed = [g for g in best.order if g != chosen]
        place = best.order.index(chosen)
        last = place + 1 if rng.random() < 0.7 else len(best.order)
        changed.insert(rng.randrange(last), chosen)
        return changed

    def turned(self, best: _Try, rng: random.Random) -> frozenset[int]:
        """Now and then, one group on the other side."""
        if rng.random() < 0.5:
            return best.down
        return best.down ^ {rng.choice(best.order)}


def _collisions(one: Group, other: Group) -> tuple[tuple[int, int], ...]:
    """The open intervals of distances at which parts alive together overlap, joined."""
    found = sorted(
        (b.offset - a.offset - a.size, b.offset + b.size - a.offset)
        for a in one
        for b in other
        if a.lower < b.upper and b.lower < a.upper
    )
    joined: list[tuple[int, int]] = []
    for low, high in found:
        if joined and low < joined[-1][1]:
            joined[-1] = joined[-1][0], max(joined[-1][1], high)
        else:
            joined.append((low, high))
    return tuple(joined)
