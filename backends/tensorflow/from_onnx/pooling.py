"""Pooling, in channels last; what TensorFlow's kernels lack is done offset by offset.

native kernels      float, no dilation, no indices
offset by offset    window offset o: a strided slice of the padded input; combined over all o
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Sequence

import numpy as np

from lowtide.backends.tensorflow.from_onnx.call import Call
from lowtide.backends.tensorflow.from_onnx.dtypes import cast, is_integer
from lowtide.backends.tensorflow.from_onnx.lazy import Tensor, tf
from lowtide.backends.tensorflow.from_onnx.registry import operator
from lowtide.backends.tensorflow.from_onnx.value import Value, last
from lowtide.backends.tensorflow.from_onnx.window import Window, window

__all__: list[str] = []

_ATTRIBUTES = ("auto_pad", "ceil_mode", "dilations", "kernel_shape", "pads", "strides")


def _viewed(call: Call) -> tuple[Tensor, Window]:
    rank = call.rank(0)
    if rank not in (3, 4, 5):
        call.fail(f"an input of rank {rank} is not emitted: 3, 4 and 5 are")
    x = call.value(0).ordered(last(rank))
    return x, window(call, call.ints("kernel_shape") or (), x.shape.as_list()[1:-1])


def _lowest(dtype: object) -> object:
    floating = getattr(dtype, "is_floating", False)
    return tf.constant(-np.inf if floating else dtype.min, dtype)  # type: ignore[attr-defined]


@operator("MaxPool", attributes=(*_ATTRIBUTES, "storage_order"))
def _max_pool(call: Call) -> Sequence[Value]:
    x, view = _viewed(call)
    order = last(call.rank(0))
    if call.outputs > 1:
        return _with_indices(call, x, view)
    if set(view.dilations) == {1} and not is_integer(x.dtype):
        padding = "VALID"
        if view.full is None or any(map(any, view.full)):
            if view.is_same(x.shape.as_list()[1:-1]):
                padding = "SAME"
            else:
                x = view.padded(x, _lowest(x.dtype))
        return [Value(_pool("MAX", x, view, padding), order)]
    slices = _offsets(view.padded(x, _lowest(x.dtype)), view)
    result = slices[0]
    for part in slices[1:]:
        result = tf.maximum(result, part)
    return [Value(result, order)]


def _pool(kind: str, x: Tensor, view: Window, padding: str) -> Tensor:
    functions = {
        ("MAX", 1): tf.nn.max_pool1d,
        ("MAX", 2): tf.nn.max_pool2d,
        ("MAX", 3): tf.nn.max_pool3d,
        ("AVG", 1): tf.nn.avg_pool1d,
        ("AVG", 2): tf.nn.avg_pool2d,
        ("AVG", 3): tf.nn.avg_pool3d,
    }
    spatial = len(view.kernel)
    dtype = x.dtype
    if dtype.name == "float64" and kind == "MAX" and spatial == 3:
        x = cast(x, tf.float32)
    result: Tensor = functions[kind, spatial](x, list(view.kernel), list(view.strides), padding)
    return cast(result, dtype)


def _offsets(padded: Tensor, view: Window) -> list[Tensor]:
    """For each offset in the window, the elements at that offset in every window."""
    found: list[Tensor] = []
    shape = tf.shape(padded)
    for offset in itertools.product(*(range(k) for k in view.kernel)):
        index: list[object] = [slice(None)]
        for axis, place in enumerate(offset):
            size = padded.shape[axis + 1]
            length = shape[axis + 1] if size is None else size
            start = place * view.dilations[axis]
            count = (length - view.reach[axis]) // view.strides[axis] + 1
            stop = start + (count - 1) * view.strides[axis] + 1
            index.append(slice(start, stop, view.strides[axis]))
        found.append(padded[tuple(index)])
    return found


def _with_indices(call: Call, x: Tensor, view: Window) -> Sequence[Value]:
    """The places of the maxima, in the flat NCHW tensor."""
    if view.pads is None or None in x.shape.as_list():
        call.fail("indices need the input's shape: bind its dimensions with --dim NAME=VALUE")
    order = last(call.rank(0))
    sizes = x.shape.as_list()
    spatial = sizes[1:-1]
    slices = tf.stack(_offsets(view.padded(x, _lowest(x.dtype)), view))
    best = tf.argmax(cast(slices, tf.int32) if is_integer(slices.dtype) else slices, 0)
    values = tf.reduce_max(slices, 0)
    # Where each window starts, and how far each offset is from there.
    pace = _strides(spatial, column_major=bool(call.integer("storage_order", 0)))
    starts = np.zeros([], np.int64)
    for axis, count in enumerate(view.outputs):
        line = (np.arange(count or 0) * view.strides[axis] - view.pads[axis][0]) * pace[axis]
        starts = starts[..., None] + line
    steps = np.array(
        [
            sum(o * d * p for o, d, p in zip(offset, view.dilations, pace, strict=True))
            for offset in itertools.product(*(range(k) for k in view.kernel))
        ],
        np.int64,
    )
    plane = math.prod(spatial)
    channel = np.arange(sizes[-1], dtype=np.int64) * plane
    batch = np.arange(sizes[0], dtype=np.int64) * plane * sizes[-1]
    base = batch.reshape(-1, *(1,) * (len(spatial) + 1)) + starts[None, ..., None] + channel
    indices = tf.gather(steps, best) + base
    return [Value(values, order), Value(indices, order)]


def _strides(sizes: Sequence[int], *, column_major: bool) -> list[int]:
    if column_major:
        return [math.prod(sizes[:axis]) for axis in range(len(sizes))]
    return [math.prod(sizes[axis + 1 :]) for axis in range(len(sizes))]


@operator("AveragePool", attributes=(*_ATTRIBUTES, "count_include_pad"))
def _average_pool(call: Call) -> Value:
    """Elements that ceil_mode adds are never counted; pads are where that is asked for."""
    x, view = _viewed(call)
    order = last(call.rank(0))
    include = bool(call.integer("count_include_pad", 0))
    plain = set(view.dilations) == {1}
    sizes = x.shape.as_list()[1:-1]
    padless = view.full is not None and not any(map(any, view.full))
    if plain and padless:
        return Value(_pool("AVG", x, view, "VALID"), order)
    if plain and not include and view.is_same(sizes):
        return Value(_pool("AVG", x, view, "SAME"), order)
    padded = view.padded(x, 0)
    if plain and include and view.full is not None and not any(view.extra):
        return Value(_pool("AVG", padded, view, "VALID"), order)
    total = _summed(padded, view)
    if view.pads is not None and None not in sizes:
        return Value(
            total / call.placed(_counts(view, sizes, include).astype(total.dtype.name)), order
        )
    ones = tf.ones_like(x[:1, ..., :1])
    return Value(total / _summed(view.padded(ones, 0), view), order)


def _summed(padded: Tensor, view: Window) -> Tensor:
    """Sums over windows of an input that is padded already."""
    if set(view.dilations) == {1}:
        return _pool("AVG", padded, view, "VALID") * float(math.prod(view.kernel))
    slices = _offsets(padded, view)
    result = slices[0]
    for part in slices[1:]:
        result = result + part
    return result


def _counts(
    view: Window, sizes: Sequence[int], include: bool
) -> np.ndarray[tuple[int, ...], np.dtype[np.float64]]:
    """How many elements each window averages: [1, windows..., 1]."""
    counts = np.ones([], np.float64)
    for axis, size in enumerate(sizes):
        before, after = (view.pads or ())[axis]
        low, high = (-before, size + after) if include else (0, size)
        starts = np.arange(view.outputs[axis] or 0) * view.strides[axis] - before
        places = starts[:, None] + np.arange(view.kernel[axis]) * view.dilations[axis]
        counts = counts[..., None] * ((places >= low) & (places < high)).sum(1)
    return counts[None, ..., None]


@operator("LpPool", attributes=(*_ATTRIBUTES, "p"))
def _lp_pool(call: Call) -> Value:
    x, view = _viewed(call)
    p = call.integer("p", 2)
    padded = view.padded(tf.pow(tf.abs(x), float(p)), 0)
    return Value(tf.pow(_summed(padded, view), 1.0 / p), last(call.rank(0)))


@operator("GlobalAveragePool", "GlobalMaxPool", "GlobalLpPool", attributes=("p",))
def _global(call: Call) -> Value:
    rank = call.rank(0)
    order = last(rank)
    x = call.value(0).ordered(order)
    axes = list(range(1, rank - 1))
    kind = call.node.op_type
    if kind == "GlobalAveragePool":
        return Value(tf.reduce_mean(x, axes, keepdims=True), order)
    if kind == "GlobalMaxPool":
        return Value(tf.reduce_max(x, axes, keepdims=True), order)
    p = float(call.integer("p", 2))
    total = tf.reduce_sum(tf.pow(tf.abs(x), p), axes, keepdims=True)
    return Value(tf.pow(total, 1.0 / p), order)


@operator("MaxUnpool", attributes=("kernel_shape", "pads", "strides"))
def _max_unpool(call: Call) -> Value:
    x, indices = call.tensor(0), call.tensor(1)
    shape = call.value(0).shape
    if shape is None or None in shape:
        call.fail("the input's shape is open: bind its dimensions with --dim NAME=VALUE")
    sizes = [size or 0 for size in shape]
    kernel = call.ints("kernel_shape") or ()
    strides = call.ints("strides") or (1,) * len(kernel)
    pads = call.ints("pads") or (0,) * (2 * len(kernel))
    count = len(kernel)
    inferred = sizes[:2] + [
        (sizes[a + 2] - 1) * strides[a] + kernel[a] - pads[a] - pads[a + count]
        for a in range(count)
    ]
    wanted = call.integers(2, "output_shape") if call.has(2) else tuple(inferred)
    # The indices are into the tensor that was pooled, whose size is the inferred one.
    flat = tf.scatter_nd(tf.reshape(indices, [-1, 1]), tf.reshape(x, [-1]), [math.prod(inferred)])
    result = tf.reshape(flat, inferred)
    if tuple(inferred) != wanted:
        result = tf.pad(result, [[0, w - i] for w, i in zip(wanted, inferred, strict=True)])
    return Value(result)


@operator("LRN", attributes=("alpha", "beta", "bias", "size"))
def _lrn(call: Call) -> Value:
    """X / (bias + alpha / size * sum of squares over `size` channels) ** beta."""
    rank = call.rank(0)
    order = last(rank)
    x = call.value(0).ordered(order)
    size = call.integer("size", 1)
    alpha, beta = call.number("alpha", 1e-4), call.number("beta", 0.75)
    bias = call.number("bias", 1.0)
    if size % 2 and rank == 4:
        return Value(
            tf.nn.local_response_normalization(x, size // 2, bias, alpha / size, beta), order
        )
    before = (size - 1) // 2
    squares = tf.pad(x * x, [[0, 0]] * (rank - 1) + [[before, size - 1 - before]])
    channels = tf.shape(x)[-1]
    total = sum(
        (squares[..., offset : offset + channels] for offset in range(1, size)),
        squares[..., :channels],
    )
    return Value(x / tf.pow(bias + alpha / size * total, beta), order)
