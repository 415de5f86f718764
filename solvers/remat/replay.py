"""Sequences from what is to be kept: runs are repeated where something is missing, and only there.

A plan says for each buffer, at the start of each stage of the input order, whether it is kept.
Stage t then runs again, in the input order, whatever t and the keeping of the next stage ask for
and is not there; these are the fewest runs for that plan.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from lowtide.solvers.remat.problem import RematProblem

__all__ = ["Turn", "replay", "with_gaps"]


def replay(problem: RematProblem, keep: Callable[[int, int], bool]) -> tuple[int, ...]:
    """The stages of the plan `keep(stage, buffer)`.

    What cannot be made again (inputs, pinned nodes) is kept while it is needed, whatever the plan.
    O(stages x buffers + runs x degree).
    """
    order, place, buffers = problem.order, problem.position, problem.buffers
    pinned = set(problem.pinned)
    n = problem.num_nodes
    reads: list[list[int]] = [[] for _ in range(n)]
    makes: list[list[int]] = [[] for _ in range(n)]
    for b, buffer in enumerate(buffers):
        for c in buffer.consumers:
            reads[place[c]].append(b)
        if buffer.producer >= 0:
            makes[place[buffer.producer]].append(b)
    stays = [b.producer < 0 or b.producer in pinned for b in buffers]
    present = {b for b, buffer in enumerate(buffers) if buffer.producer < 0}
    sequence: list[int] = []
    for t in range(n):
        wanted = {b for k in range(t) for b in makes[k] if _kept(problem, t + 1, b, keep)}
        # From the last place to the first: what is needed and missing asks for its own operands.
        missing = {b for b in (*reads[t], *wanted) if b not in present}
        again: list[int] = []
        for k in range(t - 1, -1, -1):
            if missing & set(makes[k]):
                again.append(k)
                missing -= set(makes[k])
                missing.update(b for b in reads[k] if b not in present)
        for k in (*reversed(again), t):
            sequence.append(order[k])
            present.update(makes[k])
        present = {b for b in present if stays[b] or _kept(problem, t + 1, b, keep)}
    return tuple(sequence)


def _kept(problem: RematProblem, t: int, b: int, keep: Callable[[int, int], bool]) -> bool:
    if t == problem.num_nodes:
        return problem.buffers[b].output
    return keep(t, b)


@dataclass(frozen=True)
class Turn:
    """Where a graph turns from forward to backward, and what is live across it.

    The turn is the place behind which the most bytes are live that were made before it: the loss of
    a training graph.  `levels` are the buffers made before the turn and read behind it, by place;
    each has a gap, from its last read before the turn to its first read behind it, and a heuristic
    chooses when to end it: it is made again no later than that read.

        made       last read                 first read         last read
          ├───────────┤   . . . gap . . .  ended  ├─────────────────┤
                             turn
    """

    problem: RematProblem
    place: int
    levels: tuple[int, ...]
    begin: tuple[int, ...]  # per level, the stage of the last read before the turn
    end: tuple[int, ...]  # per level, the stage of the first read behind it

    @classmethod
    def of(cls, problem: RematProblem) -> Turn:
        """The turn of a problem. O(buffers x degree)."""
        n, place = problem.num_nodes, problem.position
        change = [0] * (n + 1)
        uses: list[list[int]] = []
        for buffer in problem.buffers:
            made = place[buffer.producer] if buffer.producer >= 0 else -1
            uses.append([made, *sorted(place[c] for c in buffer.consumers)])
            if made >= 0:
                change[made] += buffer.size
                change[uses[-1][-1]] -= buffer.size
        best, at, live = -1, 0, 0
        for k in range(n):
            live += change[k]
            if live > best:
                best, at = live, k
        pinned = set(problem.pinned)
        found: list[tuple[int, int, int, int]] = []
        for b, buffer in enumerate(problem.buffers):
            before = [k for k in uses[b] if k <= at]
            behind = [k for k in uses[b] if k > at]
            if buffer.producer >= 0 and buffer.producer not in pinned and before and behind:
                found.append((uses[b][0], b, before[-1], behind[0]))
        found.sort()
        return cls(
            problem,
            at,
            tuple(f[1] for f in found),
            tuple(f[2] for f in found),
            tuple(f[3] for f in found),
        )

    @property
    def first(self) -> int:
        """The first stage behind the turn that reads a level: gaps ended by then are none."""
        return min(self.end, default=self.problem.num_nodes)


def with_gaps(turn: Turn, ended: Mapping[int, int]) -> tuple[int, ...]:
    """The stages in which level j (of `turn.levels`) is made again in stage `ended[j]`.

    A level that is not named, or whose gap would end before it begins, is kept throughout.
    """
    problem = turn.problem
    last = [
        problem.num_nodes
        if b.output
        else max((problem.position[c] for c in b.consumers), default=-1)
        for b in problem.buffers
    ]
    gap = {turn.levels[j]: (turn.begin[j], min(stage, turn.end[j])) for j, stage in ended.items()}

    def keep(t: int, b: int) -> bool:
        if t > last[b]:
            return False
        if b in gap:
            begin, end = gap[b]
            return not begin < t <= end
        return True

    return replay(problem, keep)
