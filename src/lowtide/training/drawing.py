"""What is drawn of a planned step: the same page and pictures as of a planned model.

    before   the trace's own order
    after    the plan's sequence, repeats as ops of their own

TensorFlow places each tensor when it is made: there is no arena, and the page says so. Variables,
slots and arguments are there all the time and in no curve.
"""

from __future__ import annotations

import platform
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from lowtide import __version__
from lowtide.backends.tensorflow.accounting import ACCOUNTING
from lowtide.ir import simulate, unroll
from lowtide.pictures.build import run_of, runs_again
from lowtide.pictures.exports import write_picture
from lowtide.pictures.hot import hot_region
from lowtide.pictures.scene import Scene, Verdict
from lowtide.report import Figures, Report, budget_figures
from lowtide.units import format_bytes

if TYPE_CHECKING:
    from pathlib import Path

    from lowtide.ir import Graph
    from lowtide.pictures.record import Record
    from lowtide.training.plan import TrainingPlan

__all__ = ["StepDrawing", "step_scene"]


@dataclass(frozen=True)
class StepDrawing:
    """What pictures of a step need, beside its plan.

    Attributes:
        traced: the graph in the trace's own order.
        graph: the graph that the plan's sequence is one of; updates may come earlier in it.
        record: how the search came to the plan; None where it was kept from before.
        versions: of what ran, by name.
    """

    traced: Graph
    graph: Graph
    record: Record | None = None
    versions: dict[str, str] = field(default_factory=dict[str, str])

    def draw(self, plan: TrainingPlan, path: str | Path, name: str | None = None) -> Path:
        """Write a picture; the ending of `path` says which; `name` is the headline.

        Raises:
            InputError: another ending, or it cannot be written.
            MissingExtraError: a PNG without the extra.
        """
        return write_picture(path, lambda: step_scene(plan, self, name))


def step_scene(plan: TrainingPlan, drawing: StepDrawing, name: str | None = None) -> Scene:
    """All that is shown of a step; `name` is the headline, else the function's."""
    traced, graph = drawing.traced, drawing.graph
    before = simulate(traced, ACCOUNTING)
    if plan.sequence == tuple(op.name for op in traced.ops):
        after = before
    else:
        steps = [graph.op(name) for name in plan.sequence]
        after = simulate(unroll(graph, steps), ACCOUNTING)
    report = _report(plan, drawing, after.peak_bytes)
    return Scene(
        name=name or graph.name or "step",
        before=run_of(before, ACCOUNTING.alignment),
        after=run_of(after, ACCOUNTING.alignment, sequence=plan.sequence),
        lower_bound_bytes=plan.peak_bound_bytes,
        budget_bytes=None if plan.jit_compile else plan.budget_bytes,
        hot=hot_region(after),
        report=report,
        record=drawing.record,
        runs_again=runs_again(plan.sequence),
        verdict=_verdict(plan),
        own_allocator="TensorFlow",
    )


def _verdict(plan: TrainingPlan) -> Verdict:
    cost = f"{plan.overhead_percent:.2f} % more time is predicted"
    how = "measured" if plan.measured_costs else "modelled"
    repeated = f"{plan.recomputed:,} of {len(plan.sequence):,} steps run an op again"
    sentence = f"{repeated}: {cost}, from {how} costs of ops."
    if not plan.recomputed:
        moved = plan.peak_after_bytes != plan.peak_before_bytes
        sentence = "No op runs again: " + (
            "updates run as soon as their gradients are there."
            if moved
            else "the order is the trace's own."
        )
    if plan.budget_bytes is None:
        return Verdict("no budget", "fair", sentence)
    return Verdict.of_budget(met=_needed(plan) <= plan.budget_bytes, sentence=sentence)


def _needed(plan: TrainingPlan) -> int:
    """What the budget is for: measured where it was measured, else as it is simulated."""
    measured = plan.measured_peak_bytes
    return plan.peak_after_bytes if measured is None else measured


def _report(plan: TrainingPlan, drawing: StepDrawing, drawn_bytes: int) -> Report:
    """The step's figures in the form of a report, for the page's tables."""
    graph = drawing.traced
    measured: dict[str, object] = {}
    if plan.measured_peak_bytes is not None:
        measured = {
            "runtime": "XLA's buffers" if plan.jit_compile else "TensorFlow",
            "peak_before": plan.measured_before_bytes,
            "peak_after": plan.measured_peak_bytes,
        }
    recomputation = {"runs": plan.recomputed, "cost_percent": plan.overhead_percent}
    return Report(
        model={
            "path": graph.name,
            "format": "TensorFlow function",
            "ops": len(graph),
            "tensors": len(graph.tensors),
        },
        target="tensorflow, compiled by XLA" if plan.jit_compile else "tensorflow",
        versions={
            "lowtide": __version__,
            "python": platform.python_version(),
            **drawing.versions,
        },
        status="feasible",
        proof={"quantity": "peak", "scope": "every sequence"} if plan.peak_bound_bytes else {},
        accounting=ACCOUNTING.to_dict(),
        peak_bytes=Figures(plan.peak_before_bytes, plan.peak_after_bytes, plan.peak_bound_bytes),
        arena_bytes=Figures(0, 0, 0),
        breakdown_bytes={
            "trainable variables": plan.variables_bytes,
            "other variables": plan.state_bytes,
            "arguments": plan.inputs_bytes,
        },
        peak_ops=(),
        verification={},
        measured=measured,
        seconds={},
        budget_bytes=plan.budget_bytes,
        budget=budget_figures(plan.budget_bytes, _needed(plan)),
        recomputation=recomputation if plan.recomputed else None,
        output="no file: the planned function is in memory",
        notes=_notes(plan, drawing, drawn_bytes),
    )


def _notes(plan: TrainingPlan, drawing: StepDrawing, drawn_bytes: int) -> tuple[str, ...]:
    """What the curves do not say."""
    found = [
        "variables, the optimizer's slots and the arguments are there before and after: they are "
        "in no curve, and the budget is not for them"
    ]
    if plan.jit_compile:
        found.append(
            "XLA fuses ops and orders them by itself: the curves are of the ops one by one, while "
            "the budget is for the buffers that XLA assigns, which were measured"
        )
    more = plan.peak_after_bytes - drawn_bytes
    if more > 0:
        found.append(
            f"the peak after has {format_bytes(more)} more than is drawn: old bytes of variables "
            f"that are read again after they were assigned"
        )
    if plan.scratch_unknown:
        found.append(
            f"scratch memory of {plan.scratch_unknown} ops is not modelled (loops, branches, ops "
            f"that could not be run alone)"
        )
    if plan.recomputed and drawing.record is None:
        found.append("the plan was kept from an earlier search, whose course is not recorded")
    return tuple(found)
