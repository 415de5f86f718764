"""Making certificates: finds a proof of a bound again, in a form that can be checked.

In this order, since that is from small to large: the bytes at the start, a node's own need, one
min-cut bound, the states of a search.  Separate from solving, so that a solve alone costs nothing.
"""

from __future__ import annotations

import time
from typing import TYPE_CHECKING

from lowtide.solvers import _native
from lowtide.solvers.schedule.certificate import (
    Certificate,
    CutProof,
    Flow,
    NodeProof,
    Proof,
    ReplayProof,
    SearchProof,
    SearchState,
    StartProof,
    problem_sha256,
)
from lowtide.solvers.schedule.exact import native_problem

if TYPE_CHECKING:
    from lowtide.solvers.schedule.problem import ScheduleProblem
    from lowtide.solvers.schedule.solution import ScheduleSolution

__all__ = ["certify"]

_FIRST_SLICE = 500  # states of a search in the first round


def certify(
    problem: ScheduleProblem,
    solution: ScheduleSolution,
    *,
    time_limit_s: float | None = 60.0,
    max_states: int = 200_000,
    min_cut: bool = True,
) -> Certificate:
    """A certificate of the solution's lower bound.

    Args:
        problem: what was scheduled.
        solution: whose bound is to be certified; its order shows where to look.
        time_limit_s: wall time for finding the proof again.
        max_states: a search of more states is left to the checker (`replay`).
        min_cut: try min-cut bounds, which are the smallest proofs; else searches only.

    Returns:
        A certificate whose `bound_bytes` is the solution's lower bound; or, where no proof of it
        was found within the limit, the greatest bound that a node's min cut proves.
    """
    deadline = None if time_limit_s is None else time.monotonic() + time_limit_s
    finder = _Finder(problem, solution, deadline, max_states, min_cut)
    bound, proof = finder.find(solution.lower_bound_bytes)
    return Certificate(
        sha256=problem_sha256(problem),
        num_nodes=problem.num_nodes,
        inputs_in_arena=problem.inputs_in_arena,
        outputs_live_to_end=problem.outputs_live_to_end,
        bound_bytes=bound,
        proofs=(proof,),
    )


class _Finder:
    """Proofs for one problem."""

    def __init__(
        self,
        problem: ScheduleProblem,
        solution: ScheduleSolution,
        deadline: float | None,
        max_states: int,
        min_cut: bool,
    ) -> None:
        self._min_cut = min_cut
        self._native = native_problem(problem)
        self._problem = problem
        self._deadline = deadline
        self._max_states = max_states
        # The native core leaves out buffers without bytes and inputs that do not count.
        self._buffers = [
            index
            for index, b in enumerate(problem.buffers)
            if b.size > 0 and (b.producer >= 0 or problem.inputs_in_arena)
        ]
        self._order = list(solution.order or problem.topological_order)
        self._transients = _native.transients(self._native, self._order)
        self._parts = self._native.parts()

    def find(self, bound: int) -> tuple[int, Proof]:
        start = sum(
            self._problem.buffers[b].size
            for b in self._buffers
            if self._problem.buffers[b].producer < 0
            and (
                self._problem.buffers[b].consumers
                or (self._problem.buffers[b].output and self._problem.outputs_live_to_end)
            )
        )
        if start >= bound:
            return bound, StartProof()
        for begin, end in self._parts:
            if end - begin == 1 and self._transients[begin] >= bound:
                return bound, NodeProof(self._order[begin])
        best, at = start, -1
        steps = sorted(range(len(self._order)), key=lambda k: -self._transients[k])
        for k in steps:
            if not self._min_cut or self._transients[k] < bound or best >= bound:
                break
            value = self._native.min_cut(self._order[k])
            if value > best:
                best, at = value, self._order[k]
        if best >= bound:
            return bound, self._cut(at)
        searched = self._search(bound)
        if searched is not None:
            return bound, searched
        for k in steps:  # the best that one node proves
            if self._transients[k] <= best:
                break
            value = self._native.min_cut(self._order[k])
            if value > best:
                best, at = value, self._order[k]
        return (best, StartProof()) if at < 0 else (best, self._cut(at))

    def _cut(self, node: int) -> CutProof:
        least, inside, flows = _native.min_cut_evidence(self._native, node)
        order = [*inside, node]
        ideal = set(inside)
        rest = [v for v in self._problem.topological_order if v not in ideal and v != node]
        exact = _native.transients(self._native, [*order, *rest])[len(inside)] == least
        ancestors = _closure(self._problem, node)
        return CutProof(
            node,
            tuple(
                Flow(
                    tuple(sorted(self._buffers[b] for b in spared)),
                    tuple(sorted((self._buffers[b], reader, x) for b, reader, x in through)),
                    tuple(sorted(against)),
                )
                for spared, _, through, against in flows
            ),
            tuple(sorted(ideal - ancestors)) if exact else None,
        )

    def _search(self, bound: int) -> Proof | None:
        """The refutation of bound - 1 with the fewest states that the first slices find."""
        open_parts = [
            index
            for index, (begin, end) in enumerate(self._parts)
            if end - begin > 1 and max(self._transients[begin:end]) >= bound
        ]
        slice_ = _FIRST_SLICE
        while open_parts and not self._late():
            best: tuple[int, int, bool, list[int], list[int]] | None = None
            for part in list(open_parts):
                for macro in (False, True):
                    for forward in (True, False):
                        limit = slice_ if best is None else min(slice_, best[0])
                        found, states, codes, ends = _native.trace_search(
                            self._native, part, bound - 1, forward, macro, limit, self._remaining()
                        )
                        if found is False and (best is None or len(codes) < len(best[3])):
                            best = (states, part, forward, codes, ends)
                        if found and part in open_parts:
                            open_parts.remove(part)
            if best is not None:
                _, part, forward, codes, ends = best
                return self._proof(part, forward, codes, ends)
            slice_ *= 8
        return None

    def _proof(self, part: int, forward: bool, codes: list[int], ends: list[int]) -> Proof:
        begin, end = self._parts[part]
        after = self._order[begin - 1] if begin > 0 else -1
        before = self._order[end] if end < len(self._order) else -1
        if len(ends) > self._max_states:
            return ReplayProof(forward, after, before, 64 * len(ends))
        states: list[SearchState] = []
        first = 0
        for last in ends:
            states.append(_decode(codes[first:last]))
            first = last
        return SearchProof(forward, after, before, tuple(states))

    def _remaining(self) -> float:
        if self._deadline is None:
            return -1.0
        return max(0.0, self._deadline - time.monotonic())

    def _late(self) -> bool:
        return self._deadline is not None and time.monotonic() >= self._deadline


def _decode(codes: list[int]) -> SearchState:
    """A state of the native core's trace: see `Trace` in search.hpp."""
    commits: list[tuple[int, ...]] = []
    k = 2
    while k < len(codes):
        size = -codes[k] if codes[k] < 0 else 0
        if size:
            commits.append(tuple(codes[k + 1 : k + 1 + size]))
        else:
            commits.append((codes[k],))
        k += 1 + size
    return SearchState(codes[0], codes[1], tuple(commits))


def _closure(problem: ScheduleProblem, node: int) -> set[int]:
    found: set[int] = set()
    stack = [node]
    while stack:
        for v in problem.predecessors[stack.pop()]:
            if v not in found:
                found.add(v)
                stack.append(v)
    return found
