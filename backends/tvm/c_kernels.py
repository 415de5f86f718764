"""Kernels as plain C functions: pointers in, pointers out, scratch handed in by the caller.

TVM's own lowering is used up to its packed calling convention, which is left out: buffers become
pointers, and every allocation becomes one more parameter, so that a planner can place it. What
comes out needs a C compiler and <math.h>, no TVM.
"""

# pyright: reportUnknownVariableType=false, reportUnknownArgumentType=false
# pyright: reportUnknownParameterType=false, reportMissingTypeArgument=false
# pyright: reportArgumentType=false, reportAttributeAccessIssue=false
# pyright: reportCallIssue=false, reportUnknownLambdaType=false
# TVM has no stubs, and its annotations are narrower than what it takes.

from __future__ import annotations

import math
import re
from dataclasses import dataclass
from typing import TYPE_CHECKING

from lowtide.errors import ModelError
from lowtide.ir.dtype import nbytes

if TYPE_CHECKING:
    from collections.abc import Iterable

    import tvm
    from tvm import tirx

__all__ = ["CKernel", "c_kernels", "real_literal"]

_REAL = "lowtide_real_"  # what stands for a number while TVM writes C


@dataclass(frozen=True, slots=True)
class CKernel:
    """One kernel.

    Attributes:
        name: of the C function, unique.
        scratch: the bytes of each buffer that it takes after its arguments.
    """

    name: str
    scratch: tuple[int, ...]


def c_kernels(module: tvm.IRModule, names: Iterable[str]) -> tuple[dict[str, CKernel], str]:
    """The kernels by their names in the module, and the C source of all of them.

    Raises:
        ModelError: a kernel has a symbolic size, or TVM cannot write it as C.
    """
    import tvm
    from tvm import s_tir, tirx

    target = tvm.target.Target("c", host="c")
    chosen = {
        module.get_global_var(name): module[name]
        .with_attr("target", target)
        .with_attr("global_symbol", f"lowtide_{name}")
        for name in names
    }
    passes = [
        s_tir.transform.CanonicalizeLoop(),
        s_tir.transform.LowerInitBlock(),
        s_tir.transform.PlanAndUpdateBufferAllocationLocation(),
        s_tir.transform.ConvertBlocksToOpaque(),
        s_tir.transform.CompactBufferAllocation(),
        s_tir.transform.LowerMatchBuffer(),
        s_tir.transform.StmtSimplify(),
        s_tir.transform.LowerOpaqueBlock(),
        tirx.transform.FlattenBuffer(),
        tirx.transform.NarrowDataType(32),
        s_tir.transform.LoopPartition(),
        tirx.transform.VectorizeLoop(False),
        tirx.transform.StorageRewrite(),
        tirx.transform.UnrollLoop(),
        tirx.transform.StmtSimplify(),
        tirx.transform.RemoveNoOp(),
        tirx.transform.CommonSubexprElim(),
        tirx.transform.LowerIntrin(),
    ]
    try:
        lowered = tvm.transform.Sequential(passes)(tvm.IRModule(chosen))
        found: dict[str, CKernel] = {}
        functions: dict[object, tirx.PrimFunc] = {}
        for variable, function in lowered.functions_items():
            functions[variable], scratch = _with_pointers(variable.name_hint, function)
            name = str(variable.name_hint)
            found[name] = CKernel(f"lowtide_{name}", scratch)
        build = tvm.get_global_func("target.build.c")
        source = str(build(tvm.IRModule(functions), target).inspect_source())
    except (ValueError, TypeError, RuntimeError, tvm.error.InternalError) as error:
        text = " ".join(str(error).split())[-300:]
        raise ModelError(f"TVM cannot write a kernel of this model as C: {text}") from error
    return found, _plain(source)


def _with_pointers(name: str, function: tirx.PrimFunc) -> tuple[tirx.PrimFunc, tuple[int, ...]]:
    """The kernel with a pointer for every buffer, those that it allocated last."""
    import tvm_ffi
    from tvm import ir, tirx

    pointers: dict[object, object] = {}
    scratch: list[object] = []
    sizes: list[int] = []

    def pointer(buffer: tirx.Buffer) -> object:
        if buffer not in pointers:
            type_ = ir.PointerType(ir.PrimType(str(buffer.dtype)), "global")
            # TVM writes names as they are, and a buffer's may be the model's: it is not used.
            pointers[buffer] = tirx.Var(f"p{len(pointers)}", type_)
        return pointers[buffer]

    def allocation(node: tirx.AllocBuffer) -> tirx.DeclBuffer:
        if not all(isinstance(dim, tirx.IntImm) for dim in node.buffer.shape):
            raise ModelError(
                f"the kernel `{name}` has scratch of symbolic size: give its dimensions"
            )
        shape = tuple(int(dim.value) for dim in node.buffer.shape)
        scratch.append(pointer(node.buffer))
        sizes.append(nbytes(str(node.buffer.dtype), shape))
        return tirx.DeclBuffer(node.buffer, data=pointer(node.buffer))

    def declaration(node: tirx.DeclBuffer) -> tirx.DeclBuffer:
        data = node.data
        owner = data.args[0] if isinstance(data, ir.Call) else data
        return tirx.DeclBuffer(node.buffer, data=pointer(owner))

    def real(node: tirx.FloatImm) -> object:
        dtype = str(node.ty.dtype)
        if dtype not in ("float32", "float64"):
            return node
        return tirx.call_pure_extern(dtype, f"{_REAL}{dtype}_{float(node.value).hex()}")

    parameters = [pointer(parameter) for parameter in function.params]
    body = tvm_ffi.structural_map(
        function.body,
        [(tirx.AllocBuffer, allocation), (tirx.DeclBuffer, declaration), (tirx.FloatImm, real)],
        order="pre",
    )
    made = tirx.PrimFunc([*parameters, *scratch], body, attrs=function.attrs)
    return made, tuple(sizes)


def _plain(source: str) -> str:
    """TVM's C without its headers and macros: static functions, the library's from <math.h>."""
    source = re.sub(r'#ifdef __cplusplus\nextern "C"\n#endif\n', "", source)
    source = re.sub(r"^(//|#|void\* __tvm_ffi__library_ctx).*\n", "", source, flags=re.MULTILINE)
    source = re.sub(r"^TVM_DLL [^{;]*;\n", "", source, flags=re.MULTILINE)
    source = re.sub(_REAL + r"(float32|float64)_([-+.a-z0-9]+)\(\)", _real, source)
    return source.replace("TVM_DLL void", "static void").strip() + "\n"


def _real(match: re.Match[str]) -> str:
    """A number as C, all of its digits: TVM writes seven."""
    text = real_literal(float.fromhex(match[2]), match[1])
    return f"({text})" if text.startswith("-") else text


def real_literal(value: float, dtype: str) -> str:
    """A float32 or float64 as a C constant, bit for bit but for the payload of NaN."""
    if math.isnan(value):
        return "NAN"
    if math.isinf(value):
        return "INFINITY" if value > 0 else "-INFINITY"
    return value.hex() + ("f" if dtype == "float32" else "")
