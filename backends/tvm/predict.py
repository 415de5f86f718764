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

from lowtide.ir import Role

if TYPE_CHECKING:
    from collections.abc import Sequence

    from lowtide.ir import Op, Tensor
    from lowtide.targets.tvm_plan import FunctionPlan

__all__ = ["Pool", "first_run_peak"]


def first_run_peak(planned: FunctionPlan) -> int | None:
    """The highest level of the first run, in bytes; None where a kernel's workspace is not known.

    Results are live to the end, the arena from its first tensor to the last reader of one.
    """
    graph = planned.imported.graph
    order = [graph.op(op.name) for op in planned.order]
    if not all(op.workspace_known or op.traits.pinned for op in order):
        return None
    allocations = planned.imported.allocations
    last = _last_uses(order, {t.storage for t in graph.outputs})
    inside = {name for name, allocation in allocations.items() if not allocation.apart}
    arena_ends = max((last[graph.tensor(name)] for name in inside), default=-1)
    pool = Pool()
    level = peak = 0
    arena_live = False
    for index, op in enumerate(order):
        for tensor in op.outputs:
            if tensor.name in inside and not arena_live:
                arena_live = True
                level += planned.arena_bytes
            elif tensor.name in allocations and tensor.name not in inside:
                level += allocations[tensor.name].nbytes
        peak = max(peak, level + pool.held)
        sizes = cast("tuple[int, ...]", op.attributes.get("workspace", ()))
        peak = max(peak, level + pool.run(sizes))
        for root in dict.fromkeys(t.storage for t in (*op.operands, *op.outputs)):
            if last.get(root) == index and root.name in allocations and root.name not in inside:
                level -= allocations[root.name].nbytes
        if index == arena_ends:
            level -= planned.arena_bytes
    return peak


def _last_uses(order: Sequence[Op], kept: set[Tensor]) -> dict[Tensor, int]:
    """The last step at which a storage is used; results of the function are used for ever."""
    last: dict[Tensor, int] = {}
    for index, op in enumerate(order):
        for tensor in (*op.operands, *op.outputs):
            last[tensor.storage] = index
    return {
        root: len(order) if root in kept else index
        for root, index in last.items()
        if root.role is not Role.CONSTANT
    }


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
