"""Which regions to run in tiles, and in how many: the least peak within a limit on extra work.

For a threshold B, an op may stay as it is if no more than B bytes are alive while it runs, and a
region may be taken in the fewest tiles whose estimated peak is at most B. Regions are runs of ops,
so that a choice of disjoint ones is a path over the positions between the ops:

    0 ──op──▶ 1 ──op──▶ 2 ─────── region in 4 tiles ──────▶ 6 ──op──▶ 7

Its length has two parts, the extra work and the bytes that the new ops take for good; the paths
that no other one beats in both are kept (label setting, in order of position). The least B that has
a path within the limit is found by bisection over bytes. Then others are tried for a smaller sum of
B and what persists, with the regions of the paths in tiles of different heights, each as high as
the threshold allows: where the rows of X that are still to be read are few, tiles may be higher.
All of it on estimates: what is chosen is simulated and measured before it is kept.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, NamedTuple

from lowtide.ir import simulate
from lowtide.passes.rewrite.regions import heights, regions

if TYPE_CHECKING:
    from lowtide.ir import Graph
    from lowtide.passes.rewrite.dialect import Dialect
    from lowtide.passes.rewrite.regions import Estimate, Limits, Region

__all__ = ["Choice", "Choices", "choose"]

_STEP = 40  # of two thresholds that are tried, the second is larger by one part in so many
_MOST_STEPS = 1_000_000  # ops of tiles that are planned; after that, only what is known is combined
_LABELS = 16  # paths kept at one position


@dataclass(frozen=True, slots=True)
class Choice:
    """A region to be run in tiles."""

    region: Region
    estimate: Estimate


@dataclass(frozen=True, slots=True)
class Choices:
    """Regions to be run in tiles together.

    Attributes:
        chosen: by position.
        peak_bytes: the estimated peak of all.
        before_bytes: the peak of the graph in its own order.
        extra_work: operations more than before.
        persistent_bytes: what the new ops take for good.
    """

    chosen: tuple[Choice, ...]
    peak_bytes: int
    before_bytes: int
    extra_work: int
    persistent_bytes: int

    @property
    def total(self) -> int:
        """Peak and what persists, in bytes."""
        return self.peak_bytes + self.persistent_bytes


class _Label(NamedTuple):
    work: int
    persistent: int
    taken: tuple[Choice, ...]


def choose(
    graph: Graph,
    dialect: Dialect,
    limits: Limits,
    recompute_limit: float = 0.15,
) -> tuple[Choices, ...]:
    """The choices that no other one beats in peak and in what persists, least sum first.

    Each has a smaller sum than the peak of the graph as it is; there may be none.

    Args:
        graph: in an order that keeps regions together.
        dialect: of its format.
        limits: of the target.
        recompute_limit: extra work over the work of the graph as it is.
    """
    if not graph.ops:
        return ()
    search = _Search(graph, dialect, limits, recompute_limit)
    before = max(search.live)
    low, high = 0, before  # no path below `low`, a path at `high`
    while high - low > max(1, before // 1024):
        middle = (low + high) // 2
        if search.path(middle) is None:
            low = middle
        else:
            high = middle
    found: list[Choices] = []
    bases: dict[tuple[Region, ...], None] = {}
    first = search.path(high)
    if first is not None:
        bases[tuple(choice.region for choice in first.taken)] = None
    threshold = high - high // 4
    while threshold < before:
        label = search.path(threshold) if threshold >= high else None
        if label is not None and label.taken:
            found.append(search.choices(label.taken, before))
            bases[tuple(choice.region for choice in label.taken)] = None
        for basis in bases:
            taken = search.fitted(basis, threshold)
            if taken:
                found.append(search.choices(taken, before))
        threshold += threshold // _STEP + 1
    found = [each for each in found if each.total < before]
    return _front(found)


def _front(found: list[Choices]) -> tuple[Choices, ...]:
    """Those that no other one beats, least sum first; of equal ones the first."""
    kept: list[Choices] = []
    for each in sorted(found, key=lambda c: (c.peak_bytes, c.persistent_bytes, c.extra_work)):
        if not kept or each.persistent_bytes < kept[-1].persistent_bytes:
            kept.append(each)
    return tuple(sorted(kept, key=lambda c: (c.total, c.peak_bytes)))


class _Search:
    def __init__(
        self, graph: Graph, dialect: Dialect, limits: Limits, recompute_limit: float
    ) -> None:
        timeline = simulate(graph, limits.accounting)
        self.live = [step.live_bytes for step in timeline.steps]
        self.most = int(recompute_limit * sum(op.flops for op in graph.ops))
        self.regions: list[list[Region]] = [[] for _ in self.live]
        for region in regions(graph, dialect, limits):
            self.regions[region.first].append(region)
        self.heights: dict[Region, tuple[int, ...]] = {}
        self.estimates: dict[tuple[Region, int], Estimate | None] = {}
        self.steps = 0  # ops of tiles that were planned
        self.fits: dict[tuple[Region, int, bool], Estimate | None] = {}

    def path(self, threshold: int) -> _Label | None:
        """The way from the first op to the last with the least bytes that persist."""
        at: list[list[_Label]] = [[] for _ in range(len(self.live) + 1)]
        at[0] = [_Label(0, 0, ())]
        for position, live in enumerate(self.live):
            labels = at[position]
            if not labels:
                continue
            if live <= threshold:
                at[position + 1] = _pareto([*at[position + 1], *labels])
            for region in self.regions[position]:
                if max(self.live[position : region.last + 1]) <= threshold:
                    continue
                tiled = self.fewest(region, threshold)
                if tiled is None:
                    continue
                further = [
                    _Label(
                        label.work + tiled.extra_work,
                        label.persistent + tiled.persistent_bytes,
                        (*label.taken, Choice(region, tiled)),
                    )
                    for label in labels
                    if label.work + tiled.extra_work <= self.most
                ]
                at[region.last + 1] = _pareto([*at[region.last + 1], *further])
        return min(at[-1], key=lambda label: (label.persistent, label.work), default=None)

    def fewest(self, region: Region, threshold: int) -> Estimate | None:
        """The region in the fewest tiles within the threshold and the limit on work."""
        if region.beside > threshold:
            return None
        if region not in self.heights:
            self.heights[region] = heights(region)
        known = self.heights[region]
        low, high = 0, len(known)  # lower tiles need less memory and more work
        found: Estimate | None = None
        while low < high:
            middle = (low + high) // 2
            estimate = self.estimate(region, known[middle])
            if estimate is None or estimate.extra_work > self.most:
                high = middle
            elif estimate.peak_bytes <= threshold:
                found, high = estimate, middle
            else:
                low = middle + 1
        return found

    def estimate(self, region: Region, height: int) -> Estimate | None:
        key = region, height
        if key not in self.estimates:
            if self.steps > _MOST_STEPS:
                return None
            self.estimates[key] = region.estimate(region.even(height))
            self.steps += len(region.ops) * -(-region.rows // height)
        return self.estimates[key]

    def fitted(self, basis: tuple[Region, ...], threshold: int) -> tuple[Choice, ...] | None:
        """The regions in the highest tiles within the threshold, if they can be had.

        Where one region reads what the one before it made, it is run from the other end: then what
        dies and what grows leave one gap in memory between them, not two.
        """
        found: list[Choice] = []
        work = 0
        for region in basis:
            upward = (
                bool(found)
                and found[-1].region.result is region.entry
                and not found[-1].estimate.upward
                and region.rows % region.unit == 0
            )
            key = region, threshold, upward
            if key not in self.fits:
                heights = region.fitted(threshold, upward=upward)
                alone = heights is None or len(heights) < 2
                self.fits[key] = (
                    None if heights is None or alone else region.estimate(heights, upward=upward)
                )
            estimate = self.fits[key]
            if estimate is None or estimate.peak_bytes > threshold:
                return None
            work += estimate.extra_work
            found.append(Choice(region, estimate))
        return tuple(found) if work <= self.most else None

    def choices(self, taken: tuple[Choice, ...], before: int) -> Choices:
        """The sum of some choices."""
        live = list(self.live)
        for choice in taken:
            for position in range(choice.region.first, choice.region.last + 1):
                live[position] = choice.estimate.peak_bytes
        return Choices(
            taken,
            max(live),
            before,
            sum(choice.estimate.extra_work for choice in taken),
            sum(choice.estimate.persistent_bytes for choice in taken),
        )


def _pareto(labels: list[_Label]) -> list[_Label]:
    kept: list[_Label] = []
    for label in sorted(labels, key=lambda each: (each.work, each.persistent)):
        if not kept or label.persistent < kept[-1].persistent:
            kept.append(label)
    return kept[:_LABELS]
