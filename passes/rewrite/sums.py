"""Sums in any order and grouping: channel-wise partitioning, and trees of additions.

A convolution of a concatenation is a sum,

    conv(concat(x1, ..., xn), W) + b  =  conv(x1, W1) + ... + conv(xn, Wn) + b

where Wi are the kernels' parts for the channels of xi: the concatenation is never made, and each xi
dies as soon as its summand is there (SERENITY, Ahn et al., MLSys 2020, section 3.3). What an
addition sums up with it, directly or through other additions, are further terms. Where kernels add
to an operand in its place, a term needs no room beside the sum.

Terms join the sum one by one. In which order is the rewrite's option; `*` leaves it open, for the
search to schedule. Regrouped sums of floats are rounded elsewhere.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from lowtide.errors import PlanError
from lowtide.ir import Alias, Part, Role
from lowtide.ir.semantics import Add, Concat, Convolution
from lowtide.passes.rewrite.rule import Refusal, Rewrite

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from lowtide.ir import Graph, Op, Tensor
    from lowtide.passes.rewrite.dialect import Dialect

__all__ = ["Sums"]

_OPEN = "*"
_MAX_TERMS = 64


@dataclass(frozen=True, slots=True)
class _Term:
    """`conv(data)` with the kernels from `start` to `stop` of its inputs; or `data` as it is."""

    data: Tensor
    conv: Convolution | None = None
    start: int = 0
    stop: int = 0


@dataclass(frozen=True, slots=True)
class _Sum:
    """The terms below an op, and the ops that the sum replaces, the root last."""

    root: Op
    terms: tuple[_Term, ...]
    replaced: tuple[Op, ...]
    activation: bool


@dataclass(frozen=True, slots=True)
class Sums:
    """A sum of several terms as a chain, in an order of its own."""

    name: str = "sums"
    exact: bool = False
    options: bool = True

    def sites(self, graph: Graph, dialect: Dialect) -> Iterator[Rewrite | Refusal]:
        """Roots of sums with at least two products, or three terms."""
        for op in graph.ops:
            found = _pattern(graph, op, dialect)
            if isinstance(found, _Sum):
                yield Rewrite(self.name, op.name, _OPEN)
            elif found:
                yield Refusal(self.name, op.name, found)

    def apply(self, graph: Graph, dialect: Dialect, rewrite: Rewrite) -> None:
        """Put a chain in the place of the sum, or the open form of it."""
        root = graph.op(rewrite.op)
        found = _pattern(graph, root, dialect)
        if not isinstance(found, _Sum):
            raise PlanError(f"{rewrite}: {found or 'there is no sum'}")
        if rewrite.option == _OPEN:
            total = _open(graph, dialect, found)
        else:
            total = _chain(graph, dialect, found, _order(rewrite, len(found.terms)))
        graph.replace_uses(root.outputs[0], total)
        for op in reversed(found.replaced):
            if not op.outputs[0].uses and op.outputs[0] not in graph.outputs:
                graph.remove(op)

    def settled(self, rewrite: Rewrite, sequence: Sequence[str]) -> Rewrite:
        """The rewrite with the order that a schedule of the open form has."""
        if rewrite.option != _OPEN:
            return rewrite
        prefix = f"{rewrite.op}/term"
        order = [name.removeprefix(prefix) for name in sequence if name.startswith(prefix)]
        return Rewrite(self.name, rewrite.op, ".".join(order))


def _pattern(graph: Graph, root: Op, dialect: Dialect) -> _Sum | str:
    """The sum that ends at an op; or why there is none to rewrite, empty if none is in sight."""
    meaning = dialect.meaning(root)
    if not isinstance(meaning, Add | Convolution):
        return ""
    result = root.outputs[0]
    if _inner(graph, result, dialect):
        return ""  # part of a larger sum
    terms: list[_Term] = []
    replaced: list[Op] = []
    _collect(graph, root, dialect, terms, replaced)
    products = sum(term.conv is not None for term in terms)
    if len(terms) < 2 or (products == 0 and len(terms) < 3):
        return ""
    if isinstance(meaning, Convolution) and meaning.addend is not None and not dialect.accumulates:
        return "it adds to an operand already"
    exact = meaning.exact_sums
    if result.dtype not in ("float16", "float32", "float64", "bfloat16") and not exact:
        return f"partial sums of {result.dtype} are rounded one by one: other bits"
    if len(terms) > _MAX_TERMS:
        return f"it has {len(terms)} terms"
    if len({(t.data, t.start, t.conv and t.conv.op) for t in terms}) < len(terms):
        return "a term comes twice"
    replaced.sort(key=lambda op: op is root)  # stable: each op is behind those that it reads
    return _Sum(root, tuple(terms), tuple(replaced), meaning.activation)


def _inner(graph: Graph, tensor: Tensor, dialect: Dialect) -> bool:
    """Whether an addition alone reads a tensor, so that it belongs to a larger sum."""
    if len(tensor.uses) != 1 or tensor in graph.outputs:
        return False
    maker = tensor.producer
    meaning = None if maker is None else dialect.meaning(maker)
    if not isinstance(meaning, Add | Convolution) or meaning.activation:
        return False
    if isinstance(dialect.meaning(tensor.uses[0].op), Add):
        return isinstance(meaning, Add) or _divisible(meaning, dialect) or dialect.accumulates
    return False


def _collect(
    graph: Graph,
    op: Op,
    dialect: Dialect,
    terms: list[_Term],
    replaced: list[Op],
) -> None:
    """Add the terms of an op's result, through the additions and convolutions that it sums up."""
    meaning = dialect.meaning(op)
    if isinstance(meaning, Add):
        for term in meaning.terms:
            if term.producer is not None and _inner(graph, term, dialect):
                _collect(graph, term.producer, dialect, terms, replaced)
            else:
                terms.append(_Term(term))
        replaced.append(op)
        return
    assert isinstance(meaning, Convolution)
    if _divisible(meaning, dialect):
        concat = meaning.data.producer
        assert concat is not None
        parts = dialect.meaning(concat)
        assert isinstance(parts, Concat)
        start = 0
        for part in parts.parts:
            stop = start + part.shape[parts.axis]
            terms.append(_Term(part, meaning, start, stop))
            start = stop
        replaced += [concat, op]
    else:
        terms.append(_Term(meaning.data, meaning, 0, meaning.data.shape[meaning.channels]))
        replaced.append(op)
    if meaning.addend is not None:
        terms.append(_Term(meaning.addend))


