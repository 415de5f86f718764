"""What is drawn of a planned step in Relax: the same page and pictures as of a planned model.

    before   the best order found without recomputation
    after    the plan, repeats as ops of their own

The arena is the plan's. Results lie beside it and have no offset; workspace is of the thread's pool
and is drawn nowhere, but counted in the curves while its kernel runs.
"""

from __future__ import annotations

import platform
from importlib.metadata import version
from typing import TYPE_CHECKING

from lowtide import __version__
from lowtide.ir import simulate, unroll
from lowtide.pictures.build import run_of, runs_again
from lowtide.pictures.hot import hot_region
from lowtide.pictures.scene import Scene, Verdict
from lowtide.report import Figures, Report, budget_figures
from lowtide.targets.tvm_plan import ACCOUNTING
from lowtide.units import format_bytes

if TYPE_CHECKING:
    from lowtide.ir import Timeline
    from lowtide.targets.tvm_plan import FunctionPlan
    from lowtide.targets.tvm_training import Rematerialized

__all__ = ["step_scene"]


def step_scene(step: Rematerialized, name: str | None = None) -> Scene:
    """All that is shown of a step; `name` is the headline, else the function's."""
    before, after = _timeline(step.least), _timeline(step.plan)
    plan = step.plan.plan
    bound = _bound(step.plan)
    return Scene(
        name=name or step.plan.graph.name or "step",
        before=run_of(
            before,
            ACCOUNTING.alignment,
            offsets=step.least.plan.offsets,
            scratch_inside=False,
        ),
        after=run_of(
            after,
            ACCOUNTING.alignment,
            offsets=plan.offsets,
            sequence=plan.sequence,
            scratch_inside=False,
        ),
        lower_bound_bytes=bound,
        budget_bytes=step.budget_bytes,
        hot=hot_region(after),
        report=_report(step, before, after, bound),
        record=None,
        runs_again=runs_again(plan.sequence),
        verdict=_verdict(step),
    )


def _timeline(planned: FunctionPlan) -> Timeline:
    graph = planned.imported.graph
    steps = [graph.op(name) for name in planned.plan.sequence]
    if planned.repeats:
        return simulate(unroll(graph, steps), ACCOUNTING)
    return simulate(graph, ACCOUNTING, steps)


def _bound(planned: FunctionPlan) -> int:
    """No sequence has a lower peak; 0 where nothing is known.

    It is proven of what can lie in the arena, which is a part of what is live.
    """
    if planned.floor_bytes is not None:
        return planned.floor_bytes
    certificate = planned.plan.certificate
    return 0 if certificate is None or planned.repeats else certificate.lower_bound_bytes


def _verdict(step: Rematerialized) -> Verdict:
    extra = 100 * (step.flops - step.flops_before) / max(1, step.flops_before)
    sentence = (
        f"{step.plan.repeats:,} of {len(step.plan.plan.sequence):,} kernels and views run again, "
        f"with {extra:.2f} % more floating point operations; a call allocates "
        f"{format_bytes(step.peak_bytes)}, and {format_bytes(step.peak_before_bytes)} without."
    )
    if step.budget_bytes is None:
        return Verdict("no budget", "fair", sentence)
    return Verdict.of_budget(met=step.peak_bytes <= step.budget_bytes, sentence=sentence)


def _report(step: Rematerialized, before: Timeline, after: Timeline, bound: int) -> Report:
    """The step's figures in the form of a report, for the page's tables."""
    graph = step.plan.imported.graph
    certificate = step.plan.plan.certificate
    note = (
        f"a call allocates the arena, the results ({format_bytes(step.plan.output_bytes)}) and "
        f"the pool of the kernels' workspace; the budget is for all of it, while the curves show "
        f"what is live"
    )
    return Report(
        model={
            "path": graph.name,
            "format": "Relax function",
            "ops": len(graph),
            "tensors": len(graph.tensors),
        },
        target="tvm",
        versions={
            "lowtide": __version__,
            "python": platform.python_version(),
            "tvm": version("apache-tvm"),
        },
        status="feasible",
        proof={}
        if certificate is None
        else {
            "quantity": certificate.quantity,
            "scope": certificate.scope,
            "covers": list(certificate.covers),
            "method": certificate.bound_method,
        },
        accounting=ACCOUNTING.to_dict(),
        peak_bytes=Figures(before.peak_bytes, after.peak_bytes, bound),
        arena_bytes=Figures(step.least.arena_bytes, step.plan.arena_bytes, bound),
        breakdown_bytes={
            "results": step.plan.output_bytes,
            "largest workspace of a kernel": step.plan.workspace_bytes,
        },
        peak_ops=(),
        verification={},
        measured={},
        seconds={},
        budget_bytes=step.budget_bytes,
        budget=budget_figures(step.budget_bytes, step.peak_bytes),
        output="no file: the planned module is in memory",
        notes=(note, *step.notes),
    )
