"""`griewank`: binomial checkpointing (revolve) on the levels of the forward pass.

A. Griewank and A. Walther, Algorithm 799: revolve, ACM TOMS 26(1), 2000, doi:10.1145/347837.347846.
With s checkpoints, a range of levels is cut where the part behind the cut can be reversed with
s - 1 checkpoints and as many repetitions as the part before it with s.  All levels count alike, as
in Checkmate's comparison; the number of checkpoints is swept.

A level that starts a range is kept from when the range is entered until the level is reversed; so
its gap ends when the last level of the range is reversed (`replay.py`).
"""

from __future__ import annotations

import math
from functools import partial
from typing import TYPE_CHECKING

from lowtide.solvers.remat.checkpoints import best_of
from lowtide.solvers.remat.conclude import Clock, conclude
from lowtide.solvers.remat.problem import OrderScope
from lowtide.solvers.remat.replay import Turn, with_gaps

if TYPE_CHECKING:
    from collections.abc import Callable

    from lowtide.solvers.remat.problem import Cost, RematProblem
    from lowtide.solvers.remat.solution import RematSolution

__all__ = ["griewank", "ranges"]


def griewank(
    problem: RematProblem,
    *,
    scope: OrderScope = OrderScope.FIXED,
    time_limit_s: float | None = None,
    seed: int = 0,
    progress: Callable[[Cost | None, Cost], None] | None = None,
) -> RematSolution:
    """The cheapest plan of revolve, over the number of checkpoints, within the budget; or none."""
    del seed
    clock = Clock(time_limit_s)
    turn = Turn.of(problem)
    best, timed_out = best_of(
        problem,
        (partial(_planned, turn, s) for s in range(len(turn.levels), 0, -1)),
        clock,
    )
    return conclude(
        problem,
        best,
        solver="griewank",
        scope=scope,
        clock=clock,
        timed_out=timed_out,
        progress=progress,
    )


def _planned(turn: Turn, checkpoints: int) -> tuple[int, ...]:
    count = len(turn.levels)
    ended = {
        start: turn.end[last]
        for start, last in ranges(count, checkpoints).items()
        if last < count - 1
    }
    return with_gaps(turn, ended)


def ranges(count: int, checkpoints: int) -> dict[int, int]:
    """For levels 0 .. count - 1: the last level of the range that each one starts."""
    if not count:
        return {}
    result = {0: count - 1}
    stack = [(0, count, checkpoints - 1)]  # the range's first level is kept; so many more can be
    while stack:
        start, stop, left = stack.pop()
        if left <= 0:  # each of the others is made again from the first
            result.update({k: k for k in range(start + 1, stop)})
        elif stop - start > 1:
            cut = stop - _behind(stop - start, left)
            result[cut] = stop - 1
            stack.append((start, cut, left))
            stack.append((cut, stop, left - 1))
    return result


def _behind(length: int, checkpoints: int) -> int:
    """How many levels to leave behind the next checkpoint: binomial(s + r - 1, s - 1).

    Where r repetitions are the fewest that can reverse the length with s more checkpoints.
    """
    repeats = 1
    while math.comb(checkpoints + repeats, checkpoints) < length:
        repeats += 1
    return max(1, min(length - 1, math.comb(checkpoints + repeats - 1, checkpoints - 1)))
