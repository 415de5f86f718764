"""First fit over a given order of the blocks: the plain reference of the native packer."""

from __future__ import annotations

from typing import TYPE_CHECKING

from lowtide.solvers.allocation.conflicts import meet

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from lowtide.solvers.allocation.problem import AllocationProblem

__all__ = ["first_fit", "gaps", "shared_offsets"]


def first_fit(problem: AllocationProblem, order: Sequence[int]) -> tuple[int, ...]:
    """Offsets when each block, in turn, takes the lowest aligned place that it may have.

    That is the lowest gap that holds it, or the offset of a sharing partner if that is lower.
    Fixed blocks are placed before all others; empty ones get offset 0. O(n^2 log n), for sparse
    sharing.
    """
    offsets = [-1 if b.offset is None else b.offset for b in problem.blocks]
    for index in order:
        if offsets[index] < 0:
            gap = next(offset for offset, _ in gaps(problem, offsets, index))
            offsets[index] = min([gap, *shared_offsets(problem, offsets, index)])
    return tuple(offsets)


def gaps(
    problem: AllocationProblem, offsets: Sequence[int], index: int
) -> Iterator[tuple[int, int | None]]:
    """The (offset, bytes) of the gaps that hold block `index`, ascending; the last has no end."""
    block = problem.blocks[index]
    align = problem.alignment_of(block)
    if not block.size:
        yield 0, None
        return
    taken = sorted(
        (offset, offset + other.size)
        for other, offset in zip(problem.blocks, offsets, strict=True)
        if offset >= 0 and other.size and meet(other, block)
    )
    at = 0
    for begin, end in taken:
        if begin - at >= block.size:
            yield at, begin - at
        at = max(at, -(-end // align) * align)
    yield at, None


def shared_offsets(problem: AllocationProblem, offsets: Sequence[int], index: int) -> list[int]:
    """The offsets of placed sharing partners at which block `index` may lie with them."""
    block = problem.blocks[index]
    align = problem.alignment_of(block)
    partners = {one + two - index for one, two in problem.shares if index in {one, two}}
    near = [
        (other, offset)
        for other, offset in enumerate(offsets)
        if offset >= 0 and block.size and problem.blocks[other].size
        if other != index and meet(problem.blocks[other], block)
    ]
    return [
        place
        for partner, place in near
        if partner in partners and place % align == 0
        if all(
            (other in partners and offset == place)
            or offset >= place + block.size
            or place >= offset + problem.blocks[other].size
            for other, offset in near
        )
    ]
