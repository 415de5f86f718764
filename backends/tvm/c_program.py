"""A model as freestanding C: `NAME.h`, `NAME.c`, `NAME_data.c`; libc's <math.h> is all it needs.

    int32 .. NAME_run(const float *x, float *y)
       kernel(x, weight, arena + 8192, arena + 0)       tensors and scratch at planned offsets

Inputs and results are the caller's. Everything else lies in one static arena, whose size is in the
header; kernels' scratch is planned like any tensor. Weights are constants in a section of their
own. The arena is defined in another file than the code, so that a compiler cannot object to the
types that share it.
"""

from __future__ import annotations

import hashlib
import json
import math
from dataclasses import dataclass
from typing import TYPE_CHECKING, cast

from lowtide.backends.c.folder import MANIFEST, write_folder
from lowtide.backends.tvm.c_kernels import real_literal
from lowtide.errors import LowtideError, ModelError
from lowtide.ir import Role

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence
    from pathlib import Path

    import numpy as np
    import numpy.typing as npt

    from lowtide.backends.tvm.c_kernels import CKernel
    from lowtide.frontends.tvm import Imported
    from lowtide.ir import Op, Tensor
    from lowtide.passes.plan import Plan

__all__ = ["CProgram", "write_program"]

_TYPES = {
    "bool": "int8_t",
    "float32": "float",
    "float64": "double",
    **{f"{sign}int{bits}": f"{sign}int{bits}_t" for sign in ("", "u") for bits in (8, 16, 32, 64)},
}
_HEADER = """\
/* Written by Lowtide. */
#ifndef {guard}_H
#define {guard}_H

#include <stdint.h>

/* Static memory beside inputs, results and weights. */
#define {guard}_ARENA_BYTES {arena}
#define {guard}_WEIGHTS_BYTES {weights}
{sizes}
/* Where weights go; empty for the default section. */
#ifndef {guard}_WEIGHTS_SECTION
#define {guard}_WEIGHTS_SECTION __attribute__((section("{name}_weights")))
#endif

/* Not reentrant: all calls share one arena. Sizes are in elements. */
void {name}_run({parameters});

#endif
"""


@dataclass(frozen=True, slots=True)
class CProgram:
    """The files of a program, by name, and what it takes.

    Attributes:
        name: the prefix of all symbols.
        files: their texts.
        arena_bytes: of static memory.
        weights_bytes: of constants.
        plan: order, offsets, certificate.
    """

    name: str
    files: Mapping[str, str]
    arena_bytes: int
    weights_bytes: int
    plan: Plan

    def save(self, folder: Path) -> None:
        """Write the folder; it appears whole or not at all, and replaces only one of its kind.

        Raises:
            InputError: the destination is something else, or cannot be written.
        """
        files = {name: text.encode() for name, text in self.files.items()}
        manifest = {
            "schema": "lowtide.c/1",
            "name": self.name,
            "arena": {"bytes": self.arena_bytes, "basis": "planned", "how": "static"},
            "weights_bytes": self.weights_bytes,
            "files": {name: hashlib.sha256(data).hexdigest() for name, data in files.items()},
        }
        files[MANIFEST] = (json.dumps(manifest, indent=1) + "\n").encode()
        write_folder(folder, files)


def write_program(
    name: str,
    imported: Imported,
    steps: Sequence[Op],
    plan: Plan,
    kernels: Mapping[str, CKernel],
    source: str,
) -> CProgram:
    """The texts of a planned function.

    Args:
        name: the prefix of files and symbols, a C identifier.
        imported: the function.
        steps: of the planned sequence, with the kernels' scratch as their last results; what runs
            again is a step of its own.
        plan: the names of their ops in the function, and offsets.
        kernels: by the kinds of the ops.
        source: of all kernels.

    Raises:
        ModelError: a tensor's type is none of C's.
        LowtideError: the layout leaves out a tensor (a bug).
    """
    return _Program(name, imported, steps, plan, kernels, source).text()


