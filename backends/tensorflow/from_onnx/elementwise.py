"""Arithmetic, activations and other functions of single elements, in any order of axes."""

# TensorFlow has no type stubs:
# pyright: reportUnknownLambdaType=false, reportUnknownArgumentType=false
# pyright: reportUnknownVariableType=false

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from functools import reduce

import numpy as np

from lowtide.backends.tensorflow.from_onnx.call import Call
from lowtide.backends.tensorflow.from_onnx.dtypes import cast, computed_as, dtype_of, is_integer
from lowtide.backends.tensorflow.from_onnx.lazy import Tensor, tf
from lowtide.backends.tensorflow.from_onnx.registry import Entry, operator, register
from lowtide.backends.tensorflow.from_onnx.value import Value, agree

__all__ = ["together", "unary"]

_Unary = Callable[[Tensor], Tensor]
_Binary = Callable[[Tensor, Tensor], Tensor]


def unary(call: Call, kernel: str, function: _Unary, index: int = 0) -> Value:
    """Apply a function to each element of an operand."""
    value = call.value(index)
    return Value(computed_as(kernel, function, value.physical), value.order)


def together(call: Call, kernel: str, function: _Binary) -> Value:
    """Combine all operands, broadcast, from the left."""
    tensors, order = agree([call.value(i) for i in range(len(call.inputs))])
    return Value(computed_as(kernel, lambda *given: reduce(function, given), *tensors), order)


def _by_name(name: str, kernel: str, function: Callable[[], _Unary], since: int = 1) -> None:
    register(Entry(name, since, lambda call: unary(call, kernel, function()), frozenset()))


# The functions are looked up when they are used: TensorFlow is not imported before that.
_UNARY: Sequence[tuple[str, str, Callable[[], _Unary]]] = (
    ("Abs", "Abs", lambda: _absolute),
    ("Acos", "Acos", lambda: tf.acos),
    ("Acosh", "Acosh", lambda: tf.acosh),
    ("Asin", "Asin", lambda: tf.asin),
    ("Asinh", "Asinh", lambda: tf.asinh),
    ("Atan", "Atan", lambda: tf.atan),
    ("Atanh", "Atanh", lambda: tf.atanh),
    ("Ceil", "Ceil", lambda: tf.math.ceil),
    ("Cos", "Cos", lambda: tf.cos),
    ("Cosh", "Cosh", lambda: tf.cosh),
    ("Exp", "Exp", lambda: tf.exp),
    ("Floor", "Floor", lambda: tf.floor),
    ("Log", "Log", lambda: tf.math.log),
    ("Neg", "Neg", lambda: tf.negative),
    ("Reciprocal", "RealDiv", lambda: lambda x: 1 / x),
    ("Relu", "Relu", lambda: tf.nn.relu),
    ("Round", "Round", lambda: tf.round),
    ("Sigmoid", "Sigmoid", lambda: tf.sigmoid),
    ("Sign", "Sign", lambda: _sign),
    ("Sin", "Sin", lambda: tf.sin),
    ("Sinh", "Sinh", lambda: tf.sinh),
    ("Softplus", "Softplus", lambda: tf.math.softplus),
    ("Softsign", "Softsign", lambda: tf.nn.softsign),
    ("Sqrt", "Sqrt", lambda: tf.sqrt),
    ("Tan", "Tan", lambda: tf.tan),
    ("Tanh", "Tanh", lambda: tf.tanh),
    ("HardSwish", "Relu6", lambda: lambda x: x * (tf.nn.relu6(x + 3) / 6)),
    ("Mish", "Softplus", lambda: lambda x: x * tf.tanh(tf.math.softplus(x))),
)
for _name, _kernel, _function in _UNARY:
    _by_name(_name, _kernel, _function)


def _absolute(x: Tensor) -> Tensor:
    result: Tensor = x if x.dtype.is_unsigned else tf.abs(x)
    return result


def _sign(x: Tensor) -> Tensor:
    result: Tensor = tf.sign(x)
    return result


_BINARY: Sequence[tuple[str, str, int, Callable[[], _Binary]]] = (
    ("Add", "AddV2", 7, lambda: tf.add),
    ("Sub", "Sub", 7, lambda: tf.subtract),
    ("Mul", "Mul", 7, lambda: tf.multiply),
    ("Sum", "AddV2", 1, lambda: tf.add),
    ("Max", "Maximum", 1, lambda: tf.maximum),
    ("Min", "Minimum", 1, lambda: tf.minimum),
)


