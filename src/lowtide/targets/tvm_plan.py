"""Plan one lowered Relax function: an order and a layout for what can lie in an arena."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from lowtide.errors import BudgetInfeasibleError, BudgetNotMetError
from lowtide.ir import Accounting
from lowtide.passes.pipeline import parse, run
from lowtide.passes.plan import Plan
from lowtide.passes.state import State

if TYPE_CHECKING:
    from lowtide.frontends.tvm import Imported
    from lowtide.ir import Graph, Op

__all__ = ["ACCOUNTING", "FunctionPlan", "plan_function"]

# The function's inputs and results are the caller's. Kernels are compiled for arguments that do not
# overlap, so nothing is written in place.
ACCOUNTING = Accounting(
    inputs_in_arena=False, outputs_live_to_end=True, alignment=64, in_place=False
)


@dataclass(frozen=True)
class FunctionPlan:
    """What was decided for one function.

    Attributes:
        imported: the function as it was lowered.
        graph: what can lie in the arena.
        plan: the sequence, the offsets, the certificate.
    """

    imported: Imported
    graph: Graph
    plan: Plan

    @property
    def order(self) -> tuple[Op, ...]:
        """The planned sequence."""
        return tuple(self.graph.op(name) for name in self.plan.sequence)

    @property
    def arena_bytes(self) -> int:
        """The height of the arena."""
        return self.plan.arena_bytes or 0

    @property
    def output_bytes(self) -> int:
        """What the function hands out, at the upper bounds: allocated beside the arena."""
        roots = {t.storage for t in self.imported.graph.outputs}
        return sum(t.nbytes for t in roots if t.name in self.imported.allocations)

    @property
    def apart_bytes(self) -> int:
        """What TVM allocates beside the arena, results included; all of it as if live at once."""
        return sum(a.nbytes for a in self.imported.allocations.values() if a.apart)

    @property
    def workspace_bytes(self) -> int:
        """The most that one kernel takes from the thread's pool, which keeps it."""
        return max((op.workspace_bytes for op in self.imported.graph.ops), default=0)


def plan_function(
    imported: Imported,
    *,
    passes: str,
    budget_bytes: int | None = None,
    time_limit_s: float | None = 60.0,
    work_limit: int | None = None,
    seed: int = 0,
) -> FunctionPlan:
    """Run the passes on one function.

    Raises:
        BudgetInfeasibleError: no order has an arena within the budget: proven.
        BudgetNotMetError: none was found.
    """
    graph = imported.arena_graph()
    blank = Plan("", "tvm", "none", {}, tuple(op.name for op in graph.ops))
    state = run(
        parse(passes),
        State(
            graph=graph,
            accounting=ACCOUNTING,
            plan=blank,
            seed=seed,
            time_limit_s=time_limit_s,
            work_limit=work_limit,
        ),
    )
    plan = state.plan
    arena, certificate = plan.arena_bytes or 0, plan.certificate
    if budget_bytes is not None and arena > budget_bytes:
        bound = certificate.lower_bound_bytes if certificate is not None else 0
        text = f"the arena of `{graph.name}` takes {arena} bytes, the budget is {budget_bytes}"
        if bound > budget_bytes:
            raise BudgetInfeasibleError(f"{text}; no order needs less than {bound}: raise it")
        raise BudgetNotMetError(f"{text}; no order needs less than {bound}: raise one of them")
    return FunctionPlan(imported, state.graph, plan)
