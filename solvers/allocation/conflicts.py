"""Which blocks meet in time, gaps considered."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from lowtide.solvers.allocation.problem import AllocationProblem, Block

__all__ = ["conflicts", "meet"]


def conflicts(problem: AllocationProblem) -> list[tuple[int, int]]:
    """The pairs i < j of blocks that are active at one moment, sorted; empty blocks meet none.

    Sharing pairs are among them: they conflict unless they lie at the same offset. A sweep over
    time: each active interval meets those that have not ended where it begins.
    O(n log n + pairs), n the number of active intervals; a pair counts as often as it meets.
    """
    intervals = sorted(
        (lower, upper, index)
        for index, block in enumerate(problem.blocks)
        if block.size
        for lower, upper in block.active
    )
    pairs: set[tuple[int, int]] = set()
    active: list[tuple[int, int]] = []  # end, block
    for lower, upper, index in intervals:
        active = [entry for entry in active if entry[0] > lower]
        pairs.update((min(k, index), max(k, index)) for _, k in active)
        active.append((upper, index))
    return sorted(pairs)


def meet(one: Block, two: Block) -> bool:
    """Whether both are active at one moment. O(gaps)."""
    if one.lower >= two.upper or two.lower >= one.upper:
        return False
    mine, theirs = one.active, two.active
    i = j = 0
    while i < len(mine) and j < len(theirs):
        if mine[i][0] < theirs[j][1] and theirs[j][0] < mine[i][1]:
            return True
        if mine[i][1] <= theirs[j][1]:
            i += 1
        else:
            j += 1
    return False
