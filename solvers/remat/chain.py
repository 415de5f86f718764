"""`chain`: the budgeted dynamic program of chains, on the levels of the forward pass.

O. Beaumont et al., Optimal checkpointing for heterogeneous chains, 2019, arXiv:1911.13214 (rotor).
Level i is kept, the levels up to j are to be reversed, and m bytes are left for more of them:

    cost(i, j, m) = min over i < k <= j of   cost(k, j, m - size(k))            keep k next
                                         + again(i + 1 .. k - 1) + cost(i, k - 1, m)   if k > i + 1
    cost(i, i, m) = 0

where `again` is the cost of the forward nodes between two levels.  Bytes come in 64 buckets; for
each number of buckets the plan is made, and judged exactly by its peak.  On a chain whose steps
need no more than the two levels they join, that is rotor's optimum at the buckets' resolution; on
other graphs, and for what a step needs besides, it is a heuristic.  No bound follows.

O(levels^3 x buckets), in vectors; more levels than 160 are joined in runs of equal length.
"""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING

import numpy as np

from lowtide.solvers.remat.checkpoints import best_of
from lowtide.solvers.remat.conclude import Clock, conclude
from lowtide.solvers.remat.problem import OrderScope
from lowtide.solvers.remat.replay import Turn, with_gaps

if TYPE_CHECKING:
    from collections.abc import Callable

    from numpy.typing import NDArray

    from lowtide.solvers.remat.problem import Cost, RematProblem
    from lowtide.solvers.remat.solution import RematSolution

__all__ = ["chain", "plan", "ranges"]

_BUCKETS = 64
_MOST = 160


def chain(
    problem: RematProblem,
    *,
    scope: OrderScope = OrderScope.FIXED,
    time_limit_s: float | None = None,
    seed: int = 0,
    progress: Callable[[Cost | None, Cost], None] | None = None,
) -> RematSolution:
    """The cheapest plan of the dynamic program within the budget, over all numbers of buckets."""
    del seed
    clock = Clock(time_limit_s)
    turn = Turn.of(problem)
    count = len(turn.levels)
    width = max(1, -(-count // _MOST))
    groups = [range(at, min(at + width, count)) for at in range(0, count, width)]
    sizes = [sum(problem.once.buffers[turn.levels[j]].size for j in g) for g in groups]
    choice, weights = plan(sizes, _costs(turn, groups))

    def planned(bucket: int) -> tuple[int, ...]:
        ended: dict[int, int] = {}
        for g, last in ranges(choice, weights, bucket).items():
            if last < len(groups) - 1:
                stage = min(turn.end[j] for j in groups[last])
                ended.update(dict.fromkeys(groups[g], stage))
        return with_gaps(turn, ended)

    buckets = range(_BUCKETS, -1, -1) if groups else range(0)
    best, timed_out = best_of(problem, (partial(planned, m) for m in buckets), clock)
    return conclude(
        problem,
        best,
        solver="chain",
        scope=scope,
        clock=clock,
        timed_out=timed_out,
        progress=progress,
    )


def _costs(turn: Turn, groups: list[range]) -> list[float]:
    """Per group, what the forward nodes behind the previous group and up to its own cost."""
    problem = turn.problem
    made = [problem.position[problem.buffers[b].producer] for b in turn.levels]
    result: list[float] = []
    before = -1
    for g in groups:
        until = made[g[-1]]
        nodes = problem.order[before + 1 : until + 1]
        result.append(float(sum(problem.costs[v] for v in nodes)))
        before = until
    return result


def plan(sizes: list[int], costs: list[float]) -> tuple[NDArray[np.int32], list[int]]:
    """(choice, buckets of each level): choice[i, j, m] is the level to keep next, -1 for none.

    Levels count from 1 here; 0 is the start of the graph, which needs no bytes.
    """
    count = len(sizes)
    total = sum(sizes) or 1
    # Rounded up: what fits in buckets fits in bytes.
    weight = [0, *(-(-s * _BUCKETS // total) for s in sizes)]
    prefix = np.concatenate([[0.0], np.cumsum(costs)])  # prefix[k]: levels 1 to k
    best = np.full((count + 1, count + 1, _BUCKETS + 1), np.inf)
    choice = np.full((count + 1, count + 1, _BUCKETS + 1), -1, dtype=np.int32)
    for i in range(count + 1):
        best[i, i] = 0.0
    for span in range(1, count + 1):
        for i in range(count + 1 - span):
            j = i + span
            for k in range(i + 1, j + 1):
                w = weight[k]
                if w > _BUCKETS:
                    continue
                value = np.full(_BUCKETS + 1, np.inf)
                value[w:] = best[k, j, : _BUCKETS + 1 - w]
                if k > i + 1:
                    value = value + (prefix[k - 1] - prefix[i]) + best[i, k - 1]
                better = value < best[i, j]
                best[i, j][better] = value[better]
                choice[i, j][better] = k
    return choice, weight


def ranges(choice: NDArray[np.int32], weights: list[int], buckets: int) -> dict[int, int]:
    """For each level, from 0, the last level of the range that it starts; else its own."""
    count = len(weights) - 1
    result = {k: k for k in range(count)}
    stack = [(0, count, buckets)]
    while stack:
        i, j, m = stack.pop()
        k = int(choice[i, j, m]) if i < j else -1
        if k < 0:
            continue
        result[k - 1] = j - 1
        stack.append((i, k - 1, m))
        stack.append((k, j, m - weights[k]))
    return result
