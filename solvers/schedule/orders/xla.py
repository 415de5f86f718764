"""XLA's three memory schedulers and their minimum, which is what XLA runs.

Source: `DefaultMemoryScheduler` in OpenXLA's hlo_memory_scheduler.cc (hlo/transforms/simplifiers).
Deviations: ties go to the lower node index (XLA: the name, or the order of a multimap); operands
are visited by index (XLA: the operands' order in the instruction); there are no parameters,
constants, scalars or infeeds to treat apart; peaks are those of our own model, in-place reuse
included.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from lowtide.solvers.schedule.check import peak_of

if TYPE_CHECKING:
    from collections.abc import Callable

    from lowtide.solvers.schedule.problem import ScheduleProblem

__all__ = ["xla", "xla_dfs", "xla_list", "xla_post_order"]


def xla(problem: ScheduleProblem) -> tuple[int, ...]:
    """The best of the list, DFS and post-order schedulers, the earlier one on a tie."""
    orders = [xla_list(problem), xla_dfs(problem), xla_post_order(problem)]
    return min(orders, key=lambda order: peak_of(problem, order))


def xla_list(problem: ScheduleProblem) -> tuple[int, ...]:
    """`ListScheduler`: the ready node with the most bytes freed net of those made, then most users.

    What the graph is handed is never counted as freed. O(nodes * ready + edges * operands).
    """
    n = problem.num_nodes
    made = _made(problem)
    uses = [len(b.consumers) + int(b.output) for b in problem.buffers]
    reads: list[list[int]] = [[] for _ in range(n)]
    for index, buffer in enumerate(problem.buffers):
        for consumer in buffer.consumers:
            reads[consumer].append(index)

    def priority(node: int) -> tuple[int, int, int]:
        freed = sum(
            problem.buffers[i].size
            for i in reads[node]
            if uses[i] == 1 and problem.buffers[i].producer >= 0
        )
        return freed - made[node], len(problem.successors[node]), -node

    missing = [len(p) for p in problem.predecessors]
    ready = {v: priority(v) for v in range(n) if missing[v] == 0}
    order: list[int] = []
    while ready:
        node = max(ready, key=ready.__getitem__)
        del ready[node]
        order.append(node)
        for index in reads[node]:
            uses[index] -= 1
        for index in reads[node]:
            if uses[index] == 1:
                for consumer in problem.buffers[index].consumers:
                    if consumer in ready:
                        ready[consumer] = priority(consumer)
        for successor in problem.successors[node]:
            missing[successor] -= 1
            if missing[successor] == 0:
                ready[successor] = priority(successor)
    return tuple(order)


def xla_dfs(problem: ScheduleProblem) -> tuple[int, ...]:
    """`DFSMemoryScheduler`: post-order, operands with most extra users first, then most bytes.

    Both figures include those of all operands, counted once per path and capped.
    O(edges log degree).
    """
    n = problem.num_nodes
    made = _made(problem)
    extra, total = [0] * n, [0] * n
    cumulative = 0
    for node in xla_post_order(problem):
        cumulative += made[node]
        before = problem.predecessors[node]
        users = max(0, len(problem.successors[node]) - 1)
        extra[node] = min(users + sum(extra[p] for p in before), n)
        total[node] = min(made[node] + sum(total[p] for p in before), cumulative)
    return _post_order(problem, lambda v: (-extra[v], -total[v], v))


def xla_post_order(problem: ScheduleProblem) -> tuple[int, ...]:
    """`PostOrderScheduler`: depth-first post-order from the nodes without users, by index."""
    return _post_order(problem, lambda v: (0, 0, v))


def _made(problem: ScheduleProblem) -> list[int]:
    made = [0] * problem.num_nodes
    for buffer in problem.buffers:
        if buffer.producer >= 0:
            made[buffer.producer] += buffer.size
    return made


def _post_order(
    problem: ScheduleProblem, key: Callable[[int], tuple[int, int, int]]
) -> tuple[int, ...]:
    """A node after all it reads, which are visited in the order of `key`."""
    stack = [(v, False) for v in range(problem.num_nodes) if not problem.successors[v]]
    stack.reverse()
    visited = [False] * problem.num_nodes
    order: list[int] = []
    while stack:
        node, leaving = stack.pop()
        if leaving:
            order.append(node)
        elif not visited[node]:
            visited[node] = True
            stack.append((node, True))
            operands = sorted(problem.predecessors[node], key=key, reverse=True)
            stack.extend((p, False) for p in operands if not visited[p])
    return tuple(order)