def _combine(kernel: str, function: Callable[[], _Binary]) -> Callable[[Call], Value]:
    return lambda call: together(call, kernel, function())


for _name, _kernel, _since, _two in _BINARY:
    register(Entry(_name, _since, _combine(_kernel, _two), frozenset()))


@operator("Add", "Sub", "Mul", "Div", "Pow", attributes=("broadcast", "axis"))
def _old_binary(call: Call) -> Value:
    """Before opset 7, broadcasting is asked for, and may be aligned to an axis."""
    first, second = call.value(0), call.value(1)
    if call.integer("broadcast", 0) and call.given("axis"):
        rank, short = call.rank(0), call.rank(1)
        missing = rank - call.axis(call.integer("axis", 0), rank) - short
        tensor = second.tensor
        for _ in range(missing):
            tensor = tf.expand_dims(tensor, -1)
        second = Value(tensor)
    kind = call.node.op_type
    if kind == "Div":
        return _divided(first, second)
    if kind == "Pow":
        return _power(first, second)
    kernel, function = {
        "Add": ("AddV2", tf.add),
        "Sub": ("Sub", tf.subtract),
        "Mul": ("Mul", tf.multiply),
    }[kind]
    tensors, order = agree([first, second])
    return Value(computed_as(kernel, function, *tensors), order)


@operator("Div", since=7)
def _div(call: Call) -> Value:
    return _divided(call.value(0), call.value(1))


def _divided(first: Value, second: Value) -> Value:
    """Integers are truncated towards zero."""
    tensors, order = agree([first, second])
    if is_integer(tensors[0].dtype):
        if tensors[0].dtype.is_unsigned:
            return Value(computed_as("FloorDiv", tf.math.floordiv, *tensors), order)
        return Value(computed_as("TruncateDiv", tf.truncatediv, *tensors), order)
    return Value(computed_as("RealDiv", tf.divide, *tensors), order)


@operator("Pow", since=7)
def _pow(call: Call) -> Value:
    return _power(call.value(0), call.value(1))


def _power(first: Value, second: Value) -> Value:
    """The result has the base's type; integers to an integer power are exact."""
    (base, exponent), order = agree([first, second])
    dtype = base.dtype
    if dtype == exponent.dtype:
        if is_integer(dtype):
            exact = tf.pow(cast(base, tf.int64), tf.maximum(cast(exponent, tf.int64), 0))
            return Value(cast(exact, dtype), order)
        return Value(computed_as("Pow", tf.pow, base, exponent), order)
    if is_integer(dtype) and is_integer(exponent.dtype):
        exact = tf.pow(cast(base, tf.int64), cast(exponent, tf.int64))
        return Value(cast(exact, dtype), order)
    if is_integer(dtype):
        real = tf.pow(cast(base, tf.float64), cast(exponent, tf.float64))
        return Value(cast(real, dtype), order)
    return Value(computed_as("Pow", tf.pow, base, cast(exponent, dtype)), order)


@operator("Mod", attributes=("fmod",))
def _mod(call: Call) -> Value:
    tensors, order = agree([call.value(0), call.value(1)])
    if call.integer("fmod", 0):
        if tensors[0].dtype.is_unsigned:
            return Value(computed_as("FloorMod", tf.math.floormod, *tensors), order)
        if is_integer(tensors[0].dtype):
            return Value(computed_as("TruncateMod", tf.truncatemod, *tensors), order)
        return Value(computed_as("TruncateMod", tf.truncatemod, *tensors), order)
    return Value(computed_as("FloorMod", tf.math.floormod, *tensors), order)


@operator("Mean")
def _mean(call: Call) -> Value:
    total = together(call, "AddV2", tf.add)
    return Value(total.physical / len(call.inputs), total.order)


@operator("Elu", attributes=("alpha",))
def _elu(call: Call) -> Value:
    alpha = call.number("alpha", 1.0)
    if alpha == 1.0:
        return unary(call, "Elu", tf.nn.elu)
    return unary(call, "Expm1", lambda x: tf.where(x < 0, alpha * tf.math.expm1(x), x))


