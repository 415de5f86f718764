"""A checked solution from a sequence and a bound, with the status that they have earned."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING

from lowtide.solvers.remat.bounds import base_bound, peak_bound
from lowtide.solvers.remat.check import check, peak_of
from lowtide.solvers.remat.problem import OrderScope
from lowtide.solvers.remat.solution import CostBound, RematSolution
from lowtide.solvers.status import Status

if TYPE_CHECKING:
    from collections.abc import Callable

    from lowtide.solvers.remat.problem import Cost, RematProblem

__all__ = ["Clock", "conclude"]


class Clock:
    """Wall and processor time since it was made; that of child processes is added by hand."""

    def __init__(self, limit_s: float | None) -> None:
        self._begin, self._cpu = time.perf_counter(), time.process_time()
        self._limit_s = limit_s
        self.children_s = 0.0

    @property
    def seconds(self) -> float:
        """Wall time so far."""
        return time.perf_counter() - self._begin

    @property
    def cpu_seconds(self) -> float:
        """Processor time so far."""
        return time.process_time() - self._cpu + self.children_s

    @property
    def left(self) -> float | None:
        """Wall time left, at least 0; None where there is no limit."""
        return None if self._limit_s is None else max(0.0, self._limit_s - self.seconds)


def conclude(
    problem: RematProblem,
    sequence: tuple[int, ...] | None,
    *,
    solver: str,
    scope: OrderScope,
    clock: Clock,
    fixed_bound: CostBound | None = None,
    infeasible: bool = False,
    timed_out: bool = False,
    progress: Callable[[Cost | None, Cost], None] | None = None,
) -> RematSolution:
    """The solution of a solver that works on stages, checked.

    Args:
        problem: what was solved.
        sequence: of stages, and within the budget; None for none.
        solver: its name.
        scope: what was asked for; stages are sequences of the free order too.
        clock: since the start.
        fixed_bound: what was proven of the stages' cost.
        infeasible: whether it was proven that no stages meet the budget.
        timed_out: whether a limit struck.
        progress: told of the cost and the bound.

    Raises:
        LowtideError: the checker refutes the result (a bug).
    """
    least, method = peak_bound(problem)
    impossible = least > problem.budget_bytes or (infeasible and scope is OrderScope.FIXED)
    bounds = [] if impossible else [base_bound(problem)]
    if fixed_bound is not None and not impossible and fixed_bound.cost > problem.base_cost:
        bounds.append(fixed_bound)
    cost = None if sequence is None else problem.cost_of(sequence)
    proven = max((b.cost for b in bounds if b.scope in (scope, OrderScope.FREE)), default=None)
    if impossible:
        status = Status.INFEASIBLE
    elif cost is not None and proven is not None and proven >= cost:
        status = Status.OPTIMAL
    else:
        status = Status.TIME_LIMIT if timed_out else Status.FEASIBLE
    solution = RematSolution(
        status=status,
        scope=scope,
        sequence=sequence,
        cost=cost,
        base_cost=problem.base_cost,
        peak_bytes=None if sequence is None else peak_of(problem, sequence),
        bounds=tuple(bounds),
        peak_bound_bytes=least,
        peak_bound_method=method,
        solver=solver,
        seconds=clock.seconds,
        cpu_seconds=clock.cpu_seconds,
    )
    check(problem, solution)
    if progress is not None:
        progress(cost, problem.base_cost if proven is None else proven)
    return solution
