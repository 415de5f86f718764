"""ONNX Runtime's DEFAULT execution order: reverse depth first search from the leaves."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Sequence

    from lowtide.solvers.schedule.problem import ScheduleProblem

__all__ = ["ort_default", "reverse_dfs"]


def ort_default(problem: ScheduleProblem) -> tuple[int, ...]:
    """ONNX Runtime's DEFAULT order, where the number of a node is ONNX Runtime's node index."""
    return tuple(reverse_dfs(problem.predecessors))


def reverse_dfs(predecessors: Sequence[Sequence[int]]) -> list[int]:
    """The order in which ONNX Runtime runs nodes by default. O(nodes + edges log degree).

    Leaves and predecessors are visited highest node index first; a node runs once all that it reads
    has run. Source: `GraphViewer` and `Graph::ReverseDFSFrom` of ONNX Runtime, by node index.

    Args:
        predecessors: the direct predecessors of every node, by ONNX Runtime's node index.
    """
    has_successor = [False] * len(predecessors)
    for before in predecessors:
        for node in before:
            has_successor[node] = True
    stack = [(node, False) for node, inner in enumerate(has_successor) if not inner]
    visited = [False] * len(predecessors)
    order: list[int] = []
    while stack:
        node, leaving = stack.pop()
        if leaving:
            order.append(node)
        elif not visited[node]:
            visited[node] = True
            stack.append((node, True))
            stack.extend((p, False) for p in sorted(set(predecessors[node])) if not visited[p])
    return order
