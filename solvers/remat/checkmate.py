"""Checkmate's program as published, for reproduction: `checkmate-milp` with `strict`.

P. Jain et al., Checkmate: breaking the memory wall with optimal tensor rematerialization, MLSys
2020, arXiv:1910.02653, section 4, with the frontier-advancing stages of section 4.6.

    minimise sum C[i] R[t,i]
    R[t,j] <= R[t,i] + S[t,i]             for every edge (i, j)
    S[t,i] <= R[t-1,i] + S[t-1,i]
    R[t,t] = 1,  R[t,i] = 0 for i > t,  S[t,i] = 0 for i >= t
    U[t,0] = M_const + sum M[i] S[t,i] + M[0] R[t,0]
    U[t,k+1] = U[t,k] - sum over i in deps(k) and k itself of M[i] Free[t,i,k] + M[k+1] R[t,k+1]
    U[t,k] <= the budget
    hazards(t,i,k) = 1 - R[t,k] + S[t+1,i] + sum over users j > k of i of R[t,j]
    1 - Free[t,i,k] <= hazards,  hazards <= kappa (1 - Free[t,i,k])

One addition: outputs persist, S[n,i] = 1 for them (the paper has one loss at the end, and keeps
what nobody reads for no time).  The paper knows no workspace, no in-place writes, no inputs that
count and one result for an op; problems that have these are refused.  Not tightened in any way.
"""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

from lowtide.errors import InputError
from lowtide.solvers.milp.model import Builder
from lowtide.solvers.remat.stages import runs_of_stages

if TYPE_CHECKING:
    from collections.abc import Sequence

    from lowtide.solvers.milp.model import LinearModel
    from lowtide.solvers.remat.problem import RematProblem

__all__ = ["CheckmateModel"]


class CheckmateModel:
    """The published program of a problem; its costs are the problem's, times `scale`.

    Raises:
        InputError: the problem has something that the paper's program cannot express.
    """

    def __init__(self, problem: RematProblem, *, scale: float = 1.0) -> None:
        once, n, place = problem.once, problem.num_nodes, problem.position
        made: dict[int, int] = {}
        for index, buffer in enumerate(once.buffers):
            if buffer.producer in made and buffer.producer >= 0:
                raise InputError(
                    f"node {buffer.producer} makes several buffers: the published program knows "
                    f"one per op; leave out `strict`"
                )
            made[buffer.producer] = index
            if buffer.producer < 0 and problem.inputs_in_arena and buffer.size:
                raise InputError("inputs count: the published program has none; leave out `strict`")
        if any(once.workspace) or problem.in_place:
            raise InputError(
                "the published program has no workspace and no in-place writes; leave out `strict`"
            )
        made.pop(-1, None)
        self.problem = problem
        self._size = [0] * n
        self._users: list[list[int]] = [[] for _ in range(n)]
        self._deps: list[list[int]] = [[] for _ in range(n)]
        self._stays = [False] * n
        for node, index in made.items():
            i, buffer = place[node], once.buffers[index]
            self._size[i], self._stays[i] = buffer.size, buffer.output
            self._users[i] = sorted(place[c] for c in buffer.consumers)
            for j in self._users[i]:
                self._deps[j].append(i)
        unit = math.gcd(*self._size) or 1
        self._weight = [size // unit for size in self._size]
        room = (problem.budget_bytes - problem.constant_bytes) // unit
        self._builder = builder = Builder()
        pinned = {place[v] for v in problem.pinned}
        self._r = [
            [
                builder.variable(
                    float(problem.costs[problem.order[i]]) * scale if i < t else 0.0,
                    float(i == t),
                    float(i == t or i not in pinned),
                )
                for i in range(t + 1)
            ]
            for t in range(n)
        ]
        # S[n] is what is left at the end.
        self._s = [
            [builder.variable(lower=float(t == n and self._stays[i])) for i in range(min(t, n))]
            for t in range(n + 1)
        ]
        self._free: dict[tuple[int, int, int], int] = {}
        self._u: dict[tuple[int, int], int] = {}
        self.room = room
        for t in range(n):
            self._flow(t)
            if room >= 0:
                self._memory(t, room)
        if room < 0:  # not even the constant memory fits
            builder.row([], lower=1.0)
        self.model: LinearModel = builder.build()

    def _flow(self, t: int) -> None:
        r, s, row = self._r, self._s, self._builder.row
        for j in range(t + 1):
            for i in self._deps[j]:
                row([(r[t][j], 1.0), (r[t][i], -1.0), (s[t][i], -1.0)], upper=0.0)
        for i in range(t + 1):
            kept = [(s[t][i], -1.0)] if i < t else []
            row([(s[t + 1][i], 1.0), (r[t][i], -1.0), *kept], upper=0.0)

    def _memory(self, t: int, room: int) -> None:
        builder, weight = self._builder, self._weight
        r, s = self._r[t], self._s[t]
        before: list[tuple[int, float]] = [(s[i], float(weight[i])) for i in range(t)]
        for k in range(t + 1):
            u = builder.variable(upper=float(room), integer=False)
            self._u[t, k] = u
            builder.row([*before, (r[k], float(weight[k])), (u, -1.0)], 0.0, 0.0)
            before = [(u, 1.0)]
            for i in (*self._deps[k], k):
                free = self._free[t, i, k] = builder.variable()
                later = [j for j in self._users[i] if k < j <= t]
                hazards = [(r[k], -1.0), (self._s[t + 1][i], 1.0), *((r[j], 1.0) for j in later)]
                builder.row([*hazards, (free, 1.0)], lower=0.0)
                kappa = float(2 + len(later))
                builder.row([*hazards, (free, kappa)], upper=kappa - 1.0)
                before.append((free, -float(weight[i])))

    def sequence(self, point: Sequence[float]) -> tuple[int, ...]:
        """The runs of a point, stage by stage."""
        return tuple(
            self.problem.order[k] for r in self._r for k, x in enumerate(r) if point[x] > 0.5
        )

    def point(self, sequence: Sequence[int]) -> list[int] | None:
        """The point of a sequence of stages; None if it keeps what it does not read."""
        n = self.problem.num_nodes
        values = [0] * self.model.num_variables
        runs = runs_of_stages(self.problem, sequence)
        live = {i for i in range(n) if self._stays[i]}
        for t in reversed(range(n)):
            for i in live:
                values[self._s[t + 1][i]] = 1
            for k in reversed(runs[t]):
                values[self._r[t][k]] = 1
                live.discard(k)
                live.update(self._deps[k])
        for t in range(n):
            ran = set(runs[t])
            u = sum(self._weight[i] * values[self._s[t][i]] for i in range(t))
            for k in range(t + 1):
                u += self._weight[k] * (k in ran)
                if u > self.room:
                    return None
                if (t, k) in self._u:
                    values[self._u[t, k]] = u
                for i in (*self._deps[k], k):
                    later = any(j in ran for j in self._users[i] if k < j <= t)
                    if k in ran and not later and not values[self._s[t + 1][i]]:
                        values[self._free[t, i, k]] = 1
                        u -= self._weight[i]
        return values
