"""TensorFlow's element types in the IR's names."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from lowtide.tensorflow_types import TfDtype

__all__ = ["element_type"]

# Values that live outside tensor storage, or whose bytes cannot be known: size 0.
_OPAQUE = frozenset({"resource", "variant", "string"})
_NAMES = {
    "half": "float16",
    "float8_e4m3fn": "float8e4m3fn",
    "float8_e4m3fnuz": "float8e4m3fnuz",
    "float8_e5m2": "float8e5m2",
    "float8_e5m2fnuz": "float8e5m2fnuz",
    # Sub-byte and quantized types take whole bytes in TensorFlow.
    "int2": "int8",
    "uint2": "uint8",
    "int4": "int8",
    "uint4": "uint8",
    "float4_e2m1fn": "uint8",
    "qint8": "int8",
    "quint8": "uint8",
    "qint16": "int16",
    "quint16": "uint16",
    "qint32": "int32",
}


def element_type(dtype: TfDtype) -> str:
    """The IR's name of a `tf.DType`."""
    name = dtype.base_dtype.name
    return "opaque" if name in _OPAQUE else _NAMES.get(name, name)
