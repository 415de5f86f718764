"""From a plan and its report to the data of a picture."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from lowtide.ir import Role
from lowtide.pictures.hot import hot_region
from lowtide.pictures.layout import drawn_offsets, scratch_offsets
from lowtide.pictures.scene import Block, Kind, Moment, Run, Scene

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from lowtide.ir import Buffer, Tensor, Timeline
    from lowtide.pictures.record import Record
    from lowtide.planning import Planned
    from lowtide.report import Report

__all__ = ["build_scene", "run_of", "runs_again"]


def build_scene(planned: Planned, report: Report, record: Record | None) -> Scene:
    """All that is shown of one run."""
    original = (planned.unrewritten or planned).prepared
    sequence = planned.plan.sequence
    repeated = len(set(sequence)) < len(sequence) == len(planned.timeline.steps)
    path = str(report.model["path"])
    return Scene(
        name=Path(path).name if path else "model",
        before=run_of(original.source_order, original.accounting.alignment),
        after=run_of(
            planned.timeline,
            planned.prepared.accounting.alignment,
            offsets=planned.plan.offsets,
            sequence=sequence if repeated else (),
        ),
        lower_bound_bytes=report.peak_bytes.lower_bound,
        budget_bytes=report.budget_bytes,
        hot=hot_region(planned.timeline),
        report=report,
        record=record,
        runs_again=runs_again(sequence),
    )


def runs_again(sequence: Sequence[str]) -> dict[str, int]:
    """How often each op of a sequence runs beyond once, by its name."""
    return {name: count - 1 for name, count in Counter(sequence).items() if count > 1}


def run_of(
    timeline: Timeline,
    alignment: int,
    *,
    offsets: Mapping[str, int] | None = None,
    sequence: tuple[str, ...] = (),
    scratch_inside: bool = True,
) -> Run:
    """One execution; without `offsets`, or where they do not fit it, it gets a layout of its own.

    `sequence` names the op of every step where ops are repeated. Workspace that is not
    `scratch_inside` lies apart from the layout of `offsets`.
    """
    placed = _placed(timeline, alignment, offsets or {}, scratch_inside=scratch_inside)
    again = _repeats(sequence)
    facts = _Facts(timeline, again)
    blocks = [
        facts.block(buffer, placed.offsets.get(buffer.tensors[0].name))
        for buffer in timeline.buffers
        if buffer.nbytes > 0
    ]
    blocks += [
        Block(
            (step.op.name,),
            ("",),
            (index,),
            step.workspace_bytes,
            index,
            index + 1,
            placed.scratch.get(index),
            Kind.WORKSPACE,
        )
        for index, step in enumerate(timeline.steps)
        if step.workspace_bytes > 0
    ]
    blocks.sort(key=lambda block: block.start)
    heights = [block.offset + block.nbytes for block in blocks if block.offset is not None]
    return Run(
        moments=tuple(
            Moment(
                op=step.op.name,
                kind=step.op.qualified,
                live_bytes=step.live_bytes,
                workspace_bytes=step.workspace_bytes,
                again=index in again,
            )
            for index, step in enumerate(timeline.steps)
        ),
        blocks=tuple(blocks),
        peak_bytes=timeline.peak_bytes,
        peak_step=timeline.peak_step,
        arena_bytes=max(heights) if heights else None,
        unplaced=sum(block.offset is None for block in blocks),
        own_layout=placed.own,
    )


@dataclass(frozen=True, slots=True)
class _Placed:
    """Offsets of buffers by name and of workspace by step."""

    offsets: Mapping[str, int]
    scratch: Mapping[int, int]
    own: bool


def _placed(
    timeline: Timeline, alignment: int, offsets: Mapping[str, int], *, scratch_inside: bool
) -> _Placed:
    if offsets and not scratch_inside:
        return _Placed(offsets, {}, own=False)
    if offsets:
        scratch = scratch_offsets(timeline, offsets, alignment)
        if scratch is not None:
            return _Placed(offsets, scratch, own=False)
    own = drawn_offsets(timeline, alignment)
    scratch = {
        index: own[f"~{step.op.name}"]
        for index, step in enumerate(timeline.steps)
        if f"~{step.op.name}" in own
    }
    return _Placed(own, scratch, own=True)


def _repeats(sequence: tuple[str, ...]) -> set[int]:
    """The steps at which an op runs again."""
    seen: set[str] = set()
    again: set[int] = set()
    for index, name in enumerate(sequence):
        if name in seen:
            again.add(index)
        seen.add(name)
    return again


class _Facts:
    """What the steps tell about the tensors."""

    def __init__(self, timeline: Timeline, again: set[int]) -> None:
        self._made = {
            result: index for index, step in enumerate(timeline.steps) for result in step.op.outputs
        }
        self._again = again
        self._outputs: set[Tensor] = {
            result.storage for result in self._made if result.role is Role.OUTPUT
        }

    def block(self, buffer: Buffer, offset: int | None) -> Block:
        """A buffer as it is drawn."""
        return Block(
            names=tuple(tensor.name for tensor in buffer.tensors),
            types=tuple(_type(tensor) for tensor in buffer.tensors),
            births=tuple(self._made.get(tensor, 0) for tensor in buffer.tensors),
            nbytes=buffer.nbytes,
            start=buffer.start,
            stop=buffer.stop,
            offset=offset,
            kind=self._kind(buffer),
        )

    def _kind(self, buffer: Buffer) -> Kind:
        if any(self._made.get(tensor) in self._again for tensor in buffer.tensors):
            return Kind.RECOMPUTED
        if any(tensor in self._outputs for tensor in buffer.tensors):
            return Kind.OUTPUT
        if buffer.tensors[0].producer is None:
            return Kind.INPUT
        return Kind.IN_PLACE if len(buffer.tensors) > 1 else Kind.ACTIVATION


def _type(tensor: Tensor) -> str:
    return f"{tensor.dtype}[{', '.join(map(str, tensor.shape))}]"
