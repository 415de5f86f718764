"""The first run of a planned function, allocation by allocation, as TVM's runtime makes them.

    peak = arena + what is apart and live + the pages of the thread's pool so far

The pool (`runtime/workspace_pool.cc`) gives a kernel the smallest free block that is large enough;
where none is, it exchanges its largest free block for a larger one. Blocks stay: later runs take
what is there. Exact for static shapes and VMs with the `naive` allocator; the default allocator
rounds what it takes to pages and keeps it.
"""

from __future__ import annotations

from bisect import insort
from typing import TYPE_CHECKING, cast

if TYPE_CHECKING:
    from collections.abc import Sequence

    from lowtide.ir import Op, Tensor
    from lowtide.targets.tvm_plan import FunctionPlan

__all__ = ["Pool", "first_run_peak"]


def first_run_peak(planned: FunctionPlan) -> int | None:
    """The highest level of the first run, in bytes; None where a kernel's workspace is not known.

    Results are live to the end, the arena from its first tensor to the last reader of one.
    """
    source = planned.imported.graph
    ops = [source.op(name) for name in planned.plan.sequence]
    if not all(op.workspace_known or op.traits.pinned for op in ops):
        return None
    steps = planned.order
    apart: dict[Tensor, int] = {}
    inside: set[Tensor] = set()
    for op, step in zip(ops, steps, strict=True):
        for tensor, made in zip(op.outputs, step.outputs, strict=True):
            allocation = planned.imported.allocations.get(tensor.name)
            if allocation is not None and allocation.apart:
                apart[made] = allocation.nbytes
            elif allocation is not None:
                inside.add(made)
    last = _last_uses(steps, {t.storage for t in planned.graph.outputs})
    arena_ends = max((last[tensor] for tensor in inside), default=-1)
    pool = Pool()
    level = peak = 0
    arena_live = False
    for index, (op, step) in enumerate(zip(ops, steps, strict=True)):
        if not arena_live and not inside.isdisjoint(step.outputs):
            arena_live = True
            level += planned.arena_bytes
        level += sum(apart.get(tensor, 0) for tensor in step.outputs)
        sizes = cast("tuple[int, ...]", op.attributes.get("workspace", ()))
        peak = max(peak, level + pool.held, level + pool.run(sizes))
        for root in dict.fromkeys(t.storage for t in (*step.operands, *step.outputs)):
            if last.get(root) == index:
                level -= apart.get(root, 0)
        if index == arena_ends:
            level -= planned.arena_bytes
    return peak


def _last_uses(steps: Sequence[Op], kept: set[Tensor]) -> dict[Tensor, int]:
    """The last step at which a storage is used; results of the function are used for ever."""
    last: dict[Tensor, int] = {}
    for index, op in enumerate(steps):
        for tensor in (*op.operands, *op.outputs):
            last[tensor.storage] = index
    return {root: len(steps) if root in kept else index for root, index in last.items()}


class Pool:
    """TVM's workspace pool of one thread.

    Attributes:
        free: the sizes of the free blocks, ascending.
        held: the bytes of all blocks.
    """

    def __init__(self) -> None:
        self.free: list[int] = []
        self.held = 0

    def run(self, sizes: Sequence[int]) -> int:
        """Take blocks, give them back in the opposite order; the most that was held meanwhile."""
        peak = self.held
        taken: list[int] = []
        for size in sizes:
            fits = next((k for k, block in enumerate(self.free) if block >= size), None)
            if fits is not None:
                taken.append(self.free.pop(fits))
                continue
            if self.free:
                self.held -= self.free.pop()
            self.held += size
            taken.append(size)
            peak = max(peak, self.held)
        for block in taken:
            insort(self.free, block)
        return peak
