"""Shapes and the arrangement of elements: Reshape, Transpose, Concat, Split, Pad, Expand, ..."""

# TensorFlow has no type stubs:
# pyright: reportUnknownLambdaType=false, reportUnknownArgumentType=false
# pyright: reportUnknownVariableType=false

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np

from lowtide.backends.tensorflow.from_onnx.call import Call
from lowtide.backends.tensorflow.from_onnx.dtypes import cast, computed_as
from lowtide.backends.tensorflow.from_onnx.lazy import Tensor, internal, tf
from lowtide.backends.tensorflow.from_onnx.registry import operator
from lowtide.backends.tensorflow.from_onnx.reshape import flattened, through
from lowtide.backends.tensorflow.from_onnx.value import Value, invert, last

__all__ = ["reshaped", "sizes"]


def sizes(value: Value) -> list[int | Tensor]:
    """The dimensions in ONNX's order: numbers where they are known, scalars (int32) elsewhere."""
    shape = value.shape
    if shape is None:
        raise ValueError("the rank is unknown: bind the model's dimensions")
    if None not in shape:
        return [size or 0 for size in shape]
    tensor = value.physical
    dynamic = tf.shape(tensor)
    place = invert(value.order) if value.order else tuple(range(len(shape)))
    return [dynamic[place[i]] if size is None else size for i, size in enumerate(shape)]


def reshaped(value: Value, shape: Sequence[int | Tensor]) -> Value:
    """A value in another shape; where all of it is known, in whatever order it has."""
    known = [size if isinstance(size, int) else None for size in shape]
    moved = through(value, known) or flattened(value, known)
    if moved is not None:
        return moved
    return Value(tf.reshape(value.tensor, _stacked(shape)))


def _stacked(shape: Sequence[int | Tensor]) -> object:
    open_sizes = [size for size in shape if not isinstance(size, int)]
    if not open_sizes:
        return list(shape)
    if len(open_sizes) == 1 and -1 not in [s for s in shape if isinstance(s, int)]:
        return [size if isinstance(size, int) else -1 for size in shape]
    return tf.stack([tf.cast(size, tf.int32) for size in shape])


@operator("Shape", attributes=("start", "end"))
def _shape(call: Call) -> Value:
    value = call.value(0)
    rank = value.rank
    start, end = call.integer("start", 0), call.integer("end", 1 << 30)
    if value.is_static:
        return call.made(np.array((value.shape or ())[start:end], np.int64))
    if rank is None:
        return Value(tf.shape(value.tensor, out_type=tf.int64)[start:end])
    shape = value.shape or ()
    kept = range(*slice(start, end).indices(rank))
    dynamic = tf.shape(value.physical, out_type=tf.int64)
    place = invert(value.order) if value.order else tuple(range(rank))
    if not kept:
        return call.made(np.zeros(0, np.int64))
    if value.order is None and list(kept) == list(range(rank)):
        return Value(dynamic)
    dims = [dynamic[place[i]] if shape[i] is None else np.int64(shape[i] or 0) for i in kept]
    return Value(tf.stack(dims))


@operator("Size")
def _size(call: Call) -> Value:
    value = call.value(0)
    if value.is_static:
        return call.made(np.array(math.prod(s or 0 for s in value.shape or ()), np.int64))
    return Value(tf.size(value.physical, out_type=tf.int64))


@operator("Reshape", attributes=("shape",))
def _old_reshape(call: Call) -> Value:
    return _reshape_to(call, call.ints("shape") or (), zero_is_zero=False)


