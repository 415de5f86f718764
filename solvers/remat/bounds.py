"""What is known of every plan without searching: bounds on the peak and on the cost.

**The peak, with repeats too.**  At the first run of v all of its ancestors have run, and none of
its descendants.  So these are live:

1. what v reads, makes and scratches, less what it may overwrite (in any run of v);
2. every buffer that cannot be made again (a graph input that counts, or made by a pinned node that
   is an ancestor of v), if v or a descendant of v reads it, or if it is an output: its only
   instance exists and is still needed.

At the end the outputs are live, less what the last run overwrites; and at the start the inputs.

The minimum cuts of scheduling are *not* bounds here: they rest on a buffer being live as long as
one of its readers has not run, and a buffer that can be made again need not be.  (a -> b -> c -> d,
with d reading a too: every order has a live during c; a, b, c, a, d has not.)

**The cost.**  Every node runs once, so the base cost is a bound.  When no order without repeats
meets the budget (the exact scheduler's bound, which speaks of exactly these), some node runs twice;
then the cheapest plan, with the fewest runs, repeats a node whose readers do not repeat (the last
one in topological order).  Each of its runs is needed by one of its uses: reads by other nodes, the
end if it makes an output, successors by precedence; else it would be left out, which raises no
transient.  So it has at least two uses, and the cost is at least the base cost and the cheapest
such node that is not pinned.  If there is no such node, no plan meets the budget.

In the fixed order the input order is the only sequence without repeats, and a first run may not be
left out, needed or not: there any node that is not pinned counts, whatever its uses.
"""

from __future__ import annotations

from fractions import Fraction
from typing import TYPE_CHECKING

from lowtide.solvers.remat.problem import OrderScope
from lowtide.solvers.remat.solution import CostBound

if TYPE_CHECKING:
    from collections.abc import Iterator

    from lowtide.solvers.remat.problem import RematProblem

__all__ = ["base_bound", "kept_beside", "peak_bound", "peak_witness", "repeat_bound"]

# Beyond this many pairs of a node and an unrepeatable buffer, part 2 is left out.
_MOST_PAIRS = 5_000_000


def peak_bound(problem: RematProblem) -> tuple[int, str]:
    """No sequence has a lower peak; and why. O(nodes x edges / 64) where something is fixed."""
    most, method, _ = peak_witness(problem)
    return most, method


def peak_witness(problem: RematProblem) -> tuple[int, str, int]:
    """The same with the node whose run it is; -1 for the start or the end."""
    buffers, workspace = problem.once.buffers, problem.once.workspace
    need = list(workspace) if workspace else [0] * problem.num_nodes
    touched: list[set[int]] = [set() for _ in range(problem.num_nodes)]
    start = end = 0
    for index, buffer in enumerate(buffers):
        if buffer.producer < 0 and not problem.inputs_in_arena:
            continue
        if buffer.producer < 0 and (buffer.consumers or buffer.output):
            start += buffer.size
        if buffer.output:
            end += buffer.size
        for node in (*((buffer.producer,) if buffer.producer >= 0 else ()), *buffer.consumers):
            need[node] += buffer.size
            touched[node].add(index)
    for output in {c.output for c in problem.in_place}:
        need[buffers[output].producer] -= buffers[output].size
    most, method = max(need, default=0), "one op"
    node = need.index(most) if need else -1
    for index, at in kept_beside(problem):
        if index not in touched[at]:
            need[at] += buffers[index].size
    if max(need, default=0) > most:
        most, method = max(need), "one op and what cannot be made again"
        node = need.index(most)
    if start > most:
        most, method, node = start, "inputs", -1
    if end > most and not problem.in_place:
        most, method, node = end, "outputs", -1
    return problem.constant_bytes + most, method, node


def kept_beside(problem: RematProblem) -> Iterator[tuple[int, int]]:
    """(buffer, node): part 2 of the argument; the node may be one that reads the buffer, too.

    Nothing where it would take too long.
    """
    fixed = _unrepeatable(problem)
    if not fixed or len(fixed) * problem.num_nodes > _MOST_PAIRS:
        return
    ancestors, descendants = _relatives(problem)
    for index in fixed:
        buffer = problem.once.buffers[index]
        readers = 0
        for consumer in buffer.consumers:
            readers |= 1 << consumer
        for node in range(problem.num_nodes):
            if buffer.producer >= 0 and not ancestors[node] >> buffer.producer & 1:
                continue
            if buffer.output or descendants[node] & readers:
                yield index, node


def base_bound(problem: RematProblem) -> CostBound:
    """Every node runs at least once."""
    return CostBound(OrderScope.FREE, problem.base_cost, "every op once")


def repeat_bound(problem: RematProblem, scope: OrderScope) -> CostBound | None:
    """The least cost when no sequence of the scope without repeats meets the budget.

    None if no sequence of the scope meets it then.
    """
    pinned = set(problem.pinned)
    uses = [len(s) for s in problem.once.successors]
    for buffer in problem.buffers:
        if buffer.output and buffer.producer >= 0:
            uses[buffer.producer] += 1
    costs = [
        cost
        for node, cost in enumerate(problem.costs)
        if node not in pinned and (uses[node] >= 2 or scope is OrderScope.FIXED)
    ]
    if not costs:
        return None
    # Of floats: what the checker sums is rounded, so the bound is rounded down to stay below it.
    least = min(costs)
    if isinstance(problem.base_cost, int) and isinstance(least, int):
        return CostBound(scope, problem.base_cost + least, "one repeat")
    exact = float(Fraction(problem.base_cost) + Fraction(least))
    return CostBound(scope, max(float(problem.base_cost), exact * (1 - 2**-50)), "one repeat")


def _unrepeatable(problem: RematProblem) -> list[int]:
    """Buffers of which there is one instance."""
    pinned = set(problem.pinned)
    return [
        index
        for index, b in enumerate(problem.once.buffers)
        if b.size and (b.producer in pinned or (b.producer < 0 and problem.inputs_in_arena))
    ]


def _relatives(problem: RematProblem) -> tuple[list[int], list[int]]:
    """Ancestors and descendants of every node, as bit sets."""
    above, below = [0] * problem.num_nodes, [0] * problem.num_nodes
    for node in problem.order:
        for predecessor in problem.once.predecessors[node]:
            above[node] |= above[predecessor] | 1 << predecessor
    for node in reversed(problem.order):
        for successor in problem.once.successors[node]:
            below[node] |= below[successor] | 1 << successor
    return above, below
