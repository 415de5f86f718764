"""`chen-sqrt`, `chen-greedy`, and their generalisations; see `checkpoints.py`."""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING

from lowtide.solvers.remat.checkpoints import articulation, best_of, cuts, every, greedy, segments
from lowtide.solvers.remat.conclude import Clock, conclude
from lowtide.solvers.remat.problem import OrderScope
from lowtide.solvers.remat.replay import Turn

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from lowtide.solvers.remat.problem import Cost, RematProblem
    from lowtide.solvers.remat.solution import RematSolution

__all__ = ["CHECKPOINTS", "checkpoint"]

# name -> (candidates, whether greedy)
CHECKPOINTS: dict[str, tuple[Callable[[Turn], set[int]], bool]] = {
    "chen-sqrt": (cuts, False),
    "chen-greedy": (cuts, True),
    "ap-sqrt": (articulation, False),
    "ap-greedy": (articulation, True),
    "linearised-sqrt": (every, False),
    "linearised-greedy": (every, True),
}
_SIZES = 60  # of segments, tried by the greedy choice


def checkpoint(
    name: str,
    problem: RematProblem,
    *,
    scope: OrderScope = OrderScope.FIXED,
    time_limit_s: float | None = None,
    seed: int = 0,
    progress: Callable[[Cost | None, Cost], None] | None = None,
) -> RematSolution:
    """The cheapest plan of the named heuristic that is within the budget, or none. No randomness.

    Raises:
        KeyError: there is no such heuristic.
    """
    del seed
    candidates_of, by_size = CHECKPOINTS[name]
    clock = Clock(time_limit_s)
    turn = Turn.of(problem)
    candidates = candidates_of(turn)
    kept = _greedy(turn, candidates) if by_size else _sqrt(candidates)
    best, timed_out = best_of(problem, (partial(segments, turn, k) for k in kept), clock)
    return conclude(
        problem,
        best,
        solver=name,
        scope=scope,
        clock=clock,
        timed_out=timed_out,
        progress=progress,
    )


def _sqrt(candidates: set[int]) -> Iterator[set[int]]:
    ordered = sorted(candidates)
    for step in _steps(len(ordered)):
        yield set(ordered[step - 1 :: step])


def _steps(count: int) -> list[int]:
    """Distances between checkpoints: the root of their number first, then others around it."""
    root = max(1, round(count**0.5))
    others = {round(root * 1.2**k) for k in range(-16, 17)}
    return [root, *sorted(d for d in others if 1 <= d <= count and d != root), count + 1]


def _greedy(turn: Turn, candidates: set[int]) -> Iterator[set[int]]:
    total = sum(turn.problem.buffers[b].size for b in turn.levels)
    seen: set[frozenset[int]] = set()
    for k in range(_SIZES + 1):
        kept = frozenset(greedy(turn, candidates, total * k // _SIZES))
        if kept not in seen:
            seen.add(kept)
            yield set(kept)
