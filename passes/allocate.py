"""Lay the buffers of a sequence out in one arena."""

from __future__ import annotations

from dataclasses import dataclass, replace
from itertools import pairwise
from typing import TYPE_CHECKING

from lowtide.errors import LowtideError
from lowtide.ir import simulate
from lowtide.passes.plan import InPlacePair
from lowtide.solvers.allocation.check import check
from lowtide.solvers.allocation.pack import pack
from lowtide.solvers.allocation.problem import AllocationProblem, Block

if TYPE_CHECKING:
    from lowtide.ir import Timeline
    from lowtide.passes.state import State

__all__ = ["Allocate", "arena_problem"]


def arena_problem(timeline: Timeline, alignment: int) -> AllocationProblem:
    """One block per live buffer and one per op's workspace, in steps of the sequence.

    A block is named after the first storage root in its buffer; workspace after its op, with `~`.
    """
    blocks = [
        Block(buffer.tensors[0].name, buffer.start, buffer.stop, buffer.nbytes)
        for buffer in timeline.buffers
        if buffer.nbytes > 0
    ]
    blocks += [
        Block(f"~{step.op.name}", index, index + 1, step.workspace_bytes)
        for index, step in enumerate(timeline.steps)
        if step.workspace_bytes > 0
    ]
    return AllocationProblem(tuple(blocks), alignment)


@dataclass(frozen=True, slots=True)
class Allocate:
    """Pack the planned sequence; needs `schedule`, or takes the source order.

    Attributes:
        time_limit_s: a guard; the work is bounded, in a repeatable unit, to about a second.
    """

    time_limit_s: float = 20.0

    def __call__(self, state: State) -> State:
        """The state with offsets, arena height and bound, and the in-place pairs of the sequence.

        Raises:
            LowtideError: packer and checker disagree (a bug).
        """
        timeline = simulate(state.graph, state.accounting, state.order)
        problem = arena_problem(timeline, state.accounting.alignment)
        limit = self.time_limit_s
        if state.time_limit_s is not None:
            limit = min(limit, state.time_limit_s)
        solution = pack(problem, time_limit_s=limit, seed=state.seed)
        check(problem, solution)
        if solution.offsets is None or solution.height is None:
            raise LowtideError("the packer returned no layout though no capacity was set")
        at = {block.id: o for block, o in zip(problem.blocks, solution.offsets, strict=True)}
        offsets: dict[str, int] = {}
        pairs: list[InPlacePair] = []
        for buffer in timeline.buffers:
            roots = buffer.tensors
            for tensor in roots:
                offsets[tensor.name] = at.get(roots[0].name, 0)
            for older, newer in pairwise(roots):
                if newer.producer is not None:
                    pairs.append(InPlacePair(newer.producer.name, newer.name, older.name))
        return state.with_plan(
            replace(
                state.plan,
                offsets=dict(sorted(offsets.items())),
                arena_bytes=solution.height,
                arena_lower_bound_bytes=solution.lower_bound,
                in_place=tuple(pairs),
            )
        )
