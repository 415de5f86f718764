"""TFLite's element types as the IR names them."""

from __future__ import annotations

__all__ = ["ELEMENT_TYPES"]

# By number. Strings, resources and variants keep no elements in the tensor's own storage.
ELEMENT_TYPES: tuple[str, ...] = (
    "float32",
    "float16",
    "int32",
    "uint8",
    "int64",
    "opaque",  # STRING
    "bool",
    "int16",
    "complex64",
    "int8",
    "float64",
    "complex128",
    "uint64",
    "opaque",  # RESOURCE
    "opaque",  # VARIANT
    "uint32",
    "uint16",
    "int4",
    "bfloat16",
    "int2",
    "uint4",
    "float8e4m3fn",
    "float8e5m2",
)
