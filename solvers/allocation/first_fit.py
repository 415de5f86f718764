"""First fit over a given order of the blocks: the plain reference of the native packer."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from lowtide.solvers.allocation.problem import AllocationProblem

__all__ = ["first_fit", "gaps"]


def first_fit(problem: AllocationProblem, order: Sequence[int]) -> tuple[int, ...]:
    """Offsets when each block, in turn, takes the lowest aligned gap that holds it. O(n^2 log n).

    Fixed blocks are placed before all others; empty ones get offset 0.
    """
    offsets = [-1 if b.offset is None else b.offset for b in problem.blocks]
    for index in order:
        if offsets[index] < 0:
            offsets[index] = next(offset for offset, _ in gaps(problem, offsets, index))
    return tuple(offsets)


def gaps(
    problem: AllocationProblem, offsets: Sequence[int], index: int
) -> Iterator[tuple[int, int | None]]:
    """The (offset, bytes) of the gaps that hold block `index`, ascending; the last has no end."""
    block, align = problem.blocks[index], problem.alignment
    if not block.size:
        yield 0, None
        return
    taken = sorted(
        (offset, offset + other.size)
        for other, offset in zip(problem.blocks, offsets, strict=True)
        if offset >= 0 and other.size and other.lower < block.upper and block.lower < other.upper
    )
    at = 0
    for begin, end in taken:
        if begin - at >= block.size:
            yield at, begin - at
        at = max(at, -(-end // align) * align)
    yield at, None
