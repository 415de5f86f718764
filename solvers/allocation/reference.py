"""The least height by complete search over all offsets: a plain reference for small problems."""

from __future__ import annotations

from typing import TYPE_CHECKING

from lowtide.solvers.allocation.conflicts import meet

if TYPE_CHECKING:
    from lowtide.solvers.allocation.problem import AllocationProblem

__all__ = ["fits", "least_height"]


def least_height(problem: AllocationProblem) -> int | None:
    """The least height of any layout; None where fixed offsets exclude every layout.

    The capacity is not looked at. Heights are tried one by one, from 0 to a height at which the
    free blocks can be stacked above the fixed ones; at that, only a clash of fixed blocks fails.
    Exponential; for some ten blocks of small sizes.
    """
    most = 0
    for block in problem.blocks:
        align = problem.alignment_of(block)
        most += block.size + align
        if block.offset is not None:
            most += block.offset
    for height in range(most + 1):
        if fits(problem, height) is not None:
            return height
    return None


def fits(problem: AllocationProblem, height: int) -> tuple[int, ...] | None:
    """Offsets with which no block reaches above the height; None where there are none.

    Each block's possible offsets are a bit set. The block with the fewest is tried at each of them,
    which takes from the blocks that it meets the offsets at which they would overlap.
    """
    blocks = problem.blocks
    domains: list[int] = []
    for block in blocks:
        align = problem.alignment_of(block)
        places = range(0, height - block.size + 1, align)
        if block.offset is not None:
            places = range(block.offset, min(block.offset, height - block.size) + 1)
        domains.append(sum(1 << place for place in places))
    shares = {frozenset(pair) for pair in problem.shares}
    near = [
        [
            (other, frozenset((index, other)) in shares)
            for other in range(len(blocks))
            if other != index
            and blocks[index].size
            and blocks[other].size
            and meet(blocks[index], blocks[other])
        ]
        for index in range(len(blocks))
    ]
    offsets = [-1] * len(blocks)

    def search(domains: list[int]) -> bool:
        free = [index for index, offset in enumerate(offsets) if offset < 0]
        if not free:
            return True
        index = min(free, key=lambda k: (domains[k].bit_count(), k))
        for offset in range(domains[index].bit_length()):
            if not domains[index] >> offset & 1:
                continue
            offsets[index] = offset
            after = list(domains)
            for other, may_share in near[index]:
                if offsets[other] >= 0:
                    continue
                # Overlap: other's offset in (offset - its size, offset + this size).
                low = max(0, offset - blocks[other].size + 1)
                high = offset + blocks[index].size
                taken = (1 << high) - (1 << low)
                if may_share:
                    taken &= ~(1 << offset)
                after[other] &= ~taken
            if search(after):
                return True
        offsets[index] = -1
        return False

    return tuple(offsets) if search(domains) else None
