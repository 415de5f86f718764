"""Reading and writing by index: Slice, Gather, Scatter and their kind."""

# TensorFlow has no type stubs:
# pyright: reportUnknownLambdaType=false, reportUnknownArgumentType=false
# pyright: reportUnknownVariableType=false

from __future__ import annotations

import math
from collections.abc import Callable, Sequence

import numpy as np

from lowtide.backends.tensorflow.from_onnx.call import Call
from lowtide.backends.tensorflow.from_onnx.dtypes import cast
from lowtide.backends.tensorflow.from_onnx.lazy import Tensor, tf
from lowtide.backends.tensorflow.from_onnx.registry import operator
from lowtide.backends.tensorflow.from_onnx.value import Value

__all__: list[str] = []

_END = 1 << 31


@operator("Slice", attributes=("axes", "ends", "starts"))
def _old_slice(call: Call) -> Value:
    starts, ends = call.ints("starts") or (), call.ints("ends") or ()
    axes = call.ints("axes") or tuple(range(len(starts)))
    return _sliced(call, call.value(0), starts, ends, axes, (1,) * len(starts))


@operator("Slice", since=10)
def _slice(call: Call) -> Value:
    value = call.value(0)
    known = [call.static(i) if call.has(i) else None for i in range(5)]
    starts, ends = known[1], known[2]
    if (call.has(3) and known[3] is None) or (call.has(4) and known[4] is None):
        return _sliced_anywhere(call)
    if starts is None or ends is None:
        return _sliced_at(call, known[3], known[4])
    count = len(starts)
    axes = tuple(range(count)) if known[3] is None else tuple(int(i) for i in known[3])
    steps = (1,) * count if known[4] is None else tuple(int(i) for i in known[4])
    return _sliced(call, value, [int(i) for i in starts], [int(i) for i in ends], axes, steps)


def _sliced(
    call: Call,
    value: Value,
    starts: Sequence[int],
    ends: Sequence[int],
    axes: Sequence[int],
    steps: Sequence[int],
) -> Value:
    """Constant bounds: Python's own slices, ONNX's clamping included."""
    rank = call.rank(0)
    index = [slice(None)] * rank
    shape = value.shape or ()
    for start, end, axis, step in zip(starts, ends, axes, steps, strict=True):
        at = call.axis(axis, rank)
        size = shape[at]
        place = at if value.order is None else value.order.index(at)
        if size is not None:
            index[place] = _bounded(start, end, step, size)
        else:
            index[place] = slice(
                None if (start == 0 and step > 0) or (start >= _END - 1 and step < 0) else start,
                None if (end >= _END - 1 and step > 0) or (end <= -_END + 1 and step < 0) else end,
                step,
            )
    x = value.physical
    if all(part == slice(None) or part == slice(None, None, 1) for part in index):
        return value
    return Value(x[tuple(index)], value.order)


def _bounded(start: int, end: int, step: int, size: int) -> slice:
    start = start + size if start < 0 else start
    end = end + size if end < 0 else end
    if step > 0:
        start, end = min(max(start, 0), size), min(max(end, 0), size)
        return slice(start, max(end, start), step)
    start, end = min(max(start, 0), size - 1), min(max(end, -1), size - 1)
    if size == 0 or end >= start:
        return slice(0, 0, 1)
    return slice(start, None if end < 0 else end, step)


def _sliced_at(
    call: Call,
    axes: np.ndarray[tuple[int, ...], np.dtype[np.generic]] | None,
    steps: np.ndarray[tuple[int, ...], np.dtype[np.generic]] | None,
) -> Value:
    """Computed bounds on known axes: indices for each axis."""
    x = call.tensor(0)
    starts, ends = call.tensor(1), call.tensor(2)
    count = starts.shape[0] if starts.shape.rank == 1 else None
    if count is None:
        count = call.constant(1, "starts").size
    known = range(count) if axes is None else [int(i) for i in axes]
    pace = [1] * len(known) if steps is None else [int(i) for i in steps]
    for place, axis in enumerate(known):
        at = call.axis(axis, call.rank(0))
        x = tf.gather(x, _reach(x, at, starts[place], ends[place], pace[place]), axis=at)
    return Value(x)


