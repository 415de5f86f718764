"""Random inputs of the types, shapes and ranges that a session asks for."""

# ONNX Runtime's extension module has no stubs:
# pyright: reportUnknownParameterType=false, reportUnknownVariableType=false
# pyright: reportUnknownArgumentType=false

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from lowtide.errors import ModelError

if TYPE_CHECKING:
    from collections.abc import Mapping

    import onnxruntime

__all__ = ["INTEGER_RANGES", "feeds"]

INTEGER_RANGES = (8, 2, 1)
"""Exclusive upper ends for integers, tried in turn: they are often indices into small tables."""

_FLOATS = {"float": np.float32, "double": np.float64, "float16": np.float16}
_INTEGERS = {
    f"{sign}int{bits}": np.dtype(f"{sign}int{bits}")
    for sign in ("", "u")
    for bits in (8, 16, 32, 64)
}
_BFLOAT16 = 16  # TensorProto.BFLOAT16


def feeds(
    session: onnxruntime.InferenceSession, seed: int, below: int, dims: Mapping[str, int]
) -> dict[str, object]:
    """A value for every required input, the same for the same seed.

    Floats are normal, booleans and strings drawn evenly, integers even in [0, below); 8-bit
    integers, which are rarely indices, take their whole range on the first attempt.

    Args:
        session: the session.
        seed: of the generator.
        below: exclusive upper end for integers.
        dims: sizes of named dimensions, `*` for all others; 1 where neither is given.

    Raises:
        ModelError: an input is of a type that cannot be generated.
    """
    generator = np.random.default_rng(seed)
    values: dict[str, object] = {}
    for asked in session.get_inputs():
        shape = [
            size if isinstance(size, int) else dims.get(size or "", dims.get("*", 1))
            for size in asked.shape
        ]
        value = _value(generator, asked.type, shape, below)
        if value is None:
            raise ModelError(
                f"input {asked.name!r} has type {asked.type}: no random value is generated for it"
            )
        values[asked.name] = value
    return values


def _value(generator: np.random.Generator, kind: str, shape: list[int], below: int) -> object:
    element = kind.removeprefix("tensor(").removesuffix(")")
    if element in _FLOATS:
        return np.asarray(generator.standard_normal(shape), _FLOATS[element])
    if element in _INTEGERS:
        dtype = _INTEGERS[element]
        if dtype.itemsize == 1 and below == INTEGER_RANGES[0]:
            limits = np.iinfo(dtype)
            return np.asarray(
                generator.integers(limits.min, limits.max, shape, dtype, endpoint=True)
            )
        return np.asarray(generator.integers(0, below, shape), dtype)
    if element == "bool":
        return np.asarray(generator.integers(0, 2, shape), np.bool_)
    if element == "string":
        words = np.array(["tide", "ebb", ""], dtype=object)
        return np.asarray(words[generator.integers(0, 3, shape)], dtype=object)
    if element == "bfloat16":
        import onnxruntime as ort

        bits = np.asarray(generator.standard_normal(shape), np.float32).view(np.uint32) >> 16
        return ort.OrtValue.ortvalue_from_numpy_with_onnx_type(bits.astype(np.uint16), _BFLOAT16)
    return None
