"""Kernels that keep less scratch: stages inlined, or computed where they are read.

A fused kernel that nobody scheduled writes padded inputs and intermediate results whole, into
scratch that no memory plan sees. Each such stage is first inlined into its readers; one with a
reduction is computed inside the loops of its last reader instead. A kernel is exchanged only where
its scratch shrinks and its floating point operations grow by at most a twentieth.
"""

# pyright: reportUnknownVariableType=false, reportUnknownArgumentType=false
# pyright: reportUnknownParameterType=false, reportMissingTypeArgument=false
# pyright: reportArgumentType=false, reportAttributeAccessIssue=false
# pyright: reportCallIssue=false, reportUnknownLambdaType=false
# TVM has no stubs, and its annotations are narrower than what it takes.

from __future__ import annotations

from typing import TYPE_CHECKING

from lowtide.frontends.tvm.kernels import estimated_flops, workspace_of
from lowtide.frontends.tvm.sizes import element_type
from lowtide.ir.dtype import nbytes

if TYPE_CHECKING:
    import tvm
    from tvm import s_tir, tirx

__all__ = ["lean"]

_FLOPS_PERCENT = 5
_SMALL_BYTES = 16384


def lean(module: tvm.IRModule) -> tvm.IRModule:
    """The module with its kernels exchanged where that pays; only kernels of static size."""
    import tvm
    from tvm import tirx

    functions = dict(module.functions)
    for variable, function in module.functions_items():
        if isinstance(function, tirx.PrimFunc):
            functions[variable] = _leaner(function)
    return tvm.IRModule(functions, attrs=module.attrs, global_infos=module.global_infos)


def _leaner(function: tirx.PrimFunc) -> tirx.PrimFunc:
    before = workspace_of(function)
    if not before:
        return function
    allowed = (100 + _FLOPS_PERCENT) * estimated_flops(function)
    for least in (0, _SMALL_BYTES):
        changed = _scheduled(function, least)
        after = workspace_of(changed)
        if after is None or sum(after) >= sum(before):
            continue
        if 100 * estimated_flops(changed) <= allowed:
            return changed
    return function


def _scheduled(function: tirx.PrimFunc, least: int) -> tirx.PrimFunc:
    """Stages of fewer than `least` bytes stay: what they hold would be computed again and again.

    Every other stage that can be is inlined; of the rest, each moves into its only reader.
    """
    import tvm
    from tvm import s_tir

    schedule = s_tir.Schedule(tvm.IRModule({"main": function}))
    root = schedule.get_sblock("root", func_name="main")
    for block in schedule.get_child_blocks(root):
        if _written_bytes(schedule.get(block)) < least:
            continue
        try:
            schedule.compute_inline(block)
        except s_tir.ScheduleError:  # a reduction, or a result
            continue
    for block in reversed(schedule.get_child_blocks(root)):
        readers = schedule.get_consumers(block)
        if len(readers) != 1 or _written_bytes(schedule.get(block)) < least:
            continue
        try:
            schedule.compute_at(block, schedule.get_loops(readers[0])[-1])
        except (s_tir.ScheduleError, IndexError):  # it is read outside of loops
            continue
    return schedule.mod["main"].with_attrs(function.attrs)


def _written_bytes(block: s_tir.SBlock) -> int:
    """The bytes of what a stage writes; 0 where its size is symbolic."""
    from tvm import tirx

    total = 0
    for region in block.writes:
        dims = region.source.shape
        if not all(isinstance(dim, tirx.IntImm) for dim in dims):
            return 0
        name = element_type(region.source.dtype)
        total += nbytes(name, tuple(int(dim.value) for dim in dims))
    return total