class _Program:
    """The texts, piece by piece."""

    def __init__(
        self,
        name: str,
        imported: Imported,
        steps: Sequence[Op],
        plan: Plan,
        kernels: Mapping[str, CKernel],
        source: str,
    ) -> None:
        self.name, self.imported, self.steps, self.plan = name, imported, steps, plan
        self.kernels, self.source = kernels, source
        full = imported.graph
        self.inputs = [t for t in full.tensors if t.producer is None and t.role is Role.INPUT]
        self.constants = [t for t in full.tensors if t.role is Role.CONSTANT]
        self.places: dict[str, str] = {t.name: f"in{i}" for i, t in enumerate(self.inputs)}
        self.places.update({t.name: f"{name}_weight{i}" for i, t in enumerate(self.constants)})
        self.copies: list[str] = []
        for index, tensor in enumerate(full.outputs):
            root = tensor.storage.name
            if root in self.places:
                self.copies.append(f"  memcpy(out{index}, {self.places[root]}, {tensor.nbytes});")
            else:
                self.places[root] = f"out{index}"

    def text(self) -> CProgram:
        """All files."""
        name, imported = self.name, self.imported
        arena = max(1, self.plan.arena_bytes or 0)
        weights = sum(t.nbytes for t in self.constants)
        guard = name.upper()
        sizes = "".join(
            f"#define {guard}_{kind}{index}_SIZE {math.prod(tensor.shape)}\n"
            for kind, tensors in (("IN", self.inputs), ("OUT", imported.graph.outputs))
            for index, tensor in enumerate(tensors)
        )
        parameters = [f"const {_type(t)} *in{i}" for i, t in enumerate(self.inputs)]
        parameters += [f"{_type(t)} *out{i}" for i, t in enumerate(imported.graph.outputs)]
        signature = ", ".join(parameters)
        header = _HEADER.format(
            guard=guard,
            name=name,
            arena=arena,
            weights=weights,
            sizes=sizes,
            parameters=signature,
        )
        externs = [f"extern uint8_t {name}_arena[{guard}_ARENA_BYTES];"]
        externs += [
            f"extern const {_type(t)} {name}_weight{i}[];" for i, t in enumerate(self.constants)
        ]
        calls = [
            self._call(imported.graph.op(name), step)
            for name, step in zip(self.plan.sequence, self.steps, strict=True)
        ]
        code = "\n".join(
            [
                f'#include "{name}.h"\n',
                "#include <math.h>",
                "#include <stdbool.h>",
                "#include <string.h>\n",
                *externs,
                "",
                self.source,
                f"void {name}_run({signature}) {{",
                *filter(None, calls),
                *self.copies,
                "}\n",
            ]
        )
        data = [f'#include "{name}.h"\n', "#include <math.h>\n"]
        data.append(f"uint8_t {name}_arena[{guard}_ARENA_BYTES] __attribute__((aligned(64)));")
        for index, tensor in enumerate(self.constants):
            values = _literals(self.imported.constants[tensor.name])
            data.append(
                f"const {_type(tensor)} {name}_weight{index}[] {guard}_WEIGHTS_SECTION "
                f"__attribute__((aligned(64))) = {{\n{values}}};"
            )
        files = {f"{name}.h": header, f"{name}.c": code, f"{name}_data.c": "\n".join(data) + "\n"}
        return CProgram(name, files, arena, weights, self.plan)

    def _call(self, op: Op, step: Op) -> str:
        """A run of a kernel, its arguments in the order of the binding, then its scratch."""
        if op.traits.view:
            return ""
        kernel = self.kernels[op.kind]
        reads = [t for t in op.inputs if t is not None]
        now = [t for t in step.inputs if t is not None]
        pointers = [self._pointer(t, n) for t, n in zip(reads, now, strict=True)]
        pointers += map(self._pointer, op.outputs, step.outputs)
        order = op.attributes.get("arguments", range(len(pointers)))
        arguments = [pointers[position] for position in cast("Iterable[int]", order)]
        arguments += [self._arena(t) for t in step.outputs[len(op.outputs) :]]
        return f"  {kernel.name}({', '.join(arguments)});"

    def _pointer(self, tensor: Tensor, now: Tensor) -> str:
        """A tensor of the function, as the step has it: kernels take pointers that are not const.

        What lies outside the arena is there however often it is computed.
        """
        place = self.places.get(tensor.storage.name)
        return f"(void *){place}" if place else self._arena(now)

    def _arena(self, now: Tensor) -> str:
        root = now.storage
        offset = self.plan.offsets.get(root.name, 0 if root.nbytes == 0 else None)
        if offset is None:
            raise LowtideError(f"the layout leaves out `{root.name}`: please report this model")
        return f"(void *)({self.name}_arena + {offset})"


def _type(tensor: Tensor) -> str:
    found = _TYPES.get(tensor.dtype)
    if found is None:
        raise ModelError(f"`{tensor.name}` is of type {tensor.dtype}, which C does not have")
    return found


def _literals(array: npt.NDArray[np.generic]) -> str:
    """The elements as C constants, bit for bit but for the payload of NaN."""
    flat = array.reshape(-1)
    if flat.dtype.kind == "f":
        texts = [real_literal(float(value), flat.dtype.name) for value in flat.tolist()]
    else:
        suffix = {"int64": "LL", "uint64": "ULL"}.get(flat.dtype.name, "")
        texts = [_whole(int(value), suffix) for value in flat.tolist()]
    lines = [", ".join(texts[at : at + 8]) for at in range(0, len(texts), 8)]
    return ",\n".join(f"  {line}" for line in lines) + "\n"


def _whole(value: int, suffix: str) -> str:
    """C has no literal of the least int64."""
    return f"({value + 1}LL - 1)" if value == -(1 << 63) else f"{value}{suffix}"
