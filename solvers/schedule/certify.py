"""Making certificates: finds a proof of a bound again, in a form that can be checked.

In this order, since that is mostly from small to large: the bytes at the start, a node's own need,
one min-cut bound, the states of a search, cases.  Separate from solving, so that a solve alone
costs nothing.
"""

from __future__ import annotations

import time
from dataclasses import replace
from typing import TYPE_CHECKING

from lowtide.solvers import _native
from lowtide.solvers.schedule.certificate import (
    Certificate,
    CutProof,
    NodeProof,
    Proof,
    ReplayProof,
    SearchProof,
    StartProof,
    problem_sha256,
    to_json,
)
from lowtide.solvers.schedule.certify_cases import CaseProver, cut_proof, search_states
from lowtide.solvers.schedule.exact import native_problem

if TYPE_CHECKING:
    from lowtide.solvers.schedule.problem import ScheduleProblem
    from lowtide.solvers.schedule.solution import ScheduleSolution

__all__ = ["certify"]

_FIRST_STATES = 500  # of a search in the first round
_FIRST_CASES = 1
_CASE_STATES = 1000  # of a search in a case
_FEW_STATES = 200  # a search that is small enough not to look for cases
_MOST_REPLAYED = 5_000_000  # states; more are not checked
_MOST_SEARCHED = 20_000  # nodes between cut nodes: the checker keeps sets of them
_MOST_PROBED = 2048  # the same, for cases


def certify(
    problem: ScheduleProblem,
    solution: ScheduleSolution,
    *,
    time_limit_s: float | None = 60.0,
    max_states: int = 200_000,
    min_cut: bool = True,
    searches: bool = True,
    cases: bool = True,
) -> Certificate:
    """A certificate of the solution's lower bound.

    Args:
        problem: what was scheduled.
        solution: whose bound is to be certified; its order shows where to look.
        time_limit_s: wall time for finding the proof again.
        max_states: a search of more states is left to the checker (`replay`).
        min_cut: try min-cut bounds of the problem as it is, which are the smallest proofs.
        searches: try searches without cases.
        cases: try probing, whose proofs are splits.

    Returns:
        A certificate whose `bound_bytes` is the solution's lower bound; or, where no proof of it
        was found within the limit, the greatest bound that a node's min cut proves.
    """
    deadline = None if time_limit_s is None else time.monotonic() + time_limit_s
    blank = Certificate(
        sha256=problem_sha256(problem),
        num_nodes=problem.num_nodes,
        inputs_in_arena=problem.inputs_in_arena,
        outputs_live_to_end=problem.outputs_live_to_end,
        bound_bytes=solution.lower_bound_bytes,
        proofs=(),
    )
    finder = _Finder(problem, solution, deadline, max_states, blank)
    return finder.find(min_cut, searches, cases)


