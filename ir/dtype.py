"""Element types and their exact sizes, sub-byte types included."""

from lowtide.errors import ModelError

__all__ = ["BITS", "MAX_BYTES", "nbytes"]

# Names follow numpy and ml_dtypes where those have one. Strings, sequences and other values whose
# bytes the runtime does not keep in tensor storage are `opaque` (size 0).
BITS: dict[str, int] = {
    "bool": 8,
    "int2": 2,
    "uint2": 2,
    "int4": 4,
    "uint4": 4,
    "int8": 8,
    "uint8": 8,
    "int16": 16,
    "uint16": 16,
    "int32": 32,
    "uint32": 32,
    "int64": 64,
    "uint64": 64,
    "float4e2m1": 4,
    "float6e2m3": 6,
    "float6e3m2": 6,
    "float8e4m3fn": 8,
    "float8e4m3fnuz": 8,
    "float8e5m2": 8,
    "float8e5m2fnuz": 8,
    "float8e8m0": 8,
    "float16": 16,
    "bfloat16": 16,
    "float32": 32,
    "float64": 64,
    "complex64": 64,
    "complex128": 128,
    "opaque": 0,
}

# Above this no size, sum or product of ours is allowed, so that 64-bit arithmetic cannot overflow.
MAX_BYTES = 1 << 60


def nbytes(dtype: str, shape: tuple[int, ...]) -> int:
    """The bytes that a dense tensor occupies; sub-byte elements are packed and rounded up.

    Raises:
        ModelError: unknown type, a negative dimension, or a size above `MAX_BYTES`.
    """
    bits = BITS.get(dtype)
    if bits is None:
        raise ModelError(f"element type `{dtype}` is unknown; known are {', '.join(BITS)}")
    count = 1
    for dim in shape:
        if dim < 0:
            raise ModelError(f"shape {list(shape)} has the negative dimension {dim}")
        count *= dim
    total = (count * bits + 7) // 8
    if total > MAX_BYTES:
        raise ModelError(f"a tensor {dtype}{list(shape)} would take {total} bytes, over 2^60")
    return total
