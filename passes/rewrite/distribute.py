"""Op of a concatenation = concatenation of ops: what the rules of that form share."""

from __future__ import annotations

from typing import TYPE_CHECKING

from lowtide.ir import Part, Role
from lowtide.ir.semantics import Concat

if TYPE_CHECKING:
    from collections.abc import Sequence

    from lowtide.ir import Graph, Op, Tensor
    from lowtide.passes.rewrite.dialect import Dialect

__all__ = ["concat_of", "constant_part", "put_in_place", "spans"]


def concat_of(tensor: Tensor, dialect: Dialect) -> Concat | None:
    """The concatenation that makes a tensor, of at least two parts."""
    maker = tensor.producer
    concat = None if maker is None else dialect.meaning(maker)
    if not isinstance(concat, Concat) or len(concat.parts) < 2:
        return None
    return None if any(part.role is Role.CONSTANT for part in concat.parts) else concat


def spans(concat: Concat) -> list[tuple[int, int]]:
    """From where to where each part lies along the axis."""
    found: list[tuple[int, int]] = []
    start = 0
    for part in concat.parts:
        found.append((start, start + part.shape[concat.axis]))
        start = found[-1][1]
    return found


def constant_part(
    graph: Graph, name: str, base: Tensor, axis: int, start: int, stop: int
) -> Tensor:
    """A part of a constant, as a constant."""
    shape = list(base.shape)
    shape[axis] = stop - start
    recipe, like = Part(base, axis, start, stop), base.like or base
    return graph.add_tensor(name, base.dtype, shape, role=Role.CONSTANT, like=like, recipe=recipe)


def put_in_place(
    graph: Graph, dialect: Dialect, op: Op, concat: Concat, pieces: Sequence[Tensor]
) -> None:
    """The concatenation of `pieces` for the result of `op`; what nobody reads any more goes."""
    result = op.outputs[0]
    name = f"{op.name}/concat"
    joined = dialect.join(graph, name, pieces, concat.axis, result, before=op)
    graph.replace_uses(result, joined)
    graph.remove(op)
    if not concat.op.outputs[0].uses and concat.op.outputs[0] not in graph.outputs:
        graph.remove(concat.op)
