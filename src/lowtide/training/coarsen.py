"""Chains of ops as one op: a smaller problem whose plans are plans of the whole one.

    conv ─▶ bias ─▶ relu ─▶ ..      tail    an op whose only successor is the next one runs right
      └▶ mean                               before it
                                    rider   an op that makes nothing heavy and needs one group only
                                            runs with the group's first run, and never again

An op joins its successor where waiting for it holds no more (it makes at least what it reads), or
where the successor can follow at once and leaves no more behind (a gradient and its update); and
where keeping its result instead of the successor's is of no use: it is not the smaller one, or it
costs little beside.  What a group does not show to others is its scratch memory:

    scratch = the most, over its ops, of what is live inside + the op's own - what is not made yet

Every sequence of the groups, expanded, is one of the ops with at most the same peak: a group's
operands count while it runs, and its results, too.  What is lost is a plan that stops between; a
search of the whole problem that begins from the expanded plan can still find it.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from lowtide.solvers.remat.problem import RematProblem
from lowtide.solvers.schedule.problem import Buffer, InPlace

if TYPE_CHECKING:
    from collections.abc import Collection, Sequence

__all__ = ["Coarse", "coarsen"]

_LITTLE = 0.1  # of the successor's cost


@dataclass(frozen=True)
class Coarse:
    """A problem whose node k is the ops `groups[k]`, in that order; `riders` run once."""

    problem: RematProblem
    groups: tuple[tuple[int, ...], ...]
    riders: frozenset[int]

    def expand(self, sequence: Sequence[int]) -> tuple[int, ...]:
        """The sequence of the ops. O(its length)."""
        steps: list[int] = []
        done: set[int] = set()
        for node in sequence:
            again = node in done
            steps += [v for v in self.groups[node] if not (again and v in self.riders)]
            done.add(node)
        return tuple(steps)


@dataclass
class _Group:
    members: list[int]
    before: set[int] = field(default_factory=set[int])
    after: set[int] = field(default_factory=set[int])
    pinned: bool = False
    gone: bool = False


def coarsen(problem: RematProblem, *, small: float = 1.0) -> Coarse:
    """The problem of the groups, with the input order that they have. O(merges x degree).

    Args:
        problem: of the ops.
        small: the part of the budget that a group may need although no op of it alone does: with
            less, fewer chains are merged, and near the least budget fewer plans are lost.
    """
    merging = _Merging(problem, int(small * problem.budget_bytes))
    merging.run()
    return merging.result()


class _Merging:
    def __init__(self, problem: RematProblem, small: int) -> None:
        self.problem, self.small = problem, small
        n = problem.num_nodes
        self.groups = [_Group([v]) for v in range(n)]
        self.of = list(range(n))
        self.riders: set[int] = set()
        self.made: list[list[int]] = [[] for _ in range(n)]
        self.read: list[list[int]] = [[] for _ in range(n)]
        # Sizes are rounded up already in the problem without repeats.
        self.buffers, self.workspace = problem.once.buffers, problem.once.workspace
        for index, buffer in enumerate(self.buffers):
            if buffer.producer >= 0:
                self.made[buffer.producer].append(index)
            for consumer in buffer.consumers:
                self.read[consumer].append(index)
        for v in problem.pinned:
            self.groups[v].pinned = True
        for v, predecessors in enumerate(problem.once.predecessors):
            self.groups[v].before.update(predecessors)
            for u in predecessors:
                self.groups[u].after.add(v)

    def run(self) -> None:
        """Merge until nothing more can be."""
        pending = sorted(range(len(self.groups)), key=lambda v: self.problem.position[v])
        while pending:
            following: set[int] = set()
            for u in reversed(pending):
                group = self.groups[u]
                while not group.gone:
                    if len(group.after) == 1 and self._joins(u, next(iter(group.after))):
                        v = next(iter(group.after))
                    elif self._rides(u, *group.before):
                        v = next(iter(group.before))
                    else:
                        break
                    self._merge(u, v)
                    following |= {v} | self.groups[v].before | self.groups[v].after
            pending = [v for v in following if not self.groups[v].gone]
            pending.sort(key=lambda v: self.problem.position[v])

    def shown(self, u: int) -> int:
        """Bytes that a group makes for others, or for the end."""
        buffers = self.buffers
        return sum(
            buffers[b].size
            for v in self.groups[u].members
            for b in self.made[v]
            if self._external(b)
        )

    def _external(self, index: int) -> bool:
        buffer = self.buffers[index]
        own = self.of[buffer.producer]
        return buffer.output or any(self.of[c] != own for c in buffer.consumers)

    def _taken(self, u: int) -> int:
        """Bytes that a group reads of others."""
        buffers = self.buffers
        found = {b for v in self.groups[u].members for b in self.read[v]}
        return sum(
            buffers[b].size
            for b in found
            if buffers[b].producer >= 0 and self.of[buffers[b].producer] != u
        )

    def _cost(self, u: int) -> float:
        costs = self.problem.costs
        return float(sum(costs[v] for v in self.groups[u].members if v not in self.riders))

    def _joins(self, u: int, v: int) -> bool:
        first, second = self.groups[u], self.groups[v]
        if first.pinned and not second.pinned:
            return False
        buffers = self.buffers
        if any(buffers[b].output for m in first.members for b in self.made[m]):
            return False
        out, more = self.shown(u), self.shown(v)
        waits = out >= self._taken(u)
        rest = second.before - first.before - {u}
        at_once = more <= out and all(self.groups[w].pinned for w in rest)
        if not (waits or at_once):
            return False
        useful = second.pinned or out >= more or self._cost(u) <= _LITTLE * self._cost(v)
        return useful and self._fits(first.members, second.members)

    def _rides(self, u: int, *before: int) -> bool:
        group = self.groups[u]
        return (
            len(before) == 1
            and not group.pinned
            and not self.shown(u)
            and self._fits(self.groups[before[0]].members, group.members)
        )

    def _fits(self, first: list[int], second: list[int]) -> bool:
        """Whether both together need little, or no more than one of them."""
        together = self._need(first + second)
        if together <= self.small:
            return True
        return together <= max(self._need(first), self._need(second))

    def _need(self, members: Sequence[int]) -> int:
        """Bytes of what a group reads, makes and scratches, at most."""
        buffers, inside = self.buffers, set(members)
        touched = {b for v in members for b in (*self.made[v], *self.read[v])}
        total = self._scratch(members)
        for b in touched:
            if buffers[b].producer not in inside or self._seen(b, inside):
                total += buffers[b].size
        return total - sum(buffers[o].size for _, o, _ in self._over(members)[1])

    def _seen(self, index: int, inside: Collection[int]) -> bool:
        buffer = self.buffers[index]
        return buffer.output or any(c not in inside for c in buffer.consumers)

    def _merge(self, u: int, v: int) -> None:
        """Put u before v, or behind it as a rider."""
        first, second = self.groups[u], self.groups[v]
        if v in first.after:
            second.members = first.members + second.members
            second.pinned |= first.pinned
        else:
            self.riders.update(first.members)
            second.members = second.members + first.members
        for w in first.before - {v}:
            self.groups[w].after.discard(u)
            self.groups[w].after.add(v)
            second.before.add(w)
        for w in first.after - {v}:
            self.groups[w].before.discard(u)
            self.groups[w].before.add(v)
            second.after.add(w)
        second.before.discard(u)
        second.after.discard(u)
        for m in first.members:
            self.of[m] = v
        first.gone = True

    def result(self) -> Coarse:
        """The groups in an order, and their problem."""
        order = self._order()
        for g in order:
            self._arrange(g)
        number = {g: k for k, g in enumerate(order)}
        problem, of = self.problem, self.of
        index_of: dict[int, int] = {}
        buffers: list[Buffer] = []
        for index, buffer in enumerate(self.buffers):
            own = of[buffer.producer] if buffer.producer >= 0 else -1
            if own >= 0 and not self._external(index):
                continue
            index_of[index] = len(buffers)
            readers = sorted({number[of[c]] for c in buffer.consumers} - {number.get(own, -1)})
            producer = number[own] if own >= 0 else -1
            buffers.append(Buffer(buffer.size, producer, tuple(readers), buffer.output))
        pairs = {(number[w], number[g]): None for g in order for w in sorted(self.groups[g].before)}
        in_place: list[InPlace] = []
        scratch: list[int] = []
        for g in order:
            _, over = self._over(self.groups[g].members)
            in_place += [InPlace(number[g], index_of[o], index_of[i]) for _, o, i in over]
            scratch.append(self._scratch(self.groups[g].members))
        coarse = RematProblem(
            num_nodes=len(order),
            buffers=tuple(buffers),
            costs=tuple(
                sum(problem.costs[v] for v in self.groups[g].members if v not in self.riders)
                for g in order
            ),
            budget_bytes=problem.budget_bytes,
            workspace=tuple(scratch),
            precedence=tuple(pairs),
            in_place=tuple(in_place),
            pinned=tuple(number[g] for g in order if self.groups[g].pinned),
            constant_bytes=problem.constant_bytes,
            inputs_in_arena=problem.inputs_in_arena,
        )
        groups = tuple(tuple(self.groups[g].members) for g in order)
        return Coarse(coarse, groups, frozenset(self.riders))

    def _arrange(self, g: int) -> None:
        """Order a group's ops as they were merged, or as in the input order, if that is better."""
        group = self.groups[g]
        merged = group.members
        group.members = sorted(merged, key=self.problem.position.__getitem__)
        if self._scratch(group.members) > self._scratch(merged):
            group.members = merged

    def _order(self) -> list[int]:
        """Groups as early as the last of their ops that is no rider stands in the input order."""
        import heapq

        position = self.problem.position
        rank = {
            g: max(position[v] for v in group.members if v not in self.riders)
            for g, group in enumerate(self.groups)
            if not group.gone
        }
        missing = {g: len(self.groups[g].before) for g in rank}
        ready = [(rank[g], g) for g in rank if not missing[g]]
        heapq.heapify(ready)
        order: list[int] = []
        while ready:
            _, g = heapq.heappop(ready)
            order.append(g)
            for w in self.groups[g].after:
                missing[w] -= 1
                if not missing[w]:
                    heapq.heappush(ready, (rank[w], w))
        return order

    def _over(
        self, members: Sequence[int]
    ) -> tuple[list[tuple[int, int, int]], list[tuple[int, int, int]]]:
        """(op, output, operand) where the one is written over the other, by the runtime's order.

        First those of an operand that was made inside and is read last by the op; then those of an
        operand of the group, which depend on whether others still read it.
        """
        place = {v: k for k, v in enumerate(members)}
        buffers = self.buffers
        inside: list[tuple[int, int, int]] = []
        shown: list[tuple[int, int, int]] = []
        taken: set[int] = set()
        written: set[int] = set()
        for node, output, source in self.problem.in_place:
            if node not in place or source in taken or output in written:
                continue
            readers = [place[c] for c in buffers[source].consumers if c in place]
            if max(readers) != place[node] or buffers[source].size != buffers[output].size:
                continue
            if buffers[source].producer not in place:
                if self._seen(output, place.keys()) and node not in self.riders:
                    shown.append((node, output, source))
            elif not self._seen(source, place.keys()):
                inside.append((node, output, source))
                taken.add(source)
                written.add(output)
        return inside, [c for c in shown if c[1] not in written]

    def _scratch(self, members: Sequence[int]) -> int:
        inside, shown = self._over(members)
        over = {output for _, output, _ in shown}
        place = {v: k for k, v in enumerate(members)}
        buffers = self.buffers
        workspace = self.workspace
        need = [workspace[v] if workspace else 0 for v in members]
        for k, v in enumerate(members):
            for b in self.made[v]:
                if self._seen(b, place.keys()):  # the problem counts it all the time
                    if b not in over:
                        for j in range(k):
                            need[j] -= buffers[b].size
                    continue
                last = max((place[c] for c in buffers[b].consumers), default=k)
                for j in range(k, last + 1):
                    need[j] += buffers[b].size
        for node, output, _ in inside:
            need[place[node]] -= buffers[output].size
        return max(0, *need)
