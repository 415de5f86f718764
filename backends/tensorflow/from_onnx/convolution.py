"""Convolutions and their transposes, in channels last."""

from __future__ import annotations

from collections.abc import Sequence

from lowtide.backends.tensorflow.from_onnx.call import Call
from lowtide.backends.tensorflow.from_onnx.dtypes import cast
from lowtide.backends.tensorflow.from_onnx.lazy import Tensor, tf
from lowtide.backends.tensorflow.from_onnx.registry import operator
from lowtide.backends.tensorflow.from_onnx.value import Value, last
from lowtide.backends.tensorflow.from_onnx.window import Window, same_pads, window

__all__ = ["convolved"]

_ATTRIBUTES = ("auto_pad", "dilations", "group", "kernel_shape", "pads", "strides")


@operator("Conv", attributes=_ATTRIBUTES)
def _conv(call: Call) -> Value:
    result = convolved(call, call.value(0), call.value(1))
    if call.has(2):
        result = tf.nn.bias_add(result, call.tensor(2))
    return Value(result, last(call.rank(0)))


def convolved(call: Call, data: Value, weight: Value) -> Tensor:
    """[N, spatial..., M] without a bias."""
    rank = data.rank or 0
    shape = weight.shape
    if rank not in (3, 4, 5):
        call.fail(f"an input of rank {rank} is not emitted: 3, 4 and 5 are")
    if shape is None or None in shape or len(shape) != rank:
        call.fail(f"the weight has the shape {shape}: it must be known, and of rank {rank}")
    sizes = [size or 0 for size in shape]
    x = data.ordered(last(rank))
    group = call.integer("group", 1)
    channels = sizes[1] * group
    given = x.shape[rank - 1]
    if (given is not None and given != channels) or sizes[0] % group:
        call.fail(f"{given} channels in {group} groups do not fit a weight of shape {sizes}")
    view = window(call, sizes[2:], x.shape.as_list()[1 : rank - 1])
    if rank == 3:
        # A row: [N, 1, W, C].
        x = tf.expand_dims(x, 1)
        weight = _row(weight)
        view = Window(
            (1, *view.kernel),
            (1, *view.strides),
            (1, *view.dilations),
            None if view.pads is None else ((0, 0), *view.pads),
            (0, *view.extra),
            (1, *view.outputs),
            view.lower,
        )
        sizes.insert(2, 1)
    result = _spatial(x, weight, view, group, sizes)
    return tf.squeeze(result, [1]) if rank == 3 else result


def _row(weight: Value) -> Value:
    if weight.array is not None:
        return Value(None, array=weight.array[:, :, None], place=weight.placing)
    return Value(tf.expand_dims(weight.tensor, 2))


def _spatial(x: Tensor, weight: Value, view: Window, group: int, sizes: Sequence[int]) -> Tensor:
    spatial = len(view.kernel)
    lengths = x.shape.as_list()[1:-1]
    padding: object = "VALID"
    if view.full is None or any(map(any, view.full)):
        if view.is_same(lengths):
            padding = "SAME"
        else:
            x = view.padded(x, 0)
    single = spatial == 2 and group > 1 and sizes[1] == 1 and len(set(view.strides)) == 1
    if single and (set(view.dilations) == {1} or set(view.strides) == {1}):
        return _depthwise(x, weight, view, group, sizes, padding)
    kernel = weight.ordered((*range(2, spatial + 2), 1, 0))
    if spatial == 3:
        kernel = _spread(kernel, view.dilations)
    if group > 1 and spatial == 3:
        parts = zip(tf.split(x, group, -1), tf.split(kernel, group, -1), strict=True)
        results = [_plain(a, b, view, padding) for a, b in parts]
        joined: Tensor = tf.concat(results, -1)
        return joined
    return _plain(x, kernel, view, padding)


def _plain(x: Tensor, kernel: Tensor, view: Window, padding: object) -> Tensor:
    result: Tensor
    strides = [1, *view.strides, 1]
    if len(view.kernel) == 3:
        result = tf.nn.conv3d(x, kernel, strides, padding)
    else:
        result = tf.nn.conv2d(x, kernel, strides, padding, dilations=list(view.dilations))
    return result


