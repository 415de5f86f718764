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

if TYPE_CHECKING:
    import tvm
    from tvm import tirx

__all__ = ["lean"]

_FLOPS_PERCENT = 5


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
    changed = _scheduled(function)
    after = workspace_of(changed)
    if after is None or sum(after) >= sum(before):
        return function
    allowed = (100 + _FLOPS_PERCENT) * estimated_flops(function)
    return changed if 100 * estimated_flops(changed) <= allowed else function


def _scheduled(function: tirx.PrimFunc) -> tirx.PrimFunc:
    """Every stage that can be is inlined; of the others, each moves into its only reader."""
    import tvm
    from tvm import s_tir

    schedule = s_tir.Schedule(tvm.IRModule({"main": function}))
    root = schedule.get_sblock("root", func_name="main")
    for block in schedule.get_child_blocks(root):
        try:
            schedule.compute_inline(block)
        except s_tir.ScheduleError:  # a reduction, or a result
            continue
    for block in reversed(schedule.get_child_blocks(root)):
        readers = schedule.get_consumers(block)
        if len(readers) != 1:
            continue
        try:
            schedule.compute_at(block, schedule.get_loops(readers[0])[-1])
        except (s_tir.ScheduleError, IndexError):  # it is read outside of loops
            continue
    return schedule.mod["main"].with_attrs(function.attrs)
