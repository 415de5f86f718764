"""Certificates from probing: splits whose cases are refuted by minimum cuts and searches.

The native core says how it refuted a budget (probe.hpp): cases, and in each the precedence that it
deduced.  Every deduced pair (a, b) becomes a split with a refuted side, b before a: by the minimum
cut of a or b in the problem with that pair.  A pair that no later proof uses is left out again; a
cut uses a pair if its flow runs against it, or if it lies on the paths that make the flow's ends
ancestors or descendants of the node.
"""

from __future__ import annotations

from collections import deque
from dataclasses import dataclass
from typing import TYPE_CHECKING, TypeAlias

from lowtide.solvers import _native
from lowtide.solvers.schedule.certificate import CutProof, Flow, Proof, SearchState, SplitProof

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence

    from lowtide.solvers.schedule.problem import ScheduleProblem

__all__ = ["CaseProver", "cut_proof", "search_states"]

_DEDUCED, _FORWARD, _BACKWARD, _SPLIT = range(4)

Edge: TypeAlias = tuple[int, int]


@dataclass(frozen=True, slots=True)
class _Tree:
    """A split with its sides; a leaf is a proof."""

    u: int
    v: int
    first: _Tree | Proof
    second: _Tree | Proof


def cut_proof(native: _native.Schedule, node: int, buffers: Sequence[int]) -> CutProof:
    """The min-cut bound of a node, without an ideal; `buffers` are the native core's, numbered."""
    _, _, flows = _native.min_cut_evidence(native, node)
    return CutProof(
        node,
        tuple(
            Flow(
                tuple(sorted(buffers[b] for b in spared)),
                tuple(sorted((buffers[b], reader, amount) for b, reader, amount in through)),
                tuple(sorted(against)),
            )
            for spared, _, through, against in flows
        ),
    )


def search_states(codes: Sequence[int], ends: Sequence[int]) -> tuple[SearchState, ...]:
    """The native core's trace as states: see `Trace` in search.hpp."""
    states: list[SearchState] = []
    k = 0
    for end in ends:
        parent, branch = codes[k], codes[k + 1]
        k += 2
        commits: list[tuple[int, ...]] = []
        while k < end:
            size = -codes[k] if codes[k] < 0 else 0
            commits.append(tuple(codes[k + 1 : k + 1 + size]) if size else (codes[k],))
            k += 1 + size
        states.append(SearchState(parent, branch, tuple(commits)))
    return tuple(states)