class _Finder:
    """Proofs for one problem."""

    def __init__(
        self,
        problem: ScheduleProblem,
        solution: ScheduleSolution,
        deadline: float | None,
        max_states: int,
        blank: Certificate,
    ) -> None:
        self._native = native_problem(problem)
        self._problem = problem
        self._bound = blank.bound_bytes
        self._deadline = deadline
        self._max_states = max_states
        self._blank = blank
        # The native core leaves out buffers without bytes and inputs that do not count.
        self._buffers = [
            index
            for index, b in enumerate(problem.buffers)
            if b.size > 0 and (b.producer >= 0 or problem.inputs_in_arena)
        ]
        self._order = list(solution.order or problem.topological_order)
        self._transients = _native.transients(self._native, self._order)
        self._parts = self._native.parts()
        # The parts that may have the bound; others have an order below it.
        self._open = [
            (begin, end)
            for begin, end in self._parts
            if end - begin > 1 and max(self._transients[begin:end]) >= self._bound
        ]

    def find(self, min_cut: bool, searches: bool, cases: bool) -> Certificate:
        start = sum(
            buffer.size
            for buffer in map(self._problem.buffers.__getitem__, self._buffers)
            if buffer.producer < 0
            and (buffer.consumers or (buffer.output and self._problem.outputs_live_to_end))
        )
        if start >= self._bound:
            return self._filled(StartProof())
        for begin, end in self._parts:
            if end - begin == 1 and self._transients[begin] >= self._bound:
                return self._filled(NodeProof(self._order[begin]))
        best, at = self._best_cut(self._bound if min_cut else 1 << 62)
        if best >= self._bound:
            return self._filled(self._cut(at))
        found = self._rounds(searches, cases)
        if found is not None:
            return found
        best, at = self._best_cut(start + 1)
        proof = self._cut(at) if at >= 0 else StartProof()
        return replace(self._blank, bound_bytes=max(best, start), proofs=(proof,))

    def _filled(self, *proofs: Proof) -> Certificate:
        return replace(self._blank, proofs=proofs)

    def _best_cut(self, least: int) -> tuple[int, int]:
        """The greatest min-cut bound from `least` on, as far as needed, and its node."""
        best, at = -1, -1
        for k in sorted(range(len(self._order)), key=lambda k: -self._transients[k]):
            # A bound is at most the transient in any order.
            if self._transients[k] < max(least, best + 1) or best >= self._bound or self._late():
                break
            value = self._native.min_cut(self._order[k])
            if value > best and value >= least:
                best, at = value, self._order[k]
        return best, at

    def _cut(self, node: int) -> CutProof:
        least, inside, _ = _native.min_cut_evidence(self._native, node)
        ideal = set(inside)
        rest = [v for v in self._problem.topological_order if v not in ideal and v != node]
        reached = _native.transients(self._native, [*inside, node, *rest])[len(inside)]
        proof = cut_proof(self._native, node, self._buffers)
        if reached != least:
            return proof
        return replace(proof, ideal=tuple(sorted(ideal - _ancestors(self._problem, node))))

    def _rounds(self, searches: bool, cases: bool) -> Certificate | None:
        """Searches and cases, with growing limits; the smaller one of a round."""
        states, case_limit = _FIRST_STATES, _FIRST_CASES
        while self._open and (searches or cases) and not self._late():
            searched = self._search(states) if searches else None
            if searched is not None:
                proof = searched.proofs[0]
                if not cases or (
                    isinstance(proof, SearchProof) and len(proof.states) <= _FEW_STATES
                ):
                    return searched
            probed = self._cases(case_limit) if cases else None
            found = [c for c in (searched, probed) if c is not None]
            if found:
                return min(found, key=lambda c: (c is not probed and self._replays(c), _size(c)))
            states *= 8
            case_limit *= 4
        return None

    @staticmethod
    def _replays(certificate: Certificate) -> bool:
        return isinstance(certificate.proofs[0], ReplayProof)

    def _search(self, limit: int) -> Certificate | None:
        """The refutation of the bound less 1 with the fewest codes, of at most `limit` states."""
        best: tuple[tuple[int, int], bool, list[int], list[int]] | None = None
        for part in list(self._open):
            if part[1] - part[0] > _MOST_SEARCHED:
                continue
            for macro in (False, True):
                for forward in (True, False):
                    if part not in self._open:
                        continue
                    feasible, _, codes, ends = _native.trace_search(
                        self._native, *part, self._bound - 1, forward, macro, limit, self._left()
                    )
                    if feasible:
                        self._open.remove(part)
                    if feasible is False and (best is None or len(codes) < len(best[2])):
                        best = (part, forward, codes, ends)
        if best is None:
            return None
        return self._filled(self._searched(*best))

    def _searched(
        self, part: tuple[int, int], forward: bool, codes: list[int], ends: list[int]
    ) -> Proof:
        after, before = self._cut_nodes(part)
        if len(ends) > self._max_states:
            return ReplayProof(forward, after, before, min(_MOST_REPLAYED, 64 * len(ends)))
        return SearchProof(forward, after, before, search_states(codes, ends))

    def _cut_nodes(self, part: tuple[int, int]) -> tuple[int, int]:
        begin, end = part
        return (
            self._order[begin - 1] if begin > 0 else -1,
            self._order[end] if end < len(self._order) else -1,
        )

    def _cases(self, limit: int) -> Certificate | None:
        """The refutation of the bound less 1 by at most `limit` cases."""
        for part in list(self._open):
            if part[1] - part[0] > _MOST_PROBED:
                continue
            feasible, steps = _native.probe(
                self._native, *part, self._bound - 1, _CASE_STATES, limit, self._left()
            )
            if feasible:
                self._open.remove(part)
            if feasible is not False:
                continue

            def search(
                native: _native.Schedule, forward: bool, part: tuple[int, int] = part
            ) -> Proof | None:
                found, _, codes, ends = _native.trace_search(
                    native, *part, self._bound - 1, forward, False, 2 * _CASE_STATES, -1.0
                )
                return self._searched(part, forward, codes, ends) if found is False else None

            prover = CaseProver(
                self._problem, self._native, self._buffers, part, self._bound - 1, search
            )
            proofs = prover.proofs(steps)
            if proofs is not None:
                return self._filled(*proofs)
        return None

    def _left(self) -> float:
        if self._deadline is None:
            return -1.0
        return max(0.0, self._deadline - time.monotonic())

    def _late(self) -> bool:
        return self._deadline is not None and time.monotonic() >= self._deadline


def _size(certificate: Certificate) -> int:
    return len(to_json(certificate))


def _ancestors(problem: ScheduleProblem, node: int) -> set[int]:
    found: set[int] = set()
    stack = [node]
    while stack:
        for v in problem.predecessors[stack.pop()]:
            if v not in found:
                found.add(v)
                stack.append(v)
    return found