@operator("Celu", attributes=("alpha",))
def _celu(call: Call) -> Value:
    alpha = call.number("alpha", 1.0)
    return unary(
        call,
        "Expm1",
        lambda x: tf.maximum(x, 0) + tf.minimum(alpha * tf.math.expm1(x / alpha), 0),
    )


@operator("Selu", attributes=("alpha", "gamma"))
def _selu(call: Call) -> Value:
    alpha = call.number("alpha", 1.6732632423543772)
    gamma = call.number("gamma", 1.0507009873554805)
    return unary(
        call,
        "Expm1",
        lambda x: tf.where(x > 0, gamma * x, gamma * alpha * tf.math.expm1(tf.minimum(x, 0))),
    )


@operator("LeakyRelu", attributes=("alpha",))
def _leaky(call: Call) -> Value:
    alpha = call.number("alpha", 0.01)
    return unary(call, "LeakyRelu", lambda x: tf.nn.leaky_relu(x, alpha))


@operator("ThresholdedRelu", attributes=("alpha",))
def _thresholded(call: Call) -> Value:
    alpha = call.number("alpha", 1.0)
    return unary(call, "Greater", lambda x: tf.where(x > alpha, x, tf.zeros_like(x)))


@operator("HardSigmoid", attributes=("alpha", "beta"))
def _hard_sigmoid(call: Call) -> Value:
    alpha, beta = call.number("alpha", 0.2), call.number("beta", 0.5)
    return unary(call, "Maximum", lambda x: tf.maximum(tf.minimum(alpha * x + beta, 1), 0))


@operator("Swish", attributes=("alpha",))
def _swish(call: Call) -> Value:
    alpha = call.number("alpha", 1.0)
    return unary(call, "Sigmoid", lambda x: x * tf.sigmoid(alpha * x))


@operator("Erf")
def _erf(call: Call) -> Value:
    if call.lite:
        value = call.value(0)
        wide = cast(value.physical, tf.float32)  # the type that TFLite computes in
        return Value(cast(_approximate_erf(wide), value.physical.dtype), value.order)
    return unary(call, "Erf", tf.math.erf)


def _approximate_erf(x: Tensor) -> Tensor:
    """Within 1.5e-7 (Abramowitz and Stegun, 7.1.26): TFLite has no kernel for erf.

    The sign is a product that is clipped, since TFLite Micro has no kernel for it.
    """
    t = 1 / (1 + 0.3275911 * tf.abs(x))
    tail = -1.453152027 + t * 1.061405429
    tail = t * (0.254829592 + t * (-0.284496736 + t * (1.421413741 + t * tail)))
    sign = tf.minimum(tf.maximum(x * 1e30, -1.0), 1.0)
    result: Tensor = sign * (1 - tail * tf.exp(-x * x))
    return result


@operator("Gelu", attributes=("approximate",))
def _gelu(call: Call) -> Value:
    if call.text("approximate", "none") == "tanh":
        scale = math.sqrt(2 / math.pi)
        return unary(
            call, "Tanh", lambda x: 0.5 * x * (1 + tf.tanh(scale * (x + 0.044715 * x * x * x)))
        )
    if call.lite:
        return unary(call, "Erf", lambda x: tf.nn.gelu(x, approximate=False))
    return unary(call, "Erf", lambda x: 0.5 * x * (1 + tf.math.erf(x * math.sqrt(0.5))))


@operator("Shrink", attributes=("bias", "lambd"))
def _shrink(call: Call) -> Value:
    bias, lambd = call.number("bias", 0.0), call.number("lambd", 0.5)
    value = call.value(0)
    x = value.physical
    wide = cast(x, tf.float64) if is_integer(x.dtype) else x
    zero = tf.zeros_like(wide)
    result = tf.where(wide < -lambd, wide + bias, tf.where(wide > lambd, wide - bias, zero))
    return Value(cast(result, x.dtype), value.order)


@operator("PRelu")
def _prelu(call: Call) -> Value:
    x, slope = call.value(0), call.value(1)
    if slope.rank == 1 and (call.rank(0) or 0) > 2 and call.version < 7:
        slope = Value(tf.reshape(slope.tensor, [-1] + [1] * (call.rank(0) - 2)))
    (data, scale), order = agree([x, slope])
    if is_integer(data.dtype) and data.dtype.is_unsigned:
        return Value(data, order)
    return Value(computed_as("Maximum", lambda a, b: tf.where(a < 0, a * b, a), data, scale), order)


