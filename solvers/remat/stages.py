"""The stages of the input order as a mixed-integer program, tightened; for `checkmate-milp`.

Nodes are numbered by their place in the input order.  Stage t runs some k < t again and then t.

    R[t,k]    k runs in stage t                                R[t,t] = 1
    S[t,b]    buffer b is kept from stage t - 1 for later use  S[n,b] = b is an output
    L[t,b,c]  b is live in stage t up to its reader c          = max(R[t,c], L of the next reader),
              behind the last reader that may run: S[t+1,b]      tied by rows in both directions
    M[t,q]    the in-place pair q is used in stage t

    reads     R[t,c] <= S[t,b] + R[t,p]        for each b that c reads, p its producer
    keeping   S[t+1,b] <= S[t,b] + R[t,p],  S[t,b] + R[t,p] <= 1
    use       S[t,b] <= L[t,b,first],  R[t,p] <= what is live of what it makes
    memory    at each k that may run in stage t: what is made, scratched and live <= the budget
    cost      sum of c[k] R[t,k], k < t  <=  the limit on the extra cost

This is Checkmate's program (P. Jain et al., MLSys 2020, section 4; `checkmate.py`) with its Free
variables replaced by what is left after them, which is tighter: L[t,b,c] >= R[t,c'] for every later
reader c'.  Its integer points are the sequences of the fixed order without useless runs, at their
exact peaks, in-place pairs included:

- A run whose results nobody reads, nor keeps for a reader, can be left out: no peak rises.  A
  buffer that is made in a stage was not read in it before, as readers come behind producers.  Hence
  `use` and `keeping` cut no sequence that is needed.
- A place k that does not run needs no memory row: what is live there is live at the next run.
- Buffers of no bytes are kept for ever; they need no variables and no runs.

Variables that cannot be 1 are left out, given the limit: a run that alone costs more than it, runs
and keeps later than any use (`_last`), rows whose possibly live buffers all fit.  What cannot run
again is kept up to its last certain reader.  And stages outside a band repeat nothing (`_hot`):

- Before the first stage in which all that may ever be of use does not fit: a plan that repeats
  something earlier may keep it all instead, and is in that stage with no less, at no more cost.
- After the stage behind the last one in which all of that, and any repeat, might not fit: what is
  repeated later may be repeated in that stage already (in the input order, so operands come first,
  as they are there, repeated later, or made by it) and kept; everything fits from there on.
"""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

from lowtide.solvers.milp.model import Builder

if TYPE_CHECKING:
    from collections.abc import Sequence
    from fractions import Fraction

    from lowtide.solvers.milp.model import LinearModel
    from lowtide.solvers.remat.problem import RematProblem

__all__ = ["StageModel", "runs_of_stages"]

# Terms: a variable's index, or a constant.
_ZERO, _ONE = -1, -2


