"""A TensorFlow function that follows a plan within a budget."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any, cast

from lowtide.backends.tensorflow.accounting import ACCOUNTING
from lowtide.backends.tensorflow.call import grappler_off
from lowtide.backends.tensorflow.measure import measure_function
from lowtide.backends.tensorflow.profile import profile_ops
from lowtide.backends.tensorflow.reemit import reemit
from lowtide.errors import BudgetNotMetError, InputError, PlanError
from lowtide.frontends.tensorflow import import_function
from lowtide.frontends.tensorflow.inline import inline, is_nested
from lowtide.ir import Role, simulate, unroll
from lowtide.passes.costs import CostModel
from lowtide.tensorflow_types import TfFunction, TfOperation, load_tensorflow
from lowtide.training.cache import cache_folder, plan_key, read_plan, write_plan
from lowtide.training.early import early_updates
from lowtide.training.plan import TrainingPlan
from lowtide.training.planner import find_sequence, late_bytes
from lowtide.units import format_bytes, parse_bytes

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from lowtide.ir import Graph

__all__ = ["PlannedFunction", "Settings", "plan_function", "refuse_distribution", "trace"]

_ATTEMPTS = 4


@dataclass(frozen=True, slots=True)
class Settings:
    """How a plan is made.

    Attributes:
        budget: bytes, a size such as `4GiB`, a part (0 to 1) of the peak without recomputation, or
            None: the trace's own order, nothing recomputed.
        profile: measure ops on this machine, once for each distinct one; else costs and scratch
            memory are modelled, and the scratch of convolutions is left out.
        time_limit_s: for the search.
        solver: a named solver of rematerialization.
        seed: of the search.
        cache: keep measured costs and plans on disk.
        measure: run the emitted function in another process, and plan again with less where it
            allocates more than the budget (loops, whose inside is not modelled).
    """

    budget: int | float | str | None
    profile: bool = True
    time_limit_s: float = 30.0
    solver: str = "search"
    seed: int = 0
    cache: bool = True
    measure: bool = False


class PlannedFunction:
    """A callable like the function that it was made from, with that one signature.

    Attributes:
        plan: what it runs, and what that needs.
        concrete_function: the emitted `ConcreteFunction`; called directly, TensorFlow's Grappler
            may undo the plan.
    """

    def __init__(self, function: TfFunction, plan: TrainingPlan) -> None:
        self.concrete_function = function
        self.plan = plan

    def __call__(self, *args: object, **kwargs: object) -> object:
        """Run the function, as planned."""
        with grappler_off():
            return self.concrete_function(*args, **kwargs)

    def report(self) -> str:
        """What the plan needs and saves, for people."""
        return self.plan.report()


def plan_function(function: TfFunction, settings: Settings) -> PlannedFunction:
    """Plan a traced function and emit it.

    Raises:
        InputError: the budget is no size, or the function cannot be planned.
        BudgetInfeasibleError, BudgetNotMetError: the message names the smallest budget that was
            met.
    """
    refuse_distribution(function)
    if is_nested(function):
        function = inline(function)
    graph = import_function(function)
    if settings.profile:
        profile_ops(graph, cache=cache_folder() / "tensorflow-ops.json" if settings.cache else None)
    before = simulate(graph, ACCOUNTING).peak_bytes
    budget = _budget(settings.budget, before)
    if budget is not None:
        graph = _earlier(graph, budget, function)
    plan = _plan(graph, before, function, settings)
    emitted = reemit(function, plan.sequence)
    if not settings.measure:
        return PlannedFunction(emitted, plan)
    budget = aim = plan.budget_bytes
    for _ in range(_ATTEMPTS):
        measured = measure_function(emitted).peak_bytes
        if budget is None or aim is None or measured <= budget:
            found = replace(plan, budget_bytes=budget, measured_peak_bytes=measured)
            return PlannedFunction(emitted, found)
        aim = min(aim, plan.peak_after_bytes) - (measured - budget)
        if aim <= 0:
            break
        plan = _plan(graph, before, function, replace(settings, budget=aim))
        emitted = reemit(function, plan.sequence)
    raise BudgetNotMetError(
        f"the step's budget is {format_bytes(budget)} ({budget} bytes), and what was planned "
        f"for it allocates more when it runs (inside of loops and branches is not modelled): "
        f"raise the budget, or reduce the batch"
    )


def trace(fn: object, example_inputs: Sequence[object] | Mapping[str, object] | None) -> TfFunction:
    """The `ConcreteFunction` of a `tf.function`, a Python function, or one that is traced already.

    Raises:
        InputError: it is no function, is compiled by XLA, or needs example inputs.
    """
    tensorflow = load_tensorflow()
    if hasattr(fn, "captured_inputs") and hasattr(fn, "graph"):
        found = cast("TfFunction", fn)
        return found if example_inputs is None else _bound(found, example_inputs)
    if not callable(fn):
        raise InputError(f"a tf.function is expected, not {type(fn).__name__}")
    traced: Any = fn if hasattr(fn, "get_concrete_function") else tensorflow.function(fn)
    if getattr(traced, "_jit_compile", False):
        raise InputError(
            "the function is compiled by XLA (jit_compile=True), which plans memory itself and "
            "drops the order of a plan: set jit_compile=False"
        )
    if tensorflow.distribute.has_strategy():
        raise InputError(_DISTRIBUTED)

    def spec(value: object) -> object:
        if isinstance(value, bool | int | float | str | type(None) | tensorflow.TypeSpec):
            return value
        return tensorflow.TensorSpec.from_tensor(tensorflow.convert_to_tensor(value))

    if example_inputs is None:
        if not getattr(traced, "input_signature", None):
            raise InputError("example_inputs are missing: tensors or TensorSpecs, one an argument")
        return cast("TfFunction", traced.get_concrete_function())

    def concrete(function: Any) -> Any:
        if isinstance(example_inputs, dict):
            named = tensorflow.nest.map_structure(spec, example_inputs)
            return function.get_concrete_function(**named)
        given = tensorflow.nest.map_structure(spec, list(cast("Sequence[object]", example_inputs)))
        return function.get_concrete_function(*given)

    found = concrete(traced)
    if not all(t.shape.is_fully_defined() for t in found.graph.inputs):
        # An earlier, more general trace was found: make one of these very shapes.
        options = {"autograph": getattr(traced, "_autograph", True)}
        found = concrete(tensorflow.function(traced.python_function, **options))
    return cast("TfFunction", found)


def _bound(
    function: TfFunction, example_inputs: Sequence[object] | Mapping[str, object]
) -> TfFunction:
    """A traced function, such as a loaded model's signature, for inputs of these very shapes."""
    tensorflow = load_tensorflow()
    given = function.graph.inputs[: len(function.graph.inputs) - len(function.captured_inputs)]
    names = [tensor.op.name for tensor in given]
    if isinstance(example_inputs, dict):
        examples: dict[str, object] = dict(example_inputs)
    else:
        flat = tensorflow.nest.flatten(example_inputs)
        if len(flat) != len(names):
            raise InputError(f"{len(flat)} example inputs are given, {len(names)} are expected")
        examples = dict(zip(names, flat, strict=True))
    if sorted(examples) != sorted(names):
        raise InputError(f"the inputs are {sorted(names)}, not {sorted(examples)}")

    def shape(value: Any) -> list[int | None]:
        if not isinstance(value, tensorflow.TypeSpec):
            value = tensorflow.convert_to_tensor(value)
        return list(value.shape.as_list())

    return inline(function, {name: shape(value) for name, value in examples.items()})


