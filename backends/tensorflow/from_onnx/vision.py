"""Boxes and free sampling: NonMaxSuppression, GridSample, RoiAlign, Col2Im."""

# TensorFlow has no type stubs:
# pyright: reportUnknownLambdaType=false, reportUnknownArgumentType=false
# pyright: reportUnknownVariableType=false

from __future__ import annotations

import itertools
import math

import numpy as np

from lowtide.backends.tensorflow.from_onnx.call import Call
from lowtide.backends.tensorflow.from_onnx.dtypes import cast
from lowtide.backends.tensorflow.from_onnx.lazy import Tensor, tf
from lowtide.backends.tensorflow.from_onnx.registry import operator
from lowtide.backends.tensorflow.from_onnx.value import Value, last

__all__: list[str] = []


@operator("NonMaxSuppression", attributes=("center_point_box",))
def _non_max_suppression(call: Call) -> Value:
    """One class of one image after the other; rows of (image, class, box)."""
    boxes, scores = call.tensor(0), call.tensor(1)
    batches, classes = scores.shape[0], scores.shape[1]
    if batches is None or classes is None:
        call.fail("the numbers of images and classes are open: bind them with --dim NAME=VALUE")
    limit = (
        tf.reshape(cast(call.tensor(2), tf.int32), []) if call.has(2) else tf.constant(0, tf.int32)
    )
    overlap = tf.reshape(call.tensor(3), []) if call.has(3) else tf.constant(0.0)
    least = tf.reshape(call.tensor(4), []) if call.has(4) else tf.constant(-np.inf, tf.float32)
    if call.integer("center_point_box", 0):
        x, y, w, h = (boxes[..., i] for i in range(4))
        boxes = tf.stack([y - h / 2, x - w / 2, y + h / 2, x + w / 2], -1)
    found: list[Tensor] = []
    for image in range(batches):
        for kind in range(classes):
            kept = tf.image.non_max_suppression(
                boxes[image], scores[image, kind], limit, overlap, least
            )
            rows = tf.cast(tf.expand_dims(kept, 1), tf.int64)
            ahead = tf.tile(
                tf.constant([[image, kind]], tf.int64), tf.stack([tf.shape(kept)[0], 1])
            )
            found.append(tf.concat([ahead, rows], 1))
    return Value(tf.concat(found, 0))


@operator("GridSample", attributes=("align_corners", "mode", "padding_mode"))
def _grid_sample(call: Call) -> Value:
    """Channels last: gathers at the corners around each point, weighted."""
    rank = call.rank(0)
    order = last(rank)
    x = call.value(0).ordered(order)
    grid = cast(call.tensor(1), x.dtype)
    mode = call.text("mode", "linear")
    mode = {"bilinear": "linear", "bicubic": "cubic"}.get(mode, mode)
    if mode not in ("linear", "nearest", "cubic"):
        call.fail(f"mode `{mode}` is unknown")
    if x.shape[-1] is None or None in x.shape.as_list()[1:-1]:
        call.fail("the input's size is open: bind it with --dim NAME=VALUE")
    align = bool(call.integer("align_corners", 0))
    sizes = x.shape.as_list()[1:-1]
    padding = call.text("padding_mode", "zeros")
    points: list[Tensor] = []
    for axis, size in enumerate(sizes):
        at = grid[..., len(sizes) - 1 - axis]  # the grid counts x, y, z
        points.append((at + 1) / 2 * (size - 1) if align else ((at + 1) * size - 1) / 2)
    bounds = [(0.0, s - 1.0) if align else (-0.5, s - 0.5) for s in sizes]
    if mode != "cubic":
        points = [_wrapped(p, b, padding, s) for p, b, s in zip(points, bounds, sizes, strict=True)]
    offsets = {"nearest": (0,), "linear": (0, 1), "cubic": (-1, 0, 1, 2)}[mode]
    bases = [tf.round(p) if mode == "nearest" else tf.floor(p) for p in points]
    total: Tensor | None = None
    for corner in itertools.product(offsets, repeat=len(sizes)):
        weight: Tensor | None = None
        indices: list[Tensor] = []
        inside: Tensor | None = None
        for axis, offset in enumerate(corner):
            place = bases[axis] + float(offset)
            part = _weight(mode, points[axis] - place)
            weight = part if weight is None or part is None else weight * part
            if mode == "cubic":
                place = tf.round(_wrapped(place, bounds[axis], padding, sizes[axis]))
            if padding == "zeros":
                within = tf.logical_and(place >= 0, place <= sizes[axis] - 1)
                inside = within if inside is None else tf.logical_and(inside, within)
            indices.append(cast(tf.clip_by_value(place, 0, sizes[axis] - 1), tf.int32))
        taken = tf.gather_nd(x, tf.stack(indices, -1), batch_dims=1)
        if inside is not None:
            taken = tf.where(tf.expand_dims(inside, -1), taken, tf.zeros_like(taken))
        taken = taken if weight is None else taken * tf.expand_dims(weight, -1)
        total = taken if total is None else total + taken
    return Value(total, order)


