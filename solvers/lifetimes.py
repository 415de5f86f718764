"""From a schedule to an allocation problem: when every buffer of an order is alive."""

from __future__ import annotations

from typing import TYPE_CHECKING

from lowtide.errors import LowtideError
from lowtide.solvers.allocation.problem import AllocationProblem, Block

if TYPE_CHECKING:
    from collections.abc import Sequence

    from lowtide.solvers.schedule.problem import ScheduleProblem

__all__ = ["arena_of"]


def arena_of(
    problem: ScheduleProblem, order: Sequence[int], *, alignment: int = 1
) -> AllocationProblem:
    """The blocks of `order`, in steps: its peak is the greatest load, if sizes are aligned.

    The block of buffer i is called `i`, that of node v's workspace `~v`. A buffer that is written
    over another one by the order is part of that one's block. Empty buffers have no block.
    O(nodes + uses).

    Args:
        problem: what was scheduled.
        order: of its nodes.
        alignment: of offsets, in bytes.

    Raises:
        LowtideError: `order` is not a permutation of the nodes.
    """
    if sorted(order) != list(range(problem.num_nodes)):
        raise LowtideError("the order is not a permutation of the nodes")
    step = {node: index for index, node in enumerate(order)}
    end = max(problem.num_nodes, 1)
    spans: list[tuple[int, int] | None] = []
    for buffer in problem.buffers:
        if buffer.producer < 0 and not problem.inputs_in_arena:
            spans.append(None)
            continue
        first = step[buffer.producer] if buffer.producer >= 0 else 0
        last = max((step[c] + 1 for c in buffer.consumers), default=0)
        if buffer.output and problem.outputs_live_to_end:
            last = end
        # What is made and not read lives in its own step; what is handed over unread, not at all.
        if buffer.producer >= 0:
            last = max(last, first + 1)
        spans.append((first, last) if first < last else None)
    host = list(range(len(problem.buffers)))  # the buffer in whose block this one is
    for output, source in _overwritten(problem, step):
        host[output] = source
    blocks: dict[int, Block] = {}
    # A host is made before what is written over it, so its own host is final.
    made = sorted(
        range(len(host)),
        key=lambda b: (step.get(problem.buffers[b].producer, -1), b),
    )
    for index in made:
        span, size = spans[index], problem.buffers[index].size
        host[index] = host[host[index]]
        if span is None or size == 0:
            continue
        if host[index] == index:
            blocks[index] = Block(str(index), span[0], span[1], size)
        else:
            block = blocks[host[index]]
            blocks[host[index]] = block._replace(upper=max(block.upper, span[1]))
    scratch = [
        Block(f"~{node}", step[node], step[node] + 1, size)
        for node, size in enumerate(problem.workspace)
        if size
    ]
    return AllocationProblem((*(blocks[b] for b in sorted(blocks)), *scratch), alignment)


def _overwritten(problem: ScheduleProblem, step: dict[int, int]) -> list[tuple[int, int]]:
    """The (output, input) pairs that the order writes in place, as `problem.py` defines them."""
    pairs: list[tuple[int, int]] = []
    made: set[int] = set()
    used: set[int] = set()
    for node, output, source in problem.in_place:
        buffer = problem.buffers[source]
        dies = all(c == node or step[c] < step[node] for c in buffer.consumers)
        kept = buffer.output and problem.outputs_live_to_end
        counts = buffer.producer >= 0 or problem.inputs_in_arena
        if (
            dies
            and counts
            and not kept
            and buffer.size == problem.buffers[output].size
            and output not in made
            and source not in used
        ):
            made.add(output)
            used.add(source)
            pairs.append((output, source))
    return pairs
