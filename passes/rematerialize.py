"""Compute again what a budget leaves no room to keep, at the least cost found."""

from __future__ import annotations

from dataclasses import dataclass, replace
from functools import partial
from typing import TYPE_CHECKING

from lowtide.passes.lower import lower
from lowtide.passes.plan import Certificate
from lowtide.passes.recompute import REMAT_WORK, limited_solver, recomputed, remat_problem
from lowtide.passes.trade_off import trade_off
from lowtide.solvers.remat.explain import explain
from lowtide.solvers.remat.problem import OrderScope
from lowtide.solvers.status import Status

if TYPE_CHECKING:
    from collections.abc import Callable

    from lowtide.passes.recompute import Recomputed
    from lowtide.passes.state import State
    from lowtide.solvers.remat.explain import Infeasibility
    from lowtide.solvers.remat.problem import Cost, RematProblem

__all__ = ["Rematerialize"]

_ATTEMPTS = 3  # of solving for less where the layout is higher than the peak
_BISECTIONS = 6


@dataclass(frozen=True, slots=True)
class Rematerialize:
    """Where the planned order misses the budget, find the cheapest sequence with repeats that fits.

    Without a budget, or for a target that cannot repeat ops, the plan does not change.

    Attributes:
        solver: a named solver of rematerialization.
        order: `free`, or `fixed` for stages of the planned order.
        time_limit_s: for the solver; the pipeline's when None.
        pareto: at how many budgets to say what they would cost, budget or not; 0 for none.
    """

    solver: str = "search"
    order: str = "free"
    time_limit_s: float | None = None
    pareto: int = 0

    def __call__(self, state: State) -> State:
        """The state with an unrolled graph, or as it was with what is proven of its budget.

        Raises:
            InputError: an unknown solver, or a front of one point.
            LowtideError: solver and simulator disagree (a bug).
        """
        if not state.repeats:
            return state
        if self.pareto:
            front = trade_off(
                state,
                self.pareto,
                scope=self._scope,
                solver=self.solver,
                time_limit_s=self._limit_s(state),
            )
            state = replace(state, trade_off=front)
        budget = state.budget_bytes
        if budget is None or state.peak_bytes <= budget:
            return state
        problem = remat_problem(state, budget)
        found, floor, proven = self._within(state, problem, 1)
        if found is not None:
            return found
        if proven:
            floor = max(floor, budget + 1)
        obstacle = _obstacle(state, problem)
        # Nothing within the budget: how far down is it possible to go?
        low, high = max(budget, floor), state.peak_bytes
        for _ in range(_BISECTIONS):
            middle = (low + high) // 2
            if middle >= high:
                break
            better, _, _ = self._within(state, problem.with_budget(middle), _BISECTIONS)
            if better is None:
                low = middle + 1
            else:
                found, high = better, better.peak_bytes
        return replace(found or state, peak_floor_bytes=floor, obstacle=obstacle)

    @property
    def _scope(self) -> OrderScope:
        return OrderScope.FIXED if self.order == "fixed" else OrderScope.FREE

    def _limit_s(self, state: State) -> float | None:
        return state.time_limit_s if self.time_limit_s is None else self.time_limit_s

    def _within(
        self, state: State, problem: RematProblem, part: int
    ) -> tuple[State | None, int, bool]:
        """A state within the problem's budget with 1 / `part` of the effort, or None.

        Also the least peak that is possible at all, and whether none within the budget is.
        """
        work = None if state.work_limit is None else REMAT_WORK * state.work_limit // part
        solve = limited_solver(self.solver, work)
        limit = self._limit_s(state)
        budget = aim = problem.budget_bytes
        floor = 0
        # Smaller parts look at other budgets, whose costs would be mixed up with these.
        tell = state.cost_progress if part == 1 else None
        progress = None if tell is None else partial(_tell, tell, problem.base_cost)
        for _ in range(_ATTEMPTS):
            solution = solve(
                problem.with_budget(aim),
                scope=self._scope,
                time_limit_s=None if limit is None else limit / part,
                seed=state.seed,
                progress=progress,
            )
            if aim == budget:
                floor = solution.peak_bound_bytes
            again = recomputed(state, solution)
            if again is None:
                return None, floor, aim == budget and solution.status is Status.INFEASIBLE
            if again.arena_bytes <= budget:
                return _applied(state, again), floor, False
            aim -= again.arena_bytes - budget
        return None, floor, False


def _tell(
    tell: Callable[[float | None, float, float], None],
    base_cost: Cost,
    cost: Cost | None,
    bound: Cost,
) -> None:
    """Pass a solver's report on, with what its costs compare to."""
    tell(None if cost is None else float(cost), float(bound), float(base_cost))


def _obstacle(state: State, problem: RematProblem) -> Infeasibility | None:
    """Which op and tensors make the budget impossible, where that is known."""
    return explain(
        problem,
        node_names=[op.name for op in state.graph.ops],
        buffer_names=[tensor.name for tensor in lower(state.graph, state.accounting).tensors],
    )


def _applied(state: State, again: Recomputed) -> State:
    """The state with the sequence as its plan."""
    known = all(op.workspace_known for op in again.graph.ops)
    covers: tuple[str, ...] = ("workspace",) if known else ()
    if state.accounting.in_place:
        covers = (*covers, "in_place")
    floor = again.solution.peak_bound_bytes
    certificate = Certificate(
        status=str(Status.FEASIBLE),
        quantity="peak",
        scope="fixed_order",
        covers=covers,
        peak_bytes=again.peak_bytes,
        lower_bound_bytes=min(floor, again.peak_bytes),
        method=f"recomputation ({again.solution.solver})",
        bound_method=again.solution.peak_bound_method,
    )
    sequence = tuple(op.name for op in again.steps)
    plan = replace(state.plan, sequence=sequence, certificate=certificate)
    return replace(state, graph=again.graph, plan=plan, peak_floor_bytes=floor)
