"""The rematerialization problem: the cheapest sequence of runs whose peak is within a budget.

A sequence names every node at least once; a node that it names again is run again.  A run reads,
of each of its operands, what the last run of the producer before it has made; earlier instances
are gone.  Nothing has to be said about when memory is given back: an instance lives from the run
that makes it to the last run that reads it, or to the end if the buffer is an output and no later
run makes it again.

                 run p         run c     run p         run d
    buffer of p   ├──────────────┤         ├─────────────┤         made twice, read by c and d
    bytes at a run = live before or after it + all that it makes + its workspace - overwritten

    live(i)   = the buffers that are read at i or later before they are made again; or are outputs
                and are not made again
    at run i  : size(live(i) + live(i + 1) + made) + workspace - overwritten, plus the constant
    peak      = the most of all runs (and of the start, where inputs count)

`overwritten` is what a run writes in place, as in scheduling (`schedule/problem.py`): for each
candidate (node, output o, input i), in the order of the list, o takes the buffer i when i is not in
live(i + 1), neither was matched before, i counts at all, and both have the same size.

**Free order**: every such sequence.  **Fixed order**: Checkmate's stages.  Stage k runs some of the
first k nodes of the input order again, each at most once and in the input order, and then node k of
the input order for the first time; the sequence is the stages 0, 1, ..., n - 1, one after the
other.  So first runs come in the input order, between two of them the repeated nodes ascend
strictly in it, and the last run is the first one of the last node.

**Views** need no buffer: what reads a view is a consumer of the buffer that it looks at, with a
precedence from the op that makes the view.  When the buffer is made again, the plan's emitter makes
the view again, free of cost.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, replace
from enum import StrEnum
from fractions import Fraction
from functools import cached_property
from itertools import pairwise

from lowtide.errors import InstanceError
from lowtide.solvers.schedule.problem import MAX_BYTES, Buffer, InPlace, ScheduleProblem

__all__ = ["MAX_COST", "Cost", "OrderScope", "RematProblem"]

# What one run costs: integers (exact) or floats. Feasibility never depends on it.
Cost = int | float
# No sum of costs may exceed this, so that one more copy of everything is still a finite float.
MAX_COST = 1 << 60


class OrderScope(StrEnum):
    """Which sequences are admitted, or which ones a bound speaks of."""

    FREE = "free_order"  # every valid sequence
    FIXED = "fixed_order"  # the stages of the input order


@dataclass(frozen=True)
class RematProblem:
    """A rematerialization problem on plain integers (and costs, which may be floats).

    Attributes:
        num_nodes: nodes are 0 .. num_nodes - 1.
        buffers: producers precede consumers; several may have one producer; outputs (gradients
            too) are live at the end.
        costs: of one run of each node, not negative.
        budget_bytes: the most that the peak may be.
        workspace: scratch bytes per node, live while it runs; empty for none.
        precedence: further (before, after) pairs: no run of `after` comes before the first run of
            `before`.
        in_place: candidates in the runtime's order of preference.
        pinned: nodes that run exactly once, in the order that the input order has them.
        order: the input order; empty for 0, 1, 2, ...
        constant_bytes: part of every peak.
        alignment: sizes and workspace are rounded up to multiples of it.
        inputs_in_arena: buffers with producer -1 count, from the start until their last read.

    Raises:
        InstanceError: an index out of range, a negative number, sizes that sum above 2^60, costs
            that are not finite or sum above 2^60, a cycle, an input order that is none.
    """

    num_nodes: int
    buffers: tuple[Buffer, ...]
    costs: tuple[Cost, ...]
    budget_bytes: int
    workspace: tuple[int, ...] = ()
    precedence: tuple[tuple[int, int], ...] = ()
    in_place: tuple[InPlace, ...] = ()
    pinned: tuple[int, ...] = ()
    order: tuple[int, ...] = ()
    constant_bytes: int = 0
    alignment: int = 1
    inputs_in_arena: bool = False

    def __post_init__(self) -> None:
        n = self.num_nodes
        if not self.order:
            object.__setattr__(self, "order", tuple(range(n)))
        if len(self.costs) != n:
            raise InstanceError(f"costs has {len(self.costs)} entries for {n} nodes")
        for node, cost in enumerate(self.costs):
            if not 0 <= cost <= MAX_COST:  # false for what is not a number, too
                shown = "a huge number" if abs(cost) > 1 << 70 else f"{cost}"
                raise InstanceError(f"node {node}: its cost must be 0 to 2^60, not {shown}")
        if self.base_cost > MAX_COST:
            raise InstanceError(f"the costs sum to {self.base_cost:g}, over 2^60: scale them down")
        if not 1 <= self.alignment <= MAX_BYTES:
            raise InstanceError(f"the alignment is {self.alignment}: it must be 1 to 2^60")
        if not 0 <= self.constant_bytes <= MAX_BYTES:
            raise InstanceError(
                f"the constant memory is {self.constant_bytes} bytes, not 0 to 2^60"
            )
        if self.budget_bytes < 0:
            raise InstanceError(f"the budget is negative: {self.budget_bytes} bytes")
        for before, after in zip((-1, *self.pinned), self.pinned, strict=False):
            if not before < after < n:
                raise InstanceError(
                    f"the pinned nodes {list(self.pinned)[:8]} are not distinct, ascending nodes "
                    f"below {n}"
                )
        # Everything else is what scheduling asks for, of the sizes as they are and rounded up.
        raw = ScheduleProblem(n, self.buffers, self.workspace, self.precedence, self.in_place)
        if sorted(self.order) != list(range(n)):
            raise InstanceError("the input order is not a permutation of the nodes")
        for node, predecessors in enumerate(raw.predecessors):
            for predecessor in predecessors:
                if self.position[predecessor] >= self.position[node]:
                    raise InstanceError(
                        f"the input order runs node {node} before node {predecessor}, which it "
                        f"depends on"
                    )
        self.once.num_nodes  # noqa: B018  (builds and checks it)

    @cached_property
    def base_cost(self) -> Cost:
        """What it costs to run every node once."""
        if all(isinstance(cost, int) for cost in self.costs):
            return sum(self.costs)
        return math.fsum(self.costs)

    @cached_property
    def position(self) -> tuple[int, ...]:
        """The place of every node in the input order."""
        step = [0] * self.num_nodes
        for index, node in enumerate(self.order):
            step[node] = index
        return tuple(step)

    @cached_property
    def once(self) -> ScheduleProblem:
        """The same without repeats: to order the nodes, pinned ones as they are, sizes rounded up.

        Its peaks are without the constant memory.
        """
        unit = self.alignment
        pinned = sorted(self.pinned, key=self.position.__getitem__)
        return ScheduleProblem(
            num_nodes=self.num_nodes,
            buffers=tuple(b._replace(size=-(-b.size // unit) * unit) for b in self.buffers),
            workspace=tuple(-(-w // unit) * unit for w in self.workspace),
            precedence=(*self.precedence, *pairwise(pinned)),
            in_place=self.in_place,
            inputs_in_arena=self.inputs_in_arena,
            outputs_live_to_end=True,
        )

    def cost_of(self, sequence: tuple[int, ...]) -> Cost:
        """The sum of the costs of all runs: exact of integers, else correctly rounded."""
        if all(isinstance(cost, int) for cost in self.costs):
            return sum(self.costs[v] for v in sequence)
        return math.fsum(self.costs[v] for v in sequence)

    def with_budget(self, budget_bytes: int) -> RematProblem:
        """The same problem with another budget."""
        return replace(self, budget_bytes=budget_bytes)

    def with_budget_ratio(self, ratio: str | Fraction) -> RematProblem:
        """The same problem with a budget that is a part of the input order's peak, rounded down.

        Raises:
            InstanceError: the ratio is not a number from 0 to 1.
        """
        from lowtide.solvers.remat.check import peak_of

        try:
            part = Fraction(ratio)
        except (ValueError, ZeroDivisionError) as error:
            raise InstanceError(f"the budget ratio `{ratio}` is not a number like 0.7") from error
        if not 0 <= part <= 1:
            raise InstanceError(f"the budget ratio {ratio}: give a part of the peak, from 0 to 1")
        return self.with_budget(math.floor(part * peak_of(self, self.order)))
