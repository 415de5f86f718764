"""From a prepared model to a plan; what a target has to say and do for that."""

from __future__ import annotations

import time
from abc import ABC, abstractmethod
from dataclasses import dataclass, field, replace
from importlib.metadata import version
from typing import TYPE_CHECKING, ClassVar, Protocol, runtime_checkable

from lowtide.errors import InputError, LowtideError, PlanError
from lowtide.ir import Role, simulate, unroll
from lowtide.passes.allocate import arena_problem
from lowtide.passes.costs import CostModel
from lowtide.passes.pipeline import parse, run
from lowtide.passes.plan import Certificate, Plan
from lowtide.passes.state import State
from lowtide.solvers.allocation.check import check
from lowtide.solvers.allocation.exact import ExactAllocationOptions, allocate
from lowtide.solvers.allocation.problem import AllocationProblem, AllocationSolution
from lowtide.solvers.status import Status

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping
    from pathlib import Path

    from lowtide.emission import Staged
    from lowtide.ir import Accounting, Graph, Op, Timeline
    from lowtide.passes.rewrite.dialect import Dialect
    from lowtide.passes.rewrite.regions import Limits
    from lowtide.passes.rewrite.rule import Refusal
    from lowtide.passes.trade_off import TradeOff
    from lowtide.settings import Settings
    from lowtide.solvers.remat.explain import Infeasibility
    from lowtide.sources import Origin

__all__ = ["CostProgress", "Planned", "Prepared", "Progress", "Rewritable", "plan"]

# The allocator's work is bounded, in a repeatable unit, to about a second; the clock is a guard.
_PACK_WORK = 20_000_000
_PACK_GUARD_S = 20.0


class Progress(Protocol):
    """Who wants to hear how far the work has come."""

    def stage(self, text: str) -> None:
        """Called when the work turns to something else."""
        ...

    def bounds(self, incumbent: int | None, bound: int) -> None:
        """Called by solvers with the best value and the lower bound so far, in bytes."""
        ...


@runtime_checkable
class CostProgress(Progress, Protocol):
    """Who also wants to hear what recomputation costs."""

    def costs(self, incumbent: float | None, bound: float, base: float) -> None:
        """Called with the best cost and its bound so far; `base` is every op once."""
        ...


@dataclass(frozen=True)
class Rewritable:
    """A source model that can be rewritten before its runtime imports it.

    Attributes:
        graph: the source's own ops.
        dialect: of its format.
        accounting: how its memory is counted.
        rebuilt: from the graph after rewrites to the new model, prepared for the same target.
        limits: how the target places tensors, where regions may be run in tiles; None where not.
    """

    graph: Graph
    dialect: Dialect
    accounting: Accounting
    rebuilt: Callable[[Graph], Prepared]
    limits: Limits | None = None


