"""A model as a `tf.Module` with one concrete function, and the names that ONNX has for its ends."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import onnx_ir

from lowtide.backends.tensorflow.from_onnx.dtypes import dtype_of
from lowtide.backends.tensorflow.from_onnx.emitter import Emitter, check
from lowtide.backends.tensorflow.from_onnx.lazy import Tensor, internal, tf
from lowtide.backends.tensorflow.from_onnx.value import Array, Value
from lowtide.errors import InputError, ModelError

__all__ = ["Built", "bind", "build"]

# Smaller constants stay in the graph, where TensorFlow folds them.
_VARIABLE_BYTES = 4096


@dataclass(frozen=True)
class Built:
    """A model in TensorFlow.

    Attributes:
        module: holds the variables; for `tf.saved_model.save`.
        function: the `ConcreteFunction`; takes the inputs in order, returns a dictionary.
        inputs: the names of the inputs, in order.
        outputs: the names of the outputs, in order.
        arguments: the names that TensorFlow gives the inputs.
    """

    module: Any
    function: Any
    inputs: tuple[str, ...]
    outputs: tuple[str, ...]
    arguments: tuple[str, ...]


def bind(model: onnx_ir.Model, dims: Mapping[str, int]) -> None:
    """Give the inputs' open dimensions values, in place: by name, `tensor[axis]`, `*` for the rest.

    Raises:
        InputError: no input has a dimension of such a name.
    """
    used: set[str] = set()
    for value in model.graph.inputs:
        if value.shape is None:
            continue
        sizes: list[int | onnx_ir.SymbolicDim] = []
        for axis, dim in enumerate(value.shape.dims):
            sizes.append(dim)
            if isinstance(dim, int):
                continue
            for name in (str(dim.value), f"{value.name}[{axis}]", "*"):
                if name in dims:
                    sizes[axis] = dims[name]
                    used.add(name)
                    break
        value.shape = onnx_ir.Shape(sizes)
    missing = sorted(set(dims) - used - {"*"})
    if missing:
        raise InputError(f"--dim {missing[0]}: no input has an open dimension of that name")


def build(
    model: onnx_ir.Model,
    *,
    variables: bool = False,
    fake_quantized: bool = False,
    lite: bool = False,
) -> Built:
    """Emit a model.

    Args:
        model: checked by a frontend, its initializers loadable.
        variables: keep large weights in variables, as a SavedModel wants them, not in the graph.
        lite: use only ops that TFLite has kernels for, where there is a choice.
        fake_quantized: make QuantizeLinear with DequantizeLinear fake quantization, as TFLite's
            converter wants it.

    Raises:
        ModelError: something in it is not emitted; nothing was built.
    """
    check(model)
    module = tf.Module(name="onnx")
    kept: list[Any] = []
    holder = internal("tensorflow.python.ops.resource_variable_ops").ResourceVariable

    def place(array: Array) -> Tensor:
        tensor: Tensor
        if variables and array.dtype.kind == "f" and array.nbytes >= _VARIABLE_BYTES:
            with tf.init_scope():
                # The class itself: tf.Variable asks tf.function, which would trace a second time.
                variable = holder(array, trainable=False, name=f"w{len(kept)}")
            kept.append(variable)
            tensor = variable.read_value()
            return tensor
        tensor = tf.constant(np.ascontiguousarray(array).reshape(array.shape))
        return tensor

    constants = {
        name for name, value in model.graph.initializers.items() if value.const_value is not None
    }
    asked = [value for value in model.graph.inputs if value.name not in constants]
    names = [value.name or "" for value in asked]
    arguments = _arguments(names)
    specs = [_spec(value, name) for value, name in zip(asked, arguments, strict=True)]
    emitter = Emitter(model, place=place, fake_quantized=fake_quantized, lite=lite)

    def serve(*tensors: Tensor) -> dict[str, Tensor]:
        given = {name: Value(t) for name, t in zip(names, tensors, strict=True)}
        results: dict[str, Tensor] = {}
        for name, value in emitter.emit(given).items():
            results[name] = value.tensor
        return results

    function = tf.function(serve, input_signature=specs, autograph=False)
    concrete = function.get_concrete_function()
    module.kept = kept
    outputs = tuple(value.name or "" for value in model.graph.outputs)
    return Built(module, concrete, tuple(names), outputs, tuple(arguments))


def _arguments(names: list[str]) -> list[str]:
    """Unique names that TensorFlow takes for arguments."""
    made: list[str] = []
    for name in names:
        clean = re.sub(r"\W", "_", name, flags=re.ASCII) or "input"
        clean = clean if re.match(r"[A-Za-z]", clean) else f"x{clean}"
        unique, number = clean, 1
        while unique in made:
            unique, number = f"{clean}_{number}", number + 1
        made.append(unique)
    return made


def _spec(value: onnx_ir.Value, name: str) -> Any:
    dtype = dtype_of(int(value.dtype)) if value.dtype is not None else None
    if dtype is None:
        kind = value.type if value.type is not None else "of unknown type"
        raise ModelError(f"input `{value.name}` is {kind}: TensorFlow takes tensors of known type")
    if value.shape is None:
        return tf.TensorSpec(None, dtype, name)
    sizes = [dim if isinstance(dim, int) else None for dim in value.shape.dims]
    return tf.TensorSpec(sizes, dtype, name)
