"""What a kernel (a PrimFunc) does to its arguments, and what it costs."""

# pyright: reportUnknownVariableType=false, reportUnknownArgumentType=false
# pyright: reportUnknownParameterType=false, reportMissingTypeArgument=false
# pyright: reportArgumentType=false, reportAttributeAccessIssue=false
# pyright: reportCallIssue=false, reportUnknownLambdaType=false
# TVM has no stubs, and its annotations are narrower than what it takes.

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Sequence

    import tvm
    from tvm import tirx

__all__ = ["PAGE_BYTES", "Kernel", "Kernels"]

# TVM keeps an allocation of constant size below this on the stack, and takes the rest from a
# per-thread pool of pages (`runtime::kMaxStackAlloca`, `kWorkspacePageSize`).
_ON_STACK = 1024
PAGE_BYTES = 4096


@dataclass(frozen=True, slots=True)
class Kernel:
    """One kernel at one choice of shapes.

    Attributes:
        writes: the positions of the parameters that it may write.
        flops: TVM's estimate; 0 where it has none.
        workspace: what it takes from the thread's pool of pages, in order, all held at once; None
            where its allocations could not be found.
    """

    writes: frozenset[int]
    flops: int
    workspace: tuple[int, ...] | None


class Kernels:
    """The kernels of a module, each looked at once per choice of shapes."""

    def __init__(self, module: tvm.IRModule) -> None:
        self._module = module
        self._writes: dict[str, frozenset[int]] = {}
        self._found: dict[tuple[str, tuple[tuple[int, ...] | None, ...]], Kernel] = {}

    def of(self, name: str, shapes: Sequence[tuple[int, ...] | None]) -> Kernel:
        """The kernel of that name with arguments of these shapes; None for what is no tensor."""
        key = name, tuple(shapes)
        if key not in self._found:
            function = self._module[name]
            if name not in self._writes:
                self._writes[name] = _writes(function)
            static = _specialized(function, shapes)
            self._found[key] = Kernel(
                self._writes[name],
                0 if static is None else estimated_flops(static),
                None if static is None else workspace_of(static),
            )
        return self._found[key]


def _writes(function: tirx.PrimFunc) -> frozenset[int]:
    """The parameters that are stored to, or whose address goes to something unknown."""
    import tvm_ffi
    from tvm import ir, tirx
    from tvm.s_tir import SBlock

    position = {parameter: index for index, parameter in enumerate(function.params)}
    alias: dict[object, object] = {}
    stored: dict[object, None] = {}

    def store(node: tirx.BufferStore) -> None:
        stored[node.buffer] = None

    def call(node: tvm.ir.Call) -> None:
        # A buffer that goes to a call as a whole: its address is taken.
        stored.update((argument, None) for argument in node.args if isinstance(argument, ir.Var))

    def block(node: object) -> None:
        for match in getattr(node, "match_buffers", ()):
            alias[match.buffer] = match.source.source

    callbacks = [(tirx.BufferStore, store), (ir.Call, call), (SBlock, block)]
    tvm_ffi.structural_walk(function.body, callbacks)
    found: set[int] = set()
    for buffer in stored:
        root = buffer
        while root in alias:
            root = alias[root]
        if root in position:
            found.add(position[root])
    return frozenset(found)


def _specialized(
    function: tirx.PrimFunc, shapes: Sequence[tuple[int, ...] | None]
) -> tirx.PrimFunc | None:
    """The kernel with its symbolic dimensions at the given shapes; None where that fails."""
    import tvm
    from tvm import tirx

    binding: dict[object, object] = {}
    for parameter, shape in zip(function.params, shapes, strict=True):
        dims = getattr(parameter, "shape", None)
        if dims is None:
            return None  # a number: the arguments' shapes do not give it
        if all(isinstance(dim, tirx.IntImm) for dim in dims):
            continue
        if shape is None or len(shape) != len(dims):
            return None
        binding[parameter] = tirx.decl_buffer(
            [tirx.const(value, dim.ty.dtype) for dim, value in zip(dims, shape, strict=True)],
            parameter.dtype,
            parameter.name,
        )
    if not binding:
        return function
    try:
        return function.specialize(binding)
    except (TypeError, ValueError, RuntimeError, tvm.error.InternalError):
        return None


def estimated_flops(function: tirx.PrimFunc) -> int:
    import tvm
    from tvm import s_tir

    try:
        found = float(s_tir.analysis.estimate_tir_flops(tvm.IRModule({"main": function})))
    except (ValueError, RuntimeError, tvm.error.InternalError):
        return 0
    return int(found) if 0 <= found < 1 << 62 else 0


def workspace_of(function: tirx.PrimFunc) -> tuple[int, ...] | None:
    """The bytes of every allocation after TVM's own storage rewrite; None where it fails."""
    import tvm
    import tvm_ffi
    from tvm import s_tir, tirx

    passes = [
        s_tir.transform.CanonicalizeLoop(),
        s_tir.transform.LowerInitBlock(),
        s_tir.transform.PlanAndUpdateBufferAllocationLocation(),
        s_tir.transform.ConvertBlocksToOpaque(),
        s_tir.transform.CompactBufferAllocation(),
        s_tir.transform.LowerMatchBuffer(),
        s_tir.transform.LowerOpaqueBlock(),
        tirx.transform.FlattenBuffer(),
        tirx.transform.StorageRewrite(),
    ]
    try:
        lowered = tvm.transform.Sequential(passes)(tvm.IRModule({"main": function}))["main"]
    except (ValueError, RuntimeError, tvm.error.InternalError):
        return None
    found: list[int | None] = []

    def visit(node: tirx.AllocBuffer) -> None:
        buffer = node.buffer
        count = 1
        for dim in buffer.shape:
            if not isinstance(dim, tirx.IntImm):
                found.append(None)
                return
            count *= int(dim.value)
        bits = tvm.DataType(str(buffer.dtype))
        nbytes = (count * bits.bits * bits.lanes + 7) // 8
        if nbytes >= _ON_STACK and buffer.scope() in ("", "global"):
            found.append(-(-nbytes // PAGE_BYTES) * PAGE_BYTES)

    tvm_ffi.structural_walk(lowered.body, [(tirx.AllocBuffer, visit)], order="pre")
    known = tuple(size for size in found if size is not None)
    return known if len(known) == len(found) else None