class StageModel:
    """The program of a problem, and the way from its points to sequences and back.

    Args:
        problem: what to plan.
        limit: on the extra cost; None for none.
        scale: the program's costs are the problem's times this.

    Attributes:
        impossible: why no sequence is within the budget, if that is clear already; else empty.
        model: the program.
    """

    def __init__(
        self, problem: RematProblem, *, limit: Fraction | None = None, scale: float = 1.0
    ) -> None:
        self.problem = problem
        self.impossible = ""
        self._builder = Builder()
        n = problem.num_nodes
        place = problem.position
        once = problem.once
        counted = [
            b.size if b.producer >= 0 or problem.inputs_in_arena else 0 for b in once.buffers
        ]
        ids = [k for k, size in enumerate(counted) if size]
        self._size = [counted[k] for k in ids]
        self._producer = [place[p] if (p := once.buffers[k].producer) >= 0 else -1 for k in ids]
        self._readers = [sorted(place[c] for c in once.buffers[k].consumers) for k in ids]
        self._output = [once.buffers[k].output for k in ids]
        self._makes: list[list[int]] = [[] for _ in range(n)]
        for b, p in enumerate(self._producer):
            if p >= 0:
                self._makes[p].append(b)
        self._work = [once.workspace[v] if once.workspace else 0 for v in problem.order]
        self._unit = math.gcd(*self._size, *self._work) or 1
        self._room = (problem.budget_bytes - problem.constant_bytes) // self._unit
        new = {old: b for b, old in enumerate(ids)}
        self._pairs: list[list[tuple[int, int]]] = [[] for _ in range(n)]
        for q in once.in_place:
            if q.output in new and q.input in new and counted[q.output] == counted[q.input]:
                self._pairs[place[q.node]].append((new[q.output], new[q.input]))
        pinned = {place[v] for v in problem.pinned}
        costs = [problem.costs[v] for v in problem.order]
        self._again = [k not in pinned and (limit is None or costs[k] <= limit) for k in range(n)]
        self._cost = [float(c) * scale for c in costs]
        self._limit = None if limit is None else float(limit) * scale
        self._band = range(n)
        self._last_run, self._last = self._last_use()
        for _ in range(3):  # fewer stages may repeat, so less is useful late, so fewer are hot
            self._band = self._hot()
            self._last_run, self._last = self._last_use()
        self._runs: dict[tuple[int, int], int] = {}
        self._keeps: dict[tuple[int, int], int] = {}
        self._maxima: list[tuple[int, int, int]] = []  # L = max of two terms
        self._matches: list[tuple[int, int, int, list[int]]] = []  # M, its run, its use, conflicts
        self._behind: dict[tuple[int, int, int], int] = {}  # live behind a reader
        self._build()
        self.model: LinearModel = self._builder.build()

    # The program.

    def _last_use(self) -> tuple[list[int], list[int]]:
        """Per node the last stage that it may run in, per buffer the last that may need it."""
        n = self.problem.num_nodes
        last_run, last = list(range(n)), [-1] * len(self._size)
        for b, p in enumerate(self._producer):
            if p < 0:
                last[b] = 0
        for k in reversed(range(n)):
            for b in self._makes[k]:
                last[b] = self._later(b, last_run)
                if self._again[k] and self._band:
                    last_run[k] = max(k, last_run[k], min(last[b], self._band[-1]))
        for b, p in enumerate(self._producer):
            if p < 0:
                last[b] = self._later(b, last_run)
        return last_run, last

    def _later(self, b: int, last_run: list[int]) -> int:
        if self._output[b]:
            return self.problem.num_nodes
        return max((last_run[c] for c in self._readers[b]), default=-1)

    def _hot(self) -> range:
        """The stages that may repeat anything; see the text above."""
        n, room = self.problem.num_nodes, self._room * self._unit
        alone, beside = [False] * n, [False] * n
        for t in range(n):
            live = sum(
                size
                for size, p, last in zip(self._size, self._producer, self._last, strict=True)
                if p < t <= last
            )
            first = live + self._work[t] + sum(self._size[b] for b in self._makes[t])
            again = max(
                (
                    self._work[k] + sum(self._size[b] for b in self._makes[k] if self._last[b] < t)
                    for k in range(t)
                    if self._again[k]
                ),
                default=0,
            )
            alone[t], beside[t] = first > room, max(first, live + again) > room
        if not any(beside):
            return range(0)
        last = max(t for t in range(n) if beside[t])
        return range(alone.index(True) if any(alone) else last, min(last + 2, n))

    def _build(self) -> None:
        n, builder = self.problem.num_nodes, self._builder
        start = sum(
            size
            for b, size in enumerate(self._size)
            if self._producer[b] < 0 and (self._readers[b] or self._output[b])
        )
        if start > self._room * self._unit or self._room < 0:
            self.impossible = "the inputs alone do not fit"
            return
        for t in range(n):
            for k in range(t):
                if self._again[k] and t <= self._last_run[k] and t in self._band:
                    self._runs[t, k] = builder.variable(self._cost[k])
        for b, p in enumerate(self._producer):
            certain = n if self._output[b] else max(self._readers[b], default=-1)
            for t in range(p + 1, min(self._last[b], n - 1) + 1):
                fixed = t <= certain and (p < 0 or not self._again[p])
                self._keeps[t, b] = _ONE if fixed else builder.variable()
        for t in range(n):
            self._stage(t)
            if self.impossible:
                return
        if self._limit is not None:
            terms = [(x, self._cost[k]) for (_, k), x in self._runs.items() if self._cost[k]]
            if terms:
                builder.row(terms, upper=self._limit)

    def _run(self, t: int, k: int) -> int:
        return _ONE if k == t else self._runs.get((t, k), _ZERO)

    def _keep(self, t: int, b: int) -> int:
        if t == self.problem.num_nodes:
            return _ONE if self._output[b] else _ZERO
        return self._keeps.get((t, b), _ZERO)

    def _row(self, terms: Sequence[tuple[int, int]], upper: int) -> None:
        """Integer terms, constants among them, are at most `upper`; rows that say nothing go."""
        rest = upper - sum(value for term, value in terms if term == _ONE)
        kept = [(term, float(value)) for term, value in terms if term >= 0]
        if sum(value for _, value in kept if value > 0) > rest:
            self._builder.row(kept, upper=float(rest))

    def _stage(self, t: int) -> None:
        # (place, buffer, term): from that place on, the buffer's part in what is live is the term.
        events: list[tuple[int, int, int]] = []
        firsts: dict[int, int] = {}
        for b, p in enumerate(self._producer):
            if p >= t or t > self._last[b]:
                continue
            kept, made, later = self._keep(t, b), _ZERO, self._keep(t + 1, b)
            if p >= 0:
                made = self._run(t, p)
                self._row([(kept, 1), (made, 1)], 1)
            self._row([(later, 1), (kept, -1), (made, -1)], 0)
            behind = later
            spans: list[tuple[int, int]] = []  # (first place, term), from the last to the first
            for c in reversed(self._readers[b]):
                run = self._run(t, c) if c <= t else _ZERO
                if run == _ZERO:
                    continue
                self._row([(run, 1), (kept, -1), (made, -1)], 0)
                self._behind[t, b, c] = behind
                spans.append((c + 1, behind))
                behind = self._maximum(run, behind)
            firsts[b] = behind
            self._row([(kept, 1), (behind, -1)], 0)
            events.append((-1, b, kept))
            events.append((p + 1, b, behind))
            events.extend((at, b, term) for at, term in reversed(spans))
        for k in range(t):
            if (run := self._run(t, k)) != _ZERO:
                self._row([(run, 1), *((firsts.get(b, _ZERO), -1) for b in self._makes[k])], 0)
        self._memory(t, events)

    def _maximum(self, run: int, behind: int) -> int:
        if _ONE in (run, behind):
            return _ONE
        if behind == _ZERO:
            return run
        term = self._builder.variable(integer=False)
        self._row([(run, 1), (term, -1)], 0)
        self._row([(behind, 1), (term, -1)], 0)
        self._row([(term, 1), (run, -1), (behind, -1)], 0)
        self._maxima.append((term, run, behind))
        return term

    def _memory(self, t: int, events: list[tuple[int, int, int]]) -> None:
        events.sort(key=lambda e: e[0])  # stable: of one place, the last counts
        live: dict[int, int] = {}
        base = at = 0
        for k in range(t + 1):
            while at < len(events) and events[at][0] <= k:
                _, b, term = events[at]
                at += 1
                base -= self._size[b] if live.pop(b, _ZERO) == _ONE else 0
                if term != _ZERO:
                    live[b] = term
                    base += self._size[b] if term == _ONE else 0
            run = self._run(t, k)
            if run == _ZERO:
                continue
            terms = [(term, self._size[b]) for b, term in live.items() if term >= 0]
            made = self._work[k] + sum(self._size[b] for b in self._makes[k])
            terms.append((run, made))
            terms.extend((m, -self._size[o]) for o, m in self._overwritten(t, k, run))
            constant = base + sum(value for term, value in terms if term == _ONE)
            scaled: dict[int, int] = {}
            for term, value in terms:
                if term >= 0:
                    scaled[term] = scaled.get(term, 0) + value // self._unit
            self._capacity(t, k, constant // self._unit, scaled)

    def _capacity(self, t: int, k: int, constant: int, terms: dict[int, int]) -> None:
        rest = self._room - constant
        if sum(value for value in terms.values() if value < 0) > rest:
            self.impossible = f"node {self.problem.order[k]} does not fit in stage {t}"
        if sum(value for value in terms.values() if value > 0) > rest:
            self._builder.row([(x, float(v)) for x, v in terms.items()], upper=float(rest))

    def _overwritten(self, t: int, k: int, run: int) -> list[tuple[int, int]]:
        """(result, term) of what node k writes in place, as the runtime chooses, in its order."""
        chosen: list[tuple[int, int, int]] = []
        for o, i in self._pairs[k]:
            behind = self._behind.get((t, i, k), _ONE)
            if behind == _ONE:
                continue
            rivals = [m for m, o2, i2 in chosen if o2 == o or i2 == i]
            if _ONE in rivals:
                continue
            if behind == _ZERO and not rivals:
                term = run
            else:
                term = self._builder.variable(integer=False)
                self._row([(term, 1), (run, -1)], 0)
                self._row([(term, 1), (behind, 1)], 1)
                for rival in rivals:
                    self._row([(term, 1), (rival, 1)], 1)
                self._row([(run, 1), (behind, -1), (term, -1), *((m, -1) for m in rivals)], 0)
                self._matches.append((term, run, behind, rivals))
            chosen.append((term, o, i))
        return [(o, m) for m, o, _ in chosen]

    # Points and sequences.

    def sequence(self, point: Sequence[float]) -> tuple[int, ...]:
        """The runs of a point, stage by stage."""
        again: list[list[int]] = [[] for _ in range(self.problem.num_nodes)]
        for (t, k), x in self._runs.items():
            if point[x] > 0.5:
                again[t].append(k)
        order = self.problem.order
        return tuple(order[k] for t, ks in enumerate(again) for k in (*sorted(ks), t))

    def kept(self, point: Sequence[float], threshold: float) -> set[tuple[int, int]]:
        """(stage, original buffer) of what a point keeps to at least `threshold`."""
        original = [
            k
            for k, b in enumerate(self.problem.once.buffers)
            if b.size and (b.producer >= 0 or self.problem.inputs_in_arena)
        ]
        return {
            (t, original[b])
            for (t, b), x in self._keeps.items()
            if x == _ONE or (x >= 0 and point[x] >= threshold)
        }

    def point(self, sequence: Sequence[int]) -> list[int] | None:
        """The point of a sequence of stages, useless runs left out; None if it has none here."""
        n = self.problem.num_nodes
        runs = runs_of_stages(self.problem, sequence)
        values = [0] * self.model.num_variables
        live = {b for b in range(len(self._size)) if self._output[b]}
        reads: list[list[int]] = [[] for _ in range(n)]
        for b, readers in enumerate(self._readers):
            for c in readers:
                reads[c].append(b)
        for t in reversed(range(n)):
            for k in sorted(runs[t], reverse=True):
                makes = set(self._makes[k])
                if k < t:
                    if not makes & live:
                        continue
                    x = self._runs.get((t, k), _ZERO)
                    if x == _ZERO:
                        return None
                    values[x] = 1
                live -= makes
                live.update(reads[k])
            for b in live:
                x = self._keep(t, b)
                if x >= 0:
                    values[x] = 1
                elif x == _ZERO and self._producer[b] >= 0:
                    return None

        def value(term: int) -> int:
            return values[term] if term >= 0 else int(term == _ONE)

        for term, run, behind in self._maxima:
            values[term] = max(value(run), value(behind))
        for term, run, behind, rivals in self._matches:
            free = value(run) and not value(behind) and not any(value(m) for m in rivals)
            values[term] = int(free)
        return values


def runs_of_stages(problem: RematProblem, sequence: Sequence[int]) -> list[list[int]]:
    """Per stage the places that run in it, ascending; the stage's own place is the last one."""
    stages: list[list[int]] = [[]]
    for node in sequence:
        stages[-1].append(problem.position[node])
        if problem.position[node] == len(stages) - 1:
            stages.append([])
    return stages[:-1]
