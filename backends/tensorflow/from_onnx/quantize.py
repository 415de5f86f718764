"""Quantization: QuantizeLinear, DequantizeLinear, and operators on quantized tensors."""

# TensorFlow has no type stubs:
# pyright: reportUnknownLambdaType=false, reportUnknownArgumentType=false
# pyright: reportUnknownVariableType=false

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from lowtide.backends.tensorflow.from_onnx.call import Call
from lowtide.backends.tensorflow.from_onnx.dtypes import cast, dtype_of
from lowtide.backends.tensorflow.from_onnx.lazy import Tensor, tf
from lowtide.backends.tensorflow.from_onnx.matrix import multiplied
from lowtide.backends.tensorflow.from_onnx.registry import operator
from lowtide.backends.tensorflow.from_onnx.value import Value

__all__: list[str] = []

_LIMITS = {"int4": (-8, 7), "uint4": (0, 15)}


def _limits(dtype: object) -> tuple[float, float]:
    name = getattr(dtype, "name", "")
    if name in _LIMITS:
        return _LIMITS[name]
    return float(dtype.min), float(dtype.max)  # type: ignore[attr-defined]


def _spread(call: Call, operand: int, value: Value, axis: int) -> Tensor:
    """A scale or zero point, shaped to broadcast against the value in ONNX's order."""
    result: Tensor
    tensor = call.tensor(operand)
    rank = value.rank or 0
    if tensor.shape.rank == 0 or (tensor.shape.rank == 1 and tensor.shape[0] == 1):
        result = tf.reshape(tensor, [])
        return result
    if tensor.shape.rank == 1:
        result = tf.reshape(tensor, [-1 if a == axis else 1 for a in range(rank)])
        return result
    block = call.integer("block_size", 0)
    if block:
        tensor = tf.repeat(tensor, block, axis=axis)
        length = value.tensor.shape[axis]
        if length is not None and tensor.shape[axis] != length:
            tensor = tf.gather(tensor, tf.range(length), axis=axis)
    return tensor


def _axis(call: Call, value: Value) -> int:
    rank = value.rank or 0
    axis = call.integer("axis", 1)
    return axis + rank if axis < 0 else min(axis, max(rank - 1, 0))


@operator(
    "QuantizeLinear",
    attributes=("axis", "block_size", "output_dtype", "precision", "saturate"),
)
def _quantize(call: Call) -> Value:
    value = call.value(0)
    axis = _axis(call, value)
    if call.has(2):
        dtype = call.value(2).dtype
    else:
        dtype = dtype_of(call.integer("output_dtype", 0) or 2)
    if dtype is None:
        call.fail("TensorFlow has no such element type")
    if call.fake_quantized and call.value(1).array is not None:
        return _Quantized(value, call, axis, dtype)
    x = value.tensor
    scale = cast(_spread(call, 1, value, axis), tf.float32)
    ratio = cast(x, tf.float32) / scale
    name = getattr(dtype, "name", "")
    if name.startswith("float8"):
        limit = float(dtype.max)  # type: ignore[attr-defined]
        ratio = tf.where(tf.math.is_nan(ratio), ratio, tf.clip_by_value(ratio, -limit, limit))
        return Value(tf.cast(ratio, dtype))
    rounded = tf.round(ratio)
    if call.has(2):
        zero = _spread(call, 2, value, axis)
        rounded = rounded + (_from4(zero, tf.float32))
    low, high = _limits(dtype)
    limited = tf.clip_by_value(rounded, low, high)
    return Value(_to4(limited, dtype))


def _from4(x: Tensor, dtype: object) -> Tensor:
    """Types of 4 bits are converted to and from 8 bits only."""
    if x.dtype.name in _LIMITS:
        x = tf.cast(x, tf.int8 if x.dtype.name == "int4" else tf.uint8)
    return cast(x, dtype)


def _to4(x: Tensor, dtype: object) -> Tensor:
    if getattr(dtype, "name", "") in _LIMITS:
        x = tf.cast(x, tf.int8 if getattr(dtype, "name", "") == "int4" else tf.uint8)
    return cast(x, dtype)


class _Quantized(Value):
    """A quantized value that remembers what it was, for the DequantizeLinear behind it."""

    __slots__ = ("axis", "call", "dtype_name", "source")

    def __init__(self, source: Value, call: Call, axis: int, dtype: object) -> None:
        super().__init__(source.physical, source.order)
        self.source, self.call, self.axis = source, call, axis
        self.dtype_name = str(getattr(dtype, "name", ""))


