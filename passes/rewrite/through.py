"""Elementwise ops, pooling and padding go through a concatenation.

    f(concat(x1, ..., xn))  =  concat(f(x1), ..., f(xn))

for f that computes each element from the one at its place (along any axis, constants for each
channel cut like the channels), for pooling, which reads one channel each, along the channels, and
for padding along other axes than the concatenation's. The concatenation moves on towards a
convolution that can be partitioned, and results are written over operands where the runtime does
so. Every number is computed as before.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from lowtide.errors import PlanError
from lowtide.ir.semantics import Pad, Pointwise, Pooling
from lowtide.passes.rewrite.distribute import concat_of, constant_part, put_in_place, spans
from lowtide.passes.rewrite.rule import Rewrite, Settled

if TYPE_CHECKING:
    from collections.abc import Iterator

    from lowtide.ir import Graph, Op, Tensor
    from lowtide.ir.semantics import Concat
    from lowtide.passes.rewrite.dialect import Dialect
    from lowtide.passes.rewrite.rule import Refusal

__all__ = ["Through"]


@dataclass(frozen=True, slots=True)
class Through(Settled):
    """An elementwise op, a pooling or a padding of a concatenation, part by part."""

    name: str = "through"
    exact: bool = True

    def sites(self, graph: Graph, dialect: Dialect) -> Iterator[Rewrite | Refusal]:
        """Such ops that read a concatenation."""
        for op in graph.ops:
            if _pattern(op, dialect) is not None:
                yield Rewrite(self.name, op.name)

    def apply(self, graph: Graph, dialect: Dialect, rewrite: Rewrite) -> None:
        """Put the concatenation behind the op."""
        op = graph.op(rewrite.op)
        found = _pattern(op, dialect)
        if found is None:
            raise PlanError(f"{rewrite}: there is no such op of a concatenation")
        meaning, concat = found
        cut: dict[int, int] = {}
        if isinstance(meaning, Pointwise) and concat.axis == meaning.channels:
            cut = dict(meaning.per_channel)
        pieces: list[Tensor] = []
        for index, (start, stop) in enumerate(spans(concat)):
            name = f"{op.name}/branch{index}"
            inputs: list[Tensor | None] = []
            for position, operand in enumerate(op.inputs):
                if operand is meaning.data:
                    inputs.append(concat.parts[index])
                elif operand is not None and position in cut:
                    part = f"{name}/operand{position}"
                    inputs.append(constant_part(graph, part, operand, cut[position], start, stop))
                else:
                    inputs.append(operand)
            shape = list(op.outputs[0].shape)
            shape[concat.axis] = stop - start
            pieces.append(dialect.again(graph, name, op, inputs, shape, before=op))
        put_in_place(graph, dialect, op, concat, pieces)


def _pattern(op: Op, dialect: Dialect) -> tuple[Pad | Pointwise | Pooling, Concat] | None:
    meaning = dialect.meaning(op)
    if not isinstance(meaning, Pad | Pointwise | Pooling):
        return None
    concat = concat_of(meaning.data, dialect)
    if concat is None:
        return None
    if isinstance(meaning, Pooling) and concat.axis != meaning.channels:
        return None
    if isinstance(meaning, Pad) and concat.axis in meaning.sizes:
        return None
    return meaning, concat
