"""The independent checker of layouts. It shares no code with any packer."""

from __future__ import annotations

from bisect import bisect_left, insort
from typing import TYPE_CHECKING

from lowtide.errors import LowtideError

if TYPE_CHECKING:
    from lowtide.solvers.allocation.problem import AllocationProblem, AllocationSolution

__all__ = ["check"]


def check(problem: AllocationProblem, solution: AllocationSolution) -> None:
    """Raise `LowtideError` unless the layout is valid and the solution's figures agree.

    At every moment the living blocks are kept sorted by offset; a block that begins is compared
    with the two beside it, which is enough when those before it are disjoint.
    O(n log n + n * alive).
    """
    if solution.offsets is None:
        if solution.height is not None:
            raise LowtideError("a solution without offsets states a height")
        if solution.status == "optimal":
            raise LowtideError("a solution without offsets says that it is optimal")
        return
    if len(solution.offsets) != len(problem.blocks):
        raise LowtideError(f"{len(solution.offsets)} offsets for {len(problem.blocks)} buffers")
    height = 0
    events: list[tuple[int, int, int]] = []
    for index, (block, offset) in enumerate(zip(problem.blocks, solution.offsets, strict=True)):
        if offset < 0 or offset % problem.alignment:
            raise LowtideError(
                f"buffer `{block.id}`: the offset {offset} is negative or not a multiple of "
                f"{problem.alignment}"
            )
        if block.offset is not None and offset != block.offset:
            raise LowtideError(
                f"buffer `{block.id}` is fixed at {block.offset} but was put at {offset}"
            )
        height = max(height, offset + block.size)
        if block.size:
            events.append((block.lower, 1, index))
            events.append((block.upper, 0, index))
    events.sort()  # ends before beginnings: lifetimes are half-open
    living: list[tuple[int, int]] = []
    for moment, begins, index in events:
        entry = (solution.offsets[index], index)
        at = bisect_left(living, entry)
        if not begins:
            living.pop(at)
            continue
        for other in (at - 1, at):
            if 0 <= other < len(living):
                start, neighbour = living[other]
                end = start + problem.blocks[neighbour].size
                if start < entry[0] + problem.blocks[index].size and entry[0] < end:
                    one, two = problem.blocks[neighbour].id, problem.blocks[index].id
                    raise LowtideError(
                        f"buffers `{one}` and `{two}` overlap at offset "
                        f"{max(start, entry[0])} and time {moment}"
                    )
        insort(living, entry)
    if solution.height != height:
        raise LowtideError(f"the layout's height is {height}, the solution says {solution.height}")
    if solution.lower_bound > height:
        raise LowtideError(
            f"the lower bound {solution.lower_bound} exceeds a height that is reached, {height}"
        )
    if solution.status == "optimal" and solution.lower_bound != height:
        raise LowtideError(f"status optimal with height {height} and bound {solution.lower_bound}")
