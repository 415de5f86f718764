"""Is an offline plan safe? TFLM does not ask: overlapping offsets corrupt outputs in silence.

It is checked on the file that shall run, from nothing but its bytes: our own results before they
are written, and anybody's.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from lowtide.backends.tflite.tflm.contents import follow
from lowtide.backends.tflite.tflm.in_place import Kernels, shareable
from lowtide.backends.tflite.tflm.lifetimes import ALIGNMENT, arena_buffers
from lowtide.backends.tflite.tflm.metadata import stored_offsets
from lowtide.backends.tflite.tflm.planner import ONLINE, place_greedily
from lowtide.errors import PlanError

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from lowtide.backends.tflite.tflm.lifetimes import ArenaBuffer
    from lowtide.frontends.tflite import TfliteModel, TfliteSource

__all__ = ["CheckedPlan", "check_offsets", "check_plan"]

_MAX_ARENA = 2**31 - 1


@dataclass(frozen=True, slots=True)
class CheckedPlan:
    """A plan that keeps every live byte.

    Attributes:
        head_bytes: the height of the arena's head, online buffers and scratch included.
        planned: how many buffers have an offset in the plan.
        online: how many tensors are left to TFLM's planner.
        shared: (subgraph, result, operand) of the results written over an operand.
        idle: where other tensors overlap, the operators that only copy bytes onto themselves.
    """

    head_bytes: int
    planned: int
    online: int
    shared: tuple[tuple[int, int, int], ...]
    idle: tuple[int, ...] = ()


def check_plan(
    source: TfliteSource,
    *,
    scratch: Mapping[tuple[int, int], Sequence[int]],
    kernels: Kernels = Kernels.REFERENCE,
    overwrite_inputs: bool = False,
) -> CheckedPlan | None:
    """Check the plan that a file carries; None where it carries none.

    Args:
        source: the file, read and verified.
        scratch: its kernels' scratch.
        kernels: the library whose in-place whitelist holds.
        overwrite_inputs: whether the graph's inputs may be overwritten by the op that reads them.

    Raises:
        ModelError: the metadata is malformed.
        PlanError: the plan is unsafe.
    """
    offsets = stored_offsets(source)
    if offsets is None:
        return None
    return check_offsets(
        source.model, offsets, scratch=scratch, kernels=kernels, overwrite_inputs=overwrite_inputs
    )


def check_offsets(
    model: TfliteModel,
    offsets: Sequence[int],
    *,
    scratch: Mapping[tuple[int, int], Sequence[int]],
    orders: Mapping[int, Sequence[int]] | None = None,
    kernels: Kernels = Kernels.REFERENCE,
    overwrite_inputs: bool = False,
) -> CheckedPlan:
    """Check offsets, one per tensor over all subgraphs, as TFLM would use them. O(n^2).

    Offsets of tensors that are not in the arena must be -1, the others -1 or a multiple of 16. No
    two buffers alive in one scope overlap, except a result with the operand that it is written
    over: the same offset and size, the kernel on the whitelist, the operand's last use. Where
    others do, in a model of one subgraph, its run is followed byte by byte (`contents`): every byte
    that is read must be the one that was written for it. Tensors that nothing uses may lie
    anywhere.

    Raises:
        PlanError: what is wrong, with the tensors and the bytes.
        ModelError: subgraphs call each other in a circle.
    """
    count = sum(len(s.tensors) for s in model.subgraphs)
    if len(offsets) != count:
        raise PlanError(f"{len(offsets)} offsets for the model's {count} tensors")
    buffers = arena_buffers(model, scratch, orders)
    base = [0]
    for subgraph in model.subgraphs:
        base.append(base[-1] + len(subgraph.tensors))
    in_arena: set[int] = set()
    planned: list[int] = []
    for buffer in buffers:
        if buffer.is_scratch:
            planned.append(ONLINE)
            continue
        number = base[buffer.subgraph] + buffer.tensor
        in_arena.add(number)
        offset = offsets[number]
        if offset != ONLINE and (offset < 0 or offset % ALIGNMENT):
            raise PlanError(
                f"{_name(model, buffer)} has the offset {offset}: neither {ONLINE} nor a multiple "
                f"of {ALIGNMENT}"
            )
        if offset + buffer.nbytes > _MAX_ARENA:
            raise PlanError(f"{_name(model, buffer)} ends at {offset + buffer.nbytes}, past 2^31")
        planned.append(offset)
    for number, offset in enumerate(offsets):
        if number not in in_arena and offset != ONLINE:
            raise PlanError(
                f"tensor {number} has the offset {offset} but is not in the arena: it must have "
                f"{ONLINE}"
            )
    placement = place_greedily(buffers, planned)
    allowed = _sharing(model, kernels, orders or {}, overwrite_inputs=overwrite_inputs)
    shared: list[tuple[int, int, int]] = []
    overlap: str | None = None
    live = [(b, o) for b, o in zip(buffers, placement.offsets, strict=True) if b.first >= 0]
    live.sort(key=lambda pair: pair[1])
    for index, (one, low) in enumerate(live):
        end = low + one.nbytes
        for other, offset in live[index + 1 :]:
            if offset >= end:
                break
            if other.first > one.last or one.first > other.last:
                continue
            pair = _pair(one, other) if offset == low else None
            if pair is not None and pair in allowed:
                shared.append(pair)
                continue
            found = (
                f"{_name(model, one)} at [{low}, {end}) and {_name(model, other)} at [{offset},"
                f" {offset + other.nbytes}) overlap while both are alive, in scope "
                f"{max(one.first, other.first)}"
            )
            followed = len(model.subgraphs) == 1 and kernels is Kernels.REFERENCE
            if not followed or one.is_scratch or other.is_scratch:
                raise PlanError(found)
            overlap = overlap or found
    idle: tuple[int, ...] = ()
    if overlap is not None:
        idle = _followed(model, buffers, placement.offsets, orders or {}, allowed, overlap)
    online = sum(1 for b, o in zip(buffers, planned, strict=True) if o < 0 and not b.is_scratch)
    return CheckedPlan(
        placement.height, sum(o >= 0 for o in planned), online, tuple(sorted(shared)), idle
    )


def _followed(
    model: TfliteModel,
    buffers: Sequence[ArenaBuffer],
    offsets: Sequence[int],
    orders: Mapping[int, Sequence[int]],
    allowed: set[tuple[int, int, int]],
    overlap: str,
) -> tuple[int, ...]:
    """The operators that do nothing; see `follow`."""
    order = orders.get(0, range(len(model.subgraphs[0].operators)))
    pairs = frozenset((result, operand) for _, result, operand in allowed)
    try:
        return follow(model, buffers, offsets, order, pairs)
    except PlanError as error:
        raise PlanError(f"{overlap}, and {error}") from None


def _pair(one: ArenaBuffer, other: ArenaBuffer) -> tuple[int, int, int] | None:
    """(subgraph, result, operand), if the operand dies in the scope in which the result is made."""
    if one.is_scratch or other.is_scratch or one.nbytes != other.nbytes:
        return None
    older, newer = (one, other) if one.first < other.first else (other, one)
    if older.last != newer.first or one.subgraph != other.subgraph:
        return None
    return one.subgraph, newer.tensor, older.tensor


def _sharing(
    model: TfliteModel,
    kernels: Kernels,
    orders: Mapping[int, Sequence[int]],
    *,
    overwrite_inputs: bool,
) -> set[tuple[int, int, int]]:
    """The pairs that the kernels of the main subgraph allow, if the operand dies there."""
    main = model.subgraphs[0]
    last: dict[int, int] = {}
    for index in orders.get(0, range(len(main.operators))):
        for tensor in main.operators[index].inputs:
            last[tensor] = index
    allowed: set[tuple[int, int, int]] = set()
    for operator in main.operators:
        for position in shareable(main, operator, kernels, overwrite_inputs=overwrite_inputs):
            operand = operator.inputs[position]
            if last[operand] == operator.index:
                allowed.add((0, operator.outputs[0], operand))
    return allowed


def _name(model: TfliteModel, buffer: ArenaBuffer) -> str:
    if buffer.is_scratch:
        kind = model.subgraphs[buffer.subgraph].operators[buffer.operator].kind
        return f"scratch of operator {buffer.operator} ({kind})"
    name = model.subgraphs[buffer.subgraph].tensors[buffer.tensor].name
    plain = "".join(c if c.isprintable() else "?" for c in name[:80])
    where = f" of subgraph {buffer.subgraph}" if buffer.subgraph else ""
    return f"tensor {buffer.tensor} `{plain}`{where}"
