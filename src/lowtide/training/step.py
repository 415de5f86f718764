"""A TensorFlow function that follows a plan within a budget."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

from lowtide.backends.tensorflow.measure import measure_function
from lowtide.backends.tensorflow.reemit import reemit
from lowtide.errors import BudgetNotMetError
from lowtide.frontends.tensorflow.fold import fold_sizes
from lowtide.frontends.tensorflow.inline import inline, is_nested
from lowtide.training.compiled import plan_compiled
from lowtide.training.planned import PlannedFunction, Settings
from lowtide.training.step_graph import StepGraph, budget_bytes
from lowtide.training.traced import is_compiled, refuse_distribution
from lowtide.units import format_bytes

if TYPE_CHECKING:
    from lowtide.planning import Progress
    from lowtide.tensorflow_types import TfFunction

__all__ = ["PlannedFunction", "plan_function"]

_ATTEMPTS = 4


def plan_function(
    function: TfFunction, settings: Settings, progress: Progress | None = None
) -> PlannedFunction:
    """Plan a traced function and emit it; `progress` is told about stages and costs.

    Raises:
        InputError: the budget is no size, or the function cannot be planned.
        BudgetInfeasibleError, BudgetNotMetError: the message names the smallest budget that was
            met.
    """
    refuse_distribution(function)
    compiled = settings.jit_compile
    if is_compiled(function) if compiled is None else compiled:
        return plan_compiled(function, settings, progress)
    if is_nested(function):
        function = inline(function)
    function = fold_sizes(function)
    step = StepGraph(function, settings, progress)
    budget = budget_bytes(settings.budget, step.before_bytes)
    plan = step.plan(budget)
    emitted = reemit(function, plan.sequence)
    if not settings.measure:
        return PlannedFunction(emitted, plan, step.drawing())
    aim = budget
    for _ in range(_ATTEMPTS):
        step.stage("measure the result")
        measured = measure_function(emitted).peak_bytes
        if budget is None or aim is None or measured <= budget:
            found = replace(plan, budget_bytes=budget, measured_peak_bytes=measured)
            return PlannedFunction(emitted, found, step.drawing())
        aim = min(aim, plan.peak_after_bytes) - (measured - budget)
        if aim <= 0:
            break
        plan = step.plan(aim)
        emitted = reemit(function, plan.sequence)
    raise BudgetNotMetError(
        f"the step's budget is {format_bytes(budget)} ({budget} bytes), and what was planned "
        f"for it allocates more when it runs (inside of loops and branches is not modelled): "
        f"raise the budget, or reduce the batch"
    )