class CaseProver:
    """Turns the steps of one probing into proofs.

    Args:
        problem: what is scheduled.
        native: the same.
        buffers: the native core's buffers, as the problem numbers them.
        between: positions [begin, end) of the nodes between two cut nodes.
        budget: what was refuted there.
        search: makes the proof of a search in a case: problem, whether forward.
    """

    def __init__(
        self,
        problem: ScheduleProblem,
        native: _native.Schedule,
        buffers: Sequence[int],
        between: tuple[int, int],
        budget: int,
        search: Callable[[_native.Schedule, bool], Proof | None],
    ) -> None:
        self._problem = problem
        self._native = native
        self._buffers = buffers
        self._begin, self._end = between
        self._budget = budget
        self._search = search

    def proofs(self, steps: Sequence[tuple[int, int, int]]) -> tuple[Proof, ...] | None:
        """The proofs, the root first; None where the steps cannot be followed."""
        built = self._case(iter(steps), [])
        return None if built is None else _flat(built[0])

    def _case(
        self, steps: Iterator[tuple[int, int, int]], edges: list[Edge]
    ) -> tuple[_Tree | Proof, set[Edge]] | None:
        """The proof of the case with `edges`, and which of them it uses."""
        kind, u, v = next(steps)
        _, lemmas = _native.deduce_between(
            _native.with_precedence(self._native, edges), self._begin, self._end, self._budget
        )
        now = list(edges)
        refuted: list[tuple[CutProof, set[Edge]]] = []
        for a, b in lemmas:
            other = [*now, (b, a)]
            proof = self._cut(_native.with_precedence(self._native, other), (a, b))
            if proof is None:
                return None
            refuted.append((proof, self._uses(proof, other)))
            now.append((a, b))
        inner = _native.with_precedence(self._native, now)
        tree: _Tree | Proof | None
        if kind == _SPLIT:
            first = self._case(steps, [*now, (u, v)])
            second = self._case(steps, [*now, (v, u)])
            if first is None or second is None:
                return None
            tree = _Tree(u, v, first[0], second[0])
            used = (first[1] - {(u, v)}) | (second[1] - {(v, u)})
        elif kind == _DEDUCED:
            tree = self._cut(inner, self._problem.topological_order)
            used = self._uses(tree, now) if tree is not None else set()
        else:
            tree, used = self._search(inner, kind == _FORWARD), set(now)
        if tree is None:
            return None
        for (a, b), (proof, needs) in zip(reversed(lemmas), reversed(refuted), strict=True):
            if (a, b) in used:
                tree = _Tree(a, b, tree, proof)
                used = (used - {(a, b)}) | (needs - {(b, a)})
        return tree, used

    def _cut(self, native: _native.Schedule, nodes: Sequence[int]) -> CutProof | None:
        for node in nodes:
            if native.min_cut(node) > self._budget:
                return cut_proof(native, node, self._buffers)
        return None

    def _uses(self, proof: CutProof, edges: Sequence[Edge]) -> set[Edge]:
        """Those of the added pairs that a cut needs."""
        if self._problem.in_place:  # what may be overwritten depends on all of them
            return set(edges)
        used: set[Edge] = set()
        ends: set[int] = set()
        for flow in proof.flows:
            surplus: dict[int, int] = {}
            for b, reader, amount in flow.through:
                maker = self._problem.buffers[b].producer
                surplus[maker] = surplus.get(maker, 0) - amount
                surplus[reader] = surplus.get(reader, 0) + amount
            for tail, head, amount in flow.against:
                surplus[tail] = surplus.get(tail, 0) - amount
                surplus[head] = surplus.get(head, 0) + amount
                if head not in self._problem.predecessors[tail]:
                    used.add((head, tail))
            ends.update(v for v, extra in surplus.items() if v >= 0 and extra)
        added = set(edges)
        for forward in (False, True):
            self._mark(proof.node, ends, added, used, forward)
        return used

    def _mark(
        self, node: int, ends: set[int], added: set[Edge], used: set[Edge], forward: bool
    ) -> None:
        """Adds the pairs on paths between `node` and the `ends` that it reaches: few, if it can."""
        further: dict[int, list[int]] = {}
        for a, b in added:
            further.setdefault(a if forward else b, []).append(b if forward else a)
        plain = self._problem.successors if forward else self._problem.predecessors
        source: dict[int, tuple[int, bool]] = {}  # where a node was reached from, by an added pair?
        best = {node: 0}
        queue = deque([node])
        while queue:  # by the number of added pairs on the path
            x = queue.popleft()
            for y, cost in [(y, 0) for y in plain[x]] + [(y, 1) for y in further.get(x, ())]:
                if best[x] + cost < best.get(y, 1 << 30):
                    best[y] = best[x] + cost
                    source[y] = (x, cost == 1)
                    (queue.append if cost else queue.appendleft)(y)
        for end in ends & source.keys():
            y = end
            while y != node:
                x, is_added = source[y]
                if is_added:
                    used.add((x, y) if forward else (y, x))
                y = x


def _flat(root: _Tree | Proof) -> tuple[Proof, ...]:
    """The tree as a list in which every split precedes its sides."""
    proofs: list[Proof | None] = [None]
    stack: list[tuple[int, _Tree | Proof]] = [(0, root)]
    while stack:
        index, tree = stack.pop()
        if not isinstance(tree, _Tree):
            proofs[index] = tree
            continue
        first = len(proofs)
        proofs += [None, None]
        proofs[index] = SplitProof(tree.u, tree.v, first, first + 1)
        stack += [(first, tree.first), (first + 1, tree.second)]
    return tuple(p for p in proofs if p is not None)