def _weight(mode: str, distance: Tensor) -> Tensor | None:
    if mode == "nearest":
        return None
    x = tf.abs(distance)
    result: Tensor
    if mode == "linear":
        result = tf.maximum(1 - x, 0)
        return result
    a = -0.75
    near = (a + 2) * x * x * x - (a + 3) * x * x + 1
    far = a * x * x * x - 5 * a * x * x + 8 * a * x - 4 * a
    result = tf.where(x <= 1, near, far)
    return result


def _wrapped(x: Tensor, bounds: tuple[float, float], padding: str, size: int) -> Tensor:
    """Coordinates outside, by the padding mode; `zeros` leaves them there."""
    result: Tensor
    if padding == "border":
        result = tf.clip_by_value(x, 0.0, size - 1.0)
        return result
    if padding == "reflection":
        low, high = bounds
        extent = high - low
        if extent <= 0:
            return tf.zeros_like(x)  # type: ignore[no-any-return]
        folded = tf.math.floormod(x - low, 2 * extent)
        return tf.where(folded > extent, 2 * extent - folded, folded) + low  # type: ignore[no-any-return]
    return x


@operator("Col2Im", attributes=("dilations", "pads", "strides"))
def _col2im(call: Call) -> Value:
    """Blocks are added up where they overlap; indices are computed now."""
    image = call.integers(1, "image_shape")
    block = call.integers(2, "block_shape")
    count = len(image)
    strides = call.ints("strides") or (1,) * count
    dilations = call.ints("dilations") or (1,) * count
    pads = call.ints("pads") or (0,) * (2 * count)
    full = [image[a] + pads[a] + pads[a + count] for a in range(count)]
    windows = [
        (full[a] - (block[a] - 1) * dilations[a] - 1) // strides[a] + 1 for a in range(count)
    ]
    places = np.zeros((1, 1), np.int64)
    for a in range(count):
        line = (
            np.arange(block[a])[:, None] * dilations[a] + np.arange(windows[a])[None] * strides[a]
        )
        places = (places[:, None, :, None] * full[a] + line[None, :, None, :]).reshape(
            places.shape[0] * block[a], places.shape[1] * windows[a]
        )
    x = call.tensor(0)
    elements, blocks = math.prod(block), math.prod(windows)
    rows = tf.reshape(x, [-1, elements * blocks])
    summed = tf.math.unsorted_segment_sum(tf.transpose(rows), places.reshape(-1), math.prod(full))
    channels = x.shape[1] // elements
    result = tf.reshape(tf.transpose(summed), [-1, channels, *full])
    index = [slice(None), slice(None)]
    index += [slice(pads[a], full[a] - pads[a + count]) for a in range(count)]
    return Value(result[tuple(index)])


