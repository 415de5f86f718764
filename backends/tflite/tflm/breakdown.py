"""Where the bytes of the arena's head go: what is alive at the scope of greatest load."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from lowtide.backends.tflite.tflm.lifetimes import arena_buffers, scopes_of

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from lowtide.backends.tflite.tflm.lifetimes import ArenaBuffer
    from lowtide.frontends.tflite import TfliteModel

__all__ = ["HeadLoad", "head_load", "weights_bytes"]


@dataclass(frozen=True, slots=True)
class HeadLoad:
    """The greatest load of an execution order, without in-place results: no layout is lower.

    Attributes:
        load_bytes: of tensors and scratch alive together.
        scratch_bytes: of that, scratch.
        operator: the operator of the main subgraph that runs then, by index in the file; None
            before the first one, or where the room goes to tensors that nothing uses.
        buffers: what is alive, the largest first.
    """

    load_bytes: int
    scratch_bytes: int
    operator: int | None
    buffers: tuple[ArenaBuffer, ...]


def head_load(
    model: TfliteModel,
    scratch: Mapping[tuple[int, int], Sequence[int]],
    order: Sequence[int] | None = None,
) -> HeadLoad:
    """What forces the head's height, in the file's order or another one. O(n log n + live).

    Raises:
        ModelError: subgraphs call each other in a circle.
    """
    orders = {} if order is None else {0: tuple(order)}
    buffers = arena_buffers(model, scratch, orders)
    changes: dict[int, int] = {}
    for buffer in buffers:
        changes[buffer.first] = changes.get(buffer.first, 0) + buffer.nbytes
        changes[buffer.last + 1] = changes.get(buffer.last + 1, 0) - buffer.nbytes
    load = best = 0
    scope = 0
    for at in sorted(changes):
        load += changes[at]
        if load > best:
            best, scope = load, at
    live = [b for b in buffers if b.first <= scope <= b.last]
    running = [
        operator
        for operator, (first, last) in scopes_of(model, orders).items()
        if first <= scope <= last
    ]
    return HeadLoad(
        load_bytes=best,
        scratch_bytes=sum(b.nbytes for b in live if b.is_scratch),
        operator=running[0] if running else None,
        buffers=tuple(sorted(live, key=lambda b: -b.nbytes)),
    )


def weights_bytes(model: TfliteModel) -> int:
    """The data of constant tensors, which stays in flash; what several share counts once."""
    used = {t.buffer for s in model.subgraphs for t in s.tensors if t.constant}
    return sum(model.buffers[b].stop - model.buffers[b].start for b in used)
