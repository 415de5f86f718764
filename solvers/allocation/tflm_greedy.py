"""TensorFlow Lite Micro's GreedyMemoryPlanner."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

from lowtide.solvers.allocation.packer import native_packer

if TYPE_CHECKING:
    from lowtide.solvers.allocation.problem import AllocationProblem

__all__ = ["tflm_greedy"]


def tflm_greedy(problem: AllocationProblem) -> tuple[int, ...]:
    """Offsets as TFLM's planner gives them.

    Fixed ("offline planned") buffers first; then by falling size, of equal sizes the one added last
    first (the list is filled from its tail, and the sort is stable); each takes the first gap among
    the buffers alive with it. Sizes are rounded up to the alignment, as MicroAllocator does before
    it adds them. Source: tensorflow/lite/micro/memory_planner/greedy_memory_planner.cc.

    TFLM knows neither gaps nor sharing: a buffer takes its room for its whole lifetime, alone.
    Deviations: the height that we state ends with the topmost buffer, not with its rounding; empty
    buffers lie at 0; alignments of single buffers, which TFLM does not have, are kept.
    """
    plain = replace(problem, blocks=tuple(b._replace(gaps=()) for b in problem.blocks), shares=())

    def key(index: int) -> tuple[int, int]:
        block = problem.blocks[index]
        align = problem.alignment_of(block)
        return block.size + -block.size % align, index

    order = sorted(range(len(problem.blocks)), key=key, reverse=True)
    # First fit with aligned ends is the same as with rounded sizes: gaps between aligned ends and
    # aligned offsets are multiples of the alignment, so that one holds the size or neither.
    return tuple(native_packer(plain).place(order, False)[1])
