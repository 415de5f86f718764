"""A training step in Relax within a budget: what a call allocates, recomputation included.

    call = arena + results (loss, gradients) + the kernels' workspace pool

The budget is for all of it. Results and workspace are what they are; the arena gets the rest, and
where the best order needs more, kernels run again. What a plan will allocate is predicted, call by
call, and a plan above the budget is made again for less.
"""

# pyright: reportUnknownVariableType=false, reportUnknownArgumentType=false
# pyright: reportUnknownParameterType=false, reportMissingTypeArgument=false
# pyright: reportArgumentType=false, reportAttributeAccessIssue=false
# pyright: reportCallIssue=false, reportUnknownLambdaType=false
# TVM has no stubs, and its annotations are narrower than what it takes.

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from lowtide.backends.tvm.measure import op_seconds
from lowtide.backends.tvm.predict import first_run_peak
from lowtide.errors import BudgetInfeasibleError, BudgetNotMetError, InputError, ModelError
from lowtide.pictures.exports import write_picture
from lowtide.targets.tvm_drawing import step_scene
from lowtide.targets.tvm_pipeline import Pipeline, apply, stages
from lowtide.units import format_bytes

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from pathlib import Path

    import numpy as np
    import tvm
    from numpy.typing import NDArray

    from lowtide.frontends.tvm import Imported
    from lowtide.targets.tvm_plan import FunctionPlan

__all__ = ["Rematerialized", "TrainingPipeline", "adjoint_of", "rematerialize"]

_ATTEMPTS = 4
_RUNS = 3  # of the step, to measure its kernels


@dataclass(frozen=True, slots=True)
class Rematerialized:
    """A module whose training step fits a budget.

    Attributes:
        module: planned and lowered: `tvm.compile(module, target=..., relax_pipeline=None)`.
        plan: of the step; its sequence names recomputed kernels again.
        budget_bytes: what a call may allocate; None for the least without recomputation.
        peak_before_bytes: what a call allocates in the best order found without recomputation.
        peak_bytes: what the first call allocates with the plan.
        flops_before: floating point operations without recomputation.
        flops: with it.
        least: the plan without recomputation.
        notes: what the user should know.
    """

    module: tvm.IRModule
    plan: FunctionPlan
    budget_bytes: int | None
    peak_before_bytes: int
    peak_bytes: int
    flops_before: int
    flops: int
    least: FunctionPlan
    notes: tuple[str, ...] = ()

    def report(self) -> str:
        """What the plan needs and saves, for people."""
        plan = self.plan
        budget = "none" if self.budget_bytes is None else format_bytes(self.budget_bytes)
        extra = 100 * (self.flops - self.flops_before) / max(1, self.flops_before)
        saved = 100 * (1 - self.peak_bytes / max(1, self.peak_before_bytes))
        arena, results = format_bytes(plan.arena_bytes), format_bytes(plan.output_bytes)
        lines = [
            f"budget of a call        {budget}",
            f"a call allocates        {format_bytes(self.peak_bytes)} (without recomputation "
            f"{format_bytes(self.peak_before_bytes)}, {saved:.1f} % less)",
            f"of that: arena          {arena}",
            f"         results        {results}",
            f"recomputation           {plan.repeats} of {len(plan.plan.sequence)} kernels and "
            f"views, {extra:.2f} % more floating point operations",
            *(f"note                    {note}" for note in self.notes),
        ]
        return "\n".join(lines)

    def draw(self, path: str | Path, *, name: str | None = None) -> Path:
        """Write a picture of the plan; its name's ending says which.

        .html (a page), .svg, .png, .json (Chrome trace), .pickle (PyTorch's memory viewer).

        Args:
            path: where to.
            name: the headline; the function's name where None.

        Raises:
            InputError: another ending, or it cannot be written.
            MissingExtraError: a PNG without the extra.
        """
        return write_picture(path, lambda: step_scene(self, name))