def _depthwise(
    x: Tensor, weight: Value, view: Window, group: int, sizes: Sequence[int], padding: object
) -> Tensor:
    """[M, 1, kh, kw] with M = group * m as [kh, kw, group, m]."""
    multiplier = sizes[0] // group
    shape = (group, multiplier, *sizes[2:])
    if weight.array is not None:
        arranged = Value(None, array=weight.array.reshape(shape), place=weight.placing)
        kernel = arranged.ordered((2, 3, 0, 1))
    elif weight.order == (2, 3, 1, 0):
        kernel = tf.reshape(weight.physical, [*sizes[2:], group, multiplier])
    else:
        kernel = Value(tf.reshape(weight.tensor, shape)).ordered((2, 3, 0, 1))
    result: Tensor = tf.nn.depthwise_conv2d(
        x, kernel, [1, *view.strides, 1], padding, dilations=list(view.dilations)
    )
    return result


def _spread(kernel: Tensor, dilations: Sequence[int]) -> Tensor:
    """A kernel [k..., I, O] with zeros between its elements, for kernels without dilation."""
    for axis, dilation in enumerate(dilations):
        if dilation > 1:
            size = kernel.shape[axis]
            shape = kernel.shape.as_list()
            wide = tf.expand_dims(kernel, axis + 1)
            pairs = [[0, 0]] * len(shape)
            pairs.insert(axis + 1, [0, dilation - 1])
            wide = tf.reshape(
                tf.pad(wide, pairs), [*shape[:axis], size * dilation, *shape[axis + 1 :]]
            )
            kernel = tf.gather(wide, tf.range((size - 1) * dilation + 1), axis=axis)
    return kernel


@operator("ConvTranspose", attributes=(*_ATTRIBUTES, "output_padding", "output_shape"))
def _conv_transpose(call: Call) -> Value:
    """The full transposed convolution, cut by the pads.

    full = (n - 1) * stride + reach;  out = full - before - after + output_padding
    """
    data, weight = call.value(0), call.value(1)
    rank = call.rank(0)
    shape = weight.shape
    if rank not in (3, 4, 5) or shape is None or None in shape:
        call.fail(f"an input of rank {rank} with a weight of shape {shape} is not emitted")
    group = call.integer("group", 1)
    x = data.ordered(last(rank))
    kernel = weight.ordered((*range(2, rank), 1, 0))  # [k..., M/g, C]
    spatial = rank - 2
    strides = list(call.ints("strides") or (1,) * spatial)
    dilations = list(call.ints("dilations") or (1,) * spatial)
    kernel = _spread(kernel, dilations)
    reach = kernel.shape.as_list()[:spatial]
    more = list(call.ints("output_padding") or (0,) * spatial)
    cut = _cuts(call, x.shape.as_list()[1:-1], strides, reach, more)
    if rank == 3:
        x, kernel = tf.expand_dims(x, 1), tf.expand_dims(kernel, 0)
        strides, reach, cut = [1, *strides], [1, *reach], [(0, 0), *cut]
    parts = [(x, kernel)]
    if group > 1:
        parts = list(zip(tf.split(x, group, -1), tf.split(kernel, group, -1), strict=True))
    results = [_transposed(a, b, strides, reach, cut) for a, b in parts]
    result = results[0] if group == 1 else tf.concat(results, -1)
    if rank == 3:
        result = tf.squeeze(result, [1])
    if call.has(2):
        result = tf.nn.bias_add(result, call.tensor(2))
    return Value(result, last(rank))


def _cuts(
    call: Call,
    sizes: Sequence[int | None],
    strides: Sequence[int],
    reach: Sequence[int],
    more: Sequence[int],
) -> list[tuple[int, int]]:
    """What is cut off before and after; what is added behind counts as cut less."""
    spatial = len(strides)
    flat = call.ints("pads") or (0,) * (2 * spatial)
    auto = call.text("auto_pad", "NOTSET")
    wanted = call.ints("output_shape")
    if wanted is not None and len(wanted) == spatial + 2:
        wanted = wanted[2:]
    cuts: list[tuple[int, int]] = []
    for axis in range(spatial):
        if wanted is None and auto not in ("SAME_UPPER", "SAME_LOWER"):
            before, after = (flat[axis], flat[axis + spatial]) if auto != "VALID" else (0, 0)
        else:
            size = sizes[axis]
            if wanted is not None:
                if size is None:
                    call.fail("output_shape needs the input's size: bind it with --dim NAME=VALUE")
                total = (size - 1) * strides[axis] + more[axis] + reach[axis] - wanted[axis]
            else:
                total = reach[axis] + more[axis] - strides[axis]
            less = max(total, 0) // 2
            before = less if auto == "SAME_UPPER" else max(total, 0) - less
            after = total - before
        cuts.append((before, after - more[axis]))
    return cuts