def _divisible(conv: Convolution, dialect: Dialect) -> bool:
    """Whether a convolution reads channels that a concatenation puts together."""
    maker = conv.data.producer
    concat = None if maker is None else dialect.meaning(maker)
    if not isinstance(concat, Concat) or concat.axis != conv.channels or len(concat.parts) < 2:
        return False
    if conv.groups != 1 or conv.weights.role is not Role.CONSTANT or conv.inputs_axis is None:
        return False
    return all(part.role is not Role.CONSTANT for part in concat.parts)


def _order(rewrite: Rewrite, count: int) -> list[int]:
    try:
        order = [int(item) for item in rewrite.option.split(".")]
    except ValueError:
        order = []
    if sorted(order) != list(range(count)):
        raise PlanError(f"{rewrite}: `{rewrite.option}` is no order of {count} terms")
    return order


def _chain(graph: Graph, dialect: Dialect, found: _Sum, order: Sequence[int]) -> Tensor:
    root, result = found.root, found.root.outputs[0]
    biased: set[Op] = set()
    total: Tensor | None = None
    fused = False
    for step, index in enumerate(order):
        term = found.terms[index]
        if term.conv is None:
            made, added = term.data, total is None
        else:
            added = dialect.accumulates or total is None
            fused = found.activation and step == len(order) - 1 and term.conv.op is root
            fused = fused and added
            made = _product(
                graph,
                dialect,
                f"{root.name}/term{index}",
                term,
                root,
                bias=term.conv.op not in biased,
                addend=total,
                activation=fused,
            )
            biased.add(term.conv.op)
        if not added:
            assert total is not None
            name = f"{root.name}/sum{index}"
            made = dialect.add(graph, name, [total, made], result, before=root)
        total = made
    assert total is not None
    if found.activation and not fused:
        total = dialect.activation(graph, f"{root.name}/activation", root, total, before=root)
    return total


def _product(
    graph: Graph,
    dialect: Dialect,
    name: str,
    term: _Term,
    before: Op,
    *,
    bias: bool,
    addend: Tensor | None,
    activation: bool,
) -> Tensor:
    """A partial convolution; with the sum so far where the dialect adds in place."""
    conv = term.conv
    assert conv is not None
    weights = conv.weights
    if term.stop - term.start < conv.data.shape[conv.channels]:
        axis = conv.inputs_axis
        assert axis is not None
        shape = list(weights.shape)
        shape[axis] = term.stop - term.start
        weights = graph.add_tensor(
            f"{name}/weights",
            weights.dtype,
            shape,
            role=Role.CONSTANT,
            like=weights.like or weights,
            recipe=Part(weights, axis, term.start, term.stop),
        )
    inputs: list[Tensor | None] = []
    for operand in conv.op.inputs[:3]:
        if operand is conv.data:
            inputs.append(term.data)
        elif operand is conv.weights:
            inputs.append(weights)
        else:
            inputs.append(operand if bias else None)
    return dialect.again(
        graph,
        name,
        conv.op,
        inputs,
        conv.op.outputs[0].shape,
        before=before,
        activation=activation,
        addend=addend if dialect.accumulates else None,
    )


def _open(graph: Graph, dialect: Dialect, found: _Sum) -> Tensor:
    """Accumulation in any order: a buffer, tokens of those that added to it, a view at the end.

    Where kernels cannot accumulate, each needs its own result beside the sum.
    """
    root, result = found.root, found.root.outputs[0]
    buffer = graph.add_tensor(f"{root.name}/buffer", result.dtype, result.shape)
    graph.add_op(f"{root.name}/alloc", "lowtide", "alloc", [], [buffer], before=root)
    tokens: list[Tensor] = []
    for index, term in enumerate(found.terms):
        token = graph.add_tensor(f"{root.name}/token{index}", result.dtype, result.shape, nbytes=0)
        beside = term.conv is not None and not dialect.accumulates
        scratch = 0 if term.conv is None else term.conv.op.workspace_bytes
        graph.add_op(
            f"{root.name}/term{index}",
            "lowtide",
            "accumulate",
            [buffer, term.data],
            [token],
            workspace_bytes=scratch + (result.nbytes if beside else 0),
            before=root,
        )
        tokens.append(token)
    total = graph.add_tensor(
        f"{root.name}/total", result.dtype, result.shape, alias=Alias(buffer, 0)
    )
    graph.add_op(f"{root.name}/done", "lowtide", "done", [buffer, *tokens], [total], before=root)
    return total
