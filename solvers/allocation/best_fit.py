"""Best fit over a given order of the blocks: the plain reference of the native packer."""

from __future__ import annotations

from typing import TYPE_CHECKING

from lowtide.solvers.allocation.first_fit import gaps, shared_offsets

if TYPE_CHECKING:
    from collections.abc import Sequence

    from lowtide.solvers.allocation.problem import AllocationProblem

__all__ = ["best_fit"]


def best_fit(problem: AllocationProblem, order: Sequence[int]) -> tuple[int, ...]:
    """Offsets when each block, in turn, takes the smallest gap that holds it, the lowest of equals.

    A place together with a sharing partner, the lowest, comes before all gaps: the room is taken.
    Over falling sizes it is greedy by size (Pisarchyk and Lee 2020, arXiv:2001.03288).
    O(n^2 log n), for sparse sharing.
    """
    offsets = [-1 if b.offset is None else b.offset for b in problem.blocks]
    for index in order:
        if offsets[index] < 0:
            shared = shared_offsets(problem, offsets, index)
            if shared:
                offsets[index] = min(shared)
                continue
            found = list(gaps(problem, offsets, index))
            closed = [(size, offset) for offset, size in found if size is not None]
            offsets[index] = min(closed)[1] if closed else found[-1][0]
    return tuple(offsets)
