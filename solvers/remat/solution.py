"""What a rematerialization solver returns."""

from __future__ import annotations

from dataclasses import dataclass
from typing import NamedTuple

from lowtide.solvers.remat.problem import Cost, OrderScope
from lowtide.solvers.status import Status

__all__ = ["CostBound", "RematSolution"]


class CostBound(NamedTuple):
    """A proven statement: no sequence of this scope that meets the budget costs less.

    A bound for the free order holds for the fixed order too, not the other way round.

    Attributes:
        scope: the sequences that it speaks of.
        cost: in the unit of the problem's costs, all runs counted.
        method: the argument behind it (`every op once`, `one repeat`, `milp`, ...).
        solver: the name of the solver that proved it, where several took part.
    """

    scope: OrderScope
    cost: Cost
    method: str
    solver: str = ""


@dataclass(frozen=True, slots=True)
class RematSolution:
    """A sequence within the budget, its cost, and what is proven about both.

    Attributes:
        status: `optimal` exactly when there is a sequence and `cost` is at most a bound that holds
            for `scope`; `infeasible` when no sequence of `scope` meets the budget.
        scope: the sequences that were asked for; `sequence` is one of them.
        sequence: nodes in the order of their runs; a node named again is a recomputation. None when
            none was found that meets the budget.
        cost: of all runs; None without a sequence.
        base_cost: of running every node once.
        peak_bytes: of `sequence`, at most the budget; None without a sequence.
        bounds: on the cost, at most one for each scope.
        peak_bound_bytes: no sequence of `scope`, whatever its cost, has a lower peak.
        peak_bound_method: the argument behind it.
        solver: the name of the solver that found the sequence.
        seconds: wall time.
        cpu_seconds: processor time of all threads.
        notes: what went wrong without harm to the result: solvers that failed, an interruption.
    """

    status: Status
    scope: OrderScope
    sequence: tuple[int, ...] | None
    cost: Cost | None
    base_cost: Cost
    peak_bytes: int | None
    bounds: tuple[CostBound, ...] = ()
    peak_bound_bytes: int = 0
    peak_bound_method: str = "trivial"
    solver: str = ""
    seconds: float = 0.0
    cpu_seconds: float = 0.0
    notes: tuple[str, ...] = ()

    @property
    def bound(self) -> CostBound | None:
        """The best bound that holds for `scope`; of equal ones that for the free order."""
        held = [b for b in self.bounds if b.scope in (self.scope, OrderScope.FREE)]
        return max(held, key=lambda b: (b.cost, b.scope is OrderScope.FREE), default=None)

    @property
    def overhead_percent(self) -> float | None:
        """What the recomputations cost, in percent of running every node once."""
        return None if self.cost is None else self.percent_of(self.cost)

    @property
    def overhead_bound_percent(self) -> float | None:
        """The proven least of it."""
        return None if self.bound is None else self.percent_of(self.bound.cost)

    def percent_of(self, cost: Cost) -> float:
        """What a cost is over running every node once, in percent of that."""
        base = self.base_cost
        return 100.0 * float(cost - base) / float(base) if base else 0.0
