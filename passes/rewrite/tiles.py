"""One tile of a region of spatially local ops: which rows every op is fed, from the end back.

    X ──▶ conv ──▶ depthwise ──▶ conv ──┐
    │                                   ▼      rows of Y that the tile makes
    └─────────────────────────────────▶ add ──▶ Y

Every tensor of the region is wanted in some rows by each of its readers. A reader may be fed rows
that are garbage (`rows`), so two ranges are kept of each: what it is fed, and what must be right.
The op that makes the tensor must deliver the hull of both; a reader that is fed less than what was
made gets it through a slice. Choices, where an op can be fed in several ways, are searched by a
beam over the ops, by multiply-adds and slices.
"""

from __future__ import annotations

from dataclasses import dataclass
from math import prod
from typing import TYPE_CHECKING

from lowtide.ir import Role
from lowtide.ir.semantics import Add, Concat, Convolution, Pointwise, Pooling
from lowtide.passes.rewrite.rows import Fit, Rows, fits, paddings

if TYPE_CHECKING:
    from collections.abc import Sequence

    from lowtide.ir import Op, Tensor
    from lowtide.ir.semantics import Meaning, Window
    from lowtide.passes.rewrite.dialect import Dialect
    from lowtide.passes.rewrite.rows import Padding

__all__ = ["Local", "Step", "Tile", "local", "plan_tile", "row_bytes"]

_BEAM = 4
# What a slice costs beside the bytes that it copies, in multiply-adds.
_SLICE = 2000


@dataclass(frozen=True, slots=True, eq=False)
class Local:
    """A spatially local op: rows of its result are made of some rows of its operands.

    Attributes:
        op: the op.
        result: its only result.
        operands: the tensors that have rows, each once.
        meaning: what it computes.
        axis: of the rows.
        window: along the axis; None where row i is made of row i.
        allowed: how a tile's op may be padded.
        addend: of these, the one that is added to the result.
    """

    op: Op
    result: Tensor
    operands: tuple[Tensor, ...]
    meaning: Meaning
    axis: int
    window: Window | None = None
    allowed: tuple[Padding, ...] = ()
    addend: Tensor | None = None


@dataclass(frozen=True, slots=True)
class Step:
    """An op of a tile.

    Attributes:
        local: the op that it is like.
        fed: the rows of each of its operands; of an elementwise op those of the result.
        result: the rows that come out.
        window: along the axis of the rows.
    """

    local: Local
    fed: Rows
    result: Rows
    window: Window | None


@dataclass(frozen=True, slots=True)
class Tile:
    """What makes some rows of the region's result.

    Away from the ends of all tensors, a tile further down is the same one, shifted.

    Attributes:
        rows: of the result.
        steps: in execution order.
        cost: of the steps, in multiply-adds, with slices as they are weighed.
        work: operations of the steps, as the ops state them.
    """

    rows: Rows
    steps: tuple[Step, ...]
    cost: int
    work: int

    def shifted(self, rows: Rows) -> Tile | None:
        """The tile of other rows, as many; None where it may not be this one, shifted.

        It is if no step reads up to an end of its operand here, and none past it there: neither
        sees padding then that makes a difference.
        """
        by = rows.start - self.rows.start
        if len(rows) != len(self.rows):
            return None
        moves: dict[Tensor, int] = {self.steps[-1].local.result: by}
        steps: list[Step] = []
        for step in reversed(self.steps):
            local, own = step.local, moves[step.local.result]
            stride = 1 if local.window is None else local.window.stride
            fed = step.fed.moved(own * stride)
            for operand in local.operands:
                other = own if operand is local.addend else own * stride
                if moves.setdefault(operand, other) != other:
                    return None
            whole = Rows(0, local.operands[0].shape[local.axis])
            inner = step.fed.start > 0 and step.fed.stop < whole.stop
            if not whole.covers(fed) or (local.window is not None and not inner):
                return None
            steps.insert(0, Step(local, fed, step.result.moved(own), step.window))
        return Tile(rows, tuple(steps), self.cost, self.work)


def row_bytes(tensor: Tensor, axis: int) -> int:
    """Bytes of one row."""
    return tensor.nbytes // tensor.shape[axis] if tensor.shape[axis] else 0


