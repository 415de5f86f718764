"""Compute again what a budget leaves no room to keep, at the least cost found."""

from __future__ import annotations

from dataclasses import dataclass, replace
from functools import partial
from typing import TYPE_CHECKING

from lowtide.errors import LowtideError
from lowtide.ir import refresh_views, simulate, unroll
from lowtide.passes.lower import lower
from lowtide.passes.plan import Certificate
from lowtide.solvers.joint import pack_order
from lowtide.solvers.remat.problem import OrderScope, RematProblem
from lowtide.solvers.remat.registry import get_solver
from lowtide.solvers.remat.search import SearchOptions, search
from lowtide.solvers.status import Status

if TYPE_CHECKING:
    from lowtide.ir import Graph, Op
    from lowtide.passes.state import State
    from lowtide.solvers.remat.solution import RematSolution

__all__ = ["Rematerialize", "remat_problem"]

_ATTEMPTS = 3  # of solving for less where the layout is higher than the peak
_BISECTIONS = 6
_WORK = 8  # what a look at a run is worth in looks at a node
_PACK_WORK = 4_000_000


@dataclass(frozen=True, slots=True)
class Rematerialize:
    """Where the planned order misses the budget, find the cheapest sequence with repeats that fits.

    Without a budget, or for a target that cannot repeat ops, nothing changes.

    Attributes:
        solver: a named solver of rematerialization.
        order: `free`, or `fixed` for stages of the planned order.
        time_limit_s: for the solver; the pipeline's when None.
    """

    solver: str = "search"
    order: str = "free"
    time_limit_s: float | None = None

    def __call__(self, state: State) -> State:
        """The state with an unrolled graph, or as it was with what is proven of its budget.

        Raises:
            LowtideError: solver and simulator disagree (a bug).
        """
        budget = state.budget_bytes
        if budget is None or not state.repeats:
            return state
        if state.peak_bytes <= budget:
            return state
        found, floor, proven = self._within(state, budget, 1)
        if found is not None:
            return found
        if proven:
            floor = max(floor, budget + 1)
        # Nothing within the budget: how far down is it possible to go?
        low, high = max(budget, floor), state.peak_bytes
        for _ in range(_BISECTIONS):
            middle = (low + high) // 2
            if middle >= high:
                break
            better, _, _ = self._within(state, middle, _BISECTIONS)
            if better is None:
                low = middle + 1
            else:
                found, high = better, better.peak_bytes
        return replace(found or state, peak_floor_bytes=floor)

    def _within(self, state: State, budget: int, part: int) -> tuple[State | None, int, bool]:
        """A state within `budget` with 1 / `part` of the effort, or None.

        Also the least peak that is possible at all, and whether none within the budget is.
        """
        solve = get_solver(self.solver)
        if solve is search and state.work_limit is not None:
            work = _WORK * state.work_limit // part
            solve = partial(search, options=SearchOptions(work_limit=work))
        limit = state.time_limit_s if self.time_limit_s is None else self.time_limit_s
        aim, floor = budget, 0
        for _ in range(_ATTEMPTS):
            solution = solve(
                remat_problem(state, aim),
                scope=OrderScope.FIXED if self.order == "fixed" else OrderScope.FREE,
                time_limit_s=None if limit is None else limit / part,
                seed=state.seed,
            )
            if aim == budget:
                floor = solution.peak_bound_bytes
            if solution.sequence is None:
                return None, floor, aim == budget and solution.status is Status.INFEASIBLE
            steps = refresh_views([state.graph.ops[node] for node in solution.sequence])
            graph = unroll(state.graph, steps)
            peak = simulate(graph, state.accounting).peak_bytes
            if peak != solution.peak_bytes:
                raise LowtideError(
                    f"the solver states a peak of {solution.peak_bytes} bytes, the simulator finds "
                    f"{peak}: please report this model"
                )
            height = _height(graph, state)
            if height <= budget:
                return _applied(state, graph, steps, solution), floor, False
            aim -= height - budget
        return None, floor, False


def remat_problem(state: State, budget_bytes: int) -> RematProblem:
    """The problem of a state's graph, with the planned order as the input order."""
    lowered = lower(state.graph, state.accounting)
    ops = lowered.ops
    number = {op: index for index, op in enumerate(ops)}
    single = {number[op] for op in ops if not op.traits.repeatable}
    for op in ops:  # a view that cannot be made again ties down the bytes that it shows
        if number[op] in single:
            for tensor in op.outputs:
                maker = tensor.storage.producer
                if maker is not None:
                    single.add(number[maker])
    return RematProblem(
        num_nodes=len(ops),
        buffers=lowered.problem.buffers,
        costs=state.costs.of_all(state.graph),
        budget_bytes=budget_bytes,
        workspace=lowered.problem.workspace,
        precedence=lowered.problem.precedence,
        in_place=lowered.problem.in_place,
        pinned=tuple(sorted(single)),
        order=tuple(number[op] for op in state.order),
        inputs_in_arena=state.accounting.inputs_in_arena,
    )


def _height(graph: Graph, state: State) -> int:
    """The height of the arena of an unrolled graph."""
    lowered = lower(graph, state.accounting)
    layout = pack_order(
        lowered.problem,
        range(len(lowered.ops)),
        alignment=state.accounting.alignment,
        other_orders=False,
        time_limit_s=state.time_limit_s,
        work=_PACK_WORK,
        rounds=2,
        seed=state.seed,
    )
    return layout.allocation.height or layout.peak_bytes


def _applied(state: State, graph: Graph, steps: tuple[Op, ...], solution: RematSolution) -> State:
    known = all(op.workspace_known for op in graph.ops)
    covers: tuple[str, ...] = ("workspace",) if known else ()
    if state.accounting.in_place:
        covers = (*covers, "in_place")
    assert solution.peak_bytes is not None
    certificate = Certificate(
        status=str(Status.FEASIBLE),
        quantity="peak",
        scope="fixed_order",
        covers=covers,
        peak_bytes=solution.peak_bytes,
        lower_bound_bytes=min(solution.peak_bound_bytes, solution.peak_bytes),
        method=f"recomputation ({solution.solver})",
        bound_method=solution.peak_bound_method,
    )
    plan = replace(state.plan, sequence=tuple(op.name for op in steps), certificate=certificate)
    return replace(state, graph=graph, plan=plan, peak_floor_bytes=solution.peak_bound_bytes)
