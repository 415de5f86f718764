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
    from collections.abc import Callable, Sequence

    from lowtide.solvers.remat.problem import Cost, RematProblem
    from lowtide.solvers.remat.solution import RematSolution
    from lowtide.training.coarsen import Coarse

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
    progress: Callable[[Cost | None, Cost], None] | None = None,
) -> RematSolution:
    """The best sequence of the free order that was found; it takes the time that it is given.

    Args:
        problem: what to run, and within which budget.
        time_limit_s: wall time.
        seed: of the searches.
        start: known sequences, within the budget or near it; with any, the whole problem is
            searched at once.
        progress: called with the best cost so far, of the whole problem, and a bound of it.
    """
    telling = None if progress is None else _Telling(problem, progress)
    end = time.monotonic() + time_limit_s
    starts = list(start)
    if not starts:
        # Where an order alone will do, or nothing at all, that is known soon.
        quick = search(
            problem,
            time_limit_s=0.1 * time_limit_s,
            seed=seed,
            progress=None if telling is None else telling.whole,
        )
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
                    progress=None if telling is None else telling.part(coarse),
                )
                if found.sequence is not None:
                    starts.append(coarse.expand(found.sequence))
    return search(
        problem,
        time_limit_s=max(0.0, end - time.monotonic()),
        seed=seed,
        start=starts,
        options=SearchOptions(warm=bool(starts), schedule=not starts, cover=False),
        progress=None if telling is None else telling.whole,
    )


class _Telling:
    """Passes on the least cost and the highest bound that several searches found."""

    def __init__(
        self, problem: RematProblem, progress: Callable[[Cost | None, Cost], None]
    ) -> None:
        self._problem, self._progress = problem, progress
        self._best: Cost | None = None
        self._bound: Cost = problem.base_cost

    def whole(self, cost: Cost | None, bound: Cost) -> None:
        """From a search of the problem itself."""
        if cost is not None and (self._best is None or cost < self._best):
            self._best = cost
        self._bound = max(self._bound, bound)
        self._progress(self._best, self._bound)

    def part(self, coarse: Coarse) -> Callable[[Cost | None, Cost], None]:
        """From a search of groups: riders cost the same in every plan, and its bound is its own."""
        riders = self._problem.base_cost - coarse.problem.base_cost

        def told(cost: Cost | None, _: Cost) -> None:
            self.whole(None if cost is None else cost + riders, self._bound)

        return told
