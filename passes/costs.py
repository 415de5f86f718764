"""What it costs to run an op: measured where a frontend knows it, else a roofline.

    cost = overhead + max(flops / throughput, bytes read and written / bandwidth)

in whole nanoseconds of one core. Only ratios matter: they decide what is cheap to compute again.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from lowtide.ir import Graph, Op

__all__ = ["op_cost", "op_costs"]

_FLOPS_PER_NS = 30
_BYTES_PER_NS = 10
_OVERHEAD_NS = 1_000
_NS = 1_000_000_000


def op_cost(op: Op) -> int:
    """Nanoseconds; `op.cost` (seconds) where it is known. A view costs nothing."""
    if op.traits.view:
        return 0
    if op.cost is not None:
        return max(0, round(op.cost * _NS))
    moved = sum(t.nbytes for t in op.operands) + sum(t.nbytes for t in op.outputs)
    return _OVERHEAD_NS + max(-(-op.flops // _FLOPS_PER_NS), -(-moved // _BYTES_PER_NS))


def op_costs(graph: Graph) -> tuple[int, ...]:
    """The cost of every op, in the graph's order."""
    return tuple(op_cost(op) for op in graph.ops)
