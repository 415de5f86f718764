"""What is computed of constants alone is a constant.

    concat(C1, ..., Cn), C[a:b], split(C), convert(C)  =  constants

The result is stored instead of its operands, where nobody else reads those, so that it takes no
room among the activations. Conversions are those that keep every value: weights stored as float16
in a model of float32 become float32 in the file, twice as large.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from lowtide.errors import PlanError
from lowtide.ir import Cast, Joined, Part, Role
from lowtide.ir.semantics import Concat, Conversion, Slice, Split
from lowtide.passes.rewrite.rule import Refusal, Rewrite, Settled

if TYPE_CHECKING:
    from collections.abc import Iterator

    from lowtide.ir import Graph, Op
    from lowtide.passes.rewrite.dialect import Dialect

__all__ = ["Constants"]


@dataclass(frozen=True, slots=True)
class Constants(Settled):
    """A constant for an op that joins, cuts or converts constants."""

    name: str = "constants"
    exact: bool = True

    def sites(self, graph: Graph, dialect: Dialect) -> Iterator[Rewrite | Refusal]:
        """Ops of constants alone."""
        for op in graph.ops:
            if _recipes(op, dialect) is None:
                continue
            reason = _obstacle(graph, op)
            yield Refusal(self.name, op.name, reason) if reason else Rewrite(self.name, op.name)

    def apply(self, graph: Graph, dialect: Dialect, rewrite: Rewrite) -> None:
        """Put constants in the place of the results."""
        op = graph.op(rewrite.op)
        recipes = _recipes(op, dialect)
        if recipes is None or _obstacle(graph, op):
            raise PlanError(f"{rewrite}: it is no op of constants alone")
        for index, (result, recipe) in enumerate(zip(op.outputs, recipes, strict=True)):
            base = recipe.parts[0] if isinstance(recipe, Joined) else recipe.base
            new = graph.add_tensor(
                f"{op.name}/constant{index}",
                result.dtype,
                result.shape,
                role=Role.CONSTANT,
                like=None if isinstance(recipe, Cast) else base.like or base,
                recipe=recipe,
            )
            graph.replace_uses(result, new)
        graph.remove(op)


def _recipes(op: Op, dialect: Dialect) -> list[Cast | Joined | Part] | None:
    """How the results are made; None where an operand is no constant."""
    meaning = dialect.meaning(op)
    if isinstance(meaning, Concat):
        constant = all(part.role is Role.CONSTANT for part in meaning.parts)
        return [Joined(meaning.parts, meaning.axis)] if constant else None
    if (
        not isinstance(meaning, Conversion | Slice | Split)
        or meaning.data.role is not Role.CONSTANT
    ):
        return None
    if isinstance(meaning, Conversion):
        return [Cast(meaning.data)]
    if isinstance(meaning, Slice):
        return [Part(meaning.data, meaning.axis, meaning.start, meaning.stop)]
    found: list[Cast | Joined | Part] = []
    start = 0
    for result in op.outputs:
        stop = start + result.shape[meaning.axis]
        found.append(Part(meaning.data, meaning.axis, start, stop))
        start = stop
    return found


def _obstacle(graph: Graph, op: Op) -> str:
    """Why it cannot be done; empty if it can."""
    return "its result is an output" if any(t in graph.outputs for t in op.outputs) else ""
