"""The independent checker of sequences: recomputes validity, peak and cost from the definition.

It shares no code with any solver and keeps no incremental state: for each buffer it lists the runs
that make and read it, and adds the buffer's bytes to every run of each instance's life.
O(runs x degree + instances x their length), vectorised.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from lowtide.errors import LowtideError
from lowtide.solvers.remat.problem import OrderScope
from lowtide.solvers.status import Status

if TYPE_CHECKING:
    from collections.abc import Sequence

    from lowtide.solvers.remat.problem import RematProblem
    from lowtide.solvers.remat.solution import RematSolution

__all__ = ["check", "check_stages", "peak_of"]


def peak_of(problem: RematProblem, sequence: Sequence[int]) -> int:
    """The peak of `sequence`, in bytes, the constant memory included.

    Raises:
        LowtideError: a node is missing or unknown, a pinned node is repeated or out of order, a run
            comes before something that it depends on.
    """
    length = len(sequence)
    runs: list[list[int]] = [[] for _ in range(problem.num_nodes)]
    for index, node in enumerate(sequence):
        if not 0 <= node < problem.num_nodes:
            raise LowtideError(f"run {index} is of node {node}, which is not there")
        runs[node].append(index)
    for node, steps in enumerate(runs):
        if not steps:
            raise LowtideError(f"node {node} is never run")
    for before, after in problem.precedence:
        if runs[after][0] <= runs[before][0]:
            raise LowtideError(f"node {after} runs before node {before}, which it must follow")
    pinned = set(problem.pinned)
    for node in problem.pinned:
        if len(runs[node]) > 1:
            raise LowtideError(f"the pinned node {node} runs {len(runs[node])} times")
    kept = [v for v in sequence if v in pinned]
    if kept != [v for v in problem.order if v in pinned]:
        raise LowtideError("the pinned nodes are not in the input order")

    unit = problem.alignment
    live = np.zeros(max(length, 1), dtype=np.int64)
    dead_after: set[tuple[int, int]] = set()  # (run, buffer): read for the last time
    start = 0
    for index, buffer in enumerate(problem.buffers):
        size = -(-buffer.size // unit) * unit
        events = sorted(
            [(step, False) for consumer in buffer.consumers for step in runs[consumer]]
            + ([(step, True) for step in runs[buffer.producer]] if buffer.producer >= 0 else [])
        )
        # Instances as closed intervals [first, last] of runs.
        first, last = (None, -1) if buffer.producer >= 0 else (0, -1)
        instances: list[tuple[int, int]] = []
        for step, makes in events:
            if makes:
                if first is not None:
                    instances.append((first, last))
                first = last = step
            elif first is None:
                raise LowtideError(
                    f"run {step}, of node {sequence[step]}, reads buffer {index} before it is made"
                )
            else:
                last = step
        if first is not None:
            instances.append((first, length - 1 if buffer.output else last))
        if buffer.producer < 0 and not problem.inputs_in_arena:
            continue
        if buffer.producer < 0 and (buffer.consumers or buffer.output):
            start += size
        for first_step, last_step in instances:
            live[first_step : last_step + 1] += size
            dead_after.add((last_step, index))
        if buffer.output and instances:
            dead_after.remove((instances[-1][1], index))  # it stays
    candidates: dict[int, list[tuple[int, int]]] = {}
    for candidate in problem.in_place:
        candidates.setdefault(candidate.node, []).append((candidate.output, candidate.input))
    for step, node in enumerate(sequence):
        if problem.workspace:
            live[step] += -(-problem.workspace[node] // unit) * unit
        used: set[int] = set()
        made: set[int] = set()
        for output, source in candidates.get(node, ()):
            sizes = {-(-problem.buffers[b].size // unit) for b in (output, source)}
            if (step, source) in dead_after and len(sizes) == 1:
                if source in used or output in made:
                    continue
                used.add(source)
                made.add(output)
                live[step] -= sizes.pop() * unit
    return problem.constant_bytes + max(start, int(live.max()) if length else 0)


def check_stages(problem: RematProblem, sequence: Sequence[int]) -> None:
    """Raise `LowtideError` unless the sequence consists of the stages of the input order."""
    stage, before = 0, -1
    for index, node in enumerate(sequence):
        place = problem.position[node]
        if stage >= problem.num_nodes or place > stage or place <= before:
            raise LowtideError(
                f"run {index}, of node {node}, is not of the stages of the input order: "
                f"node {problem.order[min(stage, problem.num_nodes - 1)]} was to run next, or a "
                f"node that comes before it and was not repeated or passed over since the last one"
            )
        stage, before = (stage + 1, -1) if place == stage else (stage, place)
    if stage != problem.num_nodes:
        raise LowtideError(f"the sequence ends before stage {stage} of {problem.num_nodes}")


def check(problem: RematProblem, solution: RematSolution) -> None:
    """Raise `LowtideError` unless the solution's sequence is valid and its figures agree."""
    if solution.base_cost != problem.base_cost:
        raise LowtideError(
            f"running all once costs {problem.base_cost}, the solution says {solution.base_cost}"
        )
    if len({b.scope for b in solution.bounds}) != len(solution.bounds):
        raise LowtideError("the solution states two bounds for one scope")
    if solution.sequence is None:
        if solution.cost is not None or solution.peak_bytes is not None:
            raise LowtideError("a solution without a sequence states a cost or a peak")
        if solution.status not in (Status.INFEASIBLE, Status.FEASIBLE, Status.TIME_LIMIT):
            raise LowtideError(f"status {solution.status} without a sequence")
        return
    if solution.status is Status.INFEASIBLE:
        raise LowtideError("a solution with a sequence says that there is none")
    peak = peak_of(problem, solution.sequence)
    if solution.scope is OrderScope.FIXED:
        check_stages(problem, solution.sequence)
    if peak != solution.peak_bytes:
        raise LowtideError(
            f"the sequence's peak is {peak}, the solution says {solution.peak_bytes}"
        )
    if peak > problem.budget_bytes:
        raise LowtideError(f"the peak {peak} exceeds the budget {problem.budget_bytes}")
    if solution.peak_bound_bytes > peak:
        raise LowtideError(
            f"the bound {solution.peak_bound_bytes} exceeds a peak that is reached, {peak}"
        )
    cost = problem.cost_of(solution.sequence)
    if cost != solution.cost:
        raise LowtideError(f"the sequence costs {cost}, the solution says {solution.cost}")
    for bound in solution.bounds:
        held = bound.scope in (solution.scope, OrderScope.FREE)
        if held and bound.cost > cost:
            raise LowtideError(
                f"the bound {bound.cost} ({bound.method}) exceeds a cost that is reached, {cost}"
            )
    proven = solution.bound is not None and solution.bound.cost >= cost
    if (solution.status is Status.OPTIMAL) != proven:
        raise LowtideError(
            f"status {solution.status} with cost {cost} and bound "
            f"{None if solution.bound is None else solution.bound.cost}"
        )
