"""Functions as TensorFlow traces them: what a plan is made for."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, cast

from lowtide.errors import InputError
from lowtide.frontends.tensorflow.inline import inline
from lowtide.tensorflow_types import TfFunction, load_tensorflow

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

__all__ = ["is_compiled", "refuse_distribution", "trace"]


def trace(
    fn: object,
    example_inputs: Sequence[object] | Mapping[str, object] | None,
    *,
    jit_compile: bool | None = None,
) -> TfFunction:
    """The `ConcreteFunction` of a `tf.function`, a Python function, or one that is traced already.

    Args:
        fn: the function.
        example_inputs: values or specs, one an argument, or by name.
        jit_compile: trace it for XLA or not; None: as the function says. TensorFlow traces some
            things (loops) in another way for XLA; what is traced already stays as it is.

    Raises:
        InputError: it is no function, or needs example inputs.
    """
    tensorflow = load_tensorflow()
    if hasattr(fn, "captured_inputs") and hasattr(fn, "graph"):
        found = cast("TfFunction", fn)
        return found if example_inputs is None else _bound(found, example_inputs)
    if not callable(fn):
        raise InputError(f"a tf.function is expected, not {type(fn).__name__}")
    traced: Any = fn if hasattr(fn, "get_concrete_function") else tensorflow.function(fn)
    options: dict[str, object] = {"autograph": getattr(traced, "_autograph", True)}
    own = bool(getattr(traced, "_jit_compile", False))
    options["jit_compile"] = own if jit_compile is None else jit_compile
    if options["jit_compile"] != own:
        traced = tensorflow.function(traced.python_function, **options)
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
        found = concrete(tensorflow.function(traced.python_function, **options))
    return cast("TfFunction", found)


def is_compiled(function: TfFunction) -> bool:
    """Whether XLA compiles a traced function (`jit_compile=True`)."""
    concrete: Any = function
    attributes = concrete.inference_fn.cached_definition.attr
    return "_XlaMustCompile" in attributes and bool(attributes["_XlaMustCompile"].b)


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
