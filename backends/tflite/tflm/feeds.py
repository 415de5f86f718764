"""Inputs to execute a model with: random ones and those at the ends of the ranges."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from lowtide.errors import ModelError

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from lowtide.frontends.tflite import TfliteModel, TfliteTensor

__all__ = ["BOUNDARIES", "feeds_for"]

BOUNDARIES = ("min", "max", "zero point")
_MAX_INDEX = 2  # wide integers are often indices into small tables: below this
_MAX_BYTES = 1 << 30
_LARGE = 100.0  # what floats take for an end of their range


def feeds_for(
    model: TfliteModel, *, random: int = 3, seed: int = 0
) -> tuple[tuple[NDArray[np.generic], ...], ...]:
    """One tuple of arrays per execution: `random` random ones, then one per entry of `BOUNDARIES`.

    Narrow integers take their whole range, wide ones 0 and 1, floats are normal.

    Raises:
        ModelError: an input is of a type that cannot be generated, or too large.
    """
    main = model.subgraphs[0]
    inputs = [main.tensors[i] for i in main.inputs]
    if sum(t.nbytes for t in inputs) > _MAX_BYTES:
        raise ModelError(f"the inputs take over {_MAX_BYTES} bytes: too many to execute it with")
    generator = np.random.default_rng(seed)
    found = [tuple(_random(t, generator) for t in inputs) for _ in range(random)]
    found += [tuple(_boundary(t, which) for t in inputs) for which in BOUNDARIES]
    return tuple(found)


def _dtype(tensor: TfliteTensor) -> np.dtype[np.generic]:
    try:
        dtype = np.dtype(tensor.dtype)
    except TypeError:
        dtype = np.dtype(object)
    if dtype.kind not in "iufb":
        raise ModelError(
            f"input {tensor.index} has the type {tensor.dtype}: no values are generated for it"
        )
    return dtype


def _range(dtype: np.dtype[np.generic]) -> tuple[int, int]:
    """The least and the greatest value of an integer type."""
    bits = 8 * dtype.itemsize - (dtype.kind == "i")
    return (-(1 << bits) if dtype.kind == "i" else 0), (1 << bits) - 1


def _random(tensor: TfliteTensor, generator: np.random.Generator) -> NDArray[np.generic]:
    dtype = _dtype(tensor)
    if dtype.kind == "f":
        return generator.standard_normal(tensor.shape).astype(dtype)
    if dtype.kind == "b" or dtype.itemsize > 2:
        return generator.integers(0, _MAX_INDEX, tensor.shape).astype(dtype)
    low, high = _range(dtype)
    return generator.integers(low, high, tensor.shape, endpoint=True).astype(dtype)


def _boundary(tensor: TfliteTensor, which: str) -> NDArray[np.generic]:
    dtype = _dtype(tensor)
    if which == "zero point":
        value: float = 0
        if dtype.kind in "iu" and dtype.itemsize <= 2:
            held = tensor.table.table("quantization")
            points = held.integers("zero_point") if held is not None else ()
            low, high = _range(dtype)
            if points and low <= points[0] <= high:
                value = points[0]
    elif dtype.kind == "f":
        value = -_LARGE if which == "min" else _LARGE
    elif dtype.kind == "b" or dtype.itemsize > 2:
        value = 0 if which == "min" else _MAX_INDEX - 1
    else:
        value = _range(dtype)[which == "max"]
    return np.full(tensor.shape, value, dtype)
