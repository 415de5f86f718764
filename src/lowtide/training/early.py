"""Updates as soon as their gradients are there, so that gradients need not be kept.

    trace   forward  dW3 dx2  dW2 dx1  dW1   update W1  update W2  update W3
    early   forward  dW3 update W3  dx2  dW2 update W2  dx1  dW1 update W1

Frameworks trace all gradients first and all updates after. An op belongs to the update of one
variable when the only trainable variable that it leads to is that one, and to nothing else that the
step gives; such ops, in the trace's order among themselves, run as soon as what they read is there.

Why it is right: the result is an order of the same graph, and the graph says what an update waits
for. Readers of the variable's old bytes come before it by tokens (frontends/tensorflow/importer):
a backward pass that still needs the weights holds their update back. Where all gradients meet first
(clipping by a global norm) nothing is early, since each leads to all variables.
"""

from __future__ import annotations

import heapq
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Collection

    from lowtide.ir import Graph, Op

__all__ = ["early_updates"]

_SEVERAL = "*"


def early_updates(graph: Graph, trainable: Collection[str]) -> tuple[Op, ...]:
    """The graph's ops with updates moved forward. O(uses + ops log ops).

    Args:
        graph: of a training step, in the trace's order.
        trainable: names of the handles of trainable variables.
    """
    position = {op: index for index, op in enumerate(graph.ops)}
    handed_out = set(graph.outputs)
    leads: dict[Op, str] = {}  # to the update of this variable; "" to none, "*" to several
    for op in reversed(graph.ops):
        found: set[str] = set()
        if op.traits.pinned:
            found.update(t.name for t in op.operands if t.name in trainable)
        waiting: set[str] = set()
        for tensor in op.outputs:
            if tensor.name.startswith("^"):  # who waits for the op uses nothing of it
                waiting |= {leads[reader] for reader in tensor.consumers}
                continue
            found |= {leads[reader] for reader in tensor.consumers}
            if tensor in handed_out and tensor.nbytes > 0 and "@" not in tensor.name:
                found.add(_SEVERAL)
        found.discard("")
        if not found:  # an optimizer's slot: it is read after it was updated
            found = waiting - {"", _SEVERAL}
        leads[op] = "" if not found else found.pop() if len(found) == 1 else _SEVERAL
    missing = {op: len({t.producer for t in op.operands} - {None}) for op in graph.ops}

    def rank(op: Op) -> tuple[int, int]:
        return (0 if leads[op] not in ("", _SEVERAL) else 1, position[op])

    ready = [rank(op) for op, count in missing.items() if count == 0]
    heapq.heapify(ready)
    order: list[Op] = []
    while ready:
        op = graph.ops[heapq.heappop(ready)[1]]
        order.append(op)
        for reader in {r for t in op.outputs for r in t.consumers}:
            missing[reader] -= 1
            if missing[reader] == 0:
                heapq.heappush(ready, rank(reader))
    return tuple(order)
