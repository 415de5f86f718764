"""`checkmate-milp`: the cheapest stages of the input order, by mixed-integer programming.

As it is, the program is `stages.py`, solved for something cheaper than the incumbent: an incumbent
deletes the runs that alone cost as much, and with them most of the program.  If the solver finds
that there is nothing cheaper, the incumbent is the optimum.  With `strict` it is `checkmate.py`,
the published program, with the incumbent as a warm start.

**What is proven.**  A bound is the solver's own, lowered by its margin (`milp/solve.py`: a search's
bound holds within a feasibility tolerance of 1e-7), then raised to the next sum of costs there is
(`extras.py`).  A limit is half a unit of the costs below the incumbent, or 1e-9 of its extra cost
where that is more (ten times the tolerance); `optimal` is said only where no sum of costs lies
between.
Every sequence is rounded, then checked in integers.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, replace
from fractions import Fraction
from typing import TYPE_CHECKING

import numpy as np

from lowtide.errors import InputError
from lowtide.solvers.milp.solve import MilpSolver, Outcome, solve
from lowtide.solvers.remat.bounds import peak_bound
from lowtide.solvers.remat.check import check_stages, peak_of
from lowtide.solvers.remat.checkmate import CheckmateModel
from lowtide.solvers.remat.conclude import Clock, conclude
from lowtide.solvers.remat.extras import cost_with_extra, extra_of, next_sum, step_below
from lowtide.solvers.remat.problem import OrderScope
from lowtide.solvers.remat.search import SearchOptions, search
from lowtide.solvers.remat.solution import CostBound
from lowtide.solvers.remat.stages import StageModel

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from lowtide.solvers.milp.model import LinearModel
    from lowtide.solvers.remat.problem import Cost, RematProblem
    from lowtide.solvers.remat.solution import RematSolution

__all__ = ["MilpOptions", "checkmate_milp"]

# The incumbent's extra cost is this many units of the program's objective.
_UNITS = 1000.0


@dataclass(frozen=True, slots=True, kw_only=True)
class MilpOptions:
    """Settings of the program and its solver.

    Attributes:
        strict: the published program, without anything that tightens it.
        solver: HiGHS, SCIP, or Gurobi where it is installed.
        search_work: look for an incumbent with `search`, with this much work; 0 for not at all.
        relax_above: of more variables than this, solve the linear relaxation first: its bound is
            exact, and it fixes variables.
        max_nodes: problems with more nodes are refused: the program grows with their square.
    """

    strict: bool = False
    solver: MilpSolver = MilpSolver.HIGHS
    search_work: int = 100_000_000
    max_nodes: int = 600
    relax_above: int = 10_000


def checkmate_milp(
    problem: RematProblem,
    *,
    scope: OrderScope = OrderScope.FIXED,
    time_limit_s: float | None = 60.0,
    seed: int = 0,
    start: Sequence[tuple[int, ...]] = (),
    progress: Callable[[Cost | None, Cost], None] | None = None,
    options: MilpOptions | None = None,
) -> RematSolution:
    """The cheapest stages within the budget, with a bound of scope `fixed_order`.

    Asked for the free order it returns the same stages; its bound then proves nothing of them.

    Args:
        problem: what to run, and within which budget.
        scope: of the solution's status.
        time_limit_s: wall time; the child that solves is killed two seconds after it.
        seed: of the search for an incumbent and of the solver.
        start: known sequences of stages; the best of them within the budget is an incumbent.
        progress: called with the incumbent's cost and the bound.
        options: the program and its solver.

    Raises:
        InputError: a start is not of stages, the problem is too large or not the published
            program's, or a time limit is negative.
    """
    opts = options or MilpOptions()
    clock = Clock(time_limit_s)
    if time_limit_s is not None and not time_limit_s >= 0:
        raise InputError(f"the time limit must not be negative, got {time_limit_s}")
    if problem.num_nodes > opts.max_nodes:
        raise InputError(
            f"{problem.num_nodes} nodes are over {opts.max_nodes}: the program grows with their "
            f"square; raise `max_nodes` or use `search`"
        )
    best = _incumbent(problem, (problem.order, *start))
    bound: CostBound | None = None
    infeasible = timed_out = False
    trivial = best == problem.order or peak_bound(problem)[0] > problem.budget_bytes
    try:
        if not trivial:
            best = _searched(problem, best, opts, clock, seed)
            trivial = best is not None and extra_of(problem, best) == 0
        if not trivial:
            if progress is not None:
                cost = None if best is None else problem.cost_of(best)
                progress(cost, problem.base_cost)
            improved = True
            while improved and not timed_out and not infeasible:
                before = best
                best, found, infeasible, timed_out = _solve(problem, best, opts, clock, seed)
                if found is not None and (bound is None or found.cost > bound.cost):
                    bound = found
                met = best is not None and bound is not None and bound.cost >= problem.cost_of(best)
                improved = best != before and not met and not opts.strict
    except KeyboardInterrupt:
        timed_out = True
    return conclude(
        problem,
        best,
        solver="checkmate-milp",
        scope=scope,
        clock=clock,
        fixed_bound=bound,
        infeasible=infeasible,
        timed_out=timed_out,
        progress=progress,
    )


def _incumbent(
    problem: RematProblem, sequences: Sequence[tuple[int, ...]]
) -> tuple[int, ...] | None:
    best: tuple[int, ...] | None = None
    for sequence in sequences:
        check_stages(problem, sequence)
        if peak_of(problem, sequence) <= problem.budget_bytes and (
            best is None or extra_of(problem, sequence) < extra_of(problem, best)
        ):
            best = tuple(sequence)
    return best


def _searched(
    problem: RematProblem,
    best: tuple[int, ...] | None,
    options: MilpOptions,
    clock: Clock,
    seed: int,
) -> tuple[int, ...] | None:
    """The incumbent, improved by a short search of the fixed order."""
    if not options.search_work:
        return best
    left = clock.left
    found = search(
        problem,
        scope=OrderScope.FIXED,
        time_limit_s=None if left is None else left / 4,
        seed=seed,
        start=() if best is None else (best,),
        options=SearchOptions(work_limit=options.search_work, cover=False),
    )
    return best if found.sequence is None else _incumbent(problem, (found.sequence,))


def _solve(
    problem: RematProblem,
    best: tuple[int, ...] | None,
    options: MilpOptions,
    clock: Clock,
    seed: int,
) -> tuple[tuple[int, ...] | None, CostBound | None, bool, bool]:
    """(the best sequence, a bound, whether there is none, whether a limit struck)."""
    pinned = set(problem.pinned)
    costs = [cost for v, cost in enumerate(problem.costs) if v not in pinned]
    known = None if best is None else extra_of(problem, best)
    base = sum(map(Fraction, problem.costs), Fraction(0))
    scale = _UNITS / float(known or base or 1)
    limit = None if known is None or options.strict else known - step_below(costs, known)
    model: StageModel | CheckmateModel
    if options.strict:
        model = CheckmateModel(problem, scale=scale)
    else:
        model = StageModel(problem, limit=limit, scale=scale)
        if model.impossible:
            return _proven(problem, best, limit, known, costs)
    program, relaxed = model.model, -math.inf
    if not options.strict and program.num_variables > options.relax_above:
        program, relaxed = _relaxed(program, limit, scale, clock, seed, options)
        if relaxed == math.inf:
            return _proven(problem, best, limit, known, costs)
        if clock.left == 0:
            return best, _raised(problem, relaxed, scale, limit, best, costs), False, True
    hint = None if best is None or limit is not None else model.point(best)
    result = solve(
        program,
        time_limit_s=clock.left,
        hint=hint,
        solver=options.solver,
        seed=seed,
    )
    clock.children_s += result.cpu_seconds
    if result.outcome is Outcome.INFEASIBLE and best is None:
        return None, None, True, False
    if result.outcome is Outcome.INFEASIBLE and limit is not None:
        return _proven(problem, best, limit, known, costs)
    if result.values is not None:
        found = model.sequence(result.values.tolist())
        if peak_of(problem, found) <= problem.budget_bytes:
            best = _incumbent(problem, (found,) if best is None else (found, best))
    ended = result.outcome is not Outcome.SOLVED
    proven = max(result.bound, relaxed)
    if result.outcome is Outcome.INFEASIBLE:
        return best, None, False, ended
    return best, _raised(problem, proven, scale, limit, best, costs), False, ended


def _relaxed(
    program: LinearModel,
    limit: Fraction | None,
    scale: float,
    clock: Clock,
    seed: int,
    options: MilpOptions,
) -> tuple[LinearModel, float]:
    """The program without the variables that its linear relaxation excludes, and its exact bound.

    A variable whose reduced cost alone, on top of the bound, exceeds the limit is at its lower
    bound in every point within the limit.
    """
    linear = replace(program, integer=np.zeros_like(program.integer))
    result = solve(linear, time_limit_s=clock.left, solver=options.solver, seed=seed)
    clock.children_s += result.cpu_seconds
    if result.outcome is Outcome.INFEASIBLE:
        return program, math.inf
    if result.duals is None or not math.isfinite(result.bound) or limit is None:
        return program, result.bound
    rows = np.repeat(np.arange(program.num_rows), np.diff(program.starts))
    reduced = program.cost - np.bincount(
        program.columns, program.values * result.duals[rows], program.num_variables
    )
    # The margin is far above the rounding of these sums.
    over = program.integer & (program.lower == 0)
    over &= reduced > float(limit) * scale - result.bound + _UNITS * 1e-6
    return replace(program, upper=np.where(over, 0.0, program.upper)), result.bound


def _proven(
    problem: RematProblem,
    best: tuple[int, ...] | None,
    limit: Fraction | None,
    known: Fraction | None,
    costs: Sequence[Cost],
) -> tuple[tuple[int, ...] | None, CostBound | None, bool, bool]:
    """What follows when nothing costs at most the limit."""
    if limit is None or known is None:
        return None, None, True, False
    return best, _bound(problem, next_sum(costs, limit, known)), False, False


def _raised(
    problem: RematProblem,
    objective: float,
    scale: float,
    limit: Fraction | None,
    best: tuple[int, ...] | None,
    costs: Sequence[Cost],
) -> CostBound | None:
    """The bound that an objective's bound proves: nothing within the limit is cheaper than it."""
    if not objective > 0:
        return None
    raw = Fraction(objective) / Fraction(scale)
    if limit is not None:
        raw = min(raw, limit)
    top = raw if best is None else extra_of(problem, best)
    return _bound(problem, next_sum(costs, min(raw, top), top))


def _bound(problem: RematProblem, extra: Fraction) -> CostBound:
    return CostBound(OrderScope.FIXED, cost_with_extra(problem, extra), "milp")