@operator("Clip", attributes=("min", "max"))
def _clip(call: Call) -> Value:
    low = call.number("min", -np.inf)
    high = call.number("max", np.inf)
    if call.given("min") and (low, high) == (0.0, 6.0):
        return unary(call, "Relu6", tf.nn.relu6)
    value = call.value(0)
    result = value.physical
    if call.given("min"):
        result = tf.maximum(result, tf.cast(low, result.dtype))
    if call.given("max"):
        result = tf.minimum(result, tf.cast(high, result.dtype))
    return Value(result, value.order)


@operator("Clip", since=11)
def _clip_to_operands(call: Call) -> Value:
    value = call.value(0)
    result = value.physical
    low = call.value(1) if call.has(1) else None
    high = call.value(2) if call.has(2) else None
    ends = [None if bound is None or bound.array is None else bound.array for bound in (low, high)]
    known = [float(end.reshape(())) for end in ends if end is not None]
    if known == [0.0, 6.0] and not is_integer(result.dtype):
        return Value(computed_as("Relu6", tf.nn.relu6, result), value.order)
    for bound, kernel, function in ((low, "Maximum", "maximum"), (high, "Minimum", "minimum")):
        if bound is not None:
            limit = tf.reshape(bound.tensor, [])
            result = computed_as(kernel, getattr(tf, function), result, limit)
    return Value(result, value.order)


@operator("Identity", "Dropout", attributes=("ratio", "is_test", "seed", "training_mode"))
def _identity(call: Call) -> Sequence[Value]:
    """Inference: nothing is dropped, and the mask is all true."""
    value = call.value(0)
    if call.node.op_type == "Dropout" and call.has(2):
        training = call.constant(2, "training_mode")
        ratio = float(call.constant(1, "ratio")) if call.has(1) else call.number("ratio", 0.5)
        if bool(training) and ratio > 0:
            call.fail("training_mode drops at random: export the model for inference")
    if call.outputs < 2:
        return [value]
    mask = tf.ones_like(value.tensor, tf.bool)
    if call.version < 10:
        mask = tf.ones_like(value.tensor)
    return [value, Value(mask)]


@operator("Cast", attributes=("to", "saturate", "round_mode"))
def _cast(call: Call) -> Value:
    return _converted(call, call.integer("to", 1))


@operator("CastLike", attributes=("saturate", "round_mode"))
def _cast_like(call: Call) -> Value:
    return _to_type(call, call.value(1).dtype)


def _converted(call: Call, number: int) -> Value:
    dtype = dtype_of(number)
    if dtype is None:
        call.fail(f"TensorFlow has no element type {number} of ONNX")
    return _to_type(call, dtype)


def _to_type(call: Call, dtype: object) -> Value:
    value = call.value(0)
    x = value.physical
    name = getattr(dtype, "name", "")
    if x.dtype == dtype:
        return value
    if x.dtype == tf.string:
        if name.startswith(("float", "bfloat")):
            return Value(cast(tf.strings.to_number(x, tf.float32), dtype), value.order)
        return Value(cast(tf.strings.to_number(x, tf.int64), dtype), value.order)
    if dtype == tf.string:
        return Value(tf.strings.as_string(x), value.order)
    if name == "bool" and x.dtype.name not in ("int4", "uint4"):
        return Value(tf.not_equal(x, tf.zeros_like(x)), value.order)
    if name.startswith("float8") and call.integer("saturate", 1):
        limit = float(dtype.max)  # type: ignore[attr-defined]
        wide = cast(x, tf.float32)
        wide = tf.where(tf.math.is_nan(wide), wide, tf.clip_by_value(wide, -limit, limit))
        return Value(tf.cast(wide, dtype), value.order)
    # Types of 4 bits are converted to and from 8 bits only.
    if x.dtype.name in ("int4", "uint4"):
        x = tf.cast(x, tf.int8 if x.dtype.name == "int4" else tf.uint8)
    if name in ("int4", "uint4"):
        x = tf.cast(cast(x, tf.int32), tf.int8 if name == "int4" else tf.uint8)
    return Value(cast(x, dtype), value.order)
