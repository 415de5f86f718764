"""The verifier: every invariant of the graph IR, checked from scratch."""

from __future__ import annotations

from typing import TYPE_CHECKING

from lowtide.errors import ModelError
from lowtide.ir.dtype import MAX_BYTES
from lowtide.ir.tensor import Role, Use

if TYPE_CHECKING:
    from lowtide.ir.graph import Graph
    from lowtide.ir.tensor import Tensor

__all__ = ["verify"]


def verify(graph: Graph) -> None:
    """Raise `ModelError` at the first broken invariant. O(ops + uses + tensors).

    Checked: the order is topological; uses and producers agree in both directions; inputs,
    constants and state have no producer and the rest has one; aliases are acyclic, inside their
    base and made by an op that reads (a view of) it; in-place candidates name existing operands;
    sizes are non-negative and their sum is below 2^60.
    """
    known = set(graph.tensors)
    total = 0
    for tensor in graph.tensors:
        total += _verify_tensor(tensor, known)
    if total > MAX_BYTES:
        raise ModelError(f"the tensors take {total} bytes together, over 2^60")
    done: set[Tensor] = {t for t in graph.tensors if t.producer is None}
    for op in graph.ops:
        for index, operand in enumerate(op.inputs):
            if operand is None:
                continue
            if operand not in known:
                raise ModelError(f"op `{op.name}` reads `{operand.name}`, which the graph lacks")
            if operand not in done:
                raise ModelError(f"op `{op.name}` reads `{operand.name}` before it is made")
            if Use(op, index) not in operand._uses:
                raise ModelError(f"`{operand.name}` does not list its use by op `{op.name}`")
        for result in op.outputs:
            if result.producer is not op:
                raise ModelError(f"`{result.name}` does not name op `{op.name}` as its producer")
            done.add(result)
        for candidate in op.in_place:
            if not 0 <= candidate.output < len(op.outputs):
                raise ModelError(f"op `{op.name}`: in-place output {candidate.output} is absent")
            if not 0 <= candidate.input < len(op.inputs):
                raise ModelError(f"op `{op.name}`: in-place input {candidate.input} is absent")
        if op.workspace_bytes < 0:
            raise ModelError(f"op `{op.name}`: negative workspace {op.workspace_bytes}")
    for output in graph.outputs:
        if output not in done:
            raise ModelError(f"the output `{output.name}` is never made")


def _verify_tensor(tensor: Tensor, known: set[Tensor]) -> int:
    sourceless = tensor.role in (Role.INPUT, Role.CONSTANT, Role.STATE)
    if sourceless != (tensor.producer is None):
        made = "has no producer" if tensor.producer is None else "has a producer"
        raise ModelError(f"the {tensor.role} `{tensor.name}` {made}")
    if tensor.nbytes < 0:
        raise ModelError(f"`{tensor.name}` has the negative size {tensor.nbytes}")
    for use in tensor.uses:
        if use.op.inputs[use.position] is not tensor:
            raise ModelError(f"`{tensor.name}` lists a use by op `{use.op.name}` that is not there")
    if tensor.alias is None:
        return tensor.nbytes
    base, offset = tensor.alias
    if base not in known:
        raise ModelError(f"`{tensor.name}` aliases `{base.name}`, which the graph lacks")
    if not 0 <= offset <= base.nbytes - tensor.nbytes:
        raise ModelError(f"`{tensor.name}` lies outside its base `{base.name}` (offset {offset})")
    seen = {tensor}
    root = tensor
    while root.alias is not None:
        root = root.alias.base
        if root in seen:
            raise ModelError(f"`{tensor.name}` aliases itself in a circle")
        seen.add(root)
    if tensor.producer is not None and not any(
        operand.storage is root for operand in tensor.producer.operands
    ):
        raise ModelError(
            f"`{tensor.name}` aliases `{base.name}`, "
            f"which op `{tensor.producer.name}` does not read"
        )
    return 0
