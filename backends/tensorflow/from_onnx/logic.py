"""Comparisons, logic and bits."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np

from lowtide.backends.tensorflow.from_onnx.call import Call
from lowtide.backends.tensorflow.from_onnx.dtypes import cast, computed_as, dtype_of
from lowtide.backends.tensorflow.from_onnx.elementwise import together, unary
from lowtide.backends.tensorflow.from_onnx.lazy import Tensor, tf
from lowtide.backends.tensorflow.from_onnx.registry import Entry, operator, register
from lowtide.backends.tensorflow.from_onnx.value import Value, agree

__all__: list[str] = []

_Binary = Callable[[Tensor, Tensor], Tensor]

_BINARY: Sequence[tuple[str, str, Callable[[], _Binary]]] = (
    ("Equal", "Equal", lambda: tf.equal),
    ("Greater", "Greater", lambda: tf.greater),
    ("GreaterOrEqual", "GreaterEqual", lambda: tf.greater_equal),
    ("Less", "Less", lambda: tf.less),
    ("LessOrEqual", "LessEqual", lambda: tf.less_equal),
    ("And", "", lambda: tf.logical_and),
    ("Or", "", lambda: tf.logical_or),
    ("Xor", "", lambda: tf.math.logical_xor),
    ("BitwiseAnd", "BitwiseAnd", lambda: tf.bitwise.bitwise_and),
    ("BitwiseOr", "BitwiseOr", lambda: tf.bitwise.bitwise_or),
    ("BitwiseXor", "BitwiseXor", lambda: tf.bitwise.bitwise_xor),
)


def _combine(kernel: str, function: Callable[[], _Binary]) -> Callable[[Call], Value]:
    return lambda call: together(call, kernel, function())


for _name, _kernel, _two in _BINARY:
    register(Entry(_name, 7, _combine(_kernel, _two), frozenset()))


@operator("Not")
def _not(call: Call) -> Value:
    return unary(call, "", tf.logical_not)


@operator("BitwiseNot")
def _bitwise_not(call: Call) -> Value:
    return unary(call, "Invert", tf.bitwise.invert)


@operator("BitShift", attributes=("direction",))
def _shift(call: Call) -> Value:
    """By the type's width or more, or by a negative number, every bit goes: only signs stay."""
    (x, by), order = agree([call.value(0), call.value(1)])
    width = tf.constant(8 * x.dtype.size, x.dtype)
    most = width - tf.ones_like(width)
    gone = tf.logical_or(by >= width, by < tf.zeros_like(by))
    if call.text("direction", "") == "LEFT":
        shifted = tf.bitwise.left_shift(x, tf.where(gone, tf.zeros_like(by), by))
        return Value(tf.where(gone, tf.zeros_like(shifted), shifted), order)
    shifted = tf.bitwise.right_shift(x, tf.where(gone, most, by))
    if x.dtype.is_unsigned:
        shifted = tf.where(gone, tf.zeros_like(shifted), shifted)
    return Value(shifted, order)


@operator("BitCast", attributes=("to",))
def _bit_cast(call: Call) -> Value:
    dtype = dtype_of(call.integer("to", 1))
    if dtype is None:
        call.fail("TensorFlow has no such element type")
    value = call.value(0)
    x = value.physical
    if tf.bool in (x.dtype, dtype):
        x = cast(x, tf.uint8) if x.dtype == tf.bool else x
        if dtype == tf.bool:
            return Value(tf.not_equal(tf.bitcast(x, tf.uint8), tf.constant(0, tf.uint8)))
    return Value(tf.bitcast(x, dtype), value.order)


@operator("Where")
def _where(call: Call) -> Value:
    tensors, order = agree([call.value(0), call.value(1), call.value(2)])
    return Value(tf.where(*tensors), order)


@operator("IsNaN")
def _is_nan(call: Call) -> Value:
    return unary(call, "IsNan", tf.math.is_nan)


@operator("IsInf", attributes=("detect_negative", "detect_positive"))
def _is_inf(call: Call) -> Value:
    value = call.value(0)
    x = value.physical
    found = tf.zeros_like(x, tf.bool)
    if call.integer("detect_positive", 1):
        found = tf.logical_or(found, tf.equal(x, tf.cast(np.inf, x.dtype)))
    if call.integer("detect_negative", 1):
        found = tf.logical_or(found, tf.equal(x, tf.cast(-np.inf, x.dtype)))
    return Value(found, value.order)


@operator("Xor", "And", "Or", "Equal", "Greater", "Less", attributes=("broadcast", "axis"))
def _old_comparison(call: Call) -> Value:
    """Before opset 7, broadcasting is asked for, and may be aligned to an axis."""
    first, second = call.value(0), call.value(1)
    if call.integer("broadcast", 0) and call.given("axis"):
        rank = call.rank(0)
        tensor = second.tensor
        for _ in range(rank - call.axis(call.integer("axis", 0), rank) - call.rank(1)):
            tensor = tf.expand_dims(tensor, -1)
        second = Value(tensor)
    function = {name: two for name, _, two in _BINARY}[call.node.op_type]()
    kernel = {name: kernel for name, kernel, _ in _BINARY}[call.node.op_type]
    tensors, order = agree([first, second])
    return Value(computed_as(kernel, function, *tensors), order)
