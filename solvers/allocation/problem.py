r"""The allocation problem: give every buffer an offset so that buffers alive together are disjoint.

offset                      height = the highest offset + size
  |  ┌────┐┌───────┐
  |  │ b  ││   d   │        lifetimes are half-open [lower, upper)
  |  ├────┴┴──┬────┤        two buffers whose lifetimes meet may not overlap in address
  |  │   a    │ c  │
  +--┴--------┴----┴--- time

Two relaxations: a buffer may have gaps, times inside its lifetime at which it holds nothing and
others may use its addresses; and pairs may share, which lets both lie at the same offset although
they meet (an operator that writes its result over its operand). A sharing pair at two different
offsets must be disjoint like any other.
"""

from __future__ import annotations

from dataclasses import dataclass
from math import lcm
from typing import NamedTuple

from lowtide.errors import InstanceError
from lowtide.solvers.schedule.problem import MAX_BYTES
from lowtide.solvers.status import Status

__all__ = ["AllocationProblem", "AllocationSolution", "Block", "check_block"]


class Block(NamedTuple):
    """A buffer to place.

    Attributes:
        id: its identity, unique in a problem.
        lower: begin of its lifetime.
        upper: end of its lifetime, exclusive.
        size: bytes; an empty buffer meets no other.
        offset: its place, where that is given.
        gaps: half-open parts of the lifetime in which it is unused, ascending, strictly inside.
        alignment: of its own, beside the problem's: offsets are multiples of both.
    """

    id: str
    lower: int
    upper: int
    size: int
    offset: int | None = None
    gaps: tuple[tuple[int, int], ...] = ()
    alignment: int = 1

    @property
    def active(self) -> tuple[tuple[int, int], ...]:
        """The lifetime without the gaps: half-open intervals, ascending, apart from each other."""
        intervals: list[tuple[int, int]] = []
        begin = self.lower
        for lower, upper in self.gaps:
            if begin < lower:  # else two gaps touch
                intervals.append((begin, lower))
            begin = upper
        return (*intervals, (begin, self.upper))


@dataclass(frozen=True, slots=True)
class AllocationProblem:
    """Blocks, the alignment of their offsets, an optional capacity, and the pairs that may share.

    Attributes:
        blocks: what to place.
        alignment: every offset is a multiple of it.
        capacity: the most that the height may be; None for the least height.
        shares: unordered pairs of indices of blocks that may lie at the same offset while both
            are alive.

    Raises:
        InstanceError: an empty or negative lifetime, a negative size, a repeated id, a gap that is
            empty, out of order or not strictly inside the lifetime, a fixed offset that is negative
            or misaligned, an alignment below 1 or over 2^60, a negative capacity, a pair that names
            one block twice or none, a repeated pair, sizes that sum above 2^60.
    """

    blocks: tuple[Block, ...]
    alignment: int = 1
    capacity: int | None = None
    shares: tuple[tuple[int, int], ...] = ()

    def __post_init__(self) -> None:
        if self.alignment < 1:
            raise InstanceError(f"the alignment must be at least 1, not {self.alignment}")
        if self.alignment > MAX_BYTES:
            raise InstanceError(f"the alignment {self.alignment} is over 2^60")
        if self.capacity is not None and self.capacity < 0:
            raise InstanceError(f"the capacity must not be negative, got {self.capacity}")
        seen: set[str] = set()
        total = 0
        for block in self.blocks:
            if block.id in seen:
                raise InstanceError(f"the id `{block.id}` is given to two buffers")
            seen.add(block.id)
            check_block(block, self.alignment)
            align = self.alignment_of(block)
            total += block.size + align + (block.offset or 0)
        if total > MAX_BYTES:
            raise InstanceError(f"the sizes sum to {total} bytes, over 2^60")
        pairs: set[tuple[int, int]] = set()
        for one, two in self.shares:
            if not (0 <= min(one, two) < max(one, two) < len(self.blocks)):
                raise InstanceError(
                    f"the sharing pair ({one}, {two}) must name two of the {len(self.blocks)} "
                    f"buffers by index"
                )
            pair = (min(one, two), max(one, two))
            if pair in pairs:
                raise InstanceError(f"the sharing pair {pair} is given twice")
            pairs.add(pair)

    def alignment_of(self, block: Block) -> int:
        """What the block's offset is a multiple of: the least common multiple of both alignments.

        An empty block, like any other, is given an aligned offset.
        """
        return self.alignment if block.alignment == 1 else lcm(self.alignment, block.alignment)


@dataclass(frozen=True, slots=True)
class AllocationSolution:
    """Offsets in the order of the problem's blocks, the height they reach, and a lower bound.

    Attributes:
        status: `optimal` exactly when the height is the lower bound.
        height: the highest offset + size, in bytes; None without a layout.
        lower_bound: no layout is lower.
        offsets: one a block, in bytes; None without a layout.
        method: the algorithm that found the layout.
        seconds: wall time.
        cpu_seconds: processor time of all threads.
    """

    status: Status
    height: int | None
    lower_bound: int
    offsets: tuple[int, ...] | None
    method: str = ""
    seconds: float = 0.0
    cpu_seconds: float = 0.0


def check_block(block: Block, alignment: int) -> None:
    """Raise `InstanceError` unless the block makes sense by itself, under a problem's alignment."""
    if block.lower >= block.upper:
        raise InstanceError(
            f"buffer `{block.id}` has the empty lifetime [{block.lower}, {block.upper})"
        )
    if block.size < 0:
        raise InstanceError(f"buffer `{block.id}` has the negative size {block.size}")
    if abs(block.lower) > MAX_BYTES or abs(block.upper) > MAX_BYTES:
        raise InstanceError(f"buffer `{block.id}`: its lifetime is beyond 2^60")
    if block.gaps:
        _check_gaps(block)
    if block.alignment < 1:
        raise InstanceError(
            f"buffer `{block.id}`: the alignment must be at least 1, not {block.alignment}"
        )
    align = lcm(alignment, block.alignment)
    if block.offset is not None and (block.offset < 0 or block.offset % align):
        raise InstanceError(
            f"buffer `{block.id}`: the fixed offset {block.offset} is negative or not a multiple "
            f"of {align}"
        )


def _check_gaps(block: Block) -> None:
    before = block.lower
    first = True
    for lower, upper in block.gaps:
        if lower >= upper:
            raise InstanceError(f"buffer `{block.id}` has the empty gap [{lower}, {upper})")
        if lower < before or (first and lower == before) or upper >= block.upper:
            raise InstanceError(
                f"buffer `{block.id}`: the gap [{lower}, {upper}) is out of order or not strictly "
                f"inside the lifetime [{block.lower}, {block.upper})"
            )
        before, first = upper, False
