"""The peak-memory orders of PyTorch's Inductor, and their minimum.

Source: `reorder_for_peak_memory` in torch/_inductor/memory.py of PyTorch.
Deviations: `lpmf` subtracts what the selected node frees, where some versions read a stale
variable, and credits a buffer's last reader only; a buffer has one size when made and when freed;
peaks are those of our own model, in-place reuse included.
"""

from __future__ import annotations

import heapq
from typing import TYPE_CHECKING

from lowtide.solvers.schedule.check import peak_of

if TYPE_CHECKING:
    from lowtide.solvers.schedule.problem import ScheduleProblem

__all__ = ["inductor", "inductor_bfs", "inductor_dfs", "inductor_lpmf"]


def inductor(problem: ScheduleProblem) -> tuple[int, ...]:
    """The best of the given order, lpmf, bfs and dfs, the earlier one on a tie."""
    orders = [
        problem.topological_order,
        inductor_lpmf(problem),
        inductor_bfs(problem),
        inductor_dfs(problem),
    ]
    return min(orders, key=lambda order: peak_of(problem, order))


def inductor_lpmf(problem: ScheduleProblem) -> tuple[int, ...]:
    """`topological_sort_lpmf`, least peak memory first: by peak so far, growth, index.

    O(nodes * ready).
    """
    n = problem.num_nodes
    made, freed = [0] * n, [0] * n
    left: list[int] = []
    reads: list[list[int]] = [[] for _ in range(n)]
    live = outputs = 0
    for index, buffer in enumerate(problem.buffers):
        for consumer in buffer.consumers:
            reads[consumer].append(index)
        left.append(len(buffer.consumers) + int(buffer.output and problem.outputs_live_to_end))
        if buffer.producer < 0 and not problem.inputs_in_arena:
            left[index] = -1  # never freed
            continue
        if buffer.output:
            outputs += buffer.size
        if buffer.producer < 0:
            live += buffer.size
        else:
            made[buffer.producer] += buffer.size
            if left[index] == 0:
                freed[buffer.producer] += buffer.size
        if left[index] == 1 and buffer.consumers:
            freed[buffer.consumers[0]] += buffer.size
    peak = max(live, outputs)
    missing = [len(p) for p in problem.predecessors]
    ready = {v for v in range(n) if missing[v] == 0}
    done = [False] * n
    order: list[int] = []
    while ready:
        node = min(ready, key=lambda v: (max(live + made[v], peak), made[v] - freed[v], v))
        ready.discard(node)
        done[node] = True
        order.append(node)
        live += made[node]
        peak = max(peak, live)
        live -= freed[node]
        for successor in problem.successors[node]:
            missing[successor] -= 1
            if missing[successor] == 0:
                ready.add(successor)
        for index in reads[node]:
            left[index] -= 1
            if left[index] == 1:
                for consumer in problem.buffers[index].consumers:
                    if not done[consumer]:
                        freed[consumer] += problem.buffers[index].size
    return tuple(order)


def inductor_bfs(problem: ScheduleProblem) -> tuple[int, ...]:
    """`topological_sort_bfs`: the node whose predecessors ran earliest, as sorted lists."""
    missing = [len(p) for p in problem.predecessors]
    heap: list[tuple[list[int], int]] = [
        ([], v) for v in range(problem.num_nodes) if missing[v] == 0
    ]
    heapq.heapify(heap)
    step = [0] * problem.num_nodes
    order: list[int] = []
    while heap:
        _, node = heapq.heappop(heap)
        step[node] = len(order)
        order.append(node)
        for successor in problem.successors[node]:
            missing[successor] -= 1
            if missing[successor] == 0:
                ran = sorted(step[p] for p in problem.predecessors[successor])
                heapq.heappush(heap, (ran, successor))
    return tuple(order)


def inductor_dfs(problem: ScheduleProblem) -> tuple[int, ...]:
    """`topological_sort_dfs`: post-order, nodes and predecessors by bytes read and written."""
    size = [0] * problem.num_nodes
    for buffer in problem.buffers:
        counts = buffer.producer >= 0 or problem.inputs_in_arena
        if buffer.producer >= 0:
            size[buffer.producer] += buffer.size
        if counts:
            for consumer in buffer.consumers:
                size[consumer] += buffer.size
    visited = [False] * problem.num_nodes
    order: list[int] = []
    roots = sorted(range(problem.num_nodes), key=lambda v: (size[v], v), reverse=True)
    stack = [(v, False) for v in roots]
    while stack:
        node, leaving = stack.pop()
        if leaving:
            order.append(node)
        elif not visited[node]:
            visited[node] = True
            stack.append((node, True))
            before = sorted(problem.predecessors[node], key=lambda v: (size[v], v), reverse=True)
            stack.extend((p, False) for p in before if not visited[p])
    return tuple(order)
