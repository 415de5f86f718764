"""The exact method in plain Python: readable and slow, what the native core is tested against.

Three parts, each argued for in `solvers/native/schedule/min_cut.hpp` and `search.hpp`:

1. A lower bound: whenever v runs, it runs at an ideal T with anc(v) in T and v not in T. The least
   mem(T) over these is a minimum cut; less the most that v can save by writing in place, it bounds
   v's transient, hence the peak, from below.
2. A decision search at a budget: depth first over ideals, with a set of those visited. A ready v
   with transient <= budget and mem(S + v) <= mem(S) runs without branching: mem is submodular and
   savings only grow with the ideal, so whatever follows S can follow S + v at no higher transients.
3. When the search fails, the least transient that exceeded the budget is the next budget to try.

Left out here: the native core's backward and macro commits, reordering, windows, cut nodes, beams,
deduced precedence and guards.
"""

from __future__ import annotations

import time
from collections import deque
from typing import TYPE_CHECKING

from lowtide.solvers.schedule.check import check
from lowtide.solvers.schedule.solution import ScheduleSolution
from lowtide.solvers.status import Status

if TYPE_CHECKING:
    from lowtide.solvers.schedule.problem import Buffer, ScheduleProblem

# A node, ("buffer", index), "source" or "sink".
_Vertex = int | str | tuple[str, int]

__all__ = ["decide", "mem", "min_cut_bound", "schedule_reference", "transient"]


def schedule_reference(problem: ScheduleProblem) -> ScheduleSolution:
    """An optimal order. Exponential in the width of the graph."""
    begin, begin_cpu = time.perf_counter(), time.process_time()
    budget = max(
        [mem(problem, frozenset()), *(min_cut_bound(problem, v) for v in range(problem.num_nodes))]
    )
    method = "min-cut"
    while True:
        order, pruned = decide(problem, budget)
        if order is not None:
            break
        budget, method = pruned, "search"
    solution = ScheduleSolution(
        status=Status.OPTIMAL,
        peak_bytes=budget,
        lower_bound_bytes=budget,
        order=order,
        method="reference",
        bound_method=method,
        seconds=time.perf_counter() - begin,
        cpu_seconds=time.process_time() - begin_cpu,
    )
    check(problem, solution)
    return solution


def mem(problem: ScheduleProblem, ideal: frozenset[int]) -> int:
    """The bytes alive between steps, when exactly the nodes of `ideal` have run."""
    return sum(
        buffer.size
        for buffer in problem.buffers
        if _counts(problem, buffer)
        and (buffer.producer < 0 or buffer.producer in ideal)
        and (_stays(problem, buffer) or any(c not in ideal for c in buffer.consumers))
    )


def transient(problem: ScheduleProblem, ideal: frozenset[int], node: int) -> int:
    """The bytes alive while `node` runs after `ideal`."""
    made = sum(b.size for b in problem.buffers if b.producer == node)
    scratch = problem.workspace[node] if problem.workspace else 0
    saved = 0
    matched: set[int] = set()  # buffers of both kinds: no buffer is result and operand of one node
    for candidate in problem.in_place:
        source, result = problem.buffers[candidate.input], problem.buffers[candidate.output]
        if (
            candidate.node == node
            and all(c in ideal for c in source.consumers if c != node)
            and _overwritable(problem, source, result)
            and not matched & {candidate.input, candidate.output}
        ):
            matched |= {candidate.input, candidate.output}
            saved += result.size
    return mem(problem, ideal) + made + scratch - saved


