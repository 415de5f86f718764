"""The stages of a training graph, and which of them are alike.

A training graph runs forward to a turn (`replay.Turn`) and then backward, mirrored.  The forward
part is cut where little is live that the rest of it still reads; a block is what lies between two
cuts, with the backward ops that belong to it:

    forward     │ F1 │ F2 │ F3 │ turn │ B3 │ B2 │ B1 │     backward

A backward op belongs to the last block whose forward results it reads, but to none behind those of
the backward ops that it reads; one that reads neither belongs to the last block.  So an op never
reads one of a later part: forward parts in order, then backward parts from the last to the first,
each in the input order, are an order that respects all dependencies (if b reads a, both backward,
then block(b) <= block(a)).

Two blocks are alike if their ops, listed in the input order, agree in cost, workspace, sizes, and
in what they read, by place in the list.  So blocks are recognised that were written by the same
loop; blocks that are isomorphic in another order are taken for different ones, which costs time
only.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, NamedTuple

from lowtide.solvers.remat.replay import Turn

if TYPE_CHECKING:
    from collections.abc import Container, Hashable

    from lowtide.solvers.remat.problem import RematProblem

__all__ = ["Block", "Elsewhere", "Structure", "alike", "read_elsewhere", "structure_of"]


@dataclass(frozen=True, slots=True)
class Block:
    """Nodes of one stage, each part in the input order."""

    forward: tuple[int, ...]
    backward: tuple[int, ...]


class Elsewhere(NamedTuple):
    """Who reads a buffer outside of its block."""

    forward: bool
    backward: bool


@dataclass(frozen=True, slots=True)
class Structure:
    """The blocks of a graph.

    Attributes:
        turn: the place of the last forward op.
        blocks: in the order of their forward parts.
        reads: per node, the buffers that it reads.
        makes: per node, the buffers that it makes.
    """

    turn: int
    blocks: tuple[Block, ...]
    reads: tuple[tuple[int, ...], ...]
    makes: tuple[tuple[int, ...], ...]


def structure_of(problem: RematProblem, *, window: int = 8, least: int = 24) -> Structure:
    """The turn and the blocks; every node is in one of them. O(edges + forward ops x window).

    Args:
        problem: what runs.
        window: a cut has no cheaper one within so many ops.
        least: ops of a forward part, at least.
    """
    order, place = problem.order, problem.position
    if not order:
        return Structure(-1, (), (), ())
    turn = Turn.of(problem).place
    crossing = [0] * (turn + 3)
    for buffer in problem.buffers:
        last = max((p for c in buffer.consumers if (p := place[c]) <= turn), default=-1)
        if buffer.producer >= 0 and last > place[buffer.producer]:
            crossing[place[buffer.producer] + 1] += buffer.size
            crossing[last + 1] -= buffer.size
    for k in range(1, len(crossing)):
        crossing[k] += crossing[k - 1]
    # crossing[k]: what the ops from place k on read of those before it.
    cuts = [0]
    for k in range(1, turn + 1):
        near = crossing[max(1, k - window) : min(turn, k + window) + 1]
        if crossing[k] <= min(near) and k - cuts[-1] >= least:
            cuts.append(k)
    block_at = [0] * problem.num_nodes
    forward: list[list[int]] = [[] for _ in cuts]
    at = 0
    for k in range(turn + 1):
        at += at + 1 < len(cuts) and k == cuts[at + 1]
        forward[at].append(order[k])
        block_at[order[k]] = at
    backward: list[list[int]] = [[] for _ in cuts]
    for v in order[turn + 1 :]:
        before = problem.once.predecessors[v]
        saved = [block_at[u] for u in before if place[u] <= turn]
        passed = [block_at[u] for u in before if place[u] > turn]
        block_at[v] = min([max(saved, default=len(cuts) - 1), *passed])
        backward[block_at[v]].append(v)
    blocks = (Block(tuple(f), tuple(b)) for f, b in zip(forward, backward, strict=True))
    reads: list[list[int]] = [[] for _ in range(problem.num_nodes)]
    makes: list[list[int]] = [[] for _ in range(problem.num_nodes)]
    for index, buffer in enumerate(problem.buffers):
        for c in buffer.consumers:
            reads[c].append(index)
        if buffer.producer >= 0:
            makes[buffer.producer].append(index)
    return Structure(turn, tuple(blocks), tuple(map(tuple, reads)), tuple(map(tuple, makes)))


def alike(problem: RematProblem, structure: Structure) -> list[Hashable]:
    """A key for each block; blocks of one key have the same plans. O(edges)."""
    pinned, place = set(problem.pinned), problem.position
    workspace = problem.once.workspace or (0,) * problem.num_nodes
    reads, makes = structure.reads, structure.makes
    pairs: dict[int, list[tuple[int, int]]] = {}
    for node, output, source in problem.in_place:
        pairs.setdefault(node, []).append((output, source))
    links: dict[int, list[int]] = {}
    for before, after in problem.precedence:
        links.setdefault(after, []).append(before)
    keys: list[Hashable] = []
    for block in structure.blocks:
        nodes = (*block.forward, *block.backward)
        local = {v: k for k, v in enumerate(nodes)}
        name: dict[int, Hashable] = {}  # of a buffer: its maker's place, or the order of its use
        ops: list[Hashable] = []
        for v in nodes:
            for b in (*reads[v], *makes[v]):
                buffer = problem.once.buffers[b]
                if b not in name:
                    maker = local.get(buffer.producer, -1)
                    # From elsewhere: an input, a forward result, or a gradient.
                    behind = buffer.producer >= 0 and place[buffer.producer] > structure.turn
                    name[b] = (maker, buffer.producer < 0, behind, len(name), buffer.size)
            ops.append(
                (
                    problem.costs[v],
                    workspace[v],
                    v in pinned,
                    tuple(name[b] for b in reads[v]),
                    tuple(
                        (
                            name[b],
                            problem.once.buffers[b].output,
                            read_elsewhere(problem, structure.turn, b, local),
                        )
                        for b in makes[v]
                    ),
                    tuple((name[o], name[i]) for o, i in pairs.get(v, ())),
                    tuple(sorted(local[u] for u in links.get(v, ()) if u in local)),
                )
            )
        keys.append((len(block.forward), tuple(ops)))
    return keys


def read_elsewhere(problem: RematProblem, turn: int, buffer: int, own: Container[int]) -> Elsewhere:
    """Whether nodes other than `own` read a buffer: up to the turn, and behind it."""
    others = [c for c in problem.once.buffers[buffer].consumers if c not in own]
    behind = [problem.position[c] > turn for c in others]
    return Elsewhere(not all(behind), any(behind))
