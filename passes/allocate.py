"""Lay the buffers of a sequence out in one arena."""

from __future__ import annotations

from dataclasses import dataclass, replace
from itertools import pairwise
from typing import TYPE_CHECKING

from lowtide.errors import LowtideError
from lowtide.ir import simulate
from lowtide.passes.lower import lower
from lowtide.passes.plan import InPlacePair
from lowtide.solvers.allocation.bound import lower_bound
from lowtide.solvers.allocation.check import check
from lowtide.solvers.allocation.problem import AllocationProblem, Block
from lowtide.solvers.joint import pack_order
from lowtide.solvers.lifetimes import arena_of

if TYPE_CHECKING:
    from lowtide.ir import Timeline
    from lowtide.passes.lower import Lowered
    from lowtide.passes.state import State
    from lowtide.solvers.joint import Layout

__all__ = ["Allocate", "arena_problem"]

# What the layout of one order may cost in the first of the rounds, about a tenth of a second.
_WORK = 4_000_000
_ROUNDS = 2


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
        joint: after `schedule`, take another order of the same peak if its layout is lower.
        time_limit_s: a guard; the work is bounded, in a repeatable unit, to a few seconds.
    """

    joint: bool = True
    time_limit_s: float = 20.0

    def __call__(self, state: State) -> State:
        """The state with offsets, arena height and bound, and the in-place pairs of the sequence.

        Raises:
            LowtideError: packer and checker disagree (a bug).
        """
        limit = self.time_limit_s
        if state.time_limit_s is not None:
            limit = min(limit, state.time_limit_s)
        certificate = state.plan.certificate
        free = self.joint and certificate is not None and certificate.scope == "order"
        lowered = lower(state.graph, state.accounting)
        number = {op: index for index, op in enumerate(lowered.ops)}
        layout = pack_order(
            lowered.problem,
            [number[op] for op in state.order],
            lower_bound_bytes=certificate.lower_bound_bytes if certificate is not None else 0,
            alignment=state.accounting.alignment,
            other_orders=free,
            time_limit_s=limit,
            work=_WORK,
            rounds=_ROUNDS,
            seed=state.seed,
        )
        order = lowered.order(layout.order)
        timeline = simulate(state.graph, state.accounting, order)
        at = _offsets(lowered, layout)
        problem = arena_problem(timeline, state.accounting.alignment)
        missing = [block.id for block in problem.blocks if block.id not in at]
        if missing or layout.allocation.height is None:
            raise LowtideError(f"the layout leaves `{missing[:1]}` out: please report this model")
        solution = replace(
            layout.allocation, offsets=tuple(at[block.id] for block in problem.blocks)
        )
        check(problem, solution)
        if certificate is not None:
            certificate = replace(certificate, peak_bytes=timeline.peak_bytes)
            if certificate.status == "optimal" and solution.height == certificate.peak_bytes:
                certificate = replace(certificate, scope="order+layout")
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
                sequence=tuple(op.name for op in order) if free else state.plan.sequence,
                offsets=dict(sorted(offsets.items())),
                arena_bytes=solution.height,
                arena_lower_bound_bytes=lower_bound(problem),
                in_place=tuple(pairs),
                certificate=certificate,
            )
        )


def _offsets(lowered: Lowered, layout: Layout) -> dict[str, int]:
    """The offsets by the names of `arena_problem`."""
    arena = arena_of(lowered.problem, layout.order)
    found: dict[str, int] = {}
    for block, offset in zip(arena.blocks, layout.allocation.offsets or (), strict=True):
        if block.id.startswith("~"):
            found[f"~{lowered.ops[int(block.id[1:])].name}"] = offset
        else:
            found[lowered.tensors[int(block.id)].name] = offset
    return found
