"""Checkpointing heuristics: keep some results of the forward pass, make the others again.

Between two checkpoints lies a segment.  All of a segment that was dropped is made again at once,
when the backward pass first reads any of it.  What the heuristics differ in is where they may cut
and where they do:

    candidates   any        every result that the backward pass reads (the graph "linearised")
                 cut        those behind which nothing else that the forward pass needs is live
                 articulation   those of articulation points of the undirected forward graph
    choice       sqrt       every k-th candidate, k about the root of their number
                 greedy     a candidate once a segment has more than so many bytes

T. Chen et al., Training deep nets with sublinear memory cost, 2016, arXiv:1604.06174 (both choices,
algorithm 3 for the second); the generalisations to articulation points and to linearised graphs are
those of Checkmate (P. Jain et al., MLSys 2020, arXiv:1910.02653, section 5.1).  Deviation: the
parameter of each choice is swept, and the cheapest plan within the budget is taken.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import networkx as nx

from lowtide.solvers.remat.check import peak_of
from lowtide.solvers.remat.replay import Turn, with_gaps

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

    from lowtide.solvers.remat.conclude import Clock
    from lowtide.solvers.remat.problem import RematProblem

__all__ = ["articulation", "best_of", "cuts", "every", "greedy", "segments"]


def every(turn: Turn) -> set[int]:
    """All levels."""
    return set(range(len(turn.levels)))


def cuts(turn: Turn) -> set[int]:
    """Levels behind which no other result is live that the forward pass reads."""
    problem, n = turn.problem, turn.problem.num_nodes
    over = [0] * (n + 1)  # per place, how many other results of before are still read in the pass
    for buffer in problem.buffers:
        if buffer.producer < 0:
            continue
        made = problem.position[buffer.producer]
        reads = [k for c in buffer.consumers if (k := problem.position[c]) <= turn.place]
        if reads and made < max(reads):
            over[made] += 1
            over[max(reads)] -= 1
    live = [0] * (n + 1)
    total = 0
    for k in range(n):
        total += over[k]
        live[k] = total
    made_at = [problem.position[problem.buffers[b].producer] for b in turn.levels]
    return {j for j, k in enumerate(made_at) if live[k] <= 1}


def articulation(turn: Turn) -> set[int]:
    """Levels of articulation points of the undirected graph of the forward pass."""
    problem = turn.problem
    graph: nx.Graph[int] = nx.Graph()
    graph.add_nodes_from(problem.order[: turn.place + 1])
    for buffer in problem.buffers:
        if buffer.producer >= 0:
            for c in buffer.consumers:
                if problem.position[c] <= turn.place:
                    graph.add_edge(buffer.producer, c)
    points = set(nx.articulation_points(graph))
    return {j for j, b in enumerate(turn.levels) if problem.buffers[b].producer in points}


def segments(turn: Turn, kept: Iterable[int]) -> tuple[int, ...]:
    """The stages in which the levels `kept` are checkpoints."""
    checkpoints = set(kept)
    ended: dict[int, int] = {}
    segment: list[int] = []
    for j in range(len(turn.levels) + 1):
        if j < len(turn.levels) and j not in checkpoints:
            segment.append(j)
            continue
        if segment:
            stage = min(turn.end[i] for i in segment)
            ended.update(dict.fromkeys(segment, stage))
        segment = []
    return with_gaps(turn, ended)


def greedy(turn: Turn, candidates: set[int], most_bytes: int) -> set[int]:
    """Algorithm 3: a candidate is kept once what was dropped since the last one is too much."""
    kept: set[int] = set()
    dropped = 0
    for j, b in enumerate(turn.levels):
        dropped += turn.problem.buffers[b].size
        if j in candidates and dropped > most_bytes:
            kept.add(j)
            dropped = 0
    return kept


def best_of(
    problem: RematProblem, plans: Iterable[Callable[[], tuple[int, ...]]], clock: Clock
) -> tuple[tuple[int, ...] | None, bool]:
    """The cheapest of some plans that is within the budget; whether the clock ended the sweep."""
    best = problem.order if peak_of(problem, problem.order) <= problem.budget_bytes else None
    if best is not None:
        return best, False
    for plan in plans:
        if clock.left == 0:
            return best, True
        sequence = plan()
        if best is not None and problem.cost_of(sequence) >= problem.cost_of(best):
            continue
        if peak_of(problem, sequence) <= problem.budget_bytes:
            best = sequence
    return best, False