@operator("DequantizeLinear", attributes=("axis", "block_size", "output_dtype"))
def _dequantize(call: Call) -> Value:
    value = call.value(0)
    axis = _axis(call, value)
    if call.fake_quantized:
        faked = _faked(call, value, axis)
        if faked is not None:
            return faked
    scale = _spread(call, 1, value, axis)
    dtype = dtype_of(call.integer("output_dtype", 0)) or scale.dtype
    x = _from4(value.tensor, tf.float32)
    if call.has(2):
        x = x - _from4(_spread(call, 2, value, axis), tf.float32)
    return Value(cast(x * cast(scale, tf.float32), dtype))


def _faked(call: Call, value: Value, axis: int) -> Value | None:
    """QuantizeLinear and DequantizeLinear together as the fake quantization TFLite converts."""
    scale = call.static(1)
    zero = call.static(2) if call.has(2) else np.zeros((), np.uint8)
    if scale is None or zero is None or call.given("block_size"):
        return None
    if isinstance(value, _Quantized):
        source, name = value.source, value.dtype_name
    elif value.array is not None and str(value.array.dtype) in ("int8", "uint8"):
        array = value.array.astype(np.float32)
        shape = [-1 if a == axis and scale.size > 1 else 1 for a in range(array.ndim)]
        step = scale.astype(np.float32).reshape(shape)
        real = (array - zero.astype(np.float32).reshape(shape)) * step
        source, name = call.made(real.astype(np.float32)), str(value.array.dtype)
    else:
        return None
    if name not in ("int8", "uint8"):
        return None
    if scale.size > 1 and not _channel_last(call):
        return source  # on the grid already: TFLite's converter takes no other axis
    low, high = (-128, 127) if name == "int8" else (0, 255)
    # Weights without -128 are symmetric in TFLite.
    narrow = value.array is not None and name == "int8" and not (value.array == -128).any()
    low = -127 if narrow else low
    point, step = zero.astype(np.float64), scale.astype(np.float64)
    smallest = ((low - point) * step).astype(np.float32)
    largest = ((high - point) * step).astype(np.float32)
    if scale.size == 1:
        result = tf.quantization.fake_quant_with_min_max_args(
            source.physical, float(smallest.reshape(())), float(largest.reshape(())), 8, narrow
        )
        return Value(result, source.order)
    rank = source.rank or 0
    order = (*(a for a in range(rank) if a != axis), axis)
    if axis == 0 and rank > 2:
        order = (*range(2, rank), 1, 0)  # as convolutions take their weights
    result = tf.quantization.fake_quant_with_min_max_vars_per_channel(
        source.ordered(order), smallest.reshape(-1), largest.reshape(-1), 8, narrow
    )
    return Value(result, order)


def _channel_last(call: Call) -> bool:
    """Whether all consumers are convolutions: others by channel are no int8 in the converter."""
    users = [(use.node.op_type, use.idx) for use in call.node.outputs[0].uses()]
    return all(user == ("Conv", 1) for user in users)


@operator("DynamicQuantizeLinear")
def _dynamic_quantize(call: Call) -> Sequence[Value]:
    x = call.tensor(0)
    low = tf.minimum(tf.reduce_min(x), 0.0)
    high = tf.maximum(tf.reduce_max(x), 0.0)
    scale = (high - low) / 255.0
    safe = tf.where(tf.equal(scale, 0.0), tf.ones_like(scale), scale)
    zero = tf.round(tf.clip_by_value(-low / safe, 0.0, 255.0))
    y = tf.clip_by_value(tf.round(x / safe) + zero, 0.0, 255.0)
    return [Value(cast(y, tf.uint8)), Value(scale), Value(cast(zero, tf.uint8))]


@operator("QLinearMatMul")
def _q_linear_matmul(call: Call) -> Value:
    """a, a_scale, a_zero, b, b_scale, b_zero, y_scale, y_zero; sums are exact in int32."""
    left = cast(call.tensor(0), tf.int32) - _point(call, 2, rows=True)
    right = cast(call.tensor(3), tf.int32) - _point(call, 5, rows=False)
    total = cast(multiplied(left, right), tf.float64)
    scale = _wide(call, 1, rows=True) * _wide(call, 4, rows=False) / _wide(call, 6, rows=True)
    zero = call.tensor(7)
    rounded = tf.round(total * scale) + cast(zero, tf.float64)
    low, high = _limits(zero.dtype)
    return Value(cast(tf.clip_by_value(rounded, low, high), zero.dtype))


def _point(call: Call, operand: int, *, rows: bool) -> Tensor:
    return _column(cast(call.tensor(operand), tf.int32), rows)


def _wide(call: Call, operand: int, *, rows: bool) -> Tensor:
    return _column(cast(call.tensor(operand), tf.float64), rows)


def _column(x: Tensor, rows: bool) -> Tensor:
    if rows and x.shape.rank == 1 and x.shape[0] != 1:
        result: Tensor = tf.expand_dims(x, -1)
        return result
    return x
