"""Reductions over axes, in any order of them, and the indices of extremes."""

# TensorFlow has no type stubs:
# pyright: reportUnknownLambdaType=false, reportUnknownArgumentType=false
# pyright: reportUnknownVariableType=false

from __future__ import annotations

from collections.abc import Callable, Sequence

from lowtide.backends.tensorflow.from_onnx.call import Call
from lowtide.backends.tensorflow.from_onnx.dtypes import cast, computed_as, is_integer
from lowtide.backends.tensorflow.from_onnx.lazy import Tensor, tf
from lowtide.backends.tensorflow.from_onnx.registry import Entry, operator, register
from lowtide.backends.tensorflow.from_onnx.value import Value

__all__: list[str] = []

# (x, axes, keepdims) -> reduced
_Reduction = Callable[[Tensor, object, bool], Tensor]


def _sum(x: Tensor, axes: object, keep: bool) -> Tensor:
    return computed_as("Sum", lambda t: tf.reduce_sum(t, axes, keepdims=keep), x)


def _mean(x: Tensor, axes: object, keep: bool) -> Tensor:
    return computed_as("Mean", lambda t: tf.reduce_mean(t, axes, keepdims=keep), x)


def _max(x: Tensor, axes: object, keep: bool) -> Tensor:
    result: Tensor
    if x.dtype == tf.bool:
        result = tf.reduce_any(x, axes, keepdims=keep)
        return result
    return computed_as("Max", lambda t: tf.reduce_max(t, axes, keepdims=keep), x)


def _min(x: Tensor, axes: object, keep: bool) -> Tensor:
    result: Tensor
    if x.dtype == tf.bool:
        result = tf.reduce_all(x, axes, keepdims=keep)
        return result
    return computed_as("Min", lambda t: tf.reduce_min(t, axes, keepdims=keep), x)


def _prod(x: Tensor, axes: object, keep: bool) -> Tensor:
    return computed_as("Prod", lambda t: tf.reduce_prod(t, axes, keepdims=keep), x)


def _l1(x: Tensor, axes: object, keep: bool) -> Tensor:
    return _sum(x if x.dtype.is_unsigned else tf.abs(x), axes, keep)


def _l2(x: Tensor, axes: object, keep: bool) -> Tensor:
    if is_integer(x.dtype):
        return cast(tf.sqrt(_sum_square(cast(x, tf.float64), axes, keep)), x.dtype)
    result: Tensor = tf.sqrt(_sum_square(x, axes, keep))
    return result


def _sum_square(x: Tensor, axes: object, keep: bool) -> Tensor:
    return _sum(x * x, axes, keep)


def _log_sum(x: Tensor, axes: object, keep: bool) -> Tensor:
    if is_integer(x.dtype):
        return cast(tf.math.log(_sum(cast(x, tf.float64), axes, keep)), x.dtype)
    result: Tensor = tf.math.log(_sum(x, axes, keep))
    return result


def _log_sum_exp(x: Tensor, axes: object, keep: bool) -> Tensor:
    if is_integer(x.dtype):
        wide = tf.reduce_logsumexp(cast(x, tf.float64), axes, keepdims=keep)
        return cast(wide, x.dtype)
    result: Tensor = tf.reduce_logsumexp(x, axes, keepdims=keep)
    return result


def _reduced(call: Call, function: _Reduction) -> Value:
    value = call.value(0)
    keep = bool(call.integer("keepdims", 1))
    axes: Sequence[int] | None = call.ints("axes")
    rank = value.rank
    if call.has(1):
        known = call.static(1)
        if known is None:
            dynamic = call.tensor(1)
            if dynamic.shape.rank == 1 and dynamic.shape[0] == 0:
                axes = ()
            else:
                return Value(function(value.tensor, dynamic, keep))
        else:
            axes = [int(i) for i in known.reshape(-1)]
    if not axes and call.integer("noop_with_empty_axes", 0):
        # Nothing is reduced; what is done to elements is done.
        return Value(function(value.tensor, [], True))
    if rank is None:
        return Value(function(value.tensor, list(axes) if axes else None, keep))
    gone = {call.axis(axis, rank) for axis in axes} if axes else set(range(rank))
    if value.order is None:
        return Value(function(value.tensor, sorted(gone), keep))
    places = [place for place, axis in enumerate(value.order) if axis in gone]
    result = function(value.physical, places, keep)
    if keep:
        return Value(result, value.order)
    left = [axis for axis in value.order if axis not in gone]
    rename = {axis: index for index, axis in enumerate(sorted(left))}
    return Value(result, tuple(rename[axis] for axis in left))


