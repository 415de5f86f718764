"""The order of the file, and Kahn's order."""

from __future__ import annotations

from collections import deque
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from lowtide.solvers.schedule.problem import ScheduleProblem

__all__ = ["file", "kahn"]


def file(problem: ScheduleProblem) -> tuple[int, ...]:
    """0, 1, 2, ... where that is topological; else the lowest ready index, always. O(n log n).

    The second rule gives 0, 1, 2, ... whenever that is valid, so it is the only one. ONNX Runtime's
    PRIORITY_BASED order does the same.
    """
    return problem.topological_order


def kahn(problem: ScheduleProblem) -> tuple[int, ...]:
    """Kahn's algorithm with a first-in first-out queue: level by level. O(n + edges).

    Kahn (1962), doi:10.1145/368996.369025.
    """
    missing = [len(p) for p in problem.predecessors]
    ready = deque(v for v in range(problem.num_nodes) if missing[v] == 0)
    order: list[int] = []
    while ready:
        node = ready.popleft()
        order.append(node)
        for successor in problem.successors[node]:
            missing[successor] -= 1
            if missing[successor] == 0:
                ready.append(successor)
    return tuple(order)