@dataclass
class TrainingPipeline(Pipeline):
    """A pipeline that keeps what a call of one function allocates within a budget.

    Attributes:
        function: its name; other functions are planned without a budget.
        budget: of a call: bytes, or a part of what it allocates without recomputation.
        seconds: of kernels, by name, all calls together; what is missing is modelled.
        least: after a run, the plan of that function without recomputation.
    """

    function: str = ""
    budget: int | float | None = None
    seconds: Mapping[str, float] = field(default_factory=dict[str, float])
    least: FunctionPlan | None = None

    def planned(self, imported: Imported) -> FunctionPlan:
        """The plan of a function; that of the step within the budget."""
        if imported.graph.name != self.function:
            return self.within(imported, None)
        calls = Counter(op.kind for op in imported.graph.ops)
        for op in imported.graph.ops:
            if op.kind in self.seconds:
                op.cost = self.seconds[op.kind] / calls[op.kind]
        found = self.within(imported, None)
        self.least = found
        before = needed(found)
        if isinstance(self.budget, float):
            self.budget = int(self.budget * before)
        if self.budget is None or before <= self.budget:
            return found
        best, floor = found, 0
        aim = self.budget - (before - found.arena_bytes)
        for _ in range(_ATTEMPTS):
            if aim <= 0:
                break
            found = self.within(imported, aim)
            excess = needed(found) - self.budget
            if excess <= 0:
                return found
            floor = max(floor, found.floor_bytes or 0)
            if needed(found) < needed(best):
                best = found
            if found.arena_bytes > aim and found.floor_bytes is not None:
                break  # the search found nothing for this arena, nor will it for a smaller one
            aim -= excess
        raise self._excess(best, floor, self.budget)

    def _excess(
        self, best: FunctionPlan, floor: int, budget: int | float
    ) -> BudgetInfeasibleError | BudgetNotMetError:
        """Why no plan is within the budget, with the smallest that was met.

        The arena lives while its lowest possible peak does, and at the end all results live beside
        the workspace of every kernel so far.
        """
        beside = best.output_bytes + best.workspace_bytes
        proven = max(floor, beside) > budget
        text = (
            f"a call of `{self.function}` may allocate {budget} bytes, and no plan within it "
            f"{'exists' if proven else 'was found'}; the smallest budget that was met is "
            f"{needed(best)} bytes, {beside} of them for results and workspace: raise the budget, "
            f"or reduce the batch"
        )
        return BudgetInfeasibleError(text) if proven else BudgetNotMetError(text)


def needed(planned: FunctionPlan) -> int:
    """What the first call allocates; kernels' workspace is left out where it is not known."""
    predicted = first_run_peak(planned)
    return planned.arena_bytes + planned.output_bytes if predicted is None else predicted


def adjoint_of(module: tvm.IRModule) -> str:
    """The name of the function that `relax.transform.Gradient` made.

    Raises:
        InputError: there is none, or several.
    """
    from tvm import relax

    names = sorted(
        str(variable.name_hint)
        for variable, function in module.functions_items()
        if isinstance(function, relax.Function) and str(variable.name_hint).endswith("_adjoint")
    )
    if len(names) != 1:
        raise InputError(
            f"the module has {len(names)} functions that end with `_adjoint`: name the training "
            f"step with function=..., or make it with relax.transform.Gradient"
        )
    return names[0]


def rematerialize(
    module: tvm.IRModule,
    pipeline: TrainingPipeline,
    target: tvm.target.Target,
    arguments: Sequence[NDArray[np.generic]] | None = None,
) -> Rematerialized:
    """The module lowered and planned for the target.

    With arguments the step first runs on them, with TVM's own plan, to measure its kernels.

    Raises:
        ModelError: the function cannot be planned.
        BudgetInfeasibleError, BudgetNotMetError: the message names the smallest budget that was
            met.
    """
    cut = stages(target)
    with target:
        lowered = pipeline.lower(module, cut)
        if arguments is not None:
            stock = apply(cut.after, cut.planner(lowered))
            pipeline.seconds = _kernel_seconds(stock, target, pipeline.function, arguments)
        finished = apply(cut.after, pipeline.plan(lowered, cut))
    plan, least = pipeline.plans.get(pipeline.function), pipeline.least
    if plan is None or least is None:
        reasons = [n for n in pipeline.notes if n.startswith(f"`{pipeline.function}` is left")]
        raise ModelError((reasons or [f"`{pipeline.function}` is no Relax function"])[0])
    budget = pipeline.budget
    return Rematerialized(
        module=finished,
        plan=plan,
        budget_bytes=None if budget is None else int(budget),
        peak_before_bytes=needed(least),
        peak_bytes=needed(plan),
        flops_before=least.flops,
        flops=plan.flops,
        least=least,
        notes=pipeline.notes,
    )


def _kernel_seconds(
    module: tvm.IRModule,
    target: tvm.target.Target,
    function: str,
    arguments: Sequence[NDArray[np.generic]],
) -> dict[str, float]:
    """Seconds of every kernel of a finished module, through the VM's instrument."""
    import tvm
    from tvm import relax

    executable = tvm.compile(module, target=target, relax_pipeline=None)
    kind = str(target.kind.name)
    device = tvm.cpu() if kind in ("llvm", "c") else tvm.device(kind)
    machine = relax.VirtualMachine(executable, device)
    given = [tvm.runtime.tensor(array, device) for array in arguments]
    seconds, _ = op_seconds(machine, lambda: machine[function](*given), _RUNS)
    return seconds
