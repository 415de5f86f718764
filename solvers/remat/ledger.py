"""What several solvers have found of one problem: the best plan and the best bounds, with names.

A bound is kept for the scope that it was proven for.  Nobody is believed blindly: a plan is checked
before it is kept, and a bound, or a proof that there is no plan, that a known plan refutes is
dropped and noted.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from lowtide.errors import LowtideError
from lowtide.solvers.remat.bounds import base_bound, peak_bound
from lowtide.solvers.remat.check import check, check_stages, peak_of
from lowtide.solvers.remat.problem import OrderScope
from lowtide.solvers.remat.solution import RematSolution
from lowtide.solvers.remat.team import INTERRUPTED
from lowtide.solvers.status import Status

if TYPE_CHECKING:
    from collections.abc import Callable

    from lowtide.solvers.remat.conclude import Clock
    from lowtide.solvers.remat.problem import Cost, RematProblem
    from lowtide.solvers.remat.solution import CostBound
    from lowtide.solvers.remat.team import Answer, Team

__all__ = ["Ledger"]


class Ledger:
    """The best sequences, the best bounds, and who gave them.

    Args:
        problem: with the budget.
        scope: the sequences that are asked for.
        clock: since the start.
        progress: hears the best cost and the bound that holds for the scope.
    """

    def __init__(
        self,
        problem: RematProblem,
        scope: OrderScope,
        clock: Clock,
        progress: Callable[[Cost | None, Cost], None] | None,
    ) -> None:
        self.problem, self.scope = problem, scope
        self.clock, self.progress = clock, progress
        self.best: tuple[int, ...] | None = None
        self.cost: Cost | None = None
        self.by = ""
        self.stages: tuple[int, ...] | None = None  # the best of the fixed order
        self.stages_cost: Cost | None = None
        self.starts: list[tuple[int, ...]] = []
        self.bounds: dict[OrderScope, CostBound] = {}
        self.least_peak, self.peak_method = peak_bound(problem)
        self.infeasible = self.stages_infeasible = False
        self.notes: list[str] = []
        self.claim(base_bound(problem), "bound")

    def offer(self, sequence: tuple[int, ...], name: str) -> None:
        """A sequence, kept if it is the best; it need not be within the budget.

        Raises:
            LowtideError: it is not valid.
        """
        peak = peak_of(self.problem, sequence)
        try:
            check_stages(self.problem, sequence)
            of_stages = True
        except LowtideError:
            of_stages = False
            if self.scope is OrderScope.FIXED:
                raise
        if peak > self.problem.budget_bytes:
            return
        cost = self.problem.cost_of(sequence)
        if self.cost is None or cost < self.cost:
            self.best, self.cost, self.by = sequence, cost, name
        if of_stages and (self.stages_cost is None or cost < self.stages_cost):
            self.stages, self.stages_cost = sequence, cost
        for bound in list(self.bounds.values()):
            self.claim(bound, bound.solver)

    def claim(self, bound: CostBound, name: str) -> None:
        """A bound, kept if it is the best of its scope and no known sequence refutes it."""
        known = self.stages_cost if bound.scope is OrderScope.FIXED else self.cost
        if known is not None and bound.cost > known:
            self.notes.append(f"{name}: its bound {bound.cost} ({bound.method}) is refuted")
            if self.bounds.get(bound.scope) == bound:
                del self.bounds[bound.scope]
                self.claim(base_bound(self.problem), "bound")
            return
        held = self.bounds.get(bound.scope)
        if held is None or bound.cost > held.cost:
            self.bounds[bound.scope] = bound._replace(solver=name)

    def take(self, answer: Answer) -> bool:
        """What a solver has to say; whether nothing more is needed."""
        solution = answer.solution
        if answer.failure and answer.failure != INTERRUPTED:
            self.notes.append(f"{answer.name}: {answer.failure}")
        if solution is None:
            return self.done
        try:
            if solution.sequence is not None:
                self.offer(solution.sequence, solution.solver or answer.name)
        except LowtideError as error:
            self.notes.append(f"{answer.name}: {error}")
        for bound in solution.bounds:
            self.claim(bound, answer.name)
        held = solution.scope in (self.scope, OrderScope.FREE)
        if held and solution.peak_bound_bytes > self.least_peak:
            self.least_peak = solution.peak_bound_bytes
            self.peak_method = solution.peak_bound_method
        if solution.status is Status.INFEASIBLE:
            if self.stages is not None or (held and self.best is not None):
                self.notes.append(f"{answer.name}: its proof that there is no plan is refuted")
            else:
                self.stages_infeasible = True
                self.infeasible |= held
        return self.done

    @property
    def proven(self) -> Cost:
        """The best bound that holds for the scope."""
        held = [b.cost for s, b in self.bounds.items() if s in (self.scope, OrderScope.FREE)]
        return max(held, default=self.problem.base_cost)

    @property
    def done(self) -> bool:
        """Whether the cost meets a bound, or nothing is within the budget."""
        return self.infeasible or (self.cost is not None and self.cost <= self.proven)

    def tell(self, cost: Cost | None) -> None:
        """Pass on how far it has come; `cost` is of a member at work."""
        if self.progress is not None:
            known = [c for c in (cost, self.cost) if c is not None]
            self.progress(min(known, default=None), self.proven)

    def solution(self, team: Team) -> RematSolution:
        """The solution, checked."""
        infeasible = self.infeasible and self.best is None
        bounds = {} if infeasible else dict(self.bounds)
        free, fixed = bounds.get(OrderScope.FREE), bounds.get(OrderScope.FIXED)
        if free is not None and fixed is not None and fixed.cost <= free.cost:
            del bounds[OrderScope.FIXED]  # the other one says more
        if infeasible:
            status = Status.INFEASIBLE
        elif self.cost is not None and self.cost <= self.proven:
            status = Status.OPTIMAL
        elif team.interrupted or self.clock.left == 0:
            status = Status.TIME_LIMIT
        else:
            status = Status.FEASIBLE
        notes = [*self.notes, *team.notes]
        least, method = self.least_peak, self.peak_method
        peak = None if self.best is None else peak_of(self.problem, self.best)
        if peak is not None and peak < least:
            notes.append(f"the bound on the peak of {least} bytes ({method}) is refuted")
            least, method = peak_bound(self.problem)
        if self.stages_infeasible and not infeasible:
            notes.append("no stages of the input order are within the budget")
        if team.interrupted:
            notes.append(INTERRUPTED)
        solution = RematSolution(
            status=status,
            scope=self.scope,
            sequence=self.best,
            cost=self.cost,
            base_cost=self.problem.base_cost,
            peak_bytes=peak,
            bounds=tuple(bounds.values()),
            peak_bound_bytes=least,
            peak_bound_method=method,
            solver=self.by,
            seconds=self.clock.seconds,
            cpu_seconds=team.cpu_seconds,
            notes=tuple(dict.fromkeys(notes)),
        )
        check(self.problem, solution)
        return solution
