"""Which operations of a traced function run, and in which order."""

from __future__ import annotations

import heapq
from typing import TYPE_CHECKING

from lowtide.errors import ModelError

if TYPE_CHECKING:
    from lowtide.tensorflow_types import TfFunction, TfOperation

__all__ = ["execution_order"]


def execution_order(function: TfFunction) -> tuple[TfOperation, ...]:
    """The operations that a call runs, in the order of their creation where data flow allows.

    Those are what outputs, control outputs and stateful operations need. Creation order alone is
    not topological once gradients of loops exist. O((operations + edges) log operations).

    Raises:
        ModelError: the graph has a cycle (TensorFlow 1 loops).
    """
    graph = function.graph
    created = {op.name: index for index, op in enumerate(graph.get_operations())}
    wanted = [t.op for t in graph.outputs]
    wanted += list(graph.control_outputs)
    wanted += [o for o in graph.get_operations() if o.op_def.is_stateful and o.type not in _ARGS]
    needed: dict[str, TfOperation] = {}
    while wanted:
        op = wanted.pop()
        if op.name not in needed:
            needed[op.name] = op
            wanted += [t.op for t in op.inputs]
            wanted += op.control_inputs
    missing: dict[str, int] = {}
    readers: dict[str, list[TfOperation]] = {name: [] for name in needed}
    for op in needed.values():
        before = {t.op.name for t in op.inputs} | {c.name for c in op.control_inputs}
        missing[op.name] = len(before)
        for name in before:
            readers[name].append(op)
    ready = [(created[name], name) for name, count in missing.items() if count == 0]
    heapq.heapify(ready)
    order: list[TfOperation] = []
    while ready:
        _, name = heapq.heappop(ready)
        order.append(needed[name])
        for reader in readers[name]:
            missing[reader.name] -= 1
            if missing[reader.name] == 0:
                heapq.heappush(ready, (created[reader.name], reader.name))
    if len(order) < len(needed):
        cyclic = sorted(set(needed) - {op.name for op in order}, key=created.__getitem__)
        raise ModelError(
            f"the traced function has a cycle through op `{cyclic[0]}`: loops of TensorFlow 1 "
            f"cannot be planned; trace it as a tf.function of TensorFlow 2"
        )
    return tuple(order)


_ARGS = frozenset({"Placeholder", "_Arg"})