def min_cut_bound(problem: ScheduleProblem, node: int) -> int:
    """A lower bound on the transient of `node` in every order; the least one without in-place.

    Source: the ancestors; sink: the node and its descendants. A buffer's bytes are cut when it is
    made in T and a consumer is outside; nothing may be in T without its predecessors.
    """
    before = _closure(problem.predecessors, node)
    after = _closure(problem.successors, node) | {node}
    capacity: dict[_Vertex, dict[_Vertex, int]] = {"source": {}, "sink": {}}

    def vertex(v: int) -> _Vertex:
        return "source" if v < 0 or v in before else "sink" if v in after else v

    def edge(tail: _Vertex, head: _Vertex, bytes_: int) -> None:
        if tail != head:
            ends = capacity.setdefault(tail, {})
            ends[head] = ends.get(head, 0) + bytes_
            capacity.setdefault(head, {}).setdefault(tail, 0)

    unlimited = 1 << 62
    for index, buffer in enumerate(problem.buffers):
        if not _counts(problem, buffer):
            continue
        ends = {vertex(c) for c in buffer.consumers}
        if _stays(problem, buffer):
            ends.add("sink")
        edge(vertex(buffer.producer), ("buffer", index), buffer.size)
        for end in ends:
            edge(("buffer", index), end, unlimited)
    for v in range(problem.num_nodes):
        for p in problem.predecessors[v]:
            if vertex(v) != "sink" and vertex(p) != "source":
                edge(vertex(v), vertex(p), unlimited)
    least = _maximum_flow(capacity)
    made = sum(b.size for b in problem.buffers if b.producer == node)
    scratch = problem.workspace[node] if problem.workspace else 0
    candidates = [c for c in problem.in_place if c.node == node]
    saved = sum(
        problem.buffers[output].size
        for output in {c.output for c in candidates}
        if any(
            c.output == output
            and _overwritable(problem, problem.buffers[c.input], problem.buffers[output])
            for c in candidates
        )
    )
    return least + made + scratch - saved


def decide(problem: ScheduleProblem, budget: int) -> tuple[tuple[int, ...] | None, int]:
    """An order whose peak is at most `budget`, and the least transient that exceeded it.

    Without an order (None), every order reaches at least that transient.
    """
    visited: set[frozenset[int]] = set()
    least = 1 << 62
    stack: list[tuple[int, ...]] = [()]
    if mem(problem, frozenset()) > budget:
        return None, mem(problem, frozenset())
    while stack:
        path = stack.pop()
        ideal = frozenset(path)
        while True:  # run what can be run without branching
            ready = [
                v
                for v in range(problem.num_nodes)
                if v not in ideal and all(p in ideal for p in problem.predecessors[v])
            ]
            cost = {v: transient(problem, ideal, v) for v in ready}
            least = min([least, *(c for c in cost.values() if c > budget)])
            live = mem(problem, ideal)
            free = next(
                (v for v in ready if cost[v] <= budget and mem(problem, ideal | {v}) <= live), None
            )
            if free is None:
                break
            path, ideal = (*path, free), ideal | {free}
        if len(path) == problem.num_nodes:
            return path, least
        if ideal not in visited:
            visited.add(ideal)
            stack.extend((*path, v) for v in reversed(ready) if cost[v] <= budget)
    return None, least


def _counts(problem: ScheduleProblem, buffer: Buffer) -> bool:
    return buffer.producer >= 0 or problem.inputs_in_arena


def _stays(problem: ScheduleProblem, buffer: Buffer) -> bool:
    return buffer.output and problem.outputs_live_to_end


def _overwritable(problem: ScheduleProblem, source: Buffer, result: Buffer) -> bool:
    return _counts(problem, source) and not _stays(problem, source) and source.size == result.size


def _maximum_flow(capacity: dict[_Vertex, dict[_Vertex, int]]) -> int:
    """From "source" to "sink", by shortest augmenting paths (Edmonds and Karp 1972)."""
    flow = 0
    while True:
        before: dict[_Vertex, _Vertex] = {"source": "source"}
        queue: deque[_Vertex] = deque(["source"])
        while queue and "sink" not in before:
            tail = queue.popleft()
            for head, left in capacity[tail].items():
                if left > 0 and head not in before:
                    before[head] = tail
                    queue.append(head)
        if "sink" not in before:
            return flow
        path: list[tuple[_Vertex, _Vertex]] = []
        vertex: _Vertex = "sink"
        while vertex != "source":
            path.append((before[vertex], vertex))
            vertex = before[vertex]
        pushed = min(capacity[tail][end] for tail, end in path)
        for tail, end in path:
            capacity[tail][end] -= pushed
            capacity[end][tail] += pushed
        flow += pushed


def _closure(neighbours: tuple[tuple[int, ...], ...], node: int) -> set[int]:
    found: set[int] = set()
    stack = [node]
    while stack:
        for v in neighbours[stack.pop()]:
            if v not in found:
                found.add(v)
                stack.append(v)
    return found
