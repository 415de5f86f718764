"""How far two sets of outputs are apart, bit for bit."""

from __future__ import annotations

from dataclasses import dataclass
from typing import cast

import numpy as np
import numpy.typing as npt

__all__ = ["Difference", "compare"]

_TOLERANCE = {"float64": 1e-9, "float32": 1e-4, "float16": 1e-2}
"""Largest difference, relative to the largest finite value of the tensor (at least 1), that other
kernels or another summation order may explain. All other types must be equal."""


@dataclass(frozen=True, slots=True)
class Difference:
    """What two values differ by.

    Attributes:
        identical: all bits equal, NaN equal to NaN.
        within: the difference is within the tolerance of the type.
        max_abs_error: the largest absolute difference of finite elements.
        where: the first value that differs, and how.
    """

    identical: bool = True
    within: bool = True
    max_abs_error: float = 0.0
    where: str = ""

    def and_then(self, other: Difference) -> Difference:
        """Both together."""
        return Difference(
            self.identical and other.identical,
            self.within and other.within,
            max(self.max_abs_error, other.max_abs_error),
            (self.where if not self.within or other.within else other.where) or other.where,
        )


def compare(expected: object, actual: object, name: str) -> Difference:
    """Compare tensors, or sequences and maps of them, recursively."""
    if isinstance(expected, np.ndarray) and isinstance(actual, np.ndarray):
        return _compare_arrays(
            cast("npt.NDArray[np.generic]", expected), cast("npt.NDArray[np.generic]", actual), name
        )
    if isinstance(expected, dict) and isinstance(actual, dict):
        first, second = cast("dict[object, object]", expected), cast("dict[object, object]", actual)
        if first.keys() != second.keys():
            return _different(f"{name}: keys differ")
        pairs = [(first[key], second[key], f"{name}[{key!r}]") for key in first]
    elif isinstance(expected, list) and isinstance(actual, list):
        left, right = cast("list[object]", expected), cast("list[object]", actual)
        if len(left) != len(right):
            return _different(f"{name}: {len(right)} elements, not {len(left)}")
        pairs = [
            (one, other, f"{name}[{index}]")
            for index, (one, other) in enumerate(zip(left, right, strict=True))
        ]
    elif isinstance(expected, dict | list | np.ndarray) or expected is None or actual is None:
        same = expected is None and actual is None
        return Difference() if same else _different(f"{name}: values of different kinds")
    else:  # a map's plain numbers and strings
        return _compare_arrays(np.asarray(expected), np.asarray(actual), name)
    result = Difference()
    for one, other, where in pairs:
        result = result.and_then(compare(one, other, where))
    return result


def _different(where: str) -> Difference:
    return Difference(identical=False, within=False, where=where)


def _compare_arrays(
    expected: npt.NDArray[np.generic], actual: npt.NDArray[np.generic], name: str
) -> Difference:
    if expected.dtype != actual.dtype or expected.shape != actual.shape:
        return _different(
            f"{name}: {actual.dtype}{list(actual.shape)},"
            f" not {expected.dtype}{list(expected.shape)}"
        )
    if expected.dtype.hasobject or expected.dtype.kind in "US":
        same = bool(np.array_equal(expected, actual))
        return Difference() if same else _different(f"{name}: strings differ")
    if expected.tobytes() == actual.tobytes():
        return Difference()
    if expected.dtype.kind != "f":
        return _different(f"{name}: {np.count_nonzero(expected != actual)} elements differ")
    bits = np.dtype(f"u{expected.dtype.itemsize}")
    one, other = np.ascontiguousarray(expected), np.ascontiguousarray(actual)
    nans = np.isnan(one), np.isnan(other)
    if bool(((one.view(bits) == other.view(bits)) | (nans[0] & nans[1])).all()):
        return Difference()
    finite = np.isfinite(one), np.isfinite(other)
    odd = ~(finite[0] & finite[1])
    a, b = one.astype(np.float64), other.astype(np.float64)
    if not np.array_equal(a[odd], b[odd], equal_nan=True):
        return _different(f"{name}: infinities or NaNs in different places")
    error = float(np.abs(a[~odd] - b[~odd]).max(initial=0.0))
    scale = max(1.0, float(np.abs(a[~odd]).max(initial=0.0)))
    within = error <= _TOLERANCE.get(str(expected.dtype), 0.0) * scale
    return Difference(
        identical=False,
        within=within,
        max_abs_error=error,
        where=f"{name}: differs by up to {error:.3g} where values reach {scale:.3g}",
    )
