"""Tensors that are made from nothing or from a shape: Constant, ConstantOfShape, Range, EyeLike."""

# TensorFlow has no type stubs:
# pyright: reportUnknownLambdaType=false, reportUnknownArgumentType=false
# pyright: reportUnknownVariableType=false

from __future__ import annotations

import math

import numpy as np

from lowtide.backends.tensorflow.from_onnx.call import Call
from lowtide.backends.tensorflow.from_onnx.dtypes import cast, dtype_of, is_integer
from lowtide.backends.tensorflow.from_onnx.lazy import tf
from lowtide.backends.tensorflow.from_onnx.registry import operator
from lowtide.backends.tensorflow.from_onnx.shapes import sizes
from lowtide.backends.tensorflow.from_onnx.value import Value

__all__: list[str] = []

_MOST_FOLDED = 1 << 16  # elements; more would only make the file large


@operator(
    "Constant",
    attributes=(
        "value",
        "value_float",
        "value_floats",
        "value_int",
        "value_ints",
        "value_string",
        "value_strings",
    ),
)
def _constant(call: Call) -> Value:
    if call.given("value"):
        return call.made(call.array("value"))
    if call.given("value_float"):
        return call.made(np.array(call.number("value_float", 0), np.float32))
    if call.given("value_floats"):
        return call.made(np.array(call.floats("value_floats"), np.float32))
    if call.given("value_int"):
        return call.made(np.array(call.integer("value_int", 0), np.int64))
    if call.given("value_ints"):
        return call.made(np.array(call.ints("value_ints"), np.int64))
    if call.given("value_string"):
        return call.made(np.array(call.text("value_string", ""), object))
    if call.given("value_strings"):
        return call.made(np.array(call.strings("value_strings"), object))
    return call.fail("it has no value that is a dense tensor")


@operator("ConstantOfShape", attributes=("value",))
def _constant_of_shape(call: Call) -> Value:
    fill = call.array("value").reshape(()) if call.given("value") else np.zeros((), np.float32)
    shape = call.static(0)
    if shape is not None and math.prod(int(i) for i in shape) <= _MOST_FOLDED:
        return call.made(np.full(tuple(int(i) for i in shape), fill, fill.dtype))
    return Value(tf.fill(call.tensor(0), call.placed(fill)))


@operator("Range")
def _range(call: Call) -> Value:
    start, limit, delta = (tf.reshape(call.tensor(i), []) for i in range(3))
    dtype = start.dtype
    if dtype.name in ("int16",):
        wide = [cast(t, tf.int32) for t in (start, limit, delta)]
        return Value(cast(tf.range(*wide), dtype))
    if not is_integer(dtype):
        # Counted, not accumulated: start + i * delta.
        count = tf.maximum(tf.math.ceil((limit - start) / delta), 0)
        steps = tf.range(cast(count, tf.int32))
        return Value(start + cast(steps, dtype) * delta)
    return Value(tf.range(start, limit, delta))


@operator("EyeLike", attributes=("dtype", "k"))
def _eye_like(call: Call) -> Value:
    rows, columns = sizes(call.value(0))
    dtype = dtype_of(call.integer("dtype", 0)) or call.value(0).dtype
    row = tf.expand_dims(tf.range(rows), 1) + call.integer("k", 0)
    return Value(cast(tf.equal(row, tf.expand_dims(tf.range(columns), 0)), dtype))