@operator("Reshape", since=5, attributes=("allowzero",))
def _reshape(call: Call) -> Value:
    zero_is_zero = bool(call.integer("allowzero", 0))
    shape = call.static(1)
    if shape is not None:
        return _reshape_to(call, [int(i) for i in shape.reshape(-1)], zero_is_zero=zero_is_zero)
    wanted = call.tensor(1)
    if not zero_is_zero and wanted.shape.rank == 1 and wanted.shape[0] is not None:
        known = _partially(wanted)
        # A shape that the model computes has no zeros to replace; one that it is handed may.
        if known is None or set(known) == {None} or 0 in known:
            data = tf.shape(call.tensor(0), out_type=wanted.dtype)
            length, have = int(wanted.shape[0]), call.rank(0)
            data = tf.pad(data, [[0, length - have]]) if length > have else data[:length]
            wanted = tf.where(tf.equal(wanted, 0), data, wanted)
    return Value(tf.reshape(call.tensor(0), wanted))


def _partially(shape: Tensor) -> list[int | None] | None:
    """What is known now of a vector that is a shape; None where nothing is."""
    util = internal("tensorflow.python.framework.tensor_util")
    found = util.constant_value_as_shape(shape)
    return None if found.rank is None else list(found.as_list())


def _reshape_to(call: Call, shape: Sequence[int], *, zero_is_zero: bool) -> Value:
    data = call.value(0)
    wanted: list[int | Tensor] = list(shape)
    if not zero_is_zero and 0 in shape:
        have = sizes(data)
        wanted = [have[i] if size == 0 and i < len(have) else size for i, size in enumerate(shape)]
    if data.is_static and all(isinstance(size, int) for size in wanted):
        numbers = [size for size in wanted if isinstance(size, int)]
        if -1 in numbers:
            rest = math.prod(size for size in numbers if size != -1)
            numbers[numbers.index(-1)] = data.elements // rest if rest else 0
        wanted = list(numbers)
    return reshaped(data, wanted)


@operator("Flatten", attributes=("axis",))
def _flatten(call: Call) -> Value:
    data = call.value(0)
    have = sizes(data)
    axis = call.integer("axis", 1)
    axis = axis + len(have) if axis < 0 else axis
    shape = [_product(have[:axis]), _product(have[axis:])]
    return reshaped(data, shape)


def _product(have: Sequence[int | Tensor]) -> int | Tensor:
    known = math.prod(size for size in have if isinstance(size, int))
    unknown = [size for size in have if not isinstance(size, int)]
    result: int | Tensor = known
    for size in unknown:
        result = size if isinstance(result, int) and result == 1 else result * size
    return result


@operator("Transpose", attributes=("perm",))
def _transpose(call: Call) -> Value:
    rank = call.rank(0)
    axes = call.ints("perm") or tuple(reversed(range(rank)))
    return call.value(0).transposed([call.axis(axis, rank) for axis in axes])


@operator("Squeeze", attributes=("axes",))
@operator("Squeeze", since=13)
def _squeeze(call: Call) -> Value:
    data = call.value(0)
    axes = _axes(call)
    have = sizes(data)
    if axes is None:
        return reshaped(data, [size for size in have if not (isinstance(size, int) and size == 1)])
    gone = {call.axis(axis, len(have)) for axis in axes}
    for axis in gone:
        if isinstance(have[axis], int) and have[axis] != 1:
            call.fail(f"axis {axis} has the size {have[axis]}, not 1")
    if data.order is None and not data.is_static and data.array is None:
        return Value(tf.squeeze(data.tensor, sorted(gone)))
    return reshaped(data, [size for axis, size in enumerate(have) if axis not in gone])


@operator("Unsqueeze", attributes=("axes",))
@operator("Unsqueeze", since=13)
def _unsqueeze(call: Call) -> Value:
    data = call.value(0)
    axes = _axes(call) or ()
    have = sizes(data)
    rank = len(have) + len(axes)
    new = {call.axis(axis, rank) for axis in axes}
    rest = iter(have)
    shape = [1 if axis in new else next(rest) for axis in range(rank)]
    if data.order is None and not data.is_static:
        tensor = data.tensor
        for axis in sorted(new):
            tensor = tf.expand_dims(tensor, axis)
        return Value(tensor)
    return reshaped(data, shape)


def _axes(call: Call) -> tuple[int, ...] | None:
    if call.has(1):
        return call.integers(1, "axes")
    return call.ints("axes")