def _reach(x: Tensor, axis: int, start: Tensor, end: Tensor, step: int) -> Tensor:
    """The indices that a slice with computed bounds takes."""
    size = tf.shape(x, out_type=tf.int64)[axis]
    first, stop = cast(start, tf.int64), cast(end, tf.int64)
    first = tf.where(first < 0, first + size, first)
    stop = tf.where(stop < 0, stop + size, stop)
    if step > 0:
        first, stop = tf.clip_by_value(first, 0, size), tf.clip_by_value(stop, 0, size)
        stop = tf.maximum(stop, first)
    else:
        first = tf.clip_by_value(first, 0, size - 1)
        stop = tf.minimum(tf.clip_by_value(stop, -1, size - 1), first)
    taken: Tensor = tf.range(first, stop, step)
    return taken


def _sliced_anywhere(call: Call) -> Value:
    """Axes and steps that are computed too: bounds are spread over all axes."""
    x = call.tensor(0)
    rank = call.rank(0)
    count = tf.shape(call.tensor(1))[0]
    axes = cast(call.tensor(3), tf.int64) if call.has(3) else tf.range(tf.cast(count, tf.int64))
    axes = tf.where(axes < 0, axes + rank, axes)
    steps = cast(call.tensor(4), tf.int64) if call.has(4) else tf.ones_like(axes)
    size = tf.shape(x, out_type=tf.int64)
    where = tf.expand_dims(axes, 1)
    begin = tf.tensor_scatter_nd_update(
        tf.zeros([rank], tf.int64), where, cast(call.tensor(1), tf.int64)
    )
    end = tf.tensor_scatter_nd_update(size, where, cast(call.tensor(2), tf.int64))
    step = tf.tensor_scatter_nd_update(tf.ones([rank], tf.int64), where, steps)
    for axis in range(rank):
        first, stop = begin[axis], end[axis]
        length = size[axis]
        first = tf.where(first < 0, first + length, first)
        stop = tf.where(stop < 0, stop + length, stop)
        forward = step[axis] > 0
        first = tf.where(
            forward, tf.clip_by_value(first, 0, length), tf.clip_by_value(first, 0, length - 1)
        )
        stop = tf.where(
            forward,
            tf.maximum(tf.clip_by_value(stop, 0, length), first),
            tf.minimum(tf.clip_by_value(stop, -1, length - 1), first),
        )
        x = tf.gather(x, tf.range(first, stop, step[axis]), axis=axis)
    return Value(x)


def _positive(indices: Tensor, size: int | Tensor | None) -> Tensor:
    """Indices counted from the front."""
    result: Tensor = tf.where(indices < 0, indices + tf.cast(size, indices.dtype), indices)
    return result


def _length(x: Tensor, axis: int) -> int | Tensor:
    known = x.shape[axis]
    size: int | Tensor = known if known is not None else tf.shape(x)[axis]
    return size


@operator("Gather", attributes=("axis",))
def _gather(call: Call) -> Value:
    value = call.value(0)
    rank = call.rank(0)
    axis = call.axis(call.integer("axis", 0), rank)
    known = call.static(1)
    if known is not None and known.ndim == 0:
        index = int(known)
        size = (value.shape or ())[axis]
        if value.array is None and (index >= 0 or size is not None or rank == 1):
            # A slice keeps what TensorFlow knows of shapes; and a single element needs no gather.
            place = axis if value.order is None else value.order.index(axis)
            cut: list[slice | int] = [slice(None)] * rank
            cut[place] = index + size if index < 0 and size is not None else index
            left = None
            if value.order is not None:
                rest = [a for a in value.order if a != axis]
                left = tuple(a - (a > axis) for a in rest)
            return Value(value.physical[tuple(cut)], left)
    if known is not None and known.ndim == 1 and rank == 1 and known.size <= 16:
        x = value.tensor
        return Value(tf.stack([x[int(i)] for i in known]))
    if known is not None:
        size = (value.shape or ())[axis]
        places = known.astype(np.int64)
        if (places >= 0).all():
            indices = call.tensor(1)
        elif size is not None:
            indices = call.placed(np.where(places < 0, places + size, places).astype(known.dtype))
        else:
            indices = _positive(call.tensor(1), _length(value.tensor, axis))
    else:
        indices = _positive(call.tensor(1), _length(value.tensor, axis))
    if value.order is not None and indices.shape.rank == 1:
        place = value.order.index(axis)
        return Value(tf.gather(value.physical, indices, axis=place), value.order)
    return Value(tf.gather(value.tensor, indices, axis=axis))