def local(op: Op, dialect: Dialect, axis: int) -> Local | None:
    """The op as one that is spatially local along `axis`; None where it is not."""
    if len(op.outputs) != 1 or not op.traits.repeatable:
        return None
    meaning = dialect.meaning(op)
    result = op.outputs[0]
    if meaning is None or not 0 <= axis < len(result.shape):
        return None
    if isinstance(meaning, Convolution | Pooling):
        if axis not in meaning.windows or meaning.channels == axis:
            return None
        data, addend = meaning.data, None
        if isinstance(meaning, Convolution) and meaning.addend is not None:
            addend = meaning.addend
            if not dialect.any_padding or addend.shape != result.shape:
                return None
        window = meaning.windows[axis]
        if window.results(data.shape[axis]) != result.shape[axis]:
            return None
        allowed = paddings(meaning.windows, data.shape, axis, free=dialect.any_padding)
        operands = (data,) if addend is None else tuple(dict.fromkeys((data, addend)))
        return Local(op, result, operands, meaning, axis, window, allowed, addend)
    if isinstance(meaning, Pointwise):
        if meaning.data.shape != result.shape or meaning.channels == axis:
            return None
        return Local(op, result, (meaning.data,), meaning, axis)
    if isinstance(meaning, Add):
        terms = dict.fromkeys(meaning.terms)
        if any(t.shape != result.shape or t.role is Role.CONSTANT for t in terms):
            return None
        return Local(op, result, tuple(terms), meaning, axis)
    if isinstance(meaning, Concat) and meaning.axis != axis:
        if any(t.role is Role.CONSTANT for t in meaning.parts):
            return None
        return Local(op, result, tuple(dict.fromkeys(meaning.parts)), meaning, axis)
    return None


@dataclass(frozen=True, slots=True)
class _Demand:
    """What the readers of a tensor are fed, and what of it must be right."""

    right: Rows
    fed: tuple[Rows, ...]

    @property
    def held(self) -> Rows:
        hull = self.right
        for rows in self.fed:
            hull = hull.hull(rows)
        return hull

    def joined(self, right: Rows, fed: Rows) -> _Demand:
        return _Demand(self.right.hull(right), self.fed if fed in self.fed else (*self.fed, fed))


@dataclass(frozen=True, slots=True)
class _Partial:
    """The ops from the end back to somewhere."""

    demands: dict[Tensor, _Demand]
    steps: tuple[Step, ...]
    cost: int
    work: int


def plan_tile(ops: Sequence[Local], entry: Tensor, rows: Rows) -> Tile | None:
    """The cheapest way found to make `rows` of the last op's result; None where there is none.

    Args:
        ops: of the region in execution order, the last one makes the result.
        entry: the tensor that they begin with.
        rows: of the result.
    """
    beam = [_Partial({ops[-1].result: _Demand(rows, (rows,))}, (), 0, 0)]
    for each in reversed(ops):
        reached: dict[object, _Partial] = {}
        for partial in beam:
            for further in _before(each, partial):
                key = tuple(sorted((t.name, d.right, d.fed) for t, d in further.demands.items()))
                if key not in reached or further.cost < reached[key].cost:
                    reached[key] = further
        beam = sorted(reached.values(), key=lambda p: p.cost)[:_BEAM]
    best: Tile | None = None
    for partial in beam:
        demand = partial.demands.get(entry)
        axis = ops[0].axis
        if demand is None or set(partial.demands) != {entry}:
            continue
        whole = Rows(0, entry.shape[axis])
        if not whole.covers(demand.held):
            continue
        cost = partial.cost + _slices(entry, axis, whole, demand)
        if best is None or cost < best.cost:
            best = Tile(rows, partial.steps, cost, partial.work)
    return best


def _slices(tensor: Tensor, axis: int, made: Rows, demand: _Demand) -> int:
    """What it costs to give every reader its part."""
    each = row_bytes(tensor, axis)
    return sum(_SLICE + len(fed) * each for fed in demand.fed if fed != made)


def _before(each: Local, partial: _Partial) -> list[_Partial]:
    """Each way to run the op so that what is asked of its result is there."""
    demand = partial.demands.get(each.result)
    if demand is None:
        return []
    ways: tuple[Fit, ...] | None = None
    if each.window is not None:
        length = each.operands[0].shape[each.axis]
        ways = fits(each.window, length, demand.right, demand.held, each.allowed)
    found: list[_Partial] = []
    rest = {t: d for t, d in partial.demands.items() if t is not each.result}
    whole_rows = each.result.shape[each.axis]
    if ways is None:
        step = Step(each, demand.held, demand.held, None)
        feeds = [(step, demand.right)]
    else:
        feeds = [(Step(each, w.operand, w.result, w.window), w.right) for w in ways]
    for step, right in feeds:
        demands = dict(rest)
        for operand in each.operands:
            fed, good = step.fed, right
            if operand is each.addend:
                fed, good = step.result, demand.right
            known = demands.get(operand)
            demands[operand] = _Demand(good, (fed,)) if known is None else known.joined(good, fed)
        work = each.op.flops * len(step.result) // max(1, whole_rows)
        cost = max(work // 2, len(step.result) * prod(each.result.shape) // max(1, whole_rows))
        found.append(
            _Partial(
                demands,
                (step, *partial.steps),
                partial.cost + cost + _slices(each.result, each.axis, step.result, demand),
                partial.work + work,
            )
        )
    return found