@operator("Concat", attributes=("axis",))
def _concat(call: Call) -> Value:
    values = [call.value(i) for i in range(len(call.inputs))]
    rank = call.rank(0)
    axis = call.axis(call.integer("axis", 1), rank)
    votes: dict[tuple[int, ...] | None, int] = {}
    for value in values:
        if value.array is None:
            votes[value.order] = votes.get(value.order, 0) + value.elements
    order = max(votes, key=lambda order: (votes[order], order is not None), default=None)
    tensors = [value.ordered(order) for value in values]
    return Value(tf.concat(tensors, axis if order is None else order.index(axis)), order)


@operator("Split", attributes=("axis", "split", "num_outputs"))
def _split(call: Call) -> Sequence[Value]:
    value = call.value(0)
    axis = call.axis(call.integer("axis", 0), call.rank(0))
    split = call.integers(1, "split") if call.has(1) else call.ints("split")
    size = (value.shape or ())[axis]
    parts = call.integer("num_outputs", len(call.node.outputs))
    physical = axis if value.order is None else value.order.index(axis)
    if split is None:
        if size is None:
            return [Value(t, value.order) for t in tf.split(value.physical, parts, physical)]
        step = -(-size // parts)
        split = tuple(max(0, min(step, size - step * i)) for i in range(parts))
    return [Value(t, value.order) for t in tf.split(value.physical, list(split), physical)]


@operator("Expand")
def _expand(call: Call) -> Value:
    value = call.value(0)
    shape = call.static(1)
    if shape is not None and value.is_static:
        target = np.broadcast_shapes(tuple(int(i) for i in shape), tuple(value.shape or ()))  # type: ignore[arg-type]
        if target == value.shape:
            return value
        return Value(_broadcast(value.tensor, list(target)))
    tensor = value.tensor
    wanted = call.tensor(1)
    target = tf.broadcast_dynamic_shape(tf.shape(tensor, out_type=wanted.dtype), wanted)
    return Value(_broadcast(tensor, target))


def _broadcast(tensor: Tensor, shape: object) -> Tensor:
    result: Tensor = tf.broadcast_to(tensor, shape)
    return result


@operator("Tile", since=6)
def _tile(call: Call) -> Value:
    repeats = call.static(1)
    value = call.value(0)
    if repeats is not None:
        order = value.order or tuple(range(len(repeats)))
        return Value(tf.tile(value.physical, [int(repeats[axis]) for axis in order]), value.order)
    return Value(tf.tile(value.tensor, call.tensor(1)))


@operator("Trilu", attributes=("upper",))
def _trilu(call: Call) -> Value:
    x = call.value(0).tensor
    k = (
        tf.cast(tf.reshape(call.tensor(1), []), tf.int64)
        if call.has(1)
        else tf.constant(0, tf.int64)
    )
    dynamic = tf.shape(x, out_type=tf.int64)
    row = tf.expand_dims(tf.range(dynamic[-2]), 1)
    column = tf.expand_dims(tf.range(dynamic[-1]), 0)
    upper = bool(call.integer("upper", 1))
    kept = column - row >= k if upper else column - row <= k
    return Value(tf.where(kept, x, tf.zeros_like(x)))


@operator("Pad", attributes=("mode", "pads", "value"))
def _old_pad(call: Call) -> Value:
    pads = call.ints("pads") or ()
    fill = tf.cast(call.number("value", 0.0), call.value(0).dtype)
    return _padded(call, call.value(0), pads, fill)


@operator("Pad", since=11, attributes=("mode",))
def _pad(call: Call) -> Value:
    value = call.value(0)
    rank = call.rank(0)
    fill = tf.reshape(call.tensor(2), []) if call.has(2) else None
    pads = call.static(1)
    axes = call.integers(3, "axes") if call.has(3) else tuple(range(rank))
    if pads is None:
        if call.text("mode", "constant") != "constant" or list(axes) != list(range(rank)):
            call.integers(1, "pads")
        pairs = tf.transpose(tf.reshape(call.tensor(1), [2, rank]))
        x = value.tensor
        padded = tf.pad(x, tf.maximum(pairs, 0), constant_values=_filling(x, fill))
        return Value(padded)
    amounts = [0] * (2 * rank)
    for place, axis in enumerate(axes):
        at = call.axis(axis, rank)
        amounts[at] = int(pads[place])
        amounts[at + rank] = int(pads[place + len(axes)])
    return _padded(call, value, amounts, fill)


def _filling(x: Tensor, fill: Tensor | None) -> Tensor:
    zero: Tensor = tf.zeros([], x.dtype)
    return zero if fill is None else cast(fill, x.dtype)


def _padded(call: Call, value: Value, pads: Sequence[int], fill: Tensor | None) -> Value:
    """Pads that are negative cut."""
    mode = call.text("mode", "constant")
    rank = len(pads) // 2
    order = value.order or tuple(range(rank))
    x = value.physical
    if any(pad < 0 for pad in pads):
        index = []
        for axis in order:
            begin, end = -min(pads[axis], 0), min(pads[axis + rank], 0)
            index.append(slice(begin, end or None))
        x = x[tuple(index)]
    pairs = [[max(pads[axis], 0), max(pads[axis + rank], 0)] for axis in order]
    if not any(map(any, pairs)):
        return Value(x, value.order)
    if mode == "constant":
        return Value(tf.pad(x, pairs, constant_values=_filling(x, fill)), value.order)
    if mode == "reflect":
        return Value(tf.pad(x, pairs, "REFLECT"), value.order)
    if mode not in ("edge", "wrap"):
        call.fail(f"mode `{mode}` is not emitted: use constant, reflect, edge or wrap")
    for axis, (before, after) in enumerate(pairs):
        if before or after:
            length = x.shape[axis] if x.shape[axis] is not None else tf.shape(x)[axis]
            index = tf.range(-before, length + after)
            if mode == "edge":
                index = tf.clip_by_value(index, 0, length - 1)
            else:
                index = tf.math.floormod(index, length)
            x = tf.gather(x, index, axis=axis)
    return Value(x, value.order)


@operator("DepthToSpace", attributes=("blocksize", "mode"))
def _depth_to_space(call: Call) -> Value:
    """In channels last, TensorFlow's op is ONNX's DCR."""
    block = call.integer("blocksize", 1)
    order = last(4)
    x = call.value(0).ordered(order)
    if call.text("mode", "DCR") == "CRD":
        depth = x.shape[3] // (block * block)
        index = [
            channel * block * block + place
            for place in range(block * block)
            for channel in range(depth)
        ]
        x = tf.gather(x, index, axis=3)
    return Value(computed_as("DepthToSpace", lambda t: tf.nn.depth_to_space(t, block), x), order)


@operator("SpaceToDepth", attributes=("blocksize", "mode"))
def _space_to_depth(call: Call) -> Value:
    block = call.integer("blocksize", 1)
    order = last(4)
    x = call.value(0).ordered(order)
    result = computed_as("SpaceToDepth", lambda t: tf.nn.space_to_depth(t, block), x)
    if call.text("mode", "DCR") == "CRD":
        depth = x.shape[3]
        index = [
            place * depth + channel for channel in range(depth) for place in range(block * block)
        ]
        result = tf.gather(result, index, axis=3)
    return Value(result, order)


@operator("CenterCropPad", attributes=("axes",))
def _center_crop_pad(call: Call) -> Value:
    value = call.value(0)
    have = list(value.shape or ())
    axes = call.ints("axes") or tuple(range(len(have)))
    wanted = call.integers(1, "shape")
    pads = [0] * (2 * len(have))
    for axis, size in zip(axes, wanted, strict=True):
        at = call.axis(axis, len(have))
        short = size - (have[at] or 0)
        # The odd element is cut from, or added to, the end; cropping starts rounded down.
        before = short // 2 if short > 0 else -((-short) // 2)
        pads[at], pads[at + len(have)] = before, short - before
    return _padded(call, value, pads, None)