def _grid(indices: Tensor, axis: int) -> Tensor:
    """Full coordinates of elements whose place along one axis is given by `indices`."""
    rank = indices.shape.rank
    shape = tf.shape(indices, out_type=indices.dtype)
    parts = []
    for at in range(rank):
        if at == axis:
            parts.append(indices)
            continue
        line = tf.reshape(tf.range(shape[at]), [-1 if a == at else 1 for a in range(rank)])
        parts.append(tf.broadcast_to(line, shape))
    grid: Tensor = tf.stack(parts, -1)
    return grid


@operator("GatherElements", attributes=("axis",))
def _gather_elements(call: Call) -> Value:
    x = call.tensor(0)
    axis = call.axis(call.integer("axis", 0), call.rank(0))
    indices = _positive(call.tensor(1), _length(x, axis))
    return Value(tf.gather_nd(x, _grid(indices, axis)))


@operator("GatherND", attributes=("batch_dims",))
def _gather_nd(call: Call) -> Value:
    x, indices = call.tensor(0), call.tensor(1)
    batch = call.integer("batch_dims", 0)
    depth = indices.shape[-1]
    sizes = tf.shape(x, out_type=indices.dtype)[batch : batch + depth]
    indices = tf.where(indices < 0, indices + sizes, indices)
    return Value(tf.gather_nd(x, indices, batch_dims=batch))


_SCATTER: dict[str, Callable[[], Callable[[Tensor, Tensor, Tensor], Tensor]]] = {
    "none": lambda: tf.tensor_scatter_nd_update,
    "add": lambda: tf.tensor_scatter_nd_add,
    "max": lambda: tf.tensor_scatter_nd_max,
    "min": lambda: tf.tensor_scatter_nd_min,
}


def _scattered(call: Call, x: Tensor, indices: Tensor, updates: Tensor) -> Tensor:
    reduction = call.text("reduction", "none")
    if reduction == "mul":
        return _multiplied(x, indices, updates)
    if reduction not in _SCATTER:
        call.fail(f"reduction `{reduction}` is not emitted: use none, add, mul, max or min")
    function = _SCATTER[reduction]()
    return function(x, indices, updates)


def _multiplied(x: Tensor, indices: Tensor, updates: Tensor) -> Tensor:
    """One update after the other, since TensorFlow has no scatter that multiplies."""
    depth = indices.shape[-1]
    flat = tf.reshape(indices, [-1, depth])
    rest = tf.shape(x)[depth:]
    parts = tf.reshape(updates, tf.concat([[-1], rest], 0))

    def step(i: Tensor, result: Tensor) -> tuple[Tensor, Tensor]:
        at = flat[i : i + 1]
        new = tf.gather_nd(result, at) * parts[i : i + 1]
        return i + 1, tf.tensor_scatter_nd_update(result, at, new)

    count = tf.shape(flat)[0]
    result: Tensor = tf.while_loop(
        lambda i, _: i < count, step, (tf.constant(0), x), maximum_iterations=count
    )[1]
    return result


@operator("ScatterElements", "Scatter", attributes=("axis", "reduction"))
def _scatter_elements(call: Call) -> Value:
    x = call.tensor(0)
    axis = call.axis(call.integer("axis", 0), call.rank(0))
    indices = _positive(call.tensor(1), _length(x, axis))
    return Value(_scattered(call, x, _grid(indices, axis), call.tensor(2)))


@operator("ScatterND", attributes=("reduction",))
def _scatter_nd(call: Call) -> Value:
    x, indices = call.tensor(0), call.tensor(1)
    depth = indices.shape[-1]
    sizes = tf.shape(x, out_type=indices.dtype)[:depth]
    indices = tf.where(indices < 0, indices + sizes, indices)
    return Value(_scattered(call, x, indices, call.tensor(2)))


@operator("TensorScatter", attributes=("axis", "mode"))
def _tensor_scatter(call: Call) -> Value:
    """Writes a run of rows into a cache, each batch at its own place; circular where asked for."""
    cache, update = call.tensor(0), call.tensor(1)
    axis = call.axis(call.integer("axis", -2), call.rank(0))
    shape = tf.shape(update, out_type=tf.int64)
    length = tf.shape(cache, out_type=tf.int64)[axis]
    rank = call.rank(0)
    starts = cast(call.tensor(2), tf.int64) if call.has(2) else tf.zeros([shape[0]], tf.int64)
    place = tf.reshape(starts, [-1] + [1] * (rank - 1)) + tf.reshape(
        tf.range(shape[axis]), [-1 if a == axis else 1 for a in range(rank)]
    )
    if call.text("mode", "linear") == "circular":
        place = tf.math.floormod(place, length)
    return Value(
        tf.tensor_scatter_nd_update(cache, _grid(tf.broadcast_to(place, shape), axis), update)
    )