_DISTRIBUTED = (
    "distribution strategies are not supported: a plan is made for one device; train without "
    "tf.distribute, or plan the function that one replica runs"
)


def refuse_distribution(function: TfFunction) -> None:
    """Raise `InputError` if a function was traced for several replicas, or has lost variables."""
    concrete: Any = function
    try:
        variables = concrete.variables
    except AssertionError:  # how TensorFlow says it
        raise InputError(
            "variables of the function are gone: keep the object that holds them (the model, or "
            "what tf.saved_model.load returned) as long as the function"
        ) from None
    for variable in variables:
        if getattr(variable, "_distribute_strategy", None) is not None:
            raise InputError(f"variable `{variable.name}`: {_DISTRIBUTED}")
    if load_tensorflow().distribute.has_strategy():
        raise InputError(_DISTRIBUTED)


def _earlier(graph: Graph, budget: int, function: TfFunction) -> Graph:
    """The graph with updates as soon as their gradients are there, if it is over the budget.

    Also where that alone saves nothing, as an update's own scratch may come at the worst moment: a
    plan may still wait with it, but stateful ops keep their order in a plan, and updates in the
    trace's order, first weights first, would keep the gradients of all others until the end.
    """
    if simulate(graph, ACCOUNTING).peak_bytes <= budget:
        return graph
    concrete: Any = function
    handles = {id(variable.handle) for variable in concrete.trainable_variables}
    trainable = {inner.name for outer, inner in concrete.graph.captures if id(outer) in handles}
    order = early_updates(graph, trainable)
    if order == graph.ops:
        return graph
    early = import_function(function, [cast("TfOperation", op.source) for op in order])
    for op in early.ops:
        known = graph.op(op.name)
        op.cost, op.workspace_bytes = known.cost, known.workspace_bytes
        op.workspace_known = known.workspace_known
    return early


def _plan(graph: Graph, before: int, function: TfFunction, settings: Settings) -> TrainingPlan:
    budget = _budget(settings.budget, before)
    costs = CostModel().by_op(graph)
    key = plan_key(
        graph,
        cast("Mapping[object, int]", costs),
        {
            "budget": budget,
            "solver": settings.solver,
            "seed": settings.seed,
            "time_limit_s": settings.time_limit_s,
        },
    )
    folder = cache_folder() / "tensorflow-plans"
    if settings.cache and budget is not None:
        known = read_plan(folder, key)
        if known is not None and _holds(graph, known):
            return known
    found = find_sequence(
        graph,
        budget,
        peak_before_bytes=before,
        solver=settings.solver,
        time_limit_s=settings.time_limit_s,
        seed=settings.seed,
    )
    trainable, other = _variables(graph, function)
    plan = TrainingPlan(
        sequence=tuple(op.name for op in found.sequence),
        budget_bytes=budget,
        peak_before_bytes=before,
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
    if settings.cache and budget is not None:
        write_plan(folder, key, plan)
    return plan


def _budget(budget: int | float | str | None, before: int) -> int | None:
    """A budget in bytes."""
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


def _variables(graph: Graph, function: TfFunction) -> tuple[int, int]:
    """Bytes of trainable variables, and of all others."""
    total = sum(t.nbytes for t in graph.tensors if t.role is Role.STATE)
    concrete: Any = function
    trainable = sum(
        int(v.shape.num_elements() or 0) * int(v.dtype.size) for v in concrete.trainable_variables
    )
    return trainable, max(0, total - trainable)
