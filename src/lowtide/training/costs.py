"""What it costs to run an op: as measured, else by a roofline of one core.

    cost = overhead + max(flops / throughput, bytes read and written / bandwidth)

in whole nanoseconds. Only ratios matter: they decide what is cheap to compute again.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from lowtide.ir import Graph, Op

__all__ = ["costs_of"]

_FLOPS_PER_NS = 30
_BYTES_PER_NS = 10
_OVERHEAD_NS = 1_000


def costs_of(graph: Graph) -> dict[Op, int]:
    """Nanoseconds of every op; views cost nothing."""
    return {op: _cost(op) for op in graph.ops}


def _cost(op: Op) -> int:
    if op.traits.view:
        return 0
    if op.cost is not None:
        return max(1, round(op.cost * 1e9))
    moved = sum(t.nbytes for t in op.operands) + sum(t.nbytes for t in op.outputs)
    return _OVERHEAD_NS + max(-(-op.flops // _FLOPS_PER_NS), -(-moved // _BYTES_PER_NS))
