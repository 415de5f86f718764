"""The front of budget against cost, and its checker."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from lowtide.errors import LowtideError
from lowtide.solvers.remat.check import check

if TYPE_CHECKING:
    from lowtide.solvers.remat.problem import OrderScope, RematProblem
    from lowtide.solvers.remat.solution import RematSolution

__all__ = ["ParetoFront", "ParetoPoint", "check_front"]


@dataclass(frozen=True, slots=True)
class ParetoPoint:
    """A budget, and the solution for it; its sequence is not None."""

    budget_bytes: int
    solution: RematSolution


@dataclass(frozen=True, slots=True)
class ParetoFront:
    """The trade-off between budget and cost.

    Attributes:
        points: the largest budget first; budgets and peaks fall strictly, costs rise strictly.
        scope: of all solutions.
        base_peak_bytes: of the input order; ratios are parts of it.
        least_budget_bytes: the smallest budget that a plan was found for.
        least_bound_bytes: no sequence of the scope has a lower peak, whatever its cost.
        least_bound_method: the argument behind it.
        seconds: wall time.
        cpu_seconds: processor time of all processes.
        notes: what went wrong without harm to the result.
    """

    points: tuple[ParetoPoint, ...]
    scope: OrderScope
    base_peak_bytes: int
    least_budget_bytes: int
    least_bound_bytes: int
    least_bound_method: str
    seconds: float = 0.0
    cpu_seconds: float = 0.0
    notes: tuple[str, ...] = ()

    @property
    def least_proven(self) -> bool:
        """Whether no plan at all meets a smaller budget than the smallest here."""
        return self.least_bound_bytes == self.least_budget_bytes


def check_front(problem: RematProblem, front: ParetoFront) -> None:
    """Raise `LowtideError` unless every point passes the checker and the front is monotone."""
    before: ParetoPoint | None = None
    if not front.points:
        raise LowtideError("a front without points")
    for point in front.points:
        solution = point.solution
        check(problem.with_budget(point.budget_bytes), solution)
        if solution.cost is None or solution.peak_bytes is None or solution.scope != front.scope:
            raise LowtideError(f"no plan of the scope at {point.budget_bytes} bytes")
        if before is not None:
            cost, peak = before.solution.cost, before.solution.peak_bytes
            if cost is None or peak is None or before.budget_bytes <= point.budget_bytes:
                raise LowtideError("the budgets of a front do not fall")
            if cost >= solution.cost or peak <= solution.peak_bytes:
                raise LowtideError(f"the point at {before.budget_bytes} bytes is dominated")
        before = point
    if before is None or before.solution.peak_bytes != front.least_budget_bytes:
        raise LowtideError("the least budget is not the last point's")
    if front.least_bound_bytes > front.least_budget_bytes:
        raise LowtideError(
            f"the bound {front.least_bound_bytes} exceeds a peak that is reached, "
            f"{front.least_budget_bytes}"
        )
