"""The independent checker of layouts. It shares no code with any packer."""

from __future__ import annotations

from bisect import bisect_left
from math import lcm
from typing import TYPE_CHECKING

from lowtide.errors import LowtideError

if TYPE_CHECKING:
    from lowtide.solvers.allocation.problem import AllocationProblem, AllocationSolution

__all__ = ["check"]


def check(problem: AllocationProblem, solution: AllocationSolution) -> None:
    """Raise `LowtideError` unless the layout is valid and the solution's figures agree.

    At every moment the active blocks are kept sorted by offset. A block that begins, or comes back
    from a gap, is compared with those at its own offset, with which it must share, and with the
    blocks at the next offset on either side: those before it being valid, blocks at different
    offsets are disjoint, so that nothing further away reaches it. O(n log n + n * active).

    Without a layout, `infeasible` needs a lower bound above the capacity, or two fixed blocks that
    overlap. A layout of a `feasible` solution may exceed the capacity: none was found within it.
    """
    if solution.offsets is None:
        _check_absence(problem, solution)
        return
    if len(solution.offsets) != len(problem.blocks):
        raise LowtideError(f"{len(solution.offsets)} offsets for {len(problem.blocks)} buffers")
    height = 0
    for block, offset in zip(problem.blocks, solution.offsets, strict=True):
        align = lcm(problem.alignment, block.alignment)
        if offset < 0 or offset % align:
            raise LowtideError(
                f"buffer `{block.id}`: the offset {offset} is negative or not a multiple of {align}"
            )
        if block.offset is not None and offset != block.offset:
            raise LowtideError(
                f"buffer `{block.id}` is fixed at {block.offset} but was put at {offset}"
            )
        height = max(height, offset + block.size)
    clash = _overlap(problem, list(enumerate(solution.offsets)))
    if clash is not None:
        one, two, moment = clash
        offset = max(solution.offsets[one], solution.offsets[two])
        raise LowtideError(
            f"buffers `{problem.blocks[one].id}` and `{problem.blocks[two].id}` overlap at offset "
            f"{offset} and time {moment}"
        )
    if solution.height != height:
        raise LowtideError(f"the layout's height is {height}, the solution says {solution.height}")
    if solution.lower_bound > height:
        raise LowtideError(
            f"the lower bound {solution.lower_bound} exceeds a height that is reached, {height}"
        )
    if solution.status == "optimal" and solution.lower_bound != height:
        raise LowtideError(f"status optimal with height {height} and bound {solution.lower_bound}")
    if solution.status == "infeasible" and (
        problem.capacity is None or solution.lower_bound <= problem.capacity
    ):
        raise LowtideError(
            f"status infeasible with a layout of height {height} and bound "
            f"{solution.lower_bound}, the capacity is {problem.capacity}"
        )


def _check_absence(problem: AllocationProblem, solution: AllocationSolution) -> None:
    if solution.height is not None:
        raise LowtideError("a solution without offsets states a height")
    if solution.status == "optimal":
        raise LowtideError("a solution without offsets says that it is optimal")
    if solution.status == "infeasible":
        if problem.capacity is not None and solution.lower_bound > problem.capacity:
            return
        fixed = [(k, b.offset) for k, b in enumerate(problem.blocks) if b.offset is not None]
        if _overlap(problem, fixed) is None:
            raise LowtideError(
                f"status infeasible, but the lower bound {solution.lower_bound} is within the "
                f"capacity {problem.capacity} and no two fixed buffers overlap"
            )


def _overlap(
    problem: AllocationProblem, placed: list[tuple[int, int]]
) -> tuple[int, int, int] | None:
    """Two of the placed (block, offset) that overlap, and when; None if there are none."""
    shares = {frozenset(pair) for pair in problem.shares}
    events: list[tuple[int, int, int, int]] = []
    for index, offset in placed:
        block = problem.blocks[index]
        if not block.size:
            continue
        times = [block.lower, *(t for gap in block.gaps for t in gap), block.upper]
        for lower, upper in zip(times[::2], times[1::2], strict=True):
            if lower < upper:
                events.append((lower, 1, offset, index))
                events.append((upper, 0, offset, index))
    events.sort()  # ends before beginnings: intervals are half-open
    active: list[tuple[int, int]] = []  # offset, block
    for moment, begins, offset, index in events:
        at = bisect_left(active, (offset, index))
        if not begins:
            active.pop(at)
            continue
        end = offset + problem.blocks[index].size
        below = -1  # the next lower offset
        for k in range(at - 1, -1, -1):
            start, other = active[k]
            if start < offset:
                if below >= 0 and start != below:
                    break
                below = start
                if start + problem.blocks[other].size > offset:
                    return other, index, moment
            elif frozenset((other, index)) not in shares:
                return other, index, moment
        for start, other in active[at:]:
            if start >= end:
                break
            if start > offset or frozenset((other, index)) not in shares:
                return other, index, moment
        active.insert(at, (offset, index))
    return None
