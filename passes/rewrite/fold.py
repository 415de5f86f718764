"""A batch normalization behind a convolution becomes part of its weights.

    (conv(x, W) + b - mean) * f + shift  =  conv(x, W * f) + (b - mean) * f + shift

with f = scale / sqrt(variance + epsilon), a value for each channel of the result. Runtimes do it
when they load a model, where they optimise; where they do not, the convolution's result and the
normalized one need not be there at once. Products are rounded elsewhere.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from lowtide.errors import PlanError
from lowtide.ir import Folded, Role
from lowtide.ir.semantics import Convolution, Normalization
from lowtide.passes.rewrite.rule import Refusal, Rewrite, Settled

if TYPE_CHECKING:
    from collections.abc import Iterator

    from lowtide.ir import Graph, Op, Tensor
    from lowtide.passes.rewrite.dialect import Dialect

__all__ = ["Fold"]


@dataclass(frozen=True, slots=True)
class Fold(Settled):
    """A normalization in the weights of the convolution that it follows."""

    name: str = "fold"
    exact: bool = False

    def sites(self, graph: Graph, dialect: Dialect) -> Iterator[Rewrite | Refusal]:
        """Normalizations of convolutions."""
        for op in graph.ops:
            found = _pattern(op, dialect)
            if found is None:
                continue
            reason = _obstacle(graph, *found)
            yield Refusal(self.name, op.name, reason) if reason else Rewrite(self.name, op.name)

    def apply(self, graph: Graph, dialect: Dialect, rewrite: Rewrite) -> None:
        """One convolution for both."""
        op = graph.op(rewrite.op)
        found = _pattern(op, dialect)
        if found is None or _obstacle(graph, *found):
            raise PlanError(f"{rewrite}: there is no normalization of a convolution")
        norm, conv = found
        name = f"{op.name}/conv"
        factor = (norm.scale, norm.variance, norm.epsilon)
        weights = graph.add_tensor(
            f"{name}/weights",
            conv.weights.dtype,
            conv.weights.shape,
            role=Role.CONSTANT,
            like=conv.weights.like or conv.weights,
            recipe=Folded(conv.weights, conv.outputs_axis, *factor),
        )
        bias = graph.add_tensor(
            f"{name}/bias",
            conv.weights.dtype,
            norm.scale.shape,
            role=Role.CONSTANT,
            like=norm.shift.like or norm.shift,
            recipe=Folded(conv.bias, 0, *factor, norm.mean, norm.shift),
        )
        inputs: list[Tensor | None] = [conv.data, weights, bias]
        result = op.outputs[0]
        new = dialect.again(graph, name, conv.op, inputs, result.shape, before=op)
        graph.replace_uses(result, new)
        graph.remove(op)
        graph.remove(conv.op)


def _pattern(op: Op, dialect: Dialect) -> tuple[Normalization, Convolution] | None:
    norm = dialect.meaning(op)
    if not isinstance(norm, Normalization) or norm.data.producer is None:
        return None
    conv = dialect.meaning(norm.data.producer)
    return (norm, conv) if isinstance(conv, Convolution) else None


def _obstacle(graph: Graph, norm: Normalization, conv: Convolution) -> str:
    """Why it cannot be done; empty if it can."""
    if len(norm.data.uses) > 1 or norm.data in graph.outputs:
        return "the convolution's result is read by others too"
    if conv.activation or conv.addend is not None:
        return "the convolution does more than convolve"
    if conv.weights.role is not Role.CONSTANT or conv.channels != norm.channels:
        return "the kernels are no constant"
    if conv.bias is not None and conv.bias.role is not Role.CONSTANT:
        return "the bias is no constant"
    if {t.dtype for t in (conv.weights, norm.scale, norm.shift)} != {conv.weights.dtype}:
        return "kernels and factors are of different types"
    return ""
