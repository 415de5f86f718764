"""Plain Python, readable and slow: what the native search is tested against.

`transients` is the definition's recurrence on live sets.  `solve_reference` finds the cheapest plan
of all by Dijkstra's algorithm over the states that a sequence passes through:

    free order     the buffers kept, and the nodes that have run
    fixed order    the buffers kept, the stage, and the place that its last repeat had in the order

Two moves lead on: forgetting a buffer, free of charge, and running a node whose operands are kept,
at its cost, if what is kept, made and scratched (less what is overwritten) is within the budget.
What a run overwrites is forgotten by the run itself, in every combination.

Why this is exact: forgetting each buffer right after the run that reads it for the last time keeps
the live sets of the definition, so every admitted sequence within the budget is a path of its cost;
and along any path the live sets are part of what is kept, so no path is below its sequence's peak.
"""

from __future__ import annotations

import heapq
import itertools
from fractions import Fraction
from typing import TYPE_CHECKING

from lowtide.solvers.remat.problem import OrderScope

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from lowtide.solvers.remat.problem import Cost, RematProblem

__all__ = ["solve_reference", "transients"]

# Kept buffers; nodes that have run (free order) or how many (fixed); place of the last repeat.
_State = tuple[frozenset[int], frozenset[int] | int, int]


def transients(problem: RematProblem, sequence: Sequence[int]) -> list[int]:
    """The bytes of every run of a sequence, constant memory included, by backward liveness."""
    buffers, workspace = problem.once.buffers, problem.once.workspace
    live = {k for k, b in enumerate(buffers) if b.output}
    result: list[int] = []
    for node in reversed(sequence):
        made = {k for k, b in enumerate(buffers) if b.producer == node}
        after = live
        live = (after - made) | {k for k, b in enumerate(buffers) if node in b.consumers}
        total = problem.constant_bytes + (workspace[node] if workspace else 0)
        total += sum(_counted(problem, k) for k in after | live | made)
        total -= sum(buffers[o].size for o in _overwritten(problem, node, after))
        result.append(total)
    return result[::-1]


def solve_reference(
    problem: RematProblem, scope: OrderScope
) -> tuple[Cost, tuple[int, ...]] | None:
    """The least cost within the budget and a sequence of it; None if there is none. Exponential."""
    buffers = problem.once.buffers
    inputs = frozenset(
        k for k, b in enumerate(buffers) if b.producer < 0 and (b.consumers or b.output)
    )
    outputs = {k for k, b in enumerate(buffers) if b.output}
    if _bytes(problem, inputs) > problem.budget_bytes:
        return None
    begin: _State = (inputs, frozenset() if scope is OrderScope.FREE else 0, -1)
    best: dict[_State, Fraction] = {begin: Fraction(0)}
    came: dict[_State, tuple[_State, int]] = {}
    queue: list[tuple[Fraction, int, _State]] = [(Fraction(0), 0, begin)]
    ticket = itertools.count(1)
    while queue:
        cost, _, state = heapq.heappop(queue)
        if cost > best[state]:
            continue
        kept, done, _ = state
        count = done if isinstance(done, int) else len(done)
        if count == problem.num_nodes and outputs <= kept:
            sequence = _walk(came, state)
            return problem.cost_of(sequence), sequence
        for node, following in _moves(problem, state):
            dearer = cost + (Fraction(problem.costs[node]) if node >= 0 else 0)
            if following not in best or dearer < best[following]:
                best[following] = dearer
                came[following] = (state, node)
                heapq.heappush(queue, (dearer, next(ticket), following))
    return None


def _moves(problem: RematProblem, state: _State) -> Iterator[tuple[int, _State]]:
    """(-1, a buffer less) and (node, the state after its run)."""
    kept, done, last = state
    for buffer in kept:
        yield -1, (kept - {buffer}, done, last)
    buffers, workspace = problem.once.buffers, problem.once.workspace
    for node in range(problem.num_nodes):
        place = problem.position[node]
        if isinstance(done, int):
            first = place == done
            if place > done or (not first and place <= last) or done == problem.num_nodes:
                continue
            later: frozenset[int] | int = done + 1 if first else done
            behind = -1 if first else place
            ran = {v for v in range(problem.num_nodes) if problem.position[v] < done}
        else:
            first, later, behind, ran = node not in done, done | {node}, -1, set(done)
        if not first and node in problem.pinned:
            continue
        if any(p not in ran for p in problem.once.predecessors[node]):
            continue
        reads = {k for k, b in enumerate(buffers) if node in b.consumers}
        if not reads <= kept:
            continue
        made = frozenset(k for k, b in enumerate(buffers) if b.producer == node)
        total = _bytes(problem, kept | made) + (workspace[node] if workspace else 0)
        sources = sorted({c.input for c in problem.in_place if c.node == node} & kept)
        for count in range(len(sources) + 1):
            for over in itertools.combinations(sources, count):
                after = (kept | made) - set(over)
                saved = sum(buffers[o].size for o in _overwritten(problem, node, after))
                if total - saved <= problem.budget_bytes:
                    yield node, (after, later, behind)


def _overwritten(problem: RematProblem, node: int, after: set[int] | frozenset[int]) -> list[int]:
    """The results that `node` writes over operands, of which those in `after` live on."""
    buffers = problem.once.buffers
    used: set[int] = set()
    made: list[int] = []
    for candidate in problem.in_place:
        source = buffers[candidate.input]
        if (
            candidate.node == node
            and candidate.input not in after
            and candidate.input not in used
            and candidate.output not in made
            and (source.producer >= 0 or problem.inputs_in_arena)
            and source.size == buffers[candidate.output].size
        ):
            used.add(candidate.input)
            made.append(candidate.output)
    return made


def _counted(problem: RematProblem, buffer: int) -> int:
    """The bytes of a buffer, none of an input that is not in the arena."""
    size, producer = problem.once.buffers[buffer][:2]
    return size if producer >= 0 or problem.inputs_in_arena else 0


def _bytes(problem: RematProblem, kept: frozenset[int]) -> int:
    return problem.constant_bytes + sum(_counted(problem, k) for k in kept)


def _walk(came: dict[_State, tuple[_State, int]], state: _State) -> tuple[int, ...]:
    nodes: list[int] = []
    while state in came:
        state, node = came[state]
        if node >= 0:
            nodes.append(node)
    return tuple(reversed(nodes))
