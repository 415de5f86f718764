"""Normalisations and softmaxes."""

# TensorFlow has no type stubs:
# pyright: reportUnknownLambdaType=false, reportUnknownArgumentType=false
# pyright: reportUnknownVariableType=false

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import numpy.typing as npt

from lowtide.backends.tensorflow.from_onnx.call import Call
from lowtide.backends.tensorflow.from_onnx.dtypes import cast
from lowtide.backends.tensorflow.from_onnx.lazy import Tensor, tf
from lowtide.backends.tensorflow.from_onnx.registry import operator
from lowtide.backends.tensorflow.from_onnx.shapes import reshaped, sizes
from lowtide.backends.tensorflow.from_onnx.value import Array, Value, last

__all__: list[str] = []


def _shape_along(value: Value) -> list[int]:
    """The shape that lets a vector over channels broadcast against the value as it lies."""
    order = value.order or tuple(range(value.rank or 0))
    place = order.index(1) if len(order) > 1 else 0
    return [-1] + [1] * (len(order) - 1 - place)


def _along(value: Value, vector: Tensor) -> Tensor:
    """A vector over channels in that shape."""
    shape = _shape_along(value)
    shaped: Tensor = tf.reshape(vector, shape) if len(shape) > 1 else vector
    return shaped


@operator(
    "BatchNormalization",
    attributes=("epsilon", "is_test", "momentum", "spatial", "training_mode"),
)
def _batch_normalization(call: Call) -> Sequence[Value]:
    """Inference: one product and one sum, folded now where the statistics are constant."""
    value = call.value(0)
    epsilon = call.number("epsilon", 1e-5)
    if call.integer("training_mode", 0):
        return _trained(call, value, epsilon)
    if not call.integer("spatial", 1):
        call.fail("spatial=0 is not emitted: export the model with opset 9 or later")
    given = [call.value(i).array for i in range(1, 5)]
    x = value.physical
    if all(array is not None for array in given):
        scale, bias, mean, variance = (_wide(array) for array in given)
        factor = scale / np.sqrt(variance + epsilon)
        offset = bias - mean * factor
        kind = x.dtype.as_numpy_dtype
        one = call.placed(factor.astype(kind).reshape(_shape_along(value)))
        two = call.placed(offset.astype(kind).reshape(_shape_along(value)))
        return [Value(x * one + two, value.order)]
    tensors = [cast(call.tensor(i), x.dtype) for i in range(1, 5)]
    one = tensors[0] * tf.math.rsqrt(tensors[3] + epsilon)
    two = tensors[1] - tensors[2] * one
    return [Value(x * _along(value, one) + _along(value, two), value.order)]


def _wide(array: Array | None) -> npt.NDArray[np.float64]:
    return np.asarray(array, np.float64)


def _trained(call: Call, value: Value, epsilon: float) -> Sequence[Value]:
    x = value.tensor
    axes = [axis for axis in range(call.rank(0)) if axis != 1]
    momentum = call.number("momentum", 0.9)
    mean, variance = tf.nn.moments(x, axes)
    plain = Value(x)
    scale = call.tensor(1) * tf.math.rsqrt(variance + epsilon)
    offset = call.tensor(2) - mean * scale
    result = x * _along(plain, scale) + _along(plain, offset)
    running_mean = call.tensor(3) * momentum + mean * (1 - momentum)
    running_variance = call.tensor(4) * momentum + variance * (1 - momentum)
    return [Value(result), Value(running_mean), Value(running_variance)]


@operator("InstanceNormalization", attributes=("epsilon",))
def _instance_normalization(call: Call) -> Value:
    rank = call.rank(0)
    order = last(rank)
    value = call.value(0)
    x = value.ordered(order)
    axes = list(range(1, rank - 1))
    mean = tf.reduce_mean(x, axes, keepdims=True)
    centered = x - mean
    variance = tf.reduce_mean(centered * centered, axes, keepdims=True)
    normal = centered * tf.math.rsqrt(variance + call.number("epsilon", 1e-5))
    return Value(normal * call.tensor(1) + call.tensor(2), order)


@operator("LayerNormalization", attributes=("axis", "epsilon", "stash_type"))
def _layer_normalization(call: Call) -> Sequence[Value]:
    x = call.tensor(0)
    rank = call.rank(0)
    axes = list(range(call.axis(call.integer("axis", -1), rank), rank))
    wide = cast(x, tf.float32) if x.dtype.name in ("float16", "bfloat16") else x
    mean = tf.reduce_mean(wide, axes, keepdims=True)
    centered = wide - mean
    variance = tf.reduce_mean(centered * centered, axes, keepdims=True)
    inverse = tf.math.rsqrt(variance + call.number("epsilon", 1e-5))
    result = cast(centered * inverse, x.dtype) * call.tensor(1)
    if call.has(2):
        result = result + call.tensor(2)
    return [Value(result), Value(mean), Value(inverse)]


@operator("RMSNormalization", attributes=("axis", "epsilon", "stash_type"))
def _rms_normalization(call: Call) -> Value:
    x = call.tensor(0)
    rank = call.rank(0)
    axes = list(range(call.axis(call.integer("axis", -1), rank), rank))
    wide = cast(x, tf.float32) if x.dtype.name in ("float16", "bfloat16") else x
    square = tf.reduce_mean(wide * wide, axes, keepdims=True)
    normal = wide * tf.math.rsqrt(square + call.number("epsilon", 1e-5))
    return Value(cast(normal, x.dtype) * call.tensor(1))


@operator("Softmax", "LogSoftmax", attributes=("axis",))
def _old_softmax(call: Call) -> Value:
    """Before opset 13, over all axes from `axis` on together."""
    value = call.value(0)
    have = sizes(value)
    axis = call.axis(call.integer("axis", 1), len(have))
    known = value.shape or ()
    function = tf.nn.softmax if call.node.op_type == "Softmax" else tf.nn.log_softmax
    if axis == len(have) - 1:
        return Value(function(value.tensor))
    if all(size == 1 for size in known[axis + 1 :]):
        place = axis if value.order is None else value.order.index(axis)
        return Value(function(value.physical, place), value.order)
    rows, columns = _product(have[:axis]), _product(have[axis:])
    flat = reshaped(value, [rows, columns])
    return reshaped(Value(function(flat.tensor)), have)


def _product(have: Sequence[int | Tensor]) -> int | Tensor:
    result: int | Tensor = 1
    for size in have:
        result = size if isinstance(result, int) and result == 1 else result * size
    return result


@operator("Softmax", "LogSoftmax", since=13, attributes=("axis",))
def _softmax(call: Call) -> Value:
    value = call.value(0)
    axis = call.axis(call.integer("axis", -1), call.rank(0))
    place = axis if value.order is None else value.order.index(axis)
    function = tf.nn.softmax if call.node.op_type == "Softmax" else tf.nn.log_softmax
    return Value(function(value.physical, place), value.order)
