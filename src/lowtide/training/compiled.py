"""A function that XLA compiles, within a budget of XLA's own buffers.

    budget / XLA's peak of the function as it is ─▶ the part of the simulated peak to aim at
        aim ─▶ plan ─▶ emit ─▶ XLA compiles it in another process ─▶ its peak
         ▲                                                             │ over the budget
         └──────────── lower, by as much as it was missed ◀────────────┘

Plans are made for ops one by one. XLA fuses them, makes others of them and orders them by itself:
the simulated peak is a means to find plans, and what counts is what XLA assigns. A plan that does
not lower that is not handed out.
"""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

from lowtide.backends.tensorflow.measure_xla import measure_xla
from lowtide.backends.tensorflow.reemit_xla import reemit_xla
from lowtide.errors import BudgetNotMetError
from lowtide.frontends.tensorflow.fold import fold_sizes
from lowtide.frontends.tensorflow.inline import inline, is_nested
from lowtide.training.planned import PlannedFunction, Settings
from lowtide.training.step_graph import StepGraph, budget_bytes
from lowtide.units import format_bytes

if TYPE_CHECKING:
    from lowtide.planning import Progress
    from lowtide.tensorflow_types import TfFunction

__all__ = ["plan_compiled"]

_ATTEMPTS = 6
_STEP = 0.92  # at least so much lower each time


def plan_compiled(
    function: TfFunction, settings: Settings, progress: Progress | None = None
) -> PlannedFunction:
    """Plan a traced function and emit it for XLA; `progress` is told about stages and costs.

    Raises:
        InputError: the budget is no size, or the function cannot be planned or compiled.
        BudgetNotMetError: the message names the smallest peak that XLA reached.
    """
    if is_nested(function):
        function = inline(function, compiled=True)
    function = fold_sizes(function)
    before = measure_xla(function).peak_bytes
    budget = budget_bytes(settings.budget, before)
    step = StepGraph(function, settings, progress, scratch=False)
    once = replace(
        step.plan(None),
        sequence=step.trace_order,
        budget_bytes=budget,
        peak_after_bytes=step.before_bytes,
        measured_before_bytes=before,
        measured_peak_bytes=before,
        jit_compile=True,
    )
    if budget is None or before <= budget:
        return PlannedFunction(reemit_xla(function, step.trace_order), once, step.drawing())
    smallest = before
    aim = step.before_bytes * budget // before
    for _ in range(_ATTEMPTS):
        plan = step.plan(aim, closest=True)
        step.stage("compile the result")
        emitted = reemit_xla(function, plan.sequence)
        measured = measure_xla(emitted).peak_bytes
        smallest = min(smallest, measured)
        if measured <= budget:
            found = replace(
                plan,
                budget_bytes=budget,
                measured_before_bytes=before,
                measured_peak_bytes=measured,
                jit_compile=True,
            )
            return PlannedFunction(emitted, found, step.drawing())
        if plan.peak_after_bytes > aim:
            break  # no lower one was found
        aim = int(min(aim, plan.peak_after_bytes) * min(_STEP, budget / measured))
    raise BudgetNotMetError(
        f"the step's budget is {format_bytes(budget)} ({budget} bytes), and XLA assigns more to "
        f"every plan that was tried; the least was {format_bytes(smallest)} ({smallest} bytes, "
        f"{smallest / before:.2f} of the {format_bytes(before)} without recomputation): raise the "
        f"budget, or reduce the batch"
    )
