"""Resize and Upsample: TensorFlow's kernels where they sample alike, one matrix per axis else."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from lowtide.backends.tensorflow.from_onnx.call import Call
from lowtide.backends.tensorflow.from_onnx.dtypes import cast, is_integer
from lowtide.backends.tensorflow.from_onnx.lazy import Tensor, tf
from lowtide.backends.tensorflow.from_onnx.registry import operator
from lowtide.backends.tensorflow.from_onnx.sampling import Axis, Sampling, sample
from lowtide.backends.tensorflow.from_onnx.value import Value, last

__all__: list[str] = []

# (align_corners, half_pixel_centers) of TensorFlow's kernels, and what they sample.
_KERNELS = (
    (False, True, "half_pixel", "round_prefer_floor"),
    (False, False, "asymmetric", "floor"),
    (True, False, "align_corners", "round_prefer_ceil"),
)


@operator("Upsample", attributes=("mode", "scales", "height_scale", "width_scale"))
def _upsample(call: Call) -> Value:
    if call.has(1):
        scales = [float(s) for s in call.constant(1, "scales").reshape(-1)]
    else:
        scales = list(call.floats("scales") or ())
        if not scales:
            scales = [1.0, 1.0, call.number("height_scale", 1), call.number("width_scale", 1)]
    mode = call.text("mode", "nearest")
    options = Sampling("linear" if mode in ("bilinear", "linear") else mode, "asymmetric", "floor")
    return _resized(call, options, scales, None, {}, 0.0)


@operator("Resize", attributes=("mode",))
def _old_resize(call: Call) -> Value:
    """Opset 10: scales only."""
    scales = [float(s) for s in call.constant(1, "scales").reshape(-1)]
    options = Sampling(call.text("mode", "nearest"), "asymmetric", "floor")
    return _resized(call, options, scales, None, {}, 0.0)


@operator(
    "Resize",
    since=11,
    attributes=(
        "antialias",
        "axes",
        "coordinate_transformation_mode",
        "cubic_coeff_a",
        "exclude_outside",
        "extrapolation_value",
        "keep_aspect_ratio_policy",
        "mode",
        "nearest_mode",
    ),
)
def _resize(call: Call) -> Value:
    rank = call.rank(0)
    options = Sampling(
        call.text("mode", "nearest"),
        call.text("coordinate_transformation_mode", "half_pixel"),
        call.text("nearest_mode", "round_prefer_floor"),
        call.number("cubic_coeff_a", -0.75),
        bool(call.integer("exclude_outside", 0)),
        bool(call.integer("antialias", 0)),
    )
    axes = [call.axis(a, rank) for a in call.ints("axes") or range(rank)]
    rois: dict[int, tuple[float, float]] = {}
    if call.has(1) and options.coordinates == "tf_crop_and_resize":
        roi = [float(r) for r in call.constant(1, "roi").reshape(-1)]
        rois = {a: (roi[i], roi[i + len(axes)]) for i, a in enumerate(axes)}
    scales: list[float] | None = None
    sizes: list[int] | None = None
    if call.has(3):
        given = call.integers(3, "sizes")
        have = call.value(0).shape or ()
        if None in [have[a] for a in axes]:
            call.fail("sizes for an input of open size: bind its dimensions with --dim NAME=VALUE")
        wanted = list(given)
        policy = call.text("keep_aspect_ratio_policy", "stretch")
        ratios = [size / (have[a] or 1) for size, a in zip(given, axes, strict=True)]
        if policy != "stretch":
            ratio = min(ratios) if policy == "not_larger" else max(ratios)
            wanted = [int(ratio * (have[a] or 0) + 0.5) for a in axes]
            ratios = [ratio] * len(axes)
        sizes = [size or 0 for size in have]
        scales = [1.0] * rank
        for a, size, ratio in zip(axes, wanted, ratios, strict=True):
            sizes[a], scales[a] = size, ratio
    else:
        given_scales = call.constant(2, "scales").reshape(-1)
        scales = [1.0] * rank
        for a, scale in zip(axes, given_scales, strict=True):
            scales[a] = float(scale)
    extrapolation = call.number("extrapolation_value", 0.0)
    return _resized(call, options, scales, sizes, rois, extrapolation)


def _resized(
    call: Call,
    options: Sampling,
    scales: Sequence[float],
    sizes: Sequence[int] | None,
    rois: dict[int, tuple[float, float]],
    extrapolation: float,
) -> Value:
    value = call.value(0)
    shape = list(value.shape or ())
    rank = len(shape)
    if options.mode not in ("nearest", "linear", "cubic"):
        call.fail(f"mode `{options.mode}` is not emitted: use nearest, linear or cubic")
    moving = [
        a
        for a in range(rank)
        if scales[a] != 1.0 or (sizes is not None and sizes[a] != shape[a]) or a in rois
    ]
    if not moving:
        return value
    image = rank == 4 and not rois and set(moving) <= {2, 3}
    if any(shape[a] is None for a in moving):
        if image:
            return _dynamic(call, options, scales)
        call.fail("the sizes to resize are open: bind them with --dim NAME=VALUE")
    out = {
        a: sizes[a] if sizes is not None else int(np.floor((shape[a] or 0) * scales[a]))
        for a in moving
    }
    plans = {
        a: sample(options, shape[a] or 0, out[a], scales[a], rois.get(a, (0.0, 1.0)))
        for a in moving
    }
    if image:
        native = _native(call, value, options, plans)
        if native is not None:
            return native
    order = value.order
    x = value.physical
    dtype = x.dtype
    outside = [plan.outside.any() for plan in plans.values()]
    for a, plan in plans.items():
        place = a if order is None else order.index(a)
        if plan.indices is not None:
            x = tf.gather(x, plan.indices, axis=place)
        else:
            wide = cast(x, tf.float32) if is_integer(x.dtype) else x
            matrix = call.placed(plan.matrix.T.astype(wide.dtype.as_numpy_dtype))
            x = _along(wide, matrix, place, rank)
    if any(outside):
        mask = np.zeros([], np.bool_)
        for axis in order or range(rank):
            line = plans[axis].outside if axis in plans else np.zeros(1, np.bool_)
            mask = mask[..., None] | line
        x = tf.where(mask, tf.cast(extrapolation, x.dtype), x)
    if is_integer(dtype) and x.dtype != dtype:
        low, high = float(dtype.min), float(dtype.max)
        x = tf.clip_by_value(tf.round(x), low, high)
    return Value(cast(x, dtype), order)


def _along(x: Tensor, matrix: Tensor, place: int, rank: int) -> Tensor:
    """The product of one axis with a matrix [in, out]."""
    letters = "abcdefgh"[:rank]
    result = letters.replace(letters[place], "z")
    product: Tensor = tf.einsum(f"{letters},{letters[place]}z->{result}", x, matrix)
    return product


def _native(call: Call, value: Value, options: Sampling, plans: dict[int, Axis]) -> Value | None:
    """TensorFlow's kernel, if it samples exactly so; channels last."""
    del call
    if options.mode == "cubic" or options.antialias or options.exclude_outside:
        return None
    shape = list(value.shape or ())
    if value.physical.dtype.name not in ("float32", "float16") and options.mode == "linear":
        return None
    order = last(4)
    if value.order is None and options.mode == "nearest":
        return None  # a gather needs no transpose
    for align, half, coordinates, nearest in _KERNELS:
        native = Sampling(options.mode, coordinates, nearest)
        matches = True
        size = [shape[2] or 0, shape[3] or 0]
        for axis in (2, 3):
            if axis not in plans:
                continue
            n, out = shape[axis] or 0, plans[axis].matrix.shape[0]
            size[axis - 2] = out
            own = sample(native, n, out, out / n, (0.0, 1.0))
            if not np.allclose(own.matrix, plans[axis].matrix, atol=1e-6):
                matches = False
        if matches and not (options.mode == "nearest" and half and not _safe(plans)):
            return Value(_kernel(value.ordered(order), options.mode, size, align, half), order)
    return None


