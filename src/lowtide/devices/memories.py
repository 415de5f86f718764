"""From a device to the allocator for several memories.

What stock TensorFlow Lite Micro can use of several memories: one arena in one of them, or two, the
tensors in one and what persists in another (`MicroAllocator::Create` takes both). That is
`place_arena`. A runtime that addresses tensors one by one can use all: `pool_problem`.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from lowtide.errors import InputError
from lowtide.solvers.allocation.pools import Pool, PoolProblem

if TYPE_CHECKING:
    from collections.abc import Sequence

    from lowtide.devices.profile import Device, Memory
    from lowtide.solvers.allocation.problem import Block

__all__ = ["Placement", "place_arena", "pool_problem", "pools_of"]


@dataclass(frozen=True, slots=True)
class Placement:
    """Where the two parts of TFLM's arena lie: `tensors` and `persistent`, each in one memory."""

    tensors: Memory
    persistent: Memory

    @property
    def arenas(self) -> int:
        """One arena, or two: two take `MicroAllocator::Create` with both."""
        return 1 if self.tensors is self.persistent else 2


def pools_of(device: Device, alignment: int = 16) -> tuple[Pool, ...]:
    """The device's memories as pools, in its order; the capacity is what is not reserved."""
    return tuple(
        Pool(memory.name, memory.available_bytes // alignment * alignment, alignment)
        for memory in device.memories
    )


def pool_problem(
    device: Device,
    blocks: Sequence[Block],
    *,
    alignment: int = 16,
    persistent_bytes: int = 0,
    shares: tuple[tuple[int, int], ...] = (),
    weights: Sequence[int] = (),
) -> PoolProblem:
    """The problem of placing blocks in the device's memories, for `allocate_pools`.

    Args:
        device: its memories, the one to fill first coming first.
        blocks: what to place.
        alignment: of every offset.
        persistent_bytes: what lives from beginning to end beside the blocks, in one piece. It
            becomes the last block, `(persistent)`, which is moved before any other.
        shares: pairs of blocks that may lie at the same offset.
        weights: for each block the bytes that are read and written; empty for the sizes.

    Raises:
        InstanceError: a block fits in no memory.
    """
    from lowtide.solvers.allocation.problem import Block

    placed = list(blocks)
    traffic = list(weights) if weights else [block.size for block in placed]
    if persistent_bytes:
        first = min((block.lower for block in placed), default=0)
        last = max((block.upper for block in placed), default=first + 1)
        placed.append(Block("(persistent)", first, max(last, first + 1), persistent_bytes))
        traffic.append(1)
    return PoolProblem(
        tuple(placed), pools_of(device, alignment), shares=shares, weights=tuple(traffic)
    )


def place_arena(device: Device, head_bytes: int, tail_bytes: int) -> Placement:
    """The first memory that holds the whole arena, else the best two: tensors first.

    Args:
        device: whose memories are tried in its order.
        head_bytes: of tensors and scratch.
        tail_bytes: of what persists.

    Raises:
        InputError: no memory holds the head, or none is left that holds the tail.
    """
    for memory in device.memories:
        if head_bytes + tail_bytes <= memory.available_bytes:
            return Placement(memory, memory)
    for memory in device.memories:
        if head_bytes > memory.available_bytes:
            continue
        for other in device.memories:
            if other is not memory and tail_bytes <= other.available_bytes:
                return Placement(memory, other)
    most = max(device.memories, key=lambda memory: memory.available_bytes)
    raise InputError(
        f"{device.name}: the arena needs {head_bytes:,} bytes for tensors and {tail_bytes:,} that "
        f"persist; the largest memory, {most.name}, has {most.available_bytes:,}: "
        f"{head_bytes + tail_bytes - most.available_bytes:,} too many"
    )
