"""Kernel-wise partitioning: a depthwise convolution of a concatenation, branch by branch.

    depthwise(concat(x1, ..., xn), W) + b  =  concat(depthwise(x1, W1) + b1, ...)

Each channel's result depends on that channel alone (or on its group, where groups end with the
parts), so each xi dies when its own result is there, and the concatenation moves behind the
convolution (SERENITY, Ahn et al., MLSys 2020, section 3.3). Every number is computed as before.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from lowtide.errors import PlanError
from lowtide.ir import Role
from lowtide.ir.semantics import Convolution
from lowtide.passes.rewrite.distribute import concat_of, constant_part, put_in_place, spans
from lowtide.passes.rewrite.rule import Refusal, Rewrite, Settled

if TYPE_CHECKING:
    from collections.abc import Iterator

    from lowtide.ir import Graph, Op, Tensor
    from lowtide.ir.semantics import Concat
    from lowtide.passes.rewrite.dialect import Dialect

__all__ = ["Kernelwise"]


@dataclass(frozen=True, slots=True)
class Kernelwise(Settled):
    """A grouped convolution of a concatenation as a concatenation of convolutions."""

    name: str = "kernelwise"
    exact: bool = True

    def sites(self, graph: Graph, dialect: Dialect) -> Iterator[Rewrite | Refusal]:
        """Grouped convolutions of channels that a concatenation puts together."""
        for op in graph.ops:
            found = _pattern(op, dialect)
            if found is None:
                continue
            reason = _obstacle(*found)
            yield Refusal(self.name, op.name, reason) if reason else Rewrite(self.name, op.name)

    def apply(self, graph: Graph, dialect: Dialect, rewrite: Rewrite) -> None:
        """Put the concatenation behind the convolutions of its parts."""
        op = graph.op(rewrite.op)
        found = _pattern(op, dialect)
        if found is None or _obstacle(*found):
            raise PlanError(f"{rewrite}: there is no grouped convolution of a concatenation")
        conv, concat = found
        width = conv.data.shape[conv.channels] // conv.groups
        made = op.outputs[0].shape[conv.channels] // conv.groups
        pieces: list[Tensor] = []
        for index, (start, stop) in enumerate(spans(concat)):
            first, last = start // width * made, stop // width * made
            name = f"{op.name}/branch{index}"
            inputs: list[Tensor | None] = []
            for operand in op.inputs:
                if operand is conv.data:
                    inputs.append(concat.parts[index])
                elif operand is conv.weights:
                    axis = conv.outputs_axis
                    inputs.append(
                        constant_part(graph, f"{name}/weights", operand, axis, first, last)
                    )
                elif operand is not None and operand is conv.bias:
                    inputs.append(constant_part(graph, f"{name}/bias", operand, 0, first, last))
                else:
                    inputs.append(operand)
            shape = list(op.outputs[0].shape)
            shape[conv.channels] = last - first
            groups = (stop - start) // width
            pieces.append(dialect.again(graph, name, op, inputs, shape, before=op, groups=groups))
        put_in_place(graph, dialect, op, concat, pieces)


def _pattern(op: Op, dialect: Dialect) -> tuple[Convolution, Concat] | None:
    conv = dialect.meaning(op)
    if not isinstance(conv, Convolution) or conv.groups < 2:
        return None
    concat = concat_of(conv.data, dialect)
    return None if concat is None or concat.axis != conv.channels else (conv, concat)


def _obstacle(conv: Convolution, concat: Concat) -> str:
    """Why it cannot be done; empty if it can."""
    width = conv.data.shape[conv.channels] // conv.groups
    if any(start % width for start, _ in spans(concat)):
        return "a group reads channels of two parts"
    if conv.weights.role is not Role.CONSTANT:
        return "the kernels are no constant"
    if conv.bias is not None and conv.bias.role is not Role.CONSTANT:
        return "the bias is no constant"
    return "it adds to an operand" if conv.addend is not None else ""
