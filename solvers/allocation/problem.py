r"""The allocation problem: give every buffer an offset so that buffers alive together are disjoint.

offset                      height = the highest offset + size
  |  ┌────┐┌───────┐
  |  │ b  ││   d   │        lifetimes are half-open [lower, upper)
  |  ├────┴┴──┬────┤        two buffers whose lifetimes meet may not overlap in address
  |  │   a    │ c  │
  +--┴--------┴----┴--- time
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import NamedTuple

from lowtide.errors import InstanceError
from lowtide.solvers.schedule.problem import MAX_BYTES
from lowtide.solvers.status import Status

__all__ = ["AllocationProblem", "AllocationSolution", "Block"]


class Block(NamedTuple):
    """A buffer to place: its identity, half-open lifetime and size; `offset` fixes its place."""

    id: str
    lower: int
    upper: int
    size: int
    offset: int | None = None


@dataclass(frozen=True, slots=True)
class AllocationProblem:
    """Blocks, the alignment of their offsets, and an optional capacity.

    Raises:
        InstanceError: an empty or negative lifetime, a negative size, a repeated id, a fixed offset
            that is negative or misaligned, an alignment below 1 or above 2^60, sizes
            that sum above 2^60.
    """

    blocks: tuple[Block, ...]
    alignment: int = 1
    capacity: int | None = None

    def __post_init__(self) -> None:
        if self.alignment < 1:
            raise InstanceError(f"the alignment must be at least 1, not {self.alignment}")
        if self.alignment > MAX_BYTES:
            raise InstanceError(f"the alignment {self.alignment} is over 2^60")
        seen: set[str] = set()
        total = 0
        for block in self.blocks:
            if block.id in seen:
                raise InstanceError(f"the id `{block.id}` is given to two buffers")
            seen.add(block.id)
            if block.lower >= block.upper:
                raise InstanceError(
                    f"buffer `{block.id}` has the empty lifetime [{block.lower}, {block.upper})"
                )
            if block.size < 0:
                raise InstanceError(f"buffer `{block.id}` has the negative size {block.size}")
            if abs(block.lower) > MAX_BYTES or abs(block.upper) > MAX_BYTES:
                raise InstanceError(f"buffer `{block.id}`: its lifetime is beyond 2^60")
            if block.offset is not None and (block.offset < 0 or block.offset % self.alignment):
                raise InstanceError(
                    f"buffer `{block.id}`: the fixed offset {block.offset} is negative or not a "
                    f"multiple of {self.alignment}"
                )
            total += block.size + self.alignment + (block.offset or 0)
        if total > MAX_BYTES:
            raise InstanceError(f"the sizes sum to {total} bytes, over 2^60")


@dataclass(frozen=True, slots=True)
class AllocationSolution:
    """Offsets in the order of the problem's blocks, the height they reach, and a lower bound."""

    status: Status
    height: int | None
    lower_bound: int
    offsets: tuple[int, ...] | None
    method: str = ""
    seconds: float = 0.0
    cpu_seconds: float = 0.0
