"""A concatenation of concatenations along one axis is one concatenation.

    concat(concat(a, b), c)  =  concat(a, b, c)

The inner result is not made any more. Bytes are copied, once instead of twice.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from lowtide.errors import PlanError
from lowtide.ir.semantics import Concat
from lowtide.passes.rewrite.rule import Refusal, Rewrite, Settled

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    from lowtide.ir import Graph, Op, Tensor
    from lowtide.passes.rewrite.dialect import Dialect

__all__ = ["Flatten"]


@dataclass(frozen=True, slots=True)
class Flatten(Settled):
    """Concatenations that only one other along the same axis reads become part of it."""

    name: str = "flatten"
    exact: bool = True

    def sites(self, graph: Graph, dialect: Dialect) -> Iterator[Rewrite | Refusal]:
        """Outer concatenations."""
        for op in graph.ops:
            found = _pattern(graph, op, dialect)
            if found is None:
                continue
            reason = _obstacle(*found, dialect)
            yield Refusal(self.name, op.name, reason) if reason else Rewrite(self.name, op.name)

    def apply(self, graph: Graph, dialect: Dialect, rewrite: Rewrite) -> None:
        """One concatenation of the innermost parts."""
        op = graph.op(rewrite.op)
        found = _pattern(graph, op, dialect)
        if found is None or _obstacle(*found, dialect):
            raise PlanError(f"{rewrite}: there is no concatenation of concatenations")
        outer, inner = found
        parts = _parts(outer, inner)
        result = op.outputs[0]
        name = f"{op.name}/flat"
        joined = dialect.join(graph, name, parts, outer.axis, result, before=op)
        graph.replace_uses(result, joined)
        graph.remove(op)
        for concat in inner.values():
            graph.remove(concat.op)


def _pattern(graph: Graph, op: Op, dialect: Dialect) -> tuple[Concat, dict[Tensor, Concat]] | None:
    outer = dialect.meaning(op)
    if not isinstance(outer, Concat):
        return None
    inner: dict[Tensor, Concat] = {}
    for part in outer.parts:
        concat = None if part.producer is None else dialect.meaning(part.producer)
        if not isinstance(concat, Concat) or concat.axis != outer.axis:
            continue
        if len(part.uses) == 1 and part not in graph.outputs:
            inner[part] = concat
    return (outer, inner) if inner else None


def _parts(outer: Concat, inner: Mapping[Tensor, Concat]) -> list[Tensor]:
    """The innermost parts."""
    found: list[Tensor] = []
    for part in outer.parts:
        found += inner[part].parts if part in inner else [part]
    return found


def _obstacle(outer: Concat, inner: Mapping[Tensor, Concat], dialect: Dialect) -> str:
    """Why it cannot be done; empty if it can."""
    count = len(_parts(outer, inner))
    if dialect.most_parts is not None and count > dialect.most_parts:
        return f"it would have {count} parts, the runtime concatenates {dialect.most_parts}"
    return ""
