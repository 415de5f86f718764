"""A lower bound on the height: the greatest load of any moment."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from lowtide.solvers.allocation.problem import AllocationProblem

__all__ = ["lower_bound"]


def lower_bound(problem: AllocationProblem) -> int:
    """No layout has a lower height. O(n log n + n * alive at once in the worst case).

    The blocks alive at one moment are disjoint and start at multiples of the alignment, so each but
    the topmost keeps its size rounded up from the next one: the height is at least the sum of the
    rounded sizes less the greatest rounding among them. A fixed block reaches its own end.
    """
    align = problem.alignment
    events: list[tuple[int, int, int, int]] = []  # time, 0 for an end (first) or 1, rounded, slack
    bound = 0
    for block in problem.blocks:
        if block.offset is not None:
            bound = max(bound, block.offset + block.size)
        if block.size:
            rounded = -(-block.size // align) * align
            events.append((block.lower, 1, rounded, rounded - block.size))
            events.append((block.upper, 0, rounded, rounded - block.size))
    events.sort()
    load = 0
    slacks: dict[int, int] = {}
    for _, begins, rounded, slack in events:
        if begins:
            load += rounded
            slacks[slack] = slacks.get(slack, 0) + 1
            if load > bound:
                bound = max(bound, load - max(slacks))
        else:
            load -= rounded
            slacks[slack] -= 1
            if not slacks[slack]:
                del slacks[slack]
    return bound
