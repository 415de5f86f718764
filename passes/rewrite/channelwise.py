"""Channel-wise partitioning: a convolution of a concatenation is a sum of convolutions.

    conv(concat(x1, ..., xn), W) + b  =  conv(x1, W1) + ... + conv(xn, Wn) + b

where Wi are the kernels' parts for the channels of xi. The concatenation is never made, and each
xi dies as soon as its summand is there: instead of all operands beside one another, one operand
and the partial sum (SERENITY, Ahn et al., MLSys 2020, section 3.3). The sum of products is
regrouped: floats are rounded elsewhere.

Partial sums are a chain. In which order the operands join it is the rewrite's option; with `*` it
is left open, for the search to schedule.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from lowtide.errors import PlanError
from lowtide.ir import Alias, InPlace, Part, Role
from lowtide.ir.semantics import Concat, Convolution
from lowtide.passes.rewrite.rule import Refusal, Rewrite

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from lowtide.ir import Graph, Op, Tensor
    from lowtide.passes.rewrite.dialect import Dialect

__all__ = ["Channelwise"]

_OPEN = "*"


@dataclass(frozen=True, slots=True)
class Channelwise:
    """A convolution of a concatenation as partial convolutions that are accumulated."""

    name: str = "channelwise"
    exact: bool = False
    options: bool = True

    def sites(self, graph: Graph, dialect: Dialect) -> Iterator[Rewrite | Refusal]:
        """Convolutions of channels that a concatenation puts together."""
        for op in graph.ops:
            found = _pattern(op, dialect)
            if found is None:
                continue
            conv, concat = found
            reason = _obstacle(conv, concat, dialect)
            if reason:
                yield Refusal(self.name, op.name, reason)
            else:
                yield Rewrite(self.name, op.name, _OPEN)

    def apply(self, graph: Graph, dialect: Dialect, rewrite: Rewrite) -> None:
        """Put a chain of partial convolutions in the place of one, or the open form of it."""
        op = graph.op(rewrite.op)
        found = _pattern(op, dialect)
        if found is None or _obstacle(*found, dialect):
            raise PlanError(f"{rewrite}: there is no convolution of a concatenation")
        conv, concat = found
        if rewrite.option == _OPEN:
            total = _open_sum(graph, dialect, conv, concat)
        else:
            order = _order(rewrite, len(concat.parts))
            total = _chain(graph, dialect, conv, concat, order)
        graph.replace_uses(op.outputs[0], total)
        graph.remove(op)
        if not concat.op.outputs[0].uses and concat.op.outputs[0] not in graph.outputs:
            graph.remove(concat.op)

    def settled(self, rewrite: Rewrite, sequence: Sequence[str]) -> Rewrite:
        """The rewrite with the order that a schedule of the open form has."""
        if rewrite.option != _OPEN:
            return rewrite
        prefix = f"{rewrite.op}/part"
        order = [name.removeprefix(prefix) for name in sequence if name.startswith(prefix)]
        return Rewrite(self.name, rewrite.op, ".".join(order))


def _pattern(op: Op, dialect: Dialect) -> tuple[Convolution, Concat] | None:
    conv = dialect.meaning(op)
    if not isinstance(conv, Convolution) or conv.data.producer is None:
        return None
    concat = dialect.meaning(conv.data.producer)
    if not isinstance(concat, Concat) or concat.axis != conv.channels or len(concat.parts) < 2:
        return None
    return None if conv.groups != 1 else (conv, concat)


def _obstacle(conv: Convolution, concat: Concat, dialect: Dialect) -> str:
    """Why it cannot be done; empty if it can."""
    result = conv.op.outputs[0]
    if result.dtype not in ("float16", "float32", "float64", "bfloat16") and not conv.exact_sums:
        return f"partial sums of {result.dtype} are rounded one by one: other bits"
    if conv.weights.role is not Role.CONSTANT or conv.inputs_axis is None:
        return "the kernels are no constant"
    if any(part.role is Role.CONSTANT for part in concat.parts):
        return "a part of the concatenation is a constant"
    if conv.addend is not None and not dialect.accumulates:
        return "it adds to an operand already"
    if len(set(concat.parts)) < len(concat.parts):
        return "the concatenation has a part twice"
    return ""


def _order(rewrite: Rewrite, count: int) -> list[int]:
    try:
        order = [int(item) for item in rewrite.option.split(".")] if rewrite.option else []
    except ValueError:
        order = [-1]
    if order and sorted(order) != list(range(count)):
        raise PlanError(f"{rewrite}: `{rewrite.option}` is no order of {count} parts")
    return order or list(range(count))


def _weights(graph: Graph, conv: Convolution, concat: Concat) -> list[Tensor]:
    """The parts of the kernels, as constants."""
    axis = conv.inputs_axis
    assert axis is not None
    found: list[Tensor] = []
    start = 0
    for index, part in enumerate(concat.parts):
        stop = start + part.shape[concat.axis]
        shape = list(conv.weights.shape)
        shape[axis] = stop - start
        found.append(
            graph.add_tensor(
                f"{conv.op.name}/weights{index}",
                conv.weights.dtype,
                shape,
                role=Role.CONSTANT,
                like=conv.weights.like or conv.weights,
                recipe=Part(conv.weights, axis, start, stop),
            )
        )
        start = stop
    return found


def _chain(
    graph: Graph, dialect: Dialect, conv: Convolution, concat: Concat, order: Sequence[int]
) -> Tensor:
    op, result = conv.op, conv.op.outputs[0]
    weights = _weights(graph, conv, concat)
    total = conv.addend
    for step, index in enumerate(order):
        last = step == len(order) - 1
        name = f"{op.name}/part{index}"
        inputs = list(op.inputs[:3])
        for position, operand in enumerate(inputs):
            if operand is conv.data:
                inputs[position] = concat.parts[index]
            elif operand is conv.weights:
                inputs[position] = weights[index]
            elif operand is conv.bias and step:
                inputs[position] = None
        adds = dialect.accumulates and total is not None
        partial = dialect.again(
            graph,
            name,
            op,
            inputs,
            result.shape,
            before=op,
            activation=conv.activation and last and dialect.accumulates,
            addend=total if adds else None,
        )
        if total is not None and not adds:
            name = f"{op.name}/sum{index}"
            partial = dialect.add(graph, name, [total, partial], result, before=op)
        total = partial
    assert total is not None
    if conv.activation and not dialect.accumulates:
        total = dialect.activation(graph, f"{op.name}/activation", op, total, before=op)
    return total


def _open_sum(graph: Graph, dialect: Dialect, conv: Convolution, concat: Concat) -> Tensor:
    """Accumulation in any order: a buffer, tokens of those that added to it, a view at the end.

    Where kernels cannot accumulate, each needs its own result beside the sum.
    """
    op, result = conv.op, conv.op.outputs[0]
    alloc = graph.add_tensor(f"{op.name}/buffer", result.dtype, result.shape)
    reused = () if conv.addend is None else (InPlace(0, 0),)
    graph.add_op(
        f"{op.name}/alloc", "lowtide", "alloc", [conv.addend], [alloc], in_place=reused, before=op
    )
    tokens: list[Tensor] = []
    for index, part in enumerate(concat.parts):
        token = graph.add_tensor(f"{op.name}/token{index}", result.dtype, result.shape, nbytes=0)
        scratch = 0 if dialect.accumulates else result.nbytes
        graph.add_op(
            f"{op.name}/part{index}",
            "lowtide",
            "accumulate",
            [alloc, part],
            [token],
            workspace_bytes=op.workspace_bytes + scratch,
            before=op,
        )
        tokens.append(token)
    total = graph.add_tensor(f"{op.name}/total", result.dtype, result.shape, alias=Alias(alloc, 0))
    graph.add_op(f"{op.name}/done", "lowtide", "done", [alloc, *tokens], [total], before=op)
    return total
