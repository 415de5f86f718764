"""An op whose result is its operand goes: its readers read the operand.

    g(identity(x))  =  g(x)

Reshapes, transpositions, slices, splits and the like that move nothing, casts and requantizations
to the type and scale that the data has, dropout in inference. A runtime that copies keeps operand
and result side by side while it does.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from lowtide.errors import PlanError
from lowtide.ir import Role
from lowtide.ir.semantics import Identity as Meant
from lowtide.passes.rewrite.rule import Refusal, Rewrite, Settled

if TYPE_CHECKING:
    from collections.abc import Iterator

    from lowtide.ir import Graph, Op, Tensor
    from lowtide.passes.rewrite.dialect import Dialect

__all__ = ["Identity"]


@dataclass(frozen=True, slots=True)
class Identity(Settled):
    """No op for an op that computes nothing."""

    name: str = "identity"
    exact: bool = True

    def sites(self, graph: Graph, dialect: Dialect) -> Iterator[Rewrite | Refusal]:
        """Ops whose result is their operand."""
        for op in graph.ops:
            data = _operand(op, dialect)
            if data is None:
                continue
            reason = _obstacle(graph, op, data)
            yield Refusal(self.name, op.name, reason) if reason else Rewrite(self.name, op.name)

    def apply(self, graph: Graph, dialect: Dialect, rewrite: Rewrite) -> None:
        """Let the readers of the result read the operand."""
        op = graph.op(rewrite.op)
        data = _operand(op, dialect)
        if data is None or _obstacle(graph, op, data):
            raise PlanError(f"{rewrite}: the op is needed")
        for result in op.outputs:
            if result.uses or result in graph.outputs:
                graph.replace_uses(result, data)
        graph.remove(op)


def _operand(op: Op, dialect: Dialect) -> Tensor | None:
    meaning = dialect.meaning(op)
    return meaning.data if isinstance(meaning, Meant) else None


def _obstacle(graph: Graph, op: Op, data: Tensor) -> str:
    """Why it cannot go; empty if it can."""
    if any(result.uses for result in op.outputs[1:]):
        return "another of its results is read"
    if data.role is Role.STATE:
        return "its operand is a variable, which may change before the result is read"
    if op.outputs[0] in graph.outputs and (data.producer is None or data in graph.outputs):
        return "it makes an output of something that the caller has already"
    return ""