@operator("Compress", attributes=("axis",))
def _compress(call: Call) -> Value:
    x = call.tensor(0)
    chosen = tf.reshape(tf.where(call.tensor(1)), [-1])
    if not call.given("axis"):
        return Value(tf.gather(tf.reshape(x, [-1]), chosen))
    return Value(tf.gather(x, chosen, axis=call.axis(call.integer("axis", 0), call.rank(0))))


@operator("NonZero")
def _non_zero(call: Call) -> Value:
    x = call.tensor(0)
    return Value(tf.transpose(tf.where(tf.not_equal(x, tf.zeros_like(x)))))


@operator("OneHot", attributes=("axis",))
def _one_hot(call: Call) -> Value:
    indices = cast(call.tensor(0), tf.int64)
    depth = cast(tf.reshape(call.tensor(1), []), tf.int64)
    off, on = call.tensor(2)[0], call.tensor(2)[1]
    axis = call.axis(call.integer("axis", -1), call.rank(0) + 1)
    indices = tf.where(indices < 0, indices + depth, indices)
    known = call.static(1)
    size = int(known.reshape(-1)[0]) if known is not None else cast(depth, tf.int32)
    hot = tf.one_hot(indices, size, True, False, axis=axis, dtype=tf.bool)
    return Value(tf.where(hot, on, off))


@operator("ReverseSequence", attributes=("batch_axis", "time_axis"))
def _reverse_sequence(call: Call) -> Value:
    return Value(
        tf.reverse_sequence(
            call.tensor(0),
            call.tensor(1),
            seq_axis=call.integer("time_axis", 0),
            batch_axis=call.integer("batch_axis", 1),
        )
    )


@operator("Unique", attributes=("axis", "sorted"))
def _unique(call: Call) -> Sequence[Value]:
    """First places by a minimum over segments; sorted by the elements, or by first places."""
    x = call.tensor(0)
    if call.given("axis"):
        axis = call.axis(call.integer("axis", 0), call.rank(0))
    else:
        x, axis = tf.reshape(x, [-1]), 0
    kinds = _uniques(x, axis)
    unique, inverse, counts = kinds
    places = tf.range(tf.shape(inverse, out_type=tf.int64)[0])
    first = tf.math.unsorted_segment_min(places, inverse, tf.shape(counts)[0])
    if call.integer("sorted", 1):
        order = _lexical(call, unique, x, axis)
        rank = tf.math.invert_permutation(order)
        unique = tf.gather(unique, order, axis=axis)
        first, counts = tf.gather(first, order), tf.gather(counts, order)
        inverse = tf.gather(rank, inverse)
    results = [unique, first, cast(inverse, tf.int64), cast(counts, tf.int64)]
    return [Value(result) for result in results]


def _uniques(x: Tensor, axis: int) -> tuple[Tensor, Tensor, Tensor]:
    """The unique slices, which of them each slice is, and how many there are of each."""
    raw = tf.raw_ops.UniqueWithCountsV2(x=x, axis=[axis], out_idx=tf.int32)
    return raw.y, raw.idx, raw.count


def _lexical(call: Call, unique: Tensor, x: Tensor, axis: int) -> Tensor:
    """The order of slices by their elements, the first element counting most."""
    shape = x.shape.as_list()
    rest = [size for a, size in enumerate(shape) if a != axis]
    if None in rest:
        call.fail("the size of the slices is open: bind it with --dim NAME=VALUE")
    width = math.prod(rest)
    unique = tf.ensure_shape(unique, [None if a == axis else s for a, s in enumerate(shape)])
    rows = tf.transpose(unique, [axis] + [a for a in range(len(shape)) if a != axis])
    rows = tf.reshape(rows, [-1, width])
    order = tf.range(tf.shape(rows)[0])
    for column in reversed(range(width)):
        keys = tf.gather(rows[:, column], order)
        order = tf.gather(order, tf.argsort(keys, stable=True))
    return order  # type: ignore[no-any-return]
