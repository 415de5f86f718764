"""Lower a graph to a scheduling problem, and the way back from node numbers to ops."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from lowtide.ir import Role
from lowtide.solvers.schedule.problem import Buffer, InPlace, ScheduleProblem

if TYPE_CHECKING:
    from collections.abc import Sequence

    from lowtide.ir import Accounting, Graph, Op, Tensor

__all__ = ["Lowered", "lower"]


@dataclass(frozen=True, slots=True)
class Lowered:
    """A problem whose node i is `ops[i]` and whose buffer j is the storage of `tensors[j]`."""

    problem: ScheduleProblem
    ops: tuple[Op, ...]
    tensors: tuple[Tensor, ...]

    def order(self, nodes: Sequence[int]) -> tuple[Op, ...]:
        """The ops behind a solver's order."""
        return tuple(self.ops[node] for node in nodes)


def lower(graph: Graph, accounting: Accounting) -> Lowered:
    """The scheduling problem of `graph` under `accounting`. O(ops + uses).

    One buffer stands for each storage root and is read by the readers of all its views; a view is a
    node that makes no bytes. Storage that does not count (constants, state, and inputs where the
    caller keeps them) makes no buffer; dependencies that no buffer carries become precedence pairs,
    and so does the order of pinned ops among themselves.
    """
    ops = graph.ops
    number = {op: index for index, op in enumerate(ops)}
    readers: dict[Tensor, set[int]] = {}
    for tensor in graph.tensors:
        readers.setdefault(tensor.storage, set()).update(number[op] for op in tensor.consumers)
    handed_out = {t.storage for t in graph.outputs}

    buffers: list[Buffer] = []
    tensors: list[Tensor] = []
    index_of: dict[Tensor, int] = {}
    for tensor in graph.tensors:
        if tensor.storage is not tensor:
            continue
        if tensor.producer is None and not (
            tensor.role is Role.INPUT and accounting.inputs_in_arena
        ):
            continue
        producer = -1 if tensor.producer is None else number[tensor.producer]
        consumers = tuple(sorted(readers[tensor] - {producer}))
        index_of[tensor] = len(buffers)
        size = accounting.round_up(tensor.nbytes)
        buffers.append(Buffer(size, producer, consumers, tensor in handed_out))
        tensors.append(tensor)

    return Lowered(
        ScheduleProblem(
            num_nodes=len(ops),
            buffers=tuple(buffers),
            workspace=tuple(accounting.round_up(op.workspace_bytes) for op in ops),
            precedence=_precedence(ops, number, buffers, index_of),
            in_place=_in_place(ops, number, index_of, handed_out) if accounting.in_place else (),
            inputs_in_arena=accounting.inputs_in_arena,
            outputs_live_to_end=accounting.outputs_live_to_end,
        ),
        ops,
        tuple(tensors),
    )


def _precedence(
    ops: Sequence[Op],
    number: dict[Op, int],
    buffers: list[Buffer],
    index_of: dict[Tensor, int],
) -> tuple[tuple[int, int], ...]:
    """Dependencies that the buffers do not imply: reading a view, and the order of pinned ops."""
    pairs: dict[tuple[int, int], None] = {}
    pinned = -1
    for node, op in enumerate(ops):
        for operand in op.operands:
            if operand.producer is None:
                continue
            before = number[operand.producer]
            buffer = index_of.get(operand.storage)
            if buffer is None or buffers[buffer].producer != before:
                pairs[(before, node)] = None
        if op.traits.pinned:
            if pinned >= 0:
                pairs[(pinned, node)] = None
            pinned = node
    return tuple(pairs)


def _in_place(
    ops: Sequence[Op],
    number: dict[Op, int],
    index_of: dict[Tensor, int],
    handed_out: set[Tensor],
) -> tuple[InPlace, ...]:
    """The in-place candidates that can ever apply, in the simulator's order."""
    found: list[InPlace] = []
    for op in ops:
        for position, result in enumerate(op.outputs):
            if result.storage is not result or result in handed_out:
                continue
            for candidate in op.in_place:
                operand = op.inputs[candidate.input]
                if candidate.output != position or operand is None:
                    continue
                root = operand.storage
                if root.role is not Role.ACTIVATION or root in handed_out:
                    continue
                if root.nbytes != result.nbytes:
                    continue
                if root in index_of:
                    pair = InPlace(number[op], index_of[result], index_of[root])
                    if pair not in found[-4:]:
                        found.append(pair)
    return tuple(found)
