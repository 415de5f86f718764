"""TensorFlow Lite Micro's GreedyMemoryPlanner, step by step.

Buffers with a given offset ("offline planned") are put there first, whatever lies there. The others
follow by falling size, of equal sizes the one added last first, each into the first gap among the
buffers alive with it:

    offset
      |   ┌────────┐
      |   │offline │      a gap begins at the highest end of the live buffers below it, and ends at
      |   └────────┘      the next live buffer's offset
      |  ....gap....
      |   ┌─────┐
      +---┴─────┴----- scope

Source: tensorflow/lite/micro/memory_planner/greedy_memory_planner.cc. Sizes are those that
MicroAllocator hands over, multiples of 16. `solvers/allocation/tflm_greedy.py` is the same idea on
allocation problems; this one also takes overlapping offline buffers and TFLM's scopes as they are.
"""

from __future__ import annotations

from bisect import bisect_right
from dataclasses import dataclass
from typing import TYPE_CHECKING

from lowtide.errors import PlanError

if TYPE_CHECKING:
    from collections.abc import Sequence

    from lowtide.backends.tflite.tflm.lifetimes import ArenaBuffer

__all__ = ["ONLINE", "GreedyPlacement", "place_greedily"]

ONLINE = -1  # kOnlinePlannedBuffer


@dataclass(frozen=True, slots=True)
class GreedyPlacement:
    """Where TFLM puts the buffers, in the order of the buffers, and the height that they reach."""

    offsets: tuple[int, ...]
    height: int


def place_greedily(
    buffers: Sequence[ArenaBuffer], planned: Sequence[int] | None = None
) -> GreedyPlacement:
    """The planner's result. O(n^2).

    Args:
        buffers: in the order in which they are added.
        planned: an offset for each buffer, `ONLINE` for those that the planner shall place; all of
            them by default.

    Raises:
        PlanError: there are not as many offsets as buffers, or one is negative and not `ONLINE`.
    """
    given = [ONLINE] * len(buffers) if planned is None else list(planned)
    if len(given) != len(buffers):
        raise PlanError(f"{len(given)} offsets for {len(buffers)} buffers")
    if any(offset < ONLINE for offset in given):
        raise PlanError(f"the offset {min(given)} is negative")
    offsets = list(given)
    placed: list[int] = []  # buffers by rising offset, of equal offsets the earlier one first
    keys: list[int] = []  # their offsets

    def insert(index: int) -> None:
        at = bisect_right(keys, offsets[index])
        keys.insert(at, offsets[index])
        placed.insert(at, index)

    for index, offset in enumerate(given):
        if offset != ONLINE:
            insert(index)
    online = [i for i in reversed(range(len(buffers))) if given[i] == ONLINE]
    online.sort(key=lambda i: -buffers[i].nbytes)  # stable, as the planner's own sort
    for index in online:
        buffer = buffers[index]
        candidate = 0
        for other in placed:
            near = buffers[other]
            if near.first > buffer.last or buffer.first > near.last:
                continue
            if offsets[other] - candidate >= buffer.nbytes:
                break
            candidate = max(candidate, offsets[other] + near.nbytes)
        offsets[index] = candidate
        insert(index)
    height = max((o + b.nbytes for o, b in zip(offsets, buffers, strict=True)), default=0)
    return GreedyPlacement(tuple(offsets), height)
