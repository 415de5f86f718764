"""Offsets where copies take no memory: the buffers as rigid groups.

A group is what must lie at given distances: a root and all that lies in it (`elide`), and the
operands over which any of these is written. Of a root its pieces count, each from the operator that
writes it to the last that reads it; of everything else TFLM's own lifetimes.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

from lowtide.backends.tflite.tflm.lifetimes import ALIGNMENT, scopes_of
from lowtide.backends.tflite.tflm.planner import ONLINE, place_greedily
from lowtide.solvers.allocation.groups import Part, pack_groups

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from lowtide.backends.tflite.tflm.elide import Elision
    from lowtide.backends.tflite.tflm.lifetimes import ArenaBuffer
    from lowtide.frontends.tflite import TfliteModel

__all__ = ["RigidLayout", "lay_out_groups"]


class RigidLayout(NamedTuple):
    """Offsets of the buffers (scratch online), what TFLM makes of them, and the greatest load."""

    planned: list[int]
    height: int
    bound: int


def lay_out_groups(
    model: TfliteModel,
    buffers: Sequence[ArenaBuffer],
    order: Sequence[int],
    pairs: Sequence[tuple[int, int]],
    elision: Elision,
    *,
    time_limit_s: float | None,
    work_limit: int,
    seed: int,
) -> RigidLayout:
    """The lowest layout found of a model of one subgraph.

    Args:
        model: a checked model.
        buffers: what lives in the arena in this order.
        order: of the operators.
        pairs: (result, operand) of the results that are written over an operand.
        elision: what lies in what.
        time_limit_s: of the packing.
        work_limit: of the packing.
        seed: of the packing.
    """
    base = {operand: result for result, operand in pairs}

    def at(tensor: int) -> tuple[int, int]:
        """The tensor at the bottom of the group, and the distance from it."""
        offset = 0
        while True:
            place = elision.at(tensor)
            offset += place.offset
            if place.base not in base:
                return place.base, offset
            tensor = base[place.base]

    members: dict[tuple[int, int], list[tuple[int, int]]] = {}  # group: (buffer, distance)
    parts: dict[tuple[int, int], list[Part]] = {}
    pieces = dict(_pieces(model, buffers, order, elision))
    for number, buffer in enumerate(buffers):
        if buffer.first < 0 and buffer.last < 0:
            continue  # nothing uses it
        if buffer.is_scratch:
            key, offset = (1, number), 0
        else:
            root, offset = at(buffer.tensor)
            key = (0, root)
        members.setdefault(key, []).append((number, offset))
        own = parts.setdefault(key, [])
        if not buffer.is_scratch and elision.at(buffer.tensor).base in elision.pieces:
            if buffer.tensor in pieces:
                own += [p._replace(offset=p.offset + offset) for p in pieces[buffer.tensor]]
        else:
            own.append(Part(offset, buffer.first + 1, buffer.last + 2, buffer.nbytes))
    keys = list(members)
    layout = pack_groups(
        [tuple(parts[key]) for key in keys],
        alignment=ALIGNMENT,
        time_limit_s=time_limit_s,
        work_limit=work_limit,
        seed=seed,
    )
    planned = [ONLINE if buffer.is_scratch else 0 for buffer in buffers]
    for key, offset in zip(keys, layout.offsets, strict=True):
        for number, distance in members[key]:
            if not buffers[number].is_scratch:
                planned[number] = offset + distance
    return RigidLayout(planned, place_greedily(buffers, planned).height, layout.lower_bound)


def _pieces(
    model: TfliteModel, buffers: Sequence[ArenaBuffer], order: Sequence[int], elision: Elision
) -> Iterator[tuple[int, list[Part]]]:
    """The pieces of every root that has some, from when they are written to when last read."""
    main = model.subgraphs[0]
    spans = {b.tensor: b for b in buffers if not b.is_scratch}
    scopes = scopes_of(model, {0: order})
    read: dict[tuple[int, int], int] = {}  # (root, start of the piece): the last scope

    def use(tensor: int, scope: int) -> None:
        root = elision.at(tensor).base
        for piece in elision.within(tensor, main.tensors[tensor].nbytes):
            read[root, piece.start] = max(scope, read.get((root, piece.start), -1))

    for index in order:
        operator = main.operators[index]
        scope = scopes[index][1]
        view = operator.outputs[0] if operator.outputs else -1
        for number, tensor in enumerate(operator.inputs):
            if tensor >= 0:
                use(view if number == 0 and view in elision.views else tensor, scope)
    for tensor in main.outputs:
        if tensor in spans:
            use(tensor, spans[tensor].last)
    for root, pieces in elision.pieces.items():
        found: list[Part] = []
        for piece in pieces:
            first = spans[piece.origin].first
            last = max(first, read.get((root, piece.start), first))
            end = -(-piece.stop // ALIGNMENT) * ALIGNMENT
            found.append(Part(piece.start, first + 1, last + 2, end - piece.start))
        yield root, found
