"""The exact allocator's branching in plain Python: the reference of `native/allocation/search.cpp`.

Branch on a block u that is not stacked: all blocks that meet it and are not stacked lie above it
(u is stacked), or one of them lies below it (u waits). The argument is in `search.hpp`. Left out:
the order of twins, sections with release dates, traced refutations, fixed offsets.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from lowtide.solvers.allocation.problem import AllocationProblem

__all__ = ["stack"]


def stack(problem: AllocationProblem, capacity: int) -> tuple[int, ...] | None:
    """A layout within `capacity`, or None when there is none. Exponential; no block is fixed."""
    blocks, align = problem.blocks, problem.alignment
    meets = [
        [k for k, b in enumerate(blocks) if k != u and b.lower < a.upper and a.lower < b.upper]
        for u, a in enumerate(blocks)
    ]
    moments = {b.lower for b in blocks}

    def refuted(low: list[int], open_: set[int]) -> bool:
        if any(low[u] + blocks[u].size > capacity for u in open_):
            return True
        for moment in moments:
            here = [u for u in open_ if blocks[u].lower <= moment < blocks[u].upper]
            if here and min(low[u] for u in here) + sum(blocks[u].size for u in here) > capacity:
                return True
        return False

    def aligned(offset: int) -> int:
        return -(-offset // align) * align

    def search(low: list[int], open_: set[int], waiting: set[int]) -> list[int] | None:
        if refuted(low, open_):
            return None
        if not open_:
            return low
        ready = open_ - waiting
        if not ready:
            return None
        u = min(ready, key=lambda k: (low[k], k))
        stacked = list(low)
        above = [x for x in meets[u] if x in open_]
        for x in above:
            stacked[x] = max(stacked[x], aligned(low[u] + blocks[u].size))
        found = search(stacked, open_ - {u}, waiting - set(above))
        if found is not None or not above:
            return found
        waits = list(low)
        waits[u] = max(low[u], aligned(min(low[x] + blocks[x].size for x in above)))
        return search(waits, open_, waiting | {u})

    placed = {u for u, b in enumerate(blocks) if b.size}
    found = search([0] * len(blocks), placed, set())
    return None if found is None else tuple(found)