def _safe(plans: dict[int, Axis]) -> bool:
    """TensorFlow's half-pixel nearest rounds down after adding a half: integral factors only."""
    for plan in plans.values():
        out, size = plan.matrix.shape
        if out % size or plan.indices is None:
            return False
        if (plan.indices != np.arange(out) // (out // size)).any():
            return False
    return True


def _kernel(x: Tensor, mode: str, size: object, align: bool, half: bool) -> Tensor:
    raw = tf.raw_ops
    function = raw.ResizeBilinear if mode == "linear" else raw.ResizeNearestNeighbor
    dtype = x.dtype
    result: Tensor = function(images=x, size=size, align_corners=align, half_pixel_centers=half)
    return cast(result, dtype)


def _dynamic(call: Call, options: Sampling, scales: Sequence[float]) -> Value:
    """Open sizes: only what TensorFlow's kernels do, by whole factors."""
    order = last(4)
    x = call.value(0).ordered(order)
    whole = all(scale == int(scale) for scale in scales)
    for align, half, coordinates, _ in _KERNELS:
        if align or options.coordinates not in (coordinates, f"pytorch_{coordinates}") or not whole:
            continue
        if options.mode == "nearest" or (options.mode == "linear" and not options.antialias):
            # By a whole factor no half-pixel coordinate is halfway: all rounding is alike.
            rounds = options.nearest.startswith("round") if half else options.nearest == "floor"
            if options.mode == "nearest" and not rounds:
                continue
            shape = tf.shape(x)
            size = [shape[1] * int(scales[2]), shape[2] * int(scales[3])]
            return Value(_kernel(x, options.mode, tf.stack(size), align, half), order)
    return call.fail("this mode needs the input's size: bind it with --dim NAME=VALUE")