@operator(
    "RoiAlign",
    attributes=(
        "coordinate_transformation_mode",
        "mode",
        "output_height",
        "output_width",
        "sampling_ratio",
        "spatial_scale",
    ),
)
def _roi_align(call: Call) -> Value:
    """Bilinear samples on a grid in each bin, averaged or their greatest; a fixed grid only."""
    ratio = call.integer("sampling_ratio", 0)
    order = last(4)
    x = call.value(0).ordered(order)
    rois = call.tensor(1)
    batch = cast(call.tensor(2), tf.int32)
    height, width = call.integer("output_height", 1), call.integer("output_width", 1)
    default = "half_pixel" if call.version >= 16 else "output_half_pixel"
    half = call.text("coordinate_transformation_mode", default) == "half_pixel"
    if ratio <= 0:
        call.fail("sampling_ratio 0 depends on each box: export the model with a positive one")
    scaled = rois * call.number("spatial_scale", 1.0) - (0.5 if half else 0.0)
    spans = []
    for axis, bins in ((1, height), (0, width)):
        start, end = scaled[:, axis], scaled[:, axis + 2]
        extent = end - start if half else tf.maximum(end - start, 1.0)
        steps = (np.arange(bins * ratio) + 0.5) / (bins * ratio)
        spans.append(tf.expand_dims(start, 1) + tf.expand_dims(extent, 1) * tf.cast(steps, x.dtype))
    corners, outside = _corners(x, spans, batch)
    shape = tf.stack([tf.shape(rois)[0], height, ratio, width, ratio, tf.shape(x)[-1]])
    parts = [tf.where(outside, tf.zeros_like(part), part) for part in corners]
    if call.text("mode", "avg") == "max":
        greatest = tf.maximum(tf.maximum(parts[0], parts[1]), tf.maximum(parts[2], parts[3]))
        return Value(tf.reduce_max(tf.reshape(greatest, shape), [2, 4]), order)
    total = parts[0] + parts[1] + parts[2] + parts[3]
    return Value(tf.reduce_mean(tf.reshape(total, shape), [2, 4]), order)


def _corners(x: Tensor, spans: list[Tensor], batch: Tensor) -> tuple[list[Tensor], Tensor]:
    """The four weighted neighbours of every point, and which points lie outside."""
    lows: list[Tensor] = []
    highs: list[Tensor] = []
    shares: list[Tensor] = []
    outs: list[Tensor] = []
    for axis, points in enumerate(spans):
        size = cast(tf.shape(x)[axis + 1], x.dtype)
        outs.append(tf.logical_or(points < -1.0, points > size))
        at = tf.clip_by_value(points, 0.0, size - 1)
        low = tf.floor(at)
        lows.append(cast(low, tf.int32))
        highs.append(cast(tf.minimum(low + 1, size - 1), tf.int32))
        shares.append(at - low)
    down, across = tf.expand_dims(shares[0], 2), tf.expand_dims(shares[1], 1)
    outside = tf.logical_or(tf.expand_dims(outs[0], 2), tf.expand_dims(outs[1], 1))
    found: list[Tensor] = []
    for rows, share in ((lows[0], 1 - down), (highs[0], down)):
        for columns, part in ((lows[1], 1 - across), (highs[1], across)):
            shape = tf.stack([tf.shape(rows)[0], tf.shape(rows)[1], tf.shape(columns)[1]])
            index = tf.stack(
                [
                    tf.broadcast_to(tf.reshape(batch, [-1, 1, 1]), shape),
                    tf.broadcast_to(tf.expand_dims(rows, 2), shape),
                    tf.broadcast_to(tf.expand_dims(columns, 1), shape),
                ],
                -1,
            )
            found.append(tf.gather_nd(x, index) * tf.expand_dims(share * part, -1))
    return found, tf.expand_dims(outside, -1)