_REDUCTIONS: Sequence[tuple[str, _Reduction]] = (
    ("ReduceSum", _sum),
    ("ReduceMean", _mean),
    ("ReduceMax", _max),
    ("ReduceMin", _min),
    ("ReduceProd", _prod),
    ("ReduceL1", _l1),
    ("ReduceL2", _l2),
    ("ReduceSumSquare", _sum_square),
    ("ReduceLogSum", _log_sum),
    ("ReduceLogSumExp", _log_sum_exp),
)


def _handler(function: _Reduction) -> Callable[[Call], Value]:
    return lambda call: _reduced(call, function)


for _name, _function in _REDUCTIONS:
    register(
        Entry(
            _name,
            1,
            _handler(_function),
            frozenset(("axes", "keepdims", "noop_with_empty_axes")),
        )
    )


@operator("ArgMax", "ArgMin", attributes=("axis", "keepdims", "select_last_index"))
def _arg(call: Call) -> Value:
    x = call.tensor(0)
    axis = call.axis(call.integer("axis", 0), call.rank(0))
    function = tf.argmax if call.node.op_type == "ArgMax" else tf.argmin
    kernel = "ArgMax" if call.node.op_type == "ArgMax" else "ArgMin"
    if call.integer("select_last_index", 0):
        length = tf.shape(x, out_type=tf.int64)[axis]
        x = tf.reverse(x, [axis])
        index = length - 1 - computed_as(kernel, lambda t: function(t, axis), x)
    else:
        index = computed_as(kernel, lambda t: function(t, axis), x)
    if call.integer("keepdims", 1):
        index = tf.expand_dims(index, axis)
    return Value(cast(index, tf.int64))


@operator("Hardmax", attributes=("axis",))
def _hardmax(call: Call) -> Value:
    x = call.tensor(0)
    rank = call.rank(0)
    axis = call.axis(call.integer("axis", 1 if call.version < 13 else -1), rank)
    if call.version < 13:
        shape = tf.shape(x)
        flat = tf.reshape(x, [tf.reduce_prod(shape[:axis]), -1])
        hot = tf.one_hot(tf.argmax(flat, 1), tf.shape(flat)[1], dtype=x.dtype)
        return Value(tf.reshape(hot, shape))
    return Value(tf.one_hot(tf.argmax(x, axis), tf.shape(x)[axis], axis=axis, dtype=x.dtype))


@operator("TopK", attributes=("axis", "k", "largest", "sorted"))
def _top_k(call: Call) -> Sequence[Value]:
    x = call.tensor(0)
    rank = call.rank(0)
    axis = call.axis(call.integer("axis", -1), rank)
    k = tf.reshape(cast(call.tensor(1), tf.int32), []) if call.has(1) else call.integer("k", 1)
    known = call.static(1) if call.has(1) else None
    if known is not None:
        k = int(known.reshape(-1)[0])
    axes = [a for a in range(rank) if a != axis] + [axis]
    moved = x if axis == rank - 1 else tf.transpose(x, axes)
    if call.integer("largest", 1):
        values, indices = tf.math.top_k(moved, k)
    else:
        # The order of negated unsigned numbers is that of their complements.
        turned = tf.bitwise.invert(moved) if is_integer(x.dtype) else -moved
        values, indices = tf.math.top_k(turned, k)
        values = tf.bitwise.invert(values) if is_integer(x.dtype) else -values
    if axis != rank - 1:
        back = [axes.index(a) for a in range(rank)]
        values, indices = tf.transpose(values, back), tf.transpose(indices, back)
    return [Value(values), Value(cast(indices, tf.int64))]
