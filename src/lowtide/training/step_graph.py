"""The graph of a traced step, and plans of it by simulation."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, cast

from lowtide.backends.tensorflow.accounting import ACCOUNTING
from lowtide.backends.tensorflow.profile import profile_ops
from lowtide.errors import InputError, PlanError
from lowtide.frontends.tensorflow import import_function
from lowtide.ir import Role, simulate, unroll
from lowtide.passes.costs import CostModel
from lowtide.pictures.record import Recorder
from lowtide.tensorflow_types import load_tensorflow
from lowtide.training.cache import cache_folder, plan_key, read_plan, write_plan
from lowtide.training.drawing import StepDrawing
from lowtide.training.early import early_updates
from lowtide.training.effort import Effort
from lowtide.training.plan import TrainingPlan
from lowtide.training.planner import find_sequence, late_bytes
from lowtide.units import parse_bytes

if TYPE_CHECKING:
    from collections.abc import Mapping

    from lowtide.ir import Graph
    from lowtide.planning import Progress
    from lowtide.tensorflow_types import TfFunction, TfOperation
    from lowtide.training.planned import Settings

__all__ = ["StepGraph", "budget_bytes"]


class StepGraph:
    """A step as the planner sees it.

    Attributes:
        function: the `ConcreteFunction`, without calls.
        graph: of it, in the trace's order, or with updates moved forward where that is over the
            budget.
        before_bytes: the simulated peak of the trace's own order.
    """

    def __init__(
        self,
        function: TfFunction,
        settings: Settings,
        progress: Progress | None = None,
        *,
        scratch: bool = True,
    ) -> None:
        """Import and profile a function.

        Args:
            function: without calls.
            settings: whether ops are measured, and how plans are sought.
            progress: told about stages and costs.
            scratch: whether the kernels' scratch memory counts.
        """
        self.function = function
        self._settings = settings
        self._recorder = Recorder(progress)
        self._recorder.stage("read the step")
        self.graph = import_function(function)
        if settings.profile:
            self._recorder.stage("measure the ops")
            kept = cache_folder() / "tensorflow-ops.json" if settings.cache else None
            profile_ops(self.graph, cache=kept)
        if not scratch:
            for op in self.graph.ops:
                op.workspace_bytes, op.workspace_known = 0, True
        self.before_bytes = simulate(self.graph, ACCOUNTING).peak_bytes
        self._traced = self.graph
        self.trace_order = tuple(op.name for op in self.graph.ops)
        budget = budget_bytes(settings.budget, self.before_bytes)
        over = not scratch or (budget is not None and self.before_bytes > budget)
        if budget is not None and over:
            self.graph = self._earlier()

    def plan(self, budget: int | None, *, closest: bool = False) -> TrainingPlan:
        """A plan within so many simulated bytes; None for every op once.

        Args:
            budget: in bytes.
            closest: as in `find_sequence`.

        Raises:
            BudgetInfeasibleError, BudgetNotMetError: the message names the smallest budget met.
        """
        settings, graph = self._settings, self.graph
        effort = Effort.of(settings.time_limit_s, settings.work_limit)
        costs = CostModel().by_op(graph)
        chosen: dict[str, object] = {
            "budget": budget,
            "solver": settings.solver,
            "seed": settings.seed,
            "time_limit_s": effort.time_limit_s,
            "work_limit": effort.work_limit,
        }
        key = plan_key(graph, cast("Mapping[object, int]", costs), chosen)
        folder = cache_folder() / "tensorflow-plans"
        if settings.cache and budget is not None:
            known = read_plan(folder, key)
            if known is not None and _holds(graph, known):
                return known
        found = find_sequence(
            graph,
            budget,
            peak_before_bytes=self.before_bytes,
            solver=settings.solver,
            effort=effort,
            seed=settings.seed,
            closest=closest,
            progress=self._recorder,
        )
        trainable, other = self._variables()
        plan = TrainingPlan(
            sequence=tuple(op.name for op in found.sequence),
            budget_bytes=budget,
            peak_before_bytes=self.before_bytes,
            peak_after_bytes=found.peak_after_bytes,
            peak_bound_bytes=found.peak_bound_bytes,
            cost_before_s=found.cost_before_ns / 1e9,
            cost_after_s=found.cost_after_ns / 1e9,
            recomputed=len(found.sequence) - len(graph),
            variables_bytes=trainable,
            state_bytes=other,
            inputs_bytes=sum(t.nbytes for t in graph.inputs),
            scratch_unknown=sum(not op.workspace_known for op in graph.ops),
            measured_costs=settings.profile,
        )
        met = budget is not None and plan.peak_after_bytes <= budget
        if settings.cache and met:
            write_plan(folder, key, plan)
        return plan

    def stage(self, text: str) -> None:
        """The work turns to something else."""
        self._recorder.stage(text)

    def drawing(self) -> StepDrawing:
        """What pictures need, once all is planned: the graphs let go of TensorFlow's ops."""
        for op in (*self._traced.ops, *self.graph.ops):
            op.source = None
        record = self._recorder.record
        return StepDrawing(
            self._traced,
            self.graph,
            record if record.solving else None,
            {"tensorflow": str(load_tensorflow().__version__)},
        )

    def _earlier(self) -> Graph:
        """The graph with updates as soon as their gradients are there.

        Also where that alone saves nothing, as an update's own scratch may come at the worst
        moment: a plan may still wait with it, but stateful ops keep their order in a plan, and
        updates in the trace's order, first weights first, would keep the gradients of all others
        until the end.
        """
        concrete: Any = self.function
        graph = self.graph
        handles = {id(variable.handle) for variable in concrete.trainable_variables}
        trainable = {inner.name for outer, inner in concrete.graph.captures if id(outer) in handles}
        order = early_updates(graph, trainable)
        if order == graph.ops:
            return graph
        early = import_function(self.function, [cast("TfOperation", op.source) for op in order])
        for op in early.ops:
            known = graph.op(op.name)
            op.cost, op.workspace_bytes = known.cost, known.workspace_bytes
            op.workspace_known = known.workspace_known
        return early

    def _variables(self) -> tuple[int, int]:
        """Bytes of trainable variables, and of all others."""
        total = sum(t.nbytes for t in self.graph.tensors if t.role is Role.STATE)
        concrete: Any = self.function
        trainable = sum(
            int(v.shape.num_elements() or 0) * int(v.dtype.size)
            for v in concrete.trainable_variables
        )
        return trainable, max(0, total - trainable)


def budget_bytes(budget: int | float | str | None, before: int) -> int | None:
    """A budget in bytes: a number, a size, or a part of what the step needs as it was traced.

    Raises:
        InputError: it is none of them.
    """
    if budget is None:
        return None
    if isinstance(budget, str):
        return parse_bytes(budget)
    if isinstance(budget, bool):
        raise InputError("the budget is a truth value: give bytes, a size or a part of the peak")
    if isinstance(budget, float):
        if not 0.0 < budget <= 1.0:
            raise InputError(f"the budget {budget} is no part of the peak: give one in (0, 1]")
        return int(budget * before)
    if budget <= 0:
        raise InputError(f"the budget must be at least one byte, not {budget}")
    return budget


def _holds(graph: Graph, plan: TrainingPlan) -> bool:
    """Whether a plan from the disk is one of this graph, with the peak that it states."""
    try:
        steps = [graph.op(name) for name in plan.sequence]
        peak = simulate(unroll(graph, steps), ACCOUNTING).peak_bytes + late_bytes(steps)
    except (KeyError, PlanError):
        return False
    return peak == plan.peak_after_bytes
