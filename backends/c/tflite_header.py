"""The header of a model for TFLite Micro: C constants, and C++ templates that need none of TFLM.

    #include "NAME.h"

    alignas(NAME_ARENA_ALIGNMENT) static uint8_t arena[NAME_ARENA_BYTES];
    tflite::MicroMutableOpResolver<NAME_OP_COUNT> resolver;
    name_add_ops(resolver);
    const tflite::Model* model = tflite::GetModel(name_model);
    tflite::MicroInterpreter interpreter(model, resolver, arena, sizeof arena);
    if (name_allocate(interpreter) != 0) ...

Templates take the resolver and the interpreter as they are, so that the header compiles by itself.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal

import numpy as np

from lowtide.backends.c.identifier import comment, literal

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from lowtide.backends.c.tflite_ops import ResolverOp
    from lowtide.frontends.tflite import TfliteTensor

__all__ = ["Arena", "header"]

_ALIGNMENT = 16
_BASES = {"measured": "measured", "estimate": "an estimate, not validated by execution"}
_C_TYPES = {
    "bool": "bool",
    "float32": "float",
    "float64": "double",
    **{f"{sign}int{bits}": f"{sign}int{bits}_t" for sign in ("", "u") for bits in (8, 16, 32, 64)},
}


@dataclass(frozen=True, slots=True)
class Arena:
    """What the model needs, and how that is known.

    Attributes:
        size_bytes: the least arena that works; rounded up to the alignment in the header.
        basis: `measured` where the model ran in an arena of that size, else `estimate`.
        how: in words: kernels, pointer width, versions.
    """

    size_bytes: int
    basis: Literal["measured", "estimate"]
    how: str

    @property
    def rounded_bytes(self) -> int:
        """Whole steps of the alignment."""
        return -(-self.size_bytes // _ALIGNMENT) * _ALIGNMENT


def header(
    name: str,
    *,
    model_bytes: int,
    sha256: str,
    arena: Arena,
    ops: Sequence[ResolverOp],
    inputs: Sequence[TfliteTensor],
    outputs: Sequence[TfliteTensor],
) -> str:
    """The text of NAME.h; `name` is an identifier."""
    upper = name.upper()
    lines = [
        f"// Made by lowtide from a .tflite file with SHA-256 {sha256}.",
        f"// The arena's size is {_BASES[arena.basis]}: {comment(arena.how)}",
        f"#ifndef {upper}_LOWTIDE_H",
        f"#define {upper}_LOWTIDE_H",
        "",
        "#include <stdbool.h>",
        "#include <stddef.h>",
        "#include <stdint.h>",
        "",
        "// The tensor arena: declare it with this alignment.",
        f"#define {upper}_ARENA_BYTES {arena.rounded_bytes}",
        f"#define {upper}_ARENA_ALIGNMENT {_ALIGNMENT}",
        f"#define {upper}_ARENA_IS_MEASURED {int(arena.basis == 'measured')}",
        "",
        "// The model; define the macro to place it in a section of your own.",
        f"#ifndef {upper}_MODEL_SECTION",
        f"#define {upper}_MODEL_SECTION",
        "#endif",
        f"#define {upper}_MODEL_BYTES {model_bytes}",
        "#ifdef __cplusplus",
        'extern "C" {',
        "#endif",
        f"extern const unsigned char {name}_model[{upper}_MODEL_BYTES];",
        "#ifdef __cplusplus",
        "}",
        "#endif",
        "",
        "// Operators: the N of tflite::MicroMutableOpResolver<N>, and each one's name.",
        f"#define {upper}_OP_COUNT {len(ops)}",
        *_op_list(upper, ops),
        "",
        f"#define {upper}_INPUT_COUNT {len(inputs)}",
        f"#define {upper}_OUTPUT_COUNT {len(outputs)}",
    ]
    for role, tensors in (("INPUT", inputs), ("OUTPUT", outputs)):
        for number, tensor in enumerate(tensors):
            lines += ["", *_tensor(f"{upper}_{role}{number}", tensor)]
    lines += ["", "#ifdef __cplusplus", "", *_templates(name, upper, ops), "", "#endif"]
    lines += ["", f"#endif  // {upper}_LOWTIDE_H"]
    return "\n".join(lines) + "\n"


def _op_list(upper: str, ops: Sequence[ResolverOp]) -> Iterator[str]:
    """`NAME_OPS(X)`, a list for macros: X(kind, custom or not)."""
    entries = [f"  X({literal(op.kind)}, {int(not op.call)})" for op in ops]
    yield " \\\n".join([f"#define {upper}_OPS(X)", *entries])


def _tensor(prefix: str, tensor: TfliteTensor) -> Iterator[str]:
    yield f"// {comment(tensor.name)}: {tensor.dtype} [{', '.join(map(str, tensor.shape))}]"
    yield f"#define {prefix}_BYTES {tensor.nbytes}"
    c_type = _C_TYPES.get(tensor.dtype)
    if c_type is not None:
        yield f"#define {prefix}_TYPE {c_type}"
        yield f"#define {prefix}_ELEMENTS {int(np.prod(tensor.shape, dtype=object))}"
    yield f"#define {prefix}_RANK {len(tensor.shape)}"
    for axis, size in enumerate(tensor.shape):
        yield f"#define {prefix}_DIM{axis} {size}"
    quantization = tensor.table.table("quantization")
    if quantization is None:
        return
    scales, zeros = quantization.numbers("scale") or (), quantization.integers("zero_point")
    if len(scales) == 1 and len(zeros) == 1 and np.isfinite(scales[0]):
        yield "// real value = scale * (stored value - zero point)"
        yield f"#define {prefix}_SCALE {_float(float(scales[0]))}"
        yield f"#define {prefix}_ZERO_POINT ({zeros[0]})"


def _float(value: float) -> str:
    """A C literal that gives the same 32-bit float."""
    text = f"{np.float32(value):.9g}"
    return (text if any(c in text for c in ".e") else text + ".0") + "f"


def _templates(name: str, upper: str, ops: Sequence[ResolverOp]) -> Iterator[str]:
    own = [op for op in ops if not op.call]
    if own:
        yield "// CUSTOM OPERATORS whose kernels TFLite Micro does not bring. Define a type Kernels"
        yield "// with these static functions, each returning a const TFLMRegistration*, and call"
        yield f"// {name}_add_ops<Kernels>(resolver):"
        yield from (f"//   {op.register}()  {comment(op.kind)}" for op in own)
        yield "template <typename Kernels, typename Resolver>"
    else:
        yield "// Adds every operator; false if one did not fit."
        yield "template <typename Resolver>"
    yield f"inline bool {name}_add_ops(Resolver& resolver) {{"
    calls = [
        f"{op.call}()" if op.call else f"AddCustom({literal(op.kind)}, Kernels::{op.register}())"
        for op in ops
    ]
    added = [f"static_cast<int>(resolver.{call}) == 0" for call in calls]
    yield "  return " + " &&\n         ".join(added or ["sizeof(resolver) > 0"]) + ";"
    yield "}"
    yield ""
    yield "// Allocates the tensors and checks what that took: 0 if it fits, 1 if the allocation"
    yield f"// failed, 2 if it took more than {upper}_ARENA_BYTES, in a larger arena. Call it once."
    yield "template <typename Interpreter>"
    yield f"inline int {name}_allocate(Interpreter& interpreter) {{"
    yield "  if (static_cast<int>(interpreter.AllocateTensors()) != 0) {"
    yield "    return 1;"
    yield "  }"
    yield f"  return interpreter.arena_used_bytes() > size_t{{{upper}_ARENA_BYTES}} ? 2 : 0;"
    yield "}"