def _transposed(
    x: Tensor,
    kernel: Tensor,
    strides: Sequence[int],
    reach: Sequence[int],
    cuts: Sequence[tuple[int, int]],
) -> Tensor:
    sizes = x.shape.as_list()[1:-1]
    dynamic = tf.shape(x)
    lengths = [dynamic[a + 1] if s is None else s for a, s in enumerate(sizes)]
    function = tf.nn.conv3d_transpose if len(strides) == 3 else tf.nn.conv2d_transpose
    pace = [1, *strides, 1]
    same = all(
        size is not None
        and before + after == r - s
        and same_pads(size * s, r, s) == (before, after)
        for size, r, s, (before, after) in zip(sizes, reach, strides, cuts, strict=True)
    )
    batch = x.shape[0] if x.shape[0] is not None else dynamic[0]
    if same:
        shape = [batch, *(n * s for n, s in zip(lengths, strides, strict=True)), kernel.shape[-2]]
        whole: Tensor = function(x, kernel, tf.stack(shape), pace, "SAME")
        return whole
    # Elements behind the full result come with the operator's own room: less than a stride.
    room = [min(max(-after, 0), s - 1) for s, (_, after) in zip(strides, cuts, strict=True)]
    full = [(n - 1) * s + r + e for n, s, r, e in zip(lengths, strides, reach, room, strict=True)]
    result: Tensor = function(x, kernel, tf.stack([batch, *full, kernel.shape[-2]]), pace, "VALID")
    index = [slice(None)]
    pairs = [[0, 0]]
    for extra, (before, after) in zip(room, cuts, strict=True):
        end = after + extra
        index.append(slice(max(before, 0), -end if end > 0 else None))
        pairs.append([max(-before, 0), max(-end, 0)])
    if any(part != slice(0, None) for part in index[1:]):
        result = result[tuple(index)]
    if any(map(any, pairs)):
        result = tf.pad(result, [*pairs, [0, 0]])
    return result


@operator("ConvInteger", attributes=_ATTRIBUTES)
def _conv_integer(call: Call) -> Value:
    """Sums of products of 8-bit numbers are exact in float64."""
    x, w = _centered(call, 0, 2), _centered(call, 1, 3)
    return Value(cast(convolved(call, x, w), tf.int32), last(call.rank(0)))


def _centered(call: Call, operand: int, zero: int) -> Value:
    value = call.value(operand)
    x = cast(value.tensor, tf.float64)
    if not call.has(zero):
        return Value(x)
    point = cast(call.tensor(zero), tf.float64)
    if point.shape.rank == 1 and point.shape[0] != 1:
        point = tf.reshape(point, [-1] + [1] * ((value.rank or 1) - 1))
    return Value(x - point)


@operator("QLinearConv", attributes=_ATTRIBUTES)
def _q_linear_conv(call: Call) -> Value:
    """x, x_scale, x_zero, w, w_scale, w_zero, y_scale, y_zero, bias; rounded half to even."""
    x, w = _centered(call, 0, 2), _centered(call, 3, 5)
    total = convolved(call, x, w)
    if call.has(8):
        total = total + cast(call.tensor(8), tf.float64)
    scale = cast(call.tensor(1), tf.float64) * cast(call.tensor(4), tf.float64)
    scaled = total * scale / cast(call.tensor(6), tf.float64)
    zero = call.tensor(7)
    rounded = tf.round(scaled) + cast(zero, tf.float64)
    limited = tf.clip_by_value(rounded, float(zero.dtype.min), float(zero.dtype.max))
    return Value(cast(limited, zero.dtype), last(call.rank(0)))
