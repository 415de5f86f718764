"""Where the blocks of an execution lie in the arena."""

from __future__ import annotations

from typing import TYPE_CHECKING

from lowtide.passes.allocate import arena_problem
from lowtide.solvers.allocation.exact import ExactAllocationOptions, allocate

if TYPE_CHECKING:
    from collections.abc import Mapping

    from lowtide.ir import Timeline

__all__ = ["drawn_offsets", "scratch_offsets"]

# As much work as for the report's height of the source order.
_WORK = 20_000_000
_GUARD_S = 20.0


def drawn_offsets(timeline: Timeline, alignment: int) -> dict[str, int]:
    """A layout of its own for an execution that has none; workspace is `~` and its op's name."""
    problem = arena_problem(timeline, alignment)
    solution = allocate(
        problem, time_limit_s=_GUARD_S, options=ExactAllocationOptions(work_limit=_WORK)
    )
    if solution.offsets is None:
        return {}
    return {b.id: at for b, at in zip(problem.blocks, solution.offsets, strict=True)}


def scratch_offsets(
    timeline: Timeline, offsets: Mapping[str, int], alignment: int
) -> dict[int, int] | None:
    """Where the workspace of each step fits, in the lowest gap; None if buffers overlap.

    A plan does not say where workspace lies. It is live for one step, so the lowest gap between the
    buffers of that step is as good as the place that the allocator had for it, and never higher.
    O(steps x live x log live).
    """
    found: dict[int, int] = {}
    born: dict[int, list[tuple[int, int, int]]] = {}
    for buffer in timeline.buffers:
        at = offsets.get(buffer.tensors[0].name)
        if at is not None and buffer.nbytes > 0:
            born.setdefault(buffer.start, []).append((at, at + buffer.nbytes, buffer.stop))
    live: list[tuple[int, int, int]] = []
    for index, step in enumerate(timeline.steps):
        live = sorted([each for each in live if each[2] > index] + born.get(index, []))
        top = 0
        place = None
        for low, high, _ in live:
            if low < top:
                return None
            start = -(-top // alignment) * alignment
            if place is None and low - start >= step.workspace_bytes:
                place = start
            top = high
        if step.workspace_bytes:
            found[index] = -(-top // alignment) * alignment if place is None else place
    return found
