"""What each budget would cost: the front of bytes against time of a state's graph."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from lowtide.passes.recompute import REMAT_WORK, recomputed, remat_problem
from lowtide.solvers.remat.pareto import ParetoOptions, pareto

if TYPE_CHECKING:
    from lowtide.passes.state import State
    from lowtide.solvers.remat.problem import OrderScope

__all__ = ["TradeOff", "TradeOffPoint", "trade_off"]


@dataclass(frozen=True, slots=True)
class TradeOffPoint:
    """A budget that can be met, and its price.

    Attributes:
        budget_bytes: the least budget that the plan meets, with its layout.
        peak_bytes: of the live tensors.
        repeats: runs of ops beyond one each.
        cost_percent: what they take, in percent of running every op once.
        bound_percent: proven to be needed at least, for this peak.
    """

    budget_bytes: int
    peak_bytes: int
    repeats: int
    cost_percent: float
    bound_percent: float


@dataclass(frozen=True, slots=True)
class TradeOff:
    """The front: budgets fall, costs rise.

    Attributes:
        points: the largest budget first; the first costs nothing.
        least_bound_bytes: no sequence has a lower peak, whatever its cost.
    """

    points: tuple[TradeOffPoint, ...]
    least_bound_bytes: int


def trade_off(
    state: State, points: int, *, scope: OrderScope, solver: str, time_limit_s: float | None
) -> TradeOff:
    """At most `points` budgets between the planned order's peak and the least that is found.

    Layouts can be higher than peaks: a point that costs more than another and needs as much, once
    both are laid out, is left out.

    Raises:
        InputError: fewer than two points, or an unknown solver.
        LowtideError: solver and simulator disagree (a bug).
    """
    work = None if state.work_limit is None else REMAT_WORK * state.work_limit // points
    front = pareto(
        remat_problem(state, state.peak_bytes),
        scope=scope,
        points=points,
        time_limit_s=time_limit_s,
        seed=state.seed,
        options=ParetoOptions(solver=solver, threads=state.threads, work_limit=work),
    )
    found: list[TradeOffPoint] = []
    for each in front.points:
        laid_out = recomputed(state, each.solution)
        if laid_out is None:
            continue
        found.append(
            TradeOffPoint(
                budget_bytes=laid_out.needed_bytes,
                peak_bytes=laid_out.peak_bytes,
                repeats=len(laid_out.steps) - len(state.graph),
                cost_percent=round(each.solution.overhead_percent or 0.0, 4),
                bound_percent=round(each.solution.overhead_bound_percent or 0.0, 4),
            )
        )
    kept = [
        point
        for index, point in enumerate(found)
        if all(point.budget_bytes < cheaper.budget_bytes for cheaper in found[:index])
    ]
    return TradeOff(tuple(kept), front.least_bound_bytes)
