"""Plans for large steps: search small versions of the problem, then the problem itself.

    coarse, all chains merged ─┐
    coarse, cautiously        ─┼─▶ starts ─▶ search of the whole, warm
    .. each with two seeds    ─┘

A walk over thousands of ops changes little with each move; over a tenth as many groups
(`coarsen.py`) it gets somewhere in a second, though not always to the same place: hence several.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from lowtide.solvers.remat.search import SearchOptions, search
from lowtide.solvers.status import Status
from lowtide.training.coarsen import coarsen
from lowtide.training.effort import Allowance

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from lowtide.solvers.remat.problem import Cost, RematProblem
    from lowtide.solvers.remat.solution import RematSolution
    from lowtide.training.coarsen import Coarse
    from lowtide.training.effort import Effort

__all__ = ["multilevel"]

_SMALL = (1.0, 0.15)  # of the budget: how much a group may need
_SEEDS = 2
_QUICK_PART, _COARSE_PART = 0.1, 0.15  # of the effort, for each search


def multilevel(
    problem: RematProblem,
    *,
    effort: Effort,
    seed: int = 0,
    start: Sequence[tuple[int, ...]] = (),
    progress: Callable[[Cost | None, Cost], None] | None = None,
) -> RematSolution:
    """The best sequence of the free order that was found; it takes all that it is given.

    Args:
        problem: what to run, and within which budget.
        effort: of all searches together; the result is repeatable where no time limits it.
        seed: of the searches.
        start: known sequences, within the budget or near it; with any, the whole problem is
            searched at once.
        progress: called with the best cost so far, of the whole problem, and a bound of it.
    """
    telling = None if progress is None else _Telling(problem, progress)
    allowance = Allowance(effort)
    starts = list(start)
    if not starts:
        # Where an order alone will do, or nothing at all, that is known soon.
        part = allowance.take(_QUICK_PART)
        # The covering program's bound takes time that cannot be counted as work.
        options = SearchOptions(work_limit=part.work_limit, cover=part.time_limit_s is not None)
        quick = search(
            problem,
            time_limit_s=part.time_limit_s,
            seed=seed,
            options=options,
            progress=None if telling is None else telling.whole,
        )
        if quick.status in (Status.OPTIMAL, Status.INFEASIBLE):
            return quick
        starts += [] if quick.sequence is None else [quick.sequence]
        for number in range(_SEEDS):
            for small in _SMALL:
                coarse = coarsen(problem, small=small)
                part = allowance.take(_COARSE_PART)
                found = search(
                    coarse.problem,
                    time_limit_s=part.time_limit_s,
                    seed=seed + number,
                    options=SearchOptions(work_limit=part.work_limit, cover=False),
                    progress=None if telling is None else telling.part(coarse),
                )
                if found.sequence is not None:
                    starts.append(coarse.expand(found.sequence))
    rest = allowance.left()
    return search(
        problem,
        time_limit_s=rest.time_limit_s,
        seed=seed,
        start=starts,
        options=SearchOptions(
            work_limit=rest.work_limit, warm=bool(starts), schedule=not starts, cover=False
        ),
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
