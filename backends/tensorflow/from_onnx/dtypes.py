"""ONNX's element types as TensorFlow's, and the types that a TensorFlow kernel computes in."""

from __future__ import annotations

from collections.abc import Callable
from functools import cache
from typing import Any

from lowtide.backends.tensorflow.from_onnx.lazy import Tensor, internal, tf

__all__ = ["NAMES", "cast", "computed_as", "dtype_of", "is_integer"]

# onnx.TensorProto.DataType -> the name of a tf.DType. float8's unsigned-zero variants, float8e8m0,
# and the sub-byte floats have none.
NAMES = {
    1: "float32",
    2: "uint8",
    3: "int8",
    4: "uint16",
    5: "int16",
    6: "int32",
    7: "int64",
    8: "string",
    9: "bool",
    10: "float16",
    11: "float64",
    12: "uint32",
    13: "uint64",
    14: "complex64",
    15: "complex128",
    16: "bfloat16",
    17: "float8_e4m3fn",
    19: "float8_e5m2",
    21: "uint4",
    22: "int4",
}

_WIDER = {
    "bool": ("int32", "float32"),
    "int4": ("int8", "int32", "float32"),
    "uint4": ("uint8", "int32", "float32"),
    "int8": ("int16", "int32", "int64", "float32"),
    "uint8": ("uint16", "int16", "int32", "int64", "float32"),
    "int16": ("int32", "int64", "float32"),
    "uint16": ("int32", "int64", "float32"),
    "int32": ("int64", "float64"),
    "uint32": ("int64", "float64"),
    "int64": ("float64",),
    "uint64": ("int64", "float64"),
    "float8_e4m3fn": ("float32",),
    "float8_e5m2": ("float32",),
    "float16": ("float32",),
    "bfloat16": ("float32",),
    "float32": ("float64",),
}


def dtype_of(number: int) -> Any:
    """The `tf.DType` of an ONNX element type; None where TensorFlow has none."""
    return tf.as_dtype(NAMES[number]) if number in NAMES else None


@cache
def _kernels(op: str) -> frozenset[str]:
    """The element types that the CPU's kernels of a TensorFlow op take as `T`."""
    registered = internal("tensorflow.python.framework.kernels")
    names: set[str] = set()
    for kernel in registered.get_registered_kernels_for_op(op).kernel:
        for constraint in kernel.constraint:
            if kernel.device_type == "CPU" and constraint.name == "T":
                names.update(tf.as_dtype(t).name for t in constraint.allowed_values.list.type)
    return frozenset(names)


def cast(tensor: Tensor, dtype: Any) -> Tensor:
    """The tensor in a type; itself where it is that already."""
    result: Tensor = tensor if tensor.dtype == dtype else tf.cast(tensor, dtype)
    return result


def is_integer(dtype: Any) -> bool:
    """Whether a `tf.DType` is an integer's."""
    return bool(dtype.is_integer)


def computed_as(op: str, function: Callable[..., Tensor], *operands: Tensor) -> Tensor:
    """Apply a function whose kernel is `op`, in a wider type where that has no kernel.

    The result has the operands' type where it was widened; integers wrap as they would have.
    """
    dtype = operands[0].dtype
    kernels = _kernels(op) if op else frozenset[str]()
    if dtype.name in kernels or not kernels:
        return function(*operands)
    for wider in _WIDER.get(dtype.name, ()):
        if wider in kernels:
            result = function(*(tf.cast(operand, wider) for operand in operands))
            return result if result.dtype != tf.as_dtype(wider) else tf.cast(result, dtype)
    return function(*operands)
