"""Depth-first orders: after a node, one of the nodes that it made ready."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable

    from lowtide.solvers.schedule.problem import ScheduleProblem

__all__ = ["dfs", "dfs_last", "dfs_small"]


def dfs(problem: ScheduleProblem) -> tuple[int, ...]:
    """Depth first, the lowest index first among what became ready last. O(n log n + edges)."""
    return _depth_first(problem, lambda node: -node)


def dfs_last(problem: ScheduleProblem) -> tuple[int, ...]:
    """Depth first, the highest index first among what became ready last. O(n log n + edges)."""
    return _depth_first(problem, lambda node: node)


def dfs_small(problem: ScheduleProblem) -> tuple[int, ...]:
    """Depth first, the node that makes the least bytes first. O(n log n + edges)."""
    made = [0] * problem.num_nodes
    for buffer in problem.buffers:
        if buffer.producer >= 0:
            made[buffer.producer] += buffer.size
    return _depth_first(problem, lambda node: (-made[node], -node))


def _depth_first(
    problem: ScheduleProblem, key: Callable[[int], int] | Callable[[int], tuple[int, int]]
) -> tuple[int, ...]:
    """A stack of ready nodes; what becomes ready is pushed with the greatest key on top."""
    missing = [len(p) for p in problem.predecessors]
    stack = sorted((v for v in range(problem.num_nodes) if missing[v] == 0), key=key)
    order: list[int] = []
    while stack:
        node = stack.pop()
        order.append(node)
        enabled: list[int] = []
        for successor in problem.successors[node]:
            missing[successor] -= 1
            if missing[successor] == 0:
                enabled.append(successor)
        stack.extend(sorted(enabled, key=key))
    return tuple(order)
