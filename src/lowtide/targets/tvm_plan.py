"""Plan one lowered Relax function: an order and a layout for what can lie in an arena."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

from lowtide.errors import BudgetInfeasibleError, BudgetNotMetError
from lowtide.ir import Accounting
from lowtide.passes.pipeline import parse, run
from lowtide.passes.plan import Plan
from lowtide.passes.state import State

if TYPE_CHECKING:
    from lowtide.frontends.tvm import Imported
    from lowtide.ir import Graph, Op

__all__ = ["ACCOUNTING", "FunctionPlan", "plan_function", "refuse_excess", "without_workspace"]

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
        floor_bytes: no sequence, with repeats or without, has a lower peak of what can lie in the
            arena, nor, therefore, a lower arena; None where only orders were looked at.
    """

    imported: Imported
    graph: Graph
    plan: Plan
    floor_bytes: int | None = None

    @property
    def order(self) -> tuple[Op, ...]:
        """The planned sequence, as ops of `graph`."""
        if self.repeats:
            return self.graph.ops
        return tuple(self.graph.op(name) for name in self.plan.sequence)

    @property
    def repeats(self) -> int:
        """How many steps compute something again; `graph` has an op for every step then."""
        return len(self.plan.sequence) - len(set(self.plan.sequence))

    @property
    def flops(self) -> int:
        """Floating point operations of all steps, as TVM estimates them."""
        graph = self.imported.graph
        return sum(graph.op(name).flops for name in self.plan.sequence)

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
    """Run the passes on one function; the arena may be above the budget, see `refuse_excess`."""
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
            budget_bytes=budget_bytes,
            repeats=True,
        ),
    )
    plan = state.plan
    if not all(op.workspace_known and not op.workspace_bytes for op in imported.graph.ops):
        plan = without_workspace(plan)
    return FunctionPlan(imported, state.graph, plan, state.peak_floor_bytes)


def without_workspace(plan: Plan) -> Plan:
    """The plan, whose proof does not cover kernels' workspace: that lies beside the arena."""
    certificate = plan.certificate
    if certificate is None:
        return plan
    covers = tuple(what for what in certificate.covers if what != "workspace")
    return replace(plan, certificate=replace(certificate, covers=covers))


def refuse_excess(planned: FunctionPlan, budget_bytes: int) -> None:
    """Raise where the arena is above its budget.

    Raises:
        BudgetInfeasibleError: whatever the passes may do has a larger arena: proven.
        BudgetNotMetError: none was found within the budget.
    """
    if planned.arena_bytes <= budget_bytes:
        return
    certificate, kind, bound = planned.plan.certificate, "sequence", planned.floor_bytes
    if bound is None:
        kind, bound = "order", 0 if certificate is None else certificate.lower_bound_bytes
    text = (
        f"the arena of `{planned.graph.name}` takes {planned.arena_bytes} bytes, the budget is "
        f"{budget_bytes}; no {kind} needs less than {bound}: raise the budget"
    )
    if bound > budget_bytes:
        raise BudgetInfeasibleError(text)
    raise BudgetNotMetError(text)
