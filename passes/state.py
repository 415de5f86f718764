"""What flows through a pipeline of passes, and what a pass is."""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Protocol, runtime_checkable

from lowtide.ir import simulate
from lowtide.passes.costs import CostModel

if TYPE_CHECKING:
    from collections.abc import Callable

    from lowtide.ir import Accounting, Graph, Op
    from lowtide.passes.plan import Plan
    from lowtide.passes.trade_off import TradeOff
    from lowtide.solvers.remat.explain import Infeasibility

__all__ = ["Pass", "State"]


@dataclass(frozen=True, slots=True)
class State:
    """A graph, how its memory is counted, and the plan so far.

    Attributes:
        graph: passes may rewrite it; its own order stays the source order. Once ops are repeated,
            it has an op for every step of the sequence, in that order.
        accounting: see `Accounting`.
        plan: what the passes have decided.
        seed: for everything random.
        time_limit_s: of each solver; None for no limit.
        work_limit: of the exact scheduler, in its own repeatable unit; None for no limit.
        threads: at most this many in solvers.
        progress: called now and then by solvers.
        cost_progress: called by solvers of recomputation with the best cost, if any, a bound of all
            costs, and the cost of running every op once.
        budget_bytes: what the peak is to be within; None for the least peak.
        repeats: whether the target can run an op again.
        costs: what it costs to run an op.
        peak_floor_bytes: no sequence, with repeats or without, has a lower peak; None where only
            orders were looked at.
        obstacle: where the budget cannot be met, which op and tensors need more at once, if known.
        trade_off: what other budgets would cost, where that was asked for.
    """

    graph: Graph
    accounting: Accounting
    plan: Plan
    seed: int = 0
    time_limit_s: float | None = 30.0
    work_limit: int | None = None
    threads: int = 1
    progress: Callable[[int | None, int], None] | None = None
    cost_progress: Callable[[float | None, float, float], None] | None = None
    budget_bytes: int | None = None
    repeats: bool = False
    costs: CostModel = field(default_factory=CostModel)
    peak_floor_bytes: int | None = None
    obstacle: Infeasibility | None = None
    trade_off: TradeOff | None = None

    def with_plan(self, plan: Plan) -> State:
        """The same state with another plan."""
        return replace(self, plan=plan)

    @property
    def order(self) -> tuple[Op, ...]:
        """The planned sequence as ops of the graph."""
        if len(set(self.plan.sequence)) < len(self.plan.sequence):
            return self.graph.ops
        return tuple(self.graph.op(name) for name in self.plan.sequence)

    @property
    def peak_bytes(self) -> int:
        """The peak of the planned sequence, simulated."""
        return simulate(self.graph, self.accounting, self.order).peak_bytes


@runtime_checkable
class Pass(Protocol):
    """A pass: a frozen dataclass whose fields are its options on the command line."""

    def __call__(self, state: State) -> State:
        """The state after the pass; the old one stays as it was."""
        ...
