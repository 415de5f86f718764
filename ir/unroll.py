"""Recomputation as a graph: every step of a sequence with repeats becomes an op of its own."""

from __future__ import annotations

from typing import TYPE_CHECKING

from lowtide.errors import PlanError
from lowtide.ir.graph import Graph
from lowtide.ir.tensor import Alias, Role, Tensor

if TYPE_CHECKING:
    from collections.abc import Sequence

    from lowtide.ir.op import Op

__all__ = ["unroll"]


def unroll(graph: Graph, sequence: Sequence[Op]) -> Graph:
    """A graph whose ops are the steps of `sequence`, in that order. O(steps + uses).

    An op that comes again is computed anew, and later readers read its newest results; the caller
    gets the first. First runs keep their names; what comes again is named `NAME~2`, `NAME~3`, ...,
    and so are its results. `source` of all runs of an op is that of the op.

    Raises:
        PlanError: an op is missing or not of this graph, runs before what it reads, or is repeated
            although it is pinned or random.
    """
    ops = graph.ops
    missing = set(ops) - set(sequence)
    if missing or not set(sequence) <= set(ops):
        name = min((op.name for op in missing), default="")
        raise PlanError(f"the sequence leaves out op `{name}`, or names ops of another graph")
    names = _Names([op.name for op in ops]), _Names([tensor.name for tensor in graph.tensors])
    result = Graph(graph.name)
    newest: dict[Tensor, Tensor] = {}
    first: dict[Tensor, Tensor] = {}
    for tensor in graph.tensors:
        if tensor.producer is None:
            newest[tensor] = first[tensor] = _copy(result, tensor, tensor.name, newest)
    runs: dict[Op, int] = {}
    for op in sequence:
        runs[op] = run = runs.get(op, 0) + 1
        if run > 1 and (op.traits.pinned or op.traits.random):
            kind = "pinned" if op.traits.pinned else "random"
            raise PlanError(f"op `{op.name}` is {kind}, so it cannot be computed twice")
        for operand in op.operands:
            if operand not in newest:
                maker = operand.producer.name if operand.producer else ""
                raise PlanError(f"op `{op.name}` runs before `{maker}`, whose result it reads")
        inputs = [None if operand is None else newest[operand] for operand in op.inputs]
        outputs: list[Tensor] = []
        for tensor in op.outputs:
            name = tensor.name if run == 1 else names[1].of(tensor.name, run)
            newest[tensor] = _copy(result, tensor, name, newest)
            first.setdefault(tensor, newest[tensor])
            outputs.append(newest[tensor])
        result.add_op(
            op.name if run == 1 else names[0].of(op.name, run),
            op.dialect,
            op.kind,
            inputs,
            outputs,
            attributes=op.attributes,
            traits=op.traits,
            in_place=op.in_place,
            flops=op.flops,
            cost=op.cost,
            workspace_bytes=op.workspace_bytes,
            workspace_known=op.workspace_known,
            source=op.source,
        )
    for tensor in graph.outputs:
        result.add_output(first[tensor])
    return result


def _copy(result: Graph, tensor: Tensor, name: str, newest: dict[Tensor, Tensor]) -> Tensor:
    alias = tensor.alias
    role = Role.ACTIVATION if tensor.role is Role.OUTPUT and tensor.producer else tensor.role
    return result.add_tensor(
        name,
        tensor.dtype,
        tensor.shape,
        role=role,
        nbytes=tensor.nbytes,
        alias=None if alias is None else Alias(newest[alias.base], alias.offset),
    )


class _Names:
    """Names of repeated runs that clash with no other."""

    def __init__(self, taken: list[str]) -> None:
        self._taken = set(taken)

    def of(self, name: str, run: int) -> str:
        found = f"{name}~{run}"
        while found in self._taken:
            found += "'"
        self._taken.add(found)
        return found
