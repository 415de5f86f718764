"""Which regions to run in tiles, and in how many: the least peak within a limit on extra work.

For a threshold B, an op may stay as it is if no more than B bytes are alive while it runs, and a
region may be taken in the fewest tiles whose estimated peak is at most B. Regions are runs of ops,
so that a choice of disjoint ones is a path over the positions between the ops:

    0 ──op──▶ 1 ──op──▶ 2 ─────── region in 4 tiles ──────▶ 6 ──op──▶ 7

Its length has two parts, the extra work and the bytes that the new ops take for good; the paths
that no other one beats in both are kept (label setting, in order of position). The least B that has
a path within the limit is found by bisection over bytes, then larger ones are tried for a smaller
sum of B and what persists. All of it on estimates: what is chosen is simulated and measured before
it is kept.
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

_STEPS = 24  # larger thresholds that are tried, each 4 % above the one before it
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


class _Label(NamedTuple):
    work: int
    persistent: int
    taken: tuple[Choice, ...]


def choose(
    graph: Graph, dialect: Dialect, limits: Limits, recompute_limit: float = 0.15
) -> Choices | None:
    """The choice with the least estimated peak and persistent bytes; None if nothing is gained.

    Args:
        graph: in an order that keeps regions together.
        dialect: of its format.
        limits: of the target.
        recompute_limit: extra work over the work of the graph as it is.
    """
    if not graph.ops:
        return None
    search = _Search(graph, dialect, limits, recompute_limit)
    before = max(search.live)
    low, high = 0, before  # no path below `low`, a path at `high`
    while high - low > max(1, before // 1024):
        middle = (low + high) // 2
        if search.path(middle) is None:
            low = middle
        else:
            high = middle
    best: Choices | None = None
    threshold = high
    for _ in range(_STEPS):
        found = search.path(threshold)
        if found is not None and found.taken:
            peak = search.peak(found)
            total = peak + found.persistent
            if total < before and (best is None or total < best.peak_bytes + best.persistent_bytes):
                best = Choices(found.taken, peak, before, found.work, found.persistent)
        threshold += threshold // 25 + 1
        if threshold >= before:
            break
    return best


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
        for height in self.heights[region]:
            estimate = self.estimate(region, height)
            if estimate is None or estimate.extra_work > self.most:
                return None
            if estimate.peak_bytes <= threshold:
                return estimate
        return None

    def estimate(self, region: Region, height: int) -> Estimate | None:
        key = region, height
        if key not in self.estimates:
            self.estimates[key] = region.estimate(height)
        return self.estimates[key]

    def peak(self, label: _Label) -> int:
        """Of the ops outside the regions, and of the regions."""
        live = list(self.live)
        for choice in label.taken:
            for position in range(choice.region.first, choice.region.last + 1):
                live[position] = choice.estimate.peak_bytes
        return max(live)


def _pareto(labels: list[_Label]) -> list[_Label]:
    kept: list[_Label] = []
    for label in sorted(labels, key=lambda each: (each.work, each.persistent)):
        if not kept or label.persistent < kept[-1].persistent:
            kept.append(label)
    return kept[:_LABELS]
