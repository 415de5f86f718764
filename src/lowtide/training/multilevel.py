"""Plans for large steps: search small versions of the problem, then the problem itself.

    coarse, all chains merged ─┐
    coarse, cautiously        ─┼─▶ starts ─▶ search of the whole, warm
    .. each with two seeds    ─┘

A walk over thousands of ops changes little with each move; over a tenth as many groups
(`coarsen.py`) it gets somewhere in a second, though not always to the same place: hence several.
"""

from __future__ import annotations

import time
from typing import TYPE_CHECKING

from lowtide.solvers.remat.search import SearchOptions, search
from lowtide.solvers.status import Status
from lowtide.training.coarsen import coarsen

if TYPE_CHECKING:
    from collections.abc import Sequence

    from lowtide.solvers.remat.problem import RematProblem
    from lowtide.solvers.remat.solution import RematSolution

__all__ = ["multilevel"]

_SMALL = (1.0, 0.15)  # of the budget: how much a group may need
_SEEDS = 2
_PART = 0.15  # of the time, for each coarse search


def multilevel(
    problem: RematProblem,
    *,
    time_limit_s: float,
    seed: int = 0,
    start: Sequence[tuple[int, ...]] = (),
) -> RematSolution:
    """The best sequence of the free order that was found; it takes the time that it is given.

    Args:
        problem: what to run, and within which budget.
        time_limit_s: wall time.
        seed: of the searches.
        start: known sequences, within the budget or near it; with any, the whole problem is
            searched at once.
    """
    end = time.monotonic() + time_limit_s
    starts = list(start)
    if not starts:
        # Where an order alone will do, or nothing at all, that is known soon.
        quick = search(problem, time_limit_s=0.1 * time_limit_s, seed=seed)
        if quick.status in (Status.OPTIMAL, Status.INFEASIBLE):
            return quick
        starts += [] if quick.sequence is None else [quick.sequence]
        for number in range(_SEEDS):
            for small in _SMALL:
                coarse = coarsen(problem, small=small)
                found = search(
                    coarse.problem,
                    time_limit_s=_PART * time_limit_s,
                    seed=seed + number,
                    options=SearchOptions(cover=False),
                )
                if found.sequence is not None:
                    starts.append(coarse.expand(found.sequence))
    return search(
        problem,
        time_limit_s=max(0.0, end - time.monotonic()),
        seed=seed,
        start=starts,
        options=SearchOptions(warm=bool(starts), schedule=not starts, cover=False),
    )
