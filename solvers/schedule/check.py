"""The independent checker of orders: recomputes validity and peak from the problem's definition.

It shares no code with any solver and keeps no incremental counters: at every step it asks, for each
buffer, whether it is live.  O(nodes x buffers), vectorised.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from lowtide.errors import LowtideError

if TYPE_CHECKING:
    from collections.abc import Sequence

    from lowtide.solvers.schedule.problem import ScheduleProblem
    from lowtide.solvers.schedule.solution import ScheduleSolution

__all__ = ["check", "peak_of"]


def peak_of(problem: ScheduleProblem, order: Sequence[int]) -> int:
    """The peak of `order`, in bytes.

    Raises:
        LowtideError: `order` is not a permutation of the nodes, or breaks a dependency.
    """
    n = problem.num_nodes
    if sorted(order) != list(range(n)):
        raise LowtideError("the order is not a permutation of the nodes")
    step = [0] * n
    for index, node in enumerate(order):
        step[node] = index
    for before, after in problem.precedence:
        if step[before] >= step[after]:
            raise LowtideError(f"node {after} runs before node {before}, which it must follow")
    # Lifetimes as closed intervals [first, last] of steps.
    first: list[int] = []
    last: list[int] = []
    for index, buffer in enumerate(problem.buffers):
        born = step[buffer.producer] if buffer.producer >= 0 else 0
        dies = born if buffer.producer >= 0 else -1
        for consumer in buffer.consumers:
            if buffer.producer >= 0 and step[consumer] <= born:
                raise LowtideError(f"node {consumer} reads buffer {index} before it is made")
            dies = max(dies, step[consumer])
        if buffer.output and problem.outputs_live_to_end:
            dies = n - 1
        first.append(born)
        last.append(dies)
    live = np.zeros(max(n, 1), dtype=np.int64)
    for index, buffer in enumerate(problem.buffers):
        if buffer.producer < 0 and not problem.inputs_in_arena:
            continue
        live[first[index] : last[index] + 1] += buffer.size
    for node, workspace in enumerate(problem.workspace):
        live[step[node]] += workspace
    used: set[int] = set()
    made: set[int] = set()
    for candidate in problem.in_place:
        source, result = problem.buffers[candidate.input], problem.buffers[candidate.output]
        at = step[candidate.node]
        if (
            last[candidate.input] == at
            and (source.producer >= 0 or problem.inputs_in_arena)
            and not (source.output and problem.outputs_live_to_end)
            and source.size == result.size
            and candidate.input not in used
            and candidate.output not in made
        ):
            used.add(candidate.input)
            made.add(candidate.output)
            live[at] -= result.size
    start = 0
    if problem.inputs_in_arena:
        start = sum(
            b.size
            for b in problem.buffers
            if b.producer < 0 and (b.consumers or (b.output and problem.outputs_live_to_end))
        )
    return max(start, int(live.max()) if n else 0)


def check(problem: ScheduleProblem, solution: ScheduleSolution) -> None:
    """Raise `LowtideError` unless the solution's order is valid and its figures agree.

    Args:
        problem: what was scheduled.
        solution: with an order or without; its bound is taken as it is.
    """
    if solution.order is None:
        if solution.peak_bytes is not None:
            raise LowtideError("a solution without an order states a peak")
        return
    peak = peak_of(problem, solution.order)
    if solution.peak_bytes != peak:
        raise LowtideError(f"the order's peak is {peak}, the solution says {solution.peak_bytes}")
    if solution.lower_bound_bytes > peak:
        raise LowtideError(
            f"the lower bound {solution.lower_bound_bytes} exceeds a peak that is reached, {peak}"
        )
    if (solution.status == "optimal") != (solution.lower_bound_bytes == peak):
        raise LowtideError(
            f"status {solution.status} with peak {peak} and bound {solution.lower_bound_bytes}"
        )
