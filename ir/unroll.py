"""Recomputation as a graph: every step of a sequence with repeats becomes an op of its own."""

from __future__ import annotations

from typing import TYPE_CHECKING

from lowtide.errors import PlanError
from lowtide.ir.graph import Graph
from lowtide.ir.tensor import Alias, Role, Tensor

if TYPE_CHECKING:
    from collections.abc import Sequence

    from lowtide.ir.op import Op

__all__ = ["refresh_views", "unroll"]


def unroll(graph: Graph, sequence: Sequence[Op]) -> Graph:
    """A graph whose ops are the steps of `sequence`, in that order. O(steps + uses).

    An op that comes again is computed anew, and later readers, the caller too, get its newest
    results. First runs keep their names; what comes again is named `NAME~2`, `NAME~3`, ...,
    and so are its results. `source` of all runs of an op is that of the op.

    Raises:
        PlanError: an op is missing or not of this graph, runs before what it reads, or is repeated
            although its traits forbid that.
    """
    ops = graph.ops
    missing = set(ops) - set(sequence)
    if missing or not set(sequence) <= set(ops):
        name = min((op.name for op in missing), default="")
        raise PlanError(f"the sequence leaves out op `{name}`, or names ops of another graph")
    names = _Names([op.name for op in ops]), _Names([tensor.name for tensor in graph.tensors])
    result = Graph(graph.name)
    newest: dict[Tensor, Tensor] = {}
    for tensor in graph.tensors:
        if tensor.producer is None:
            newest[tensor] = _copy(result, tensor, tensor.name, newest)
    runs: dict[Op, int] = {}
    for op in sequence:
        runs[op] = run = runs.get(op, 0) + 1
        if run > 1 and not op.traits.repeatable:
            raise PlanError(
                f"op `{op.name}` is computed twice: it is pinned, random or read inside"
            )
        for operand in op.operands:
            if operand not in newest:
                maker = operand.producer.name if operand.producer else ""
                raise PlanError(f"op `{op.name}` runs before `{maker}`, whose result it reads")
        inputs = [None if operand is None else newest[operand] for operand in op.inputs]
        outputs: list[Tensor] = []
        for tensor in op.outputs:
            name = tensor.name if run == 1 else names[1].of(tensor.name, run)
            newest[tensor] = _copy(result, tensor, name, newest)
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
        result.add_output(newest[tensor])
    return result


def refresh_views(sequence: Sequence[Op]) -> tuple[Op, ...]:
    """`sequence` with ops that make views run again where the bytes that they show were made anew.

    Who plans memory sees storage, not views: it says when a buffer is computed again, and takes for
    granted that views of it follow. They cost nothing. O(steps + uses).
    """
    steps: list[Op] = []
    version: dict[Tensor, int] = {}  # how often the storage was made
    shown: dict[Tensor, int] = {}  # which of these a view shows

    def run(op: Op) -> None:
        for operand in op.operands:
            maker = operand.producer
            if operand.alias is None or maker is None:
                continue
            if operand in shown and shown[operand] != version.get(operand.storage, 0):
                run(maker)
        steps.append(op)
        for tensor in op.outputs:
            if tensor.alias is None:
                version[tensor] = version.get(tensor, 0) + 1
            else:
                shown[tensor] = version.get(tensor.storage, 0)

    for op in sequence:
        run(op)
    return tuple(steps)


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
        like=None if tensor.like is None else newest.get(tensor.like, tensor.like),
        recipe=None if tensor.recipe is None else tensor.recipe.mapped(newest),
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
