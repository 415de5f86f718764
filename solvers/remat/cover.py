"""A bound on the cost from what has to be repeated at all: a covering program, one row per op.

Let R be the nodes that a sequence runs more than once.  At the first run of t, all ancestors of t
have run, and no descendant has.  So a buffer b, of a node p that is an ancestor of t, is live there
if p is not in R, t does not touch b (make or read it), and b is an output or a descendant of t
reads it: its only instance was made before, and it is still to be read, or kept to the end.

    first run of p      first run of t       first run of a reader of b
          ├───────────────────┼────────────────────┤                     one instance, if p not in R

With what t itself needs, the run fits the budget only if

    sum of size(b) over those b with p in R  >=  excess(t)
    excess(t) = constant + touched(t) + workspace(t) - overwritten(t) + sum of all those b - budget

where `overwritten` is all that t might write in place.  What cannot be repeated (graph inputs,
where they count, and pinned nodes) counts in the sum of all, and cannot be in R.  Every node of R
adds its cost at least once, so

    least cost >= base cost + min { cost(R) : every row is met },

for every sequence, in whatever order: the bound is of the free order.  In the fixed order first
runs come in the input order, so there "ancestor" and "descendant" are "earlier" and "later", and
the rows say more.

One variable per op and one row per op, against the stage program's square.  What it leaves out: one
repeat may not do for two rows, and a repeat needs its own operands.  On convolutional networks it
is often met by the best plan, which is then optimal in every order; on graphs whose order is loose
(few ancestors) the rows are empty, and nothing follows.

**What is believed.**  HiGHS searches the program; the value of the point that it returns is proven
by a second program that asks for something cheaper and has no point, within its tolerance of 1e-7
(as in `checkmate_milp.py`).  If the second one ends by its limit, the bound is that of the first.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from fractions import Fraction
from typing import TYPE_CHECKING

import numpy as np

from lowtide.solvers.milp.model import Builder
from lowtide.solvers.milp.solve import Outcome, solve
from lowtide.solvers.remat.conclude import Clock
from lowtide.solvers.remat.extras import cost_with_extra, next_sum, step_below
from lowtide.solvers.remat.problem import OrderScope
from lowtide.solvers.remat.solution import CostBound

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from lowtide.solvers.milp.model import LinearModel
    from lowtide.solvers.remat.problem import RematProblem

__all__ = ["CoverResult", "CoverRow", "cover_bound", "cover_rows"]

# Beyond this many pairs of a node and a buffer nothing is tried.
_MOST_PAIRS = 5_000_000
# The cheapest cover is this many units of the second program's objective.
_UNITS = 1000.0
# HiGHS drops coefficients below 1e-9.
_TINY = 1e-8


@dataclass(frozen=True, slots=True)
class CoverRow:
    """At the first run of `node`, repeated nodes must account for `excess` bytes of `bytes_of`."""

    node: int
    excess: int
    bytes_of: dict[int, int]


@dataclass(frozen=True, slots=True)
class CoverResult:
    """A bound, the repeats that would meet every row at that cost, and what it took.

    Attributes:
        bound: None where no row asks for a repeat, or nothing was proven in time.
        repeats: a cheapest known cover: candidates for what a good plan runs again.
        cpu_seconds: of the children that solved.
    """

    bound: CostBound | None
    repeats: tuple[int, ...] = ()
    cpu_seconds: float = 0.0


def cover_rows(problem: RematProblem, scope: OrderScope) -> list[CoverRow]:
    """The rows with a positive excess that can be met. O(nodes x buffers).

    A row that no repeats can meet is left out: no plan meets the budget then, which is for the
    peak's bound to say.
    """
    n, buffers = problem.num_nodes, problem.once.buffers
    if n * (len(buffers) + 1) > _MOST_PAIRS:
        return []
    above, below = _relatives(problem, scope)
    everything, pinned = (1 << n) - 1, set(problem.pinned)
    need = np.array(problem.once.workspace or [0] * n, dtype=np.int64)
    held = np.zeros((len(buffers), n), dtype=bool)
    for index, buffer in enumerate(buffers):
        if buffer.producer < 0 and not problem.inputs_in_arena:
            continue
        readers = touched = 0
        for consumer in buffer.consumers:
            readers |= above[consumer]
            touched |= 1 << consumer
        if buffer.producer >= 0:
            touched |= 1 << buffer.producer
        after = everything if buffer.producer < 0 else below[buffer.producer]
        between = after & (everything if buffer.output else readers) & ~touched
        held[index] = _flags(between, n)
        need += buffer.size * (held[index] | _flags(touched, n))
    for output in {c.output for c in problem.in_place}:
        need[buffers[output].producer] -= buffers[output].size
    excess = need - (problem.budget_bytes - problem.constant_bytes)
    rows: list[CoverRow] = []
    for node in np.flatnonzero(excess > 0).tolist():
        bytes_of: dict[int, int] = {}
        for index in np.flatnonzero(held[:, node]).tolist():
            producer, size = buffers[index].producer, buffers[index].size
            if producer >= 0 and producer not in pinned and size:
                bytes_of[producer] = bytes_of.get(producer, 0) + size
        if sum(bytes_of.values()) >= excess[node]:
            rows.append(CoverRow(node, int(excess[node]), bytes_of))
    return rows


def cover_bound(
    problem: RematProblem,
    scope: OrderScope = OrderScope.FREE,
    *,
    time_limit_s: float | None = 10.0,
    seed: int = 0,
) -> CoverResult:
    """The least cost of the nodes that some sequence of the scope has to repeat.

    Args:
        problem: what to run, and within which budget.
        scope: of the bound.
        time_limit_s: wall time of the solver.
        seed: of the solver.
    """
    clock = Clock(time_limit_s)
    rows = cover_rows(problem, scope)
    if not rows:
        return CoverResult(None)
    nodes = sorted({v for row in rows for v in row.bytes_of})
    costs = [problem.costs[v] for v in nodes]
    scale = 1.0 / max(float(max(costs)), 1e-300)
    first = solve(_program(problem, rows, nodes, scale, None), time_limit_s=clock.left, seed=seed)
    clock.children_s += first.cpu_seconds
    point = first.rounded()
    cover = () if point is None else tuple(v for v, x in zip(nodes, point, strict=True) if x)
    extra = Fraction(0)
    if math.isfinite(first.bound) and first.bound > 0:
        raw = Fraction(first.bound) / Fraction(scale)
        # No sum of costs in between: the bound may be raised past where there is none.
        extra = next_sum(costs, raw, raw + raw / 1000)
    if first.outcome is Outcome.SOLVED and cover:
        value = sum((Fraction(problem.costs[v]) for v in cover), Fraction(0))
        if value > 0:
            limit = value - step_below(costs, value)
            second = solve(
                _program(problem, rows, nodes, _UNITS / float(value), limit),
                time_limit_s=clock.left,
                seed=seed,
            )
            clock.children_s += second.cpu_seconds
            if second.outcome is Outcome.INFEASIBLE:
                extra = max(extra, next_sum(costs, limit, value))
    bound = None
    if extra > 0:
        cost = cost_with_extra(problem, extra)
        if isinstance(cost, float):  # `cost_of` sums in its own order: stay below its rounding
            cost = max(float(problem.base_cost), cost * (1 - 2**-50))
        bound = CostBound(scope, cost, "cover")
    return CoverResult(bound, cover, clock.children_s)


def _program(
    problem: RematProblem,
    rows: list[CoverRow],
    nodes: list[int],
    scale: float,
    limit: Fraction | None,
) -> LinearModel:
    """The covering program; with a limit, only covers that cost at most that."""
    builder = Builder()
    column = {v: builder.variable(float(problem.costs[v]) * scale) for v in nodes}
    for row in rows:
        builder.row(
            # A cover of one op is met exactly; what HiGHS would take for 0 counts more, not less.
            ((column[v], max(min(b / row.excess, 1.0), _TINY)) for v, b in row.bytes_of.items()),
            lower=1.0,
        )
    if limit is not None:
        builder.row(
            ((column[v], float(problem.costs[v]) * scale) for v in nodes),
            upper=float(limit) * scale,
        )
    return builder.build()


def _relatives(problem: RematProblem, scope: OrderScope) -> tuple[list[int], list[int]]:
    """Per node the nodes whose first run is sure to come before, and behind, its own first run."""
    n = problem.num_nodes
    above, below = [0] * n, [0] * n
    if scope is OrderScope.FIXED:
        seen = 0
        for node in problem.order:
            above[node] = seen
            seen |= 1 << node
            below[node] = ((1 << n) - 1) & ~seen
        return above, below
    for node in problem.order:
        for predecessor in problem.once.predecessors[node]:
            above[node] |= above[predecessor] | 1 << predecessor
    for node in reversed(problem.order):
        for successor in problem.once.successors[node]:
            below[node] |= below[successor] | 1 << successor
    return above, below


def _flags(bits: int, count: int) -> NDArray[np.bool_]:
    """The lowest `count` bits, as booleans."""
    raw = np.frombuffer(bits.to_bytes(count // 8 + 1, "little"), dtype=np.uint8)
    return np.unpackbits(raw, count=count, bitorder="little").astype(bool)