@dataclass(frozen=True, kw_only=True)
class Prepared(ABC):
    """A model that is ready to be planned for a target; each target has its own kind.

    Attributes:
        source: the model as it was read.
        settings: the options; `level` is the one that was really used.
        graph: the planning model as IR.
        accounting: how its memory is counted.
        source_order: the timeline of the planning model's own order.
        default_order: the timeline of the order that the runtime takes by itself.
        notes: what the user should know.
        seconds: wall time of loading.
        rewrites: what was done to the source before this graph was imported, by name.
    """

    runtime: ClassVar[str]  # its name, for people
    own_order: ClassVar[str]  # the name of `default_order`
    pinned_versions: ClassVar[tuple[str, ...]] = ()  # packages whose versions a plan records
    same_kernels: ClassVar[bool] = True  # results are compared with what the same kernels gave

    source: Origin
    settings: Settings
    graph: Graph
    accounting: Accounting
    source_order: Timeline
    default_order: Timeline
    notes: tuple[str, ...] = ()
    seconds: float = 0.0
    rewrites: tuple[str, ...] = ()

    @property
    @abstractmethod
    def packages(self) -> tuple[str, ...]:
        """The packages that the result depends on, besides Lowtide itself."""

    @abstractmethod
    def stage(self, planned: Planned, destination: Path, folder: Path) -> Staged:
        """The planned model, about to be written to `destination`; tried in `folder` first.

        Raises:
            InputError: no backend writes this format.
        """

    @property
    def arena_before(self) -> int:
        """The height of the arena in the source order, as the same allocator would lay it out."""
        solution = allocate(
            arena_problem(self.source_order, self.accounting.alignment),
            time_limit_s=_PACK_GUARD_S,
            options=ExactAllocationOptions(work_limit=_PACK_WORK),
        )
        return solution.height or self.source_order.peak_bytes

    @property
    def breakdown(self) -> dict[str, int]:
        """Bytes apart from the peak, and those of workspace and inputs."""
        roots = [t for t in self.graph.tensors if t.storage is t]
        return {
            "weights": sum(t.nbytes for t in roots if t.role is Role.CONSTANT),
            "persistent": sum(t.nbytes for t in roots if t.role is Role.STATE),
            "workspace": max((op.workspace_bytes for op in self.graph.ops), default=0),
            "inputs": sum(t.nbytes for t in roots if t.role is Role.INPUT),
        }

    @property
    def repeats(self) -> bool:
        """Whether the target can run an op again."""
        return False

    def rewritable(self) -> Rewritable | None:
        """The source, for rewrites; None where there is no way to write it anew."""
        return None

    def measured_costs(self) -> Mapping[str, int]:
        """What each op takes on this machine, in nanoseconds, by the op's name.

        Raises:
            InputError: this target's ops cannot be timed one by one.
        """
        raise InputError(
            f"the ops of the target {self.settings.target} cannot be timed: give --costs a file"
        )

    def needed(self, planned: Planned) -> int:
        """What has to be compared with the budget."""
        return planned.timeline.peak_bytes

    def conclude(self, planned: Planned) -> Planned:
        """What the target adds to a plan that went through the passes."""
        return planned

    def keep_default_order(self) -> Planned:
        """A plan that changes nothing: the order that the runtime takes by itself.

        For graphs in which the measured peak contradicts the predicted one.
        """
        timeline = self.default_order
        certificate = Certificate(
            status="feasible",
            quantity="peak",
            scope="fixed_order",
            covers=(),
            peak_bytes=timeline.peak_bytes,
            lower_bound_bytes=0,
            method=self.own_order,
            bound_method="none",
        )
        plan = replace(self.blank_plan(timeline), certificate=certificate)
        note = (
            f"the planned order was measured to need more than {self.runtime}'s own, which is kept"
        )
        return Planned(self, plan, timeline, notes=(*self.notes, note))

    def blank_plan(self, start: Timeline) -> Plan:
        """A plan that only says for what it is made, with the sequence of `start`."""
        return Plan(
            model_sha256=self.source.sha256,
            target=self.settings.target,
            level=self.settings.level,
            accounting=self.accounting.to_dict(),
            sequence=tuple(step.op.name for step in start.steps),
            rewrites=self.rewrites,
            options={
                **self.settings.plan_options,
                **{name: version(name) for name in self.pinned_versions},
            },
        )

    def adopt(self, plan: Plan) -> Planned:
        """Take a saved plan; its sequence and figures are checked against the graph.

        Raises:
            PlanError: the sequence does not fit, or its peak is not what the certificate says.
        """
        names = {op.name for op in self.graph.ops}
        if set(plan.sequence) != names:
            raise PlanError(
                "the plan's sequence does not name the ops of this model's planning graph: it was "
                f"made with another {self.runtime} or CPU; run optimize here"
            )
        order = tuple(self.graph.op(name) for name in plan.sequence)
        if len(order) > len(names):
            if not self.repeats:
                raise PlanError("the plan computes ops again, which its target cannot")
            timeline = simulate(unroll(self.graph, order), self.accounting)
        else:
            timeline = simulate(self.graph, self.accounting, order)
        if plan.certificate is None or plan.certificate.peak_bytes != timeline.peak_bytes:
            raise PlanError(
                f"the plan does not state the peak that its sequence has, {timeline.peak_bytes} "
                f"bytes: it was changed, or made by another version"
            )
        if plan.offsets:
            _check_layout(plan, timeline)
        return Planned(self, plan, timeline)


