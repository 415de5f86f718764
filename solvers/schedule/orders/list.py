"""Greedy list scheduling by memory: always the ready node that leaves the least alive."""

from __future__ import annotations

import heapq
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from lowtide.solvers.schedule.problem import ScheduleProblem

__all__ = ["list_by_memory"]


def list_by_memory(problem: ScheduleProblem) -> tuple[int, ...]:
    """The ready node with the least growth of live bytes; ties by bytes made, then index.

    A node's growth only falls while it waits (its operands lose readers), so a heap with renewed
    entries is exact. O((n + edges) log n). In-place reuse does not change what is alive afterwards.
    """
    n = problem.num_nodes
    growth, made = [0] * n, [0] * n
    readers: list[int] = []
    reads: list[list[int]] = [[] for _ in range(n)]
    for index, buffer in enumerate(problem.buffers):
        counts = buffer.producer >= 0 or problem.inputs_in_arena
        stays = buffer.output and problem.outputs_live_to_end
        # A buffer that stays, or does not count, never frees anything.
        readers.append(len(buffer.consumers) if counts and not stays else -1)
        if buffer.producer >= 0:
            made[buffer.producer] += buffer.size
            if buffer.consumers or stays:
                growth[buffer.producer] += buffer.size
        for consumer in buffer.consumers:
            reads[consumer].append(index)
        if readers[index] == 1:
            growth[buffer.consumers[0]] -= buffer.size
    missing = [len(p) for p in problem.predecessors]
    heap = [(growth[v], made[v], v) for v in range(n) if missing[v] == 0]
    heapq.heapify(heap)
    done = [False] * n
    order: list[int] = []
    while heap:
        value, _, node = heapq.heappop(heap)
        if done[node] or value != growth[node]:
            continue
        done[node] = True
        order.append(node)
        for index in reads[node]:
            readers[index] -= 1
            if readers[index] == 1:
                buffer = problem.buffers[index]
                last = next(c for c in buffer.consumers if not done[c])
                growth[last] -= buffer.size
                if missing[last] == 0:
                    heapq.heappush(heap, (growth[last], made[last], last))
        for successor in problem.successors[node]:
            missing[successor] -= 1
            if missing[successor] == 0:
                heapq.heappush(heap, (growth[successor], made[successor], successor))
    return tuple(order)
