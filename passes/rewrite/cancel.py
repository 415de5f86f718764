"""What puts together and takes apart, or the other way round, is undone.

    concat(split(x))             =  x
    split(concat(x1, ..., xn))   =  x1, ..., xn     where the lengths are the same
    concat(x1, ..., xn)[a:b]     =  xi[a':b']       where the slice lies within one part
    x[a:b][c:d]                  =  x[a+c:a+d]

all along one axis. Nothing is computed: bytes are copied fewer times.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, NamedTuple

from lowtide.errors import PlanError
from lowtide.ir import Role
from lowtide.ir.semantics import Concat, Slice, Split
from lowtide.passes.rewrite.distribute import spans
from lowtide.passes.rewrite.rule import Refusal, Rewrite, Settled

if TYPE_CHECKING:
    from collections.abc import Iterator

    from lowtide.ir import Graph, Op, Tensor
    from lowtide.passes.rewrite.dialect import Dialect

__all__ = ["Cancel"]


class _Same(NamedTuple):
    """The op's results are these tensors."""

    tensors: tuple[Tensor, ...]


class _Cut(NamedTuple):
    """The op's result is this part."""

    data: Tensor
    axis: int
    start: int
    stop: int


@dataclass(frozen=True, slots=True)
class Cancel(Settled):
    """Splits, slices and concatenations that undo one another."""

    name: str = "cancel"
    exact: bool = True

    def sites(self, graph: Graph, dialect: Dialect) -> Iterator[Rewrite | Refusal]:
        """Ops that undo, in part or whole, what the op before them did."""
        for op in graph.ops:
            found = _result(op, dialect)
            if found is None:
                continue
            reason = _obstacle(graph, op, found)
            yield Refusal(self.name, op.name, reason) if reason else Rewrite(self.name, op.name)

    def apply(self, graph: Graph, dialect: Dialect, rewrite: Rewrite) -> None:
        """Let the readers read what was there before."""
        op = graph.op(rewrite.op)
        found = _result(op, dialect)
        if found is None or _obstacle(graph, op, found):
            raise PlanError(f"{rewrite}: the op undoes nothing")
        before = dict.fromkeys(t.producer for t in op.operands if t.producer is not None)
        if isinstance(found, _Cut):
            name = f"{op.name}/part"
            part = dialect.slice(
                graph, name, found.data, found.axis, found.start, found.stop, before=op
            )
            found = _Same((part,))
        for result, tensor in zip(op.outputs, found.tensors, strict=True):
            if result.uses or result in graph.outputs:
                graph.replace_uses(result, tensor)
        graph.remove(op)
        for maker in before:
            if not any(t.uses or t in graph.outputs for t in maker.outputs):
                graph.remove(maker)


def _result(op: Op, dialect: Dialect) -> _Same | _Cut | None:
    """What the op gives, in terms of what was there before it and the op whose work it undoes."""
    meaning = dialect.meaning(op)
    if isinstance(meaning, Concat):
        return _of_concat(meaning, dialect)
    if not isinstance(meaning, Slice | Split) or meaning.data.producer is None:
        return None
    maker = dialect.meaning(meaning.data.producer)
    if isinstance(maker, Concat) and maker.axis == meaning.axis:
        return _of_parts(meaning, maker)
    if isinstance(maker, Slice) and isinstance(meaning, Slice) and maker.axis == meaning.axis:
        first = maker.start
        return _Cut(maker.data, maker.axis, first + meaning.start, first + meaning.stop)
    return None


def _of_concat(concat: Concat, dialect: Dialect) -> _Same | None:
    """The operand of a split whose results are put together again."""
    maker = concat.parts[0].producer
    split = None if maker is None else dialect.meaning(maker)
    if not isinstance(split, Split) or split.axis != concat.axis:
        return None
    return _Same((split.data,)) if concat.parts == split.op.outputs else None


def _of_parts(meaning: Slice | Split, concat: Concat) -> _Same | _Cut | None:
    if isinstance(meaning, Split):
        lengths = [t.shape[meaning.axis] for t in meaning.op.outputs]
        same = lengths == [t.shape[concat.axis] for t in concat.parts]
        return _Same(concat.parts) if same else None
    for part, (start, stop) in zip(concat.parts, spans(concat), strict=True):
        if (start, stop) == (meaning.start, meaning.stop):
            return _Same((part,))
        if start <= meaning.start and meaning.stop <= stop:
            return _Cut(part, concat.axis, meaning.start - start, meaning.stop - start)
    return None


def _obstacle(graph: Graph, op: Op, found: _Same | _Cut) -> str:
    """Why it cannot be done; empty if it can."""
    if isinstance(found, _Cut):
        return ""
    taken = set(graph.outputs)
    for result, tensor in zip(op.outputs, found.tensors, strict=True):
        if tensor.role is Role.STATE:
            return "its operand is a variable, which may change before the result is read"
        if result in graph.outputs:
            if tensor.producer is None or tensor in taken:
                return "it makes an output of something that the caller has already"
            taken.add(tensor)
    return ""