def _check_layout(plan: Plan, timeline: Timeline) -> None:
    """Raise `PlanError` where buffers overlap, or lie beyond the arena that the plan states.

    Workspace has no offset in a plan.
    """
    blocks = [b for b in arena_problem(timeline, 1).blocks if b.id in plan.offsets]
    offsets = tuple(plan.offsets[block.id] for block in blocks)
    height = max((at + b.size for b, at in zip(blocks, offsets, strict=True)), default=0)
    layout = AllocationSolution(Status.FEASIBLE, height, 0, offsets)
    try:
        check(AllocationProblem(tuple(blocks)), layout)
    except LowtideError as error:
        raise PlanError(f"the plan's layout does not fit its sequence: {error}") from None
    if plan.arena_bytes is None or plan.arena_bytes < height:
        raise PlanError(
            f"the plan states an arena of {plan.arena_bytes} bytes, and its layout takes {height}: "
            f"it was changed, or made by another version"
        )


@dataclass(frozen=True)
class Planned:
    """A prepared model with its plan and the timeline of the planned sequence.

    `costs`: of the ops, by which recomputations were chosen. `floor_bytes`: where recomputation was
    tried, no sequence at all has a lower peak; `obstacle`: why. `trade_off`: what budgets would
    cost. `unrewritten`: of a rewritten model, the plan of the model as it was; `more_flops`: what
    its rewrites compute in addition; `refused`: where rules were looked at and do not apply.
    """

    prepared: Prepared
    plan: Plan
    timeline: Timeline
    seconds: float = 0.0
    notes: tuple[str, ...] = field(default=())
    floor_bytes: int | None = None
    obstacle: Infeasibility | None = None
    trade_off: TradeOff | None = None
    costs: CostModel = field(default_factory=CostModel)
    unrewritten: Planned | None = None
    more_flops: float = 0.0
    refused: tuple[Refusal, ...] = ()

    @property
    def order(self) -> tuple[Op, ...]:
        """The planned sequence."""
        return tuple(step.op for step in self.timeline.steps)

    @property
    def within_budget(self) -> bool:
        """Whether no budget was set or what is needed is within it."""
        budget = self.prepared.settings.budget_bytes
        return budget is None or self.prepared.needed(self) <= budget


def plan(prepared: Prepared, progress: Progress | None = None) -> Planned:
    """Run the passes; the plan is never worse than the orders that it replaces."""
    started = time.perf_counter()
    if progress is not None:
        progress.stage("plan")
    settings = prepared.settings
    start = prepared.source_order
    if prepared.default_order.peak_bytes < start.peak_bytes:
        start = prepared.default_order
    costs = settings.costs
    costs.check(prepared.graph)
    if settings.measure_costs:
        if progress is not None:
            progress.stage("measure the ops")
        costs = costs.measured(prepared.measured_costs())
        if progress is not None:
            progress.stage("plan")
    state = run(
        parse(settings.pipeline),
        State(
            graph=prepared.graph,
            accounting=prepared.accounting,
            plan=prepared.blank_plan(start),
            seed=settings.seed,
            time_limit_s=settings.time_limit_s,
            work_limit=settings.work_limit,
            threads=settings.threads,
            progress=None if progress is None else progress.bounds,
            cost_progress=progress.costs if isinstance(progress, CostProgress) else None,
            budget_bytes=settings.budget_bytes,
            repeats=prepared.repeats,
            costs=costs,
        ),
    )
    timeline = simulate(state.graph, state.accounting, state.order)
    notes = list(prepared.notes)
    certificate = state.plan.certificate
    kept = certificate is None or certificate.method == "source"
    if kept and not prepared.rewrites:  # those leave the ops in an order that was searched for
        default = start.peak_bytes < prepared.source_order.peak_bytes
        whose = "the runtime's own" if default else "the input's"
        notes.append(f"no better order was found: {whose} order is kept")
    if (
        settings.work_limit is not None
        and certificate is not None
        and certificate.lower_bound_bytes < certificate.peak_bytes
    ):
        notes.append("the search ended at its default effort: --time-limit 60s searches on")
    prepared = replace(prepared, accounting=state.accounting)
    planned = Planned(
        prepared,
        state.plan,
        timeline,
        notes=tuple(notes),
        floor_bytes=state.peak_floor_bytes,
        obstacle=state.obstacle,
        trade_off=state.trade_off,
        costs=state.costs,
    )
    planned = prepared.conclude(planned)
    return replace(planned, seconds=time.perf_counter() - started)
