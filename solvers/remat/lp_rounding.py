"""`checkmate-lp-rounding`: the linear relaxation says what to keep, the runs follow from that.

Checkmate's two-phase rounding (P. Jain et al., MLSys 2020, arXiv:1910.02653, section 5): solve the
relaxation for a budget of (1 - e) of what there is; keep in stage t what it keeps to at least a
threshold; then run again what is missing, and only that (`replay.py`).  The first plan is the
paper's: e = 0.1 and the threshold 1/2.  Deviations: the relaxation is the tightened one
(`stages.py`), a few more values of e and of the threshold, one of them random for each buffer and
stage, are tried, and the cheapest plan within the budget is returned.

The relaxation for the whole budget (e = 0) also gives a bound for the fixed order, exact by its
multipliers (`milp/model.py`).
"""

from __future__ import annotations

from dataclasses import replace
from fractions import Fraction
from functools import partial
from random import Random
from typing import TYPE_CHECKING

import numpy as np

from lowtide.errors import InputError
from lowtide.solvers.milp.solve import MilpSolver, Outcome, solve
from lowtide.solvers.remat.bounds import peak_bound
from lowtide.solvers.remat.check import peak_of
from lowtide.solvers.remat.conclude import Clock, conclude
from lowtide.solvers.remat.extras import cost_with_extra, extra_of, next_sum
from lowtide.solvers.remat.problem import OrderScope
from lowtide.solvers.remat.replay import replay
from lowtide.solvers.remat.solution import CostBound
from lowtide.solvers.remat.stages import StageModel

if TYPE_CHECKING:
    from collections.abc import Callable

    from lowtide.solvers.remat.problem import Cost, RematProblem
    from lowtide.solvers.remat.solution import RematSolution

__all__ = ["lp_rounding"]

_SHRINK = (Fraction(1, 10), Fraction(0), Fraction(1, 20), Fraction(1, 5))
_THRESHOLDS = (0.5, 0.3, 0.1, 0.7, 0.9)
_RANDOM = 10  # randomised roundings for each relaxation
_MOST_NODES = 600


def lp_rounding(
    problem: RematProblem,
    *,
    scope: OrderScope = OrderScope.FIXED,
    time_limit_s: float | None = 60.0,
    seed: int = 0,
    progress: Callable[[Cost | None, Cost], None] | None = None,
) -> RematSolution:
    """The cheapest rounding within the budget, if there is one, and the relaxation's bound.

    Raises:
        InputError: the problem is too large, or the time limit is negative.
    """
    clock = Clock(time_limit_s)
    if time_limit_s is not None and not time_limit_s >= 0:
        raise InputError(f"the time limit must not be negative, got {time_limit_s}")
    if problem.num_nodes > _MOST_NODES:
        raise InputError(
            f"{problem.num_nodes} nodes are over {_MOST_NODES}: the program grows with their "
            f"square; use `search`"
        )
    best = problem.order if peak_of(problem, problem.order) <= problem.budget_bytes else None
    bound: CostBound | None = None
    infeasible = timed_out = False
    random = Random(seed)
    if best is None and peak_bound(problem)[0] <= problem.budget_bytes:
        try:
            for shrink in _SHRINK:
                if clock.left == 0:
                    timed_out = True
                    break
                sequences, found, none, limit = _rounded(problem, shrink, random, clock)
                timed_out |= limit
                if not shrink:
                    infeasible, bound = none, found
                    if none:
                        break
                for sequence in sequences:
                    if peak_of(problem, sequence) <= problem.budget_bytes and (
                        best is None or problem.cost_of(sequence) < problem.cost_of(best)
                    ):
                        best = sequence
        except KeyboardInterrupt:
            timed_out = True
    if best is not None and bound is not None:
        bound = bound._replace(cost=_raised(problem, bound, best))
    return conclude(
        problem,
        best,
        solver="checkmate-lp-rounding",
        scope=scope,
        clock=clock,
        fixed_bound=bound,
        infeasible=infeasible,
        timed_out=timed_out,
        progress=progress,
    )


def _rounded(
    problem: RematProblem, shrink: Fraction, random: Random, clock: Clock
) -> tuple[list[tuple[int, ...]], CostBound | None, bool, bool]:
    """(sequences, the relaxation's bound, whether it has no point, whether a limit struck)."""
    room = problem.budget_bytes - problem.constant_bytes
    smaller = problem.with_budget(max(0, problem.budget_bytes - int(room * shrink)))
    scale = 1000.0 / float(problem.base_cost or 1)
    model = StageModel(smaller, scale=scale)
    if model.impossible:
        return [], None, True, False
    program = model.model
    linear = replace(program, integer=np.zeros_like(program.integer))
    result = solve(linear, time_limit_s=clock.left, solver=MilpSolver.HIGHS)
    clock.children_s += result.cpu_seconds
    if result.outcome is Outcome.INFEASIBLE:
        return [], None, True, False
    bound = None
    if result.bound > 0:
        extra = Fraction(result.bound) / Fraction(scale)
        bound = CostBound(OrderScope.FIXED, cost_with_extra(problem, extra), "lp")
    if result.values is None:
        return [], bound, False, True
    point = result.values.tolist()
    plans = [model.kept(point, threshold) for threshold in _THRESHOLDS]
    for _ in range(_RANDOM):
        chosen = [x >= random.random() for x in point]
        plans.append(model.kept([float(c) for c in chosen], 0.5))
    sized = {
        b
        for b, buffer in enumerate(problem.once.buffers)
        if buffer.size and (buffer.producer >= 0 or problem.inputs_in_arena)
    }
    sequences = [replay(problem, partial(_keeps, sized, kept)) for kept in plans]
    return sequences, bound, False, False


def _keeps(sized: set[int], kept: set[tuple[int, int]], t: int, b: int) -> bool:
    return b not in sized or (t, b) in kept


def _raised(problem: RematProblem, bound: CostBound, best: tuple[int, ...]) -> Cost:
    """The bound, raised to the next sum of costs there is."""
    known = extra_of(problem, best)
    extra = Fraction(bound.cost) - sum(map(Fraction, problem.costs), Fraction(0))
    pinned = set(problem.pinned)
    costs = [cost for v, cost in enumerate(problem.costs) if v not in pinned]
    return cost_with_extra(problem, next_sum(costs, min(extra, known), known))
