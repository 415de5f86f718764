"""Resizing one axis: where each output element samples, and with which weights.

Interpolation is separable, so that a resize is one [out, in] matrix per axis:

    x = coordinate(i)                in the input's coordinates, by the transformation mode
    matrix[i, clamp(k)] += c_k       c_k the kernel's weights around x; edges repeat

Elements of output that extrapolate (tf_crop_and_resize) are a mask.
"""

# TensorFlow has no type stubs:
# pyright: reportUnknownLambdaType=false, reportUnknownArgumentType=false
# pyright: reportUnknownVariableType=false

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

__all__ = ["Axis", "Sampling", "sample"]

_Floats = npt.NDArray[np.float64]


@dataclass(frozen=True, slots=True)
class Sampling:
    """A resize's options, as ONNX names them."""

    mode: str
    coordinates: str
    nearest: str = "round_prefer_floor"
    cubic_a: float = -0.75
    exclude_outside: bool = False
    antialias: bool = False


@dataclass(frozen=True, slots=True)
class Axis:
    """One axis of a resize.

    Attributes:
        matrix: [out, in].
        outside: which output elements take the extrapolation value.
        indices: where each output element is copied from, for mode nearest.
    """

    matrix: _Floats
    outside: npt.NDArray[np.bool_]
    indices: npt.NDArray[np.int64] | None


def sample(options: Sampling, size: int, out: int, scale: float, roi: tuple[float, float]) -> Axis:
    """The matrix that resizes an axis of `size` to `out` elements."""
    x = _coordinates(options.coordinates, size, out, scale, roi)
    outside = np.zeros(out, np.bool_)
    if options.coordinates == "tf_crop_and_resize":
        outside = (x < 0) | (x > size - 1)
    matrix = np.zeros((out, size))
    if options.mode == "nearest":
        indices = np.clip(_nearest(x, options.nearest), 0, size - 1)
        matrix[np.arange(out), indices] = 1.0
        return Axis(matrix, outside, indices)
    kernel, reach = _kernel(options, scale)
    for i, at in enumerate(x):
        low = math.floor(at - reach) + 1
        taken = np.arange(low, math.ceil(at + reach))
        weights = np.array([kernel(float(k - at)) for k in taken])
        if options.antialias:
            weights = weights / weights.sum()
        if options.exclude_outside:
            inside = (taken >= 0) & (taken < size)
            weights = np.where(inside, weights, 0.0)
            total = weights.sum()
            weights = weights / (total if total else 1.0)
        np.add.at(matrix[i], np.clip(taken, 0, size - 1), weights)
    return Axis(matrix, outside, None)


def _coordinates(kind: str, size: int, out: int, scale: float, roi: tuple[float, float]) -> _Floats:
    i = np.arange(out, dtype=np.float64)
    length = scale * size
    if kind == "align_corners":
        return np.zeros(out) if length == 1 else i * (size - 1) / (length - 1)
    if kind == "asymmetric":
        return i / scale
    if kind == "tf_crop_and_resize":
        extent = (roi[1] - roi[0]) * (size - 1)
        inner = np.full(out, extent / 2) if length == 1 else i * extent / (length - 1)
        return inner + roi[0] * (size - 1)
    if kind == "pytorch_half_pixel" and length == 1:
        return np.full(out, -0.5)
    x = (i + 0.5) / scale - 0.5
    if kind == "half_pixel_symmetric":
        x = x + size / 2 * (1 - out / length)
    return x


def _nearest(x: _Floats, kind: str) -> npt.NDArray[np.int64]:
    rounded = {
        "round_prefer_floor": lambda: np.ceil(x - 0.5),
        "round_prefer_ceil": lambda: np.floor(x + 0.5),
        "floor": lambda: np.floor(x),
        "ceil": lambda: np.ceil(x),
    }
    return rounded[kind]().astype(np.int64)


def _kernel(options: Sampling, scale: float) -> tuple[Callable[[float], float], float]:
    """The weight by distance, and how far it reaches; wider where antialiasing shrinks."""
    narrow = min(scale, 1.0) if options.antialias else 1.0
    a = options.cubic_a

    def linear(distance: float) -> float:
        return max(1 - abs(distance * narrow), 0.0)

    def cubic(distance: float) -> float:
        x = abs(distance * narrow)
        if x <= 1:
            return (a + 2) * x**3 - (a + 3) * x**2 + 1
        if x < 2:
            return a * x**3 - 5 * a * x**2 + 8 * a * x - 4 * a
        return 0.0

    return (cubic, 2 / narrow) if options.mode == "cubic" else (linear, 1 / narrow)
