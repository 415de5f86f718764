"""Find an execution order with the least peak, and prove it where that is possible."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

from lowtide.errors import LowtideError
from lowtide.ir import simulate
from lowtide.passes.lower import lower
from lowtide.passes.plan import Certificate
from lowtide.solvers.schedule.check import check
from lowtide.solvers.schedule.registry import get_scheduler
from lowtide.solvers.status import Status

if TYPE_CHECKING:
    from lowtide.passes.state import State

__all__ = ["Schedule"]


@dataclass(frozen=True, slots=True)
class Schedule:
    """Lower, solve, check twice, apply.

    Attributes:
        solver: `exact`, a named order such as `ort_default`, or a third party's.
        time_limit_s: for this pass; the pipeline's when None.
    """

    solver: str = "exact"
    time_limit_s: float | None = None

    def __call__(self, state: State) -> State:
        """The state with the sequence and its certificate.

        The result is never worse than the sequence that the plan came with. The order is checked by
        the solvers' independent checker and its peak again by the graph's simulator.

        Raises:
            LowtideError: solver, checker and simulator disagree (a bug, never the model's fault).
        """
        lowered = lower(state.graph, state.accounting)
        number = {op.name: index for index, op in enumerate(lowered.ops)}
        start = tuple(number[name] for name in state.plan.sequence)
        limit = state.time_limit_s if self.time_limit_s is None else self.time_limit_s
        solution = get_scheduler(self.solver)(
            lowered.problem,
            time_limit_s=limit,
            seed=state.seed,
            start=(start,),
            progress=state.progress,
        )
        check(lowered.problem, solution)
        before = simulate(state.graph, state.accounting, state.order).peak_bytes
        order, peak, method = lowered.order(start), before, "source"
        if solution.order is not None and solution.peak_bytes is not None:
            found = lowered.order(solution.order)
            simulated = simulate(state.graph, state.accounting, found).peak_bytes
            if simulated != solution.peak_bytes:
                raise LowtideError(
                    f"the solver states a peak of {solution.peak_bytes} bytes, the simulator finds "
                    f"{simulated}: please report this model"
                )
            if solution.peak_bytes < before:
                order, peak, method = found, solution.peak_bytes, solution.method
        if solution.lower_bound_bytes > peak:
            raise LowtideError(
                f"the lower bound {solution.lower_bound_bytes} exceeds the peak {peak} of an order "
                f"that exists: please report this model"
            )
        known = all(op.workspace_known for op in state.graph.ops)
        covers: tuple[str, ...] = ("workspace",) if known else ()
        if state.accounting.in_place:
            covers = (*covers, "in_place")
        status = solution.status
        if solution.lower_bound_bytes == peak:
            status = Status.OPTIMAL if known else Status.FEASIBLE
        certificate = Certificate(
            status=str(status),
            quantity="peak",
            scope="order",
            covers=covers,
            peak_bytes=peak,
            lower_bound_bytes=solution.lower_bound_bytes,
            method=method,
            bound_method=solution.bound_method,
        )
        return state.with_plan(
            replace(state.plan, sequence=tuple(op.name for op in order), certificate=certificate)
        )
