"""TensorFlow Lite's ArenaPlanner with its SimpleMemoryArena: greedy by size, best fit."""

from __future__ import annotations

from bisect import insort
from dataclasses import replace
from typing import TYPE_CHECKING

from lowtide.solvers.allocation.packer import native_packer

if TYPE_CHECKING:
    from lowtide.solvers.allocation.problem import AllocationProblem

__all__ = ["tflite_greedy_by_size"]


def tflite_greedy_by_size(problem: AllocationProblem) -> tuple[int, ...]:
    """Offsets as TFLite's planner gives them.

    Buffers alive throughout come first, in their given order; then by falling size, equal sizes by
    the begin of their lifetimes; each takes the smallest gap that holds it among the buffers alive
    with it. Source: tensorflow/lite/arena_planner.cc, simple_memory_arena.cc; the strategy is
    greedy by size of Pisarchyk and Lee 2020, arXiv:2001.03288. As there, a gap that was found is
    remembered by its size from the unaligned end below it, a new one compared by its aligned size.

    TFLite knows neither gaps nor sharing nor fixed offsets: a buffer takes its room for its whole
    lifetime, alone. Deviations: fixed buffers are placed before all others; "throughout" is from
    the first begin to the last end of any buffer (TFLite: from the first operator, never freed);
    what its sort leaves open goes by the given order; alignments of single buffers are kept.
    O(n log n + pairs that meet * log).
    """
    plain = replace(problem, blocks=tuple(b._replace(gaps=()) for b in problem.blocks), shares=())
    blocks = plain.blocks
    near = native_packer(plain).neighbours()
    first = min((b.lower for b in blocks), default=0)
    last = max((b.upper for b in blocks), default=0)

    def key(index: int) -> tuple[int, int, int, int]:
        block = blocks[index]
        if block.lower == first and block.upper == last:
            return 0, 0, 0, index
        return 1, -block.size, block.lower, index

    offsets = [-1 if b.offset is None else b.offset for b in blocks]
    for index in sorted(range(len(blocks)), key=key):
        if offsets[index] < 0:
            taken: list[tuple[int, int]] = []
            for other in near[index]:
                if offsets[other] >= 0:
                    insort(taken, (offsets[other], offsets[other] + blocks[other].size))
            size, align = blocks[index].size, plain.alignment_of(blocks[index])
            offsets[index] = _best(taken, size, align) if size else 0
    return tuple(offsets)


def _best(taken: list[tuple[int, int]], size: int, align: int) -> int:
    best: int | None = None
    best_gap = 0
    end = 0
    for begin, upper in taken:
        aligned = end + -end % align
        if aligned + size <= begin and (best is None or begin - aligned < best_gap):
            best, best_gap = aligned, begin - end
        end = max(end, upper)
    return end + -end % align if best is None else best
