"""Does every operator read what was written for it? The arena's bytes, followed through a run.

Offsets may overlap in ways that lifetimes alone do not explain: a slice that lies in its operand, a
part that lies in its concatenation, rows that nobody reads any more. So the run is followed byte by
byte (in intervals). Every byte of the arena holds a known byte of a known value, or nothing that is
known:

    address   0        640              2048
              |  a[0:] |  X[640:]       |  ?          a, X: values; ? is garbage

The value of a tensor is its own, but for operators that copy consecutive bytes: a slice of rows has
bytes of its operand's value, a concatenation of rows those of its operands'. An operator

1. must find in the bytes of each operand the operand's value,
2. must not write over bytes that it reads, unless its kernel may share that operand as a whole
   (`in_place`), or each byte that it writes there is the one that is there already,
3. leaves its results' values in their bytes, and garbage in its scratch.

At the end every output must be found. This shares no code with what plans the offsets: it reads the
model, the offsets and the order, and nothing else.
"""

from __future__ import annotations

from math import prod
from typing import TYPE_CHECKING, NamedTuple

from lowtide.errors import PlanError

if TYPE_CHECKING:
    from collections.abc import Sequence

    from lowtide.backends.tflite.tflm.lifetimes import ArenaBuffer
    from lowtide.frontends.tflite import TfliteModel, TfliteOperator, TfliteSubgraph

__all__ = ["follow"]

_COPIED = frozenset({"float32", "int8", "int16"})
_GARBAGE = -1


class _Bytes(NamedTuple):
    """Bytes [start, stop), of which byte i is byte `i + shift` of `value`."""

    start: int
    stop: int
    value: int
    shift: int

    def cut(self, start: int, stop: int) -> _Bytes:
        return self._replace(start=max(self.start, start), stop=min(self.stop, stop))

    def moved(self, by: int) -> _Bytes:
        return _Bytes(self.start + by, self.stop + by, self.value, self.shift - by)


class _Memory:
    """What the arena holds: intervals by rising address, with no gaps between what was written."""

    def __init__(self) -> None:
        self.held: list[_Bytes] = []

    def read(self, start: int, stop: int) -> list[_Bytes]:
        """What is known of [start, stop), neighbours of one value joined."""
        return _joined([b.cut(start, stop) for b in self.held if b.start < stop and start < b.stop])

    def write(self, new: Sequence[_Bytes]) -> None:
        for each in new:
            kept: list[_Bytes] = []
            for old in self.held:
                if old.stop <= each.start or each.stop <= old.start:
                    kept.append(old)
                    continue
                if old.start < each.start:
                    kept.append(old.cut(old.start, each.start))
                if each.stop < old.stop:
                    kept.append(old.cut(each.stop, old.stop))
            kept.append(each)
            self.held = sorted(kept)


def _joined(parts: Sequence[_Bytes]) -> list[_Bytes]:
    found: list[_Bytes] = []
    for part in parts:
        last = found[-1] if found else None
        if last is not None and last[1:] == (part.start, part.value, part.shift):
            found[-1] = last._replace(stop=part.stop)
        else:
            found.append(part)
    return found


def follow(
    model: TfliteModel,
    buffers: Sequence[ArenaBuffer],
    offsets: Sequence[int],
    order: Sequence[int],
    allowed: frozenset[tuple[int, int]],
) -> tuple[int, ...]:
    """Follow a run of a model of one subgraph.

    Returns:
        The operators that only copied bytes onto themselves.

    Args:
        model: a checked model.
        buffers: what lives in its arena.
        offsets: of each buffer, scratch too.
        order: of the operators.
        allowed: (result, operand) of the kernels that may write their result over an operand.

    Raises:
        PlanError: an operator reads, or the caller gets, something else than it should.
    """
    return _Run(model, buffers, offsets, allowed).run(order)


class _Run:
    def __init__(
        self,
        model: TfliteModel,
        buffers: Sequence[ArenaBuffer],
        offsets: Sequence[int],
        allowed: frozenset[tuple[int, int]],
    ) -> None:
        if len(model.subgraphs) != 1:
            raise PlanError("the bytes of a model with several subgraphs cannot be followed")
        self.main: TfliteSubgraph = model.subgraphs[0]
        self.model = model
        self.allowed = allowed
        self.at: dict[int, int] = {}
        self.scratch: dict[int, list[tuple[int, int]]] = {}
        for buffer, offset in zip(buffers, offsets, strict=True):
            if buffer.is_scratch:
                spans = self.scratch.setdefault(buffer.operator, [])
                spans.append((offset, offset + buffer.nbytes))
            elif self.main.tensors[buffer.tensor].nbytes == 0:
                raise PlanError("the bytes of a resource in the arena cannot be followed")
            else:
                self.at[buffer.tensor] = offset
        self.values: dict[int, list[_Bytes]] = {}
        self.memory = _Memory()

    def run(self, order: Sequence[int]) -> tuple[int, ...]:
        for tensor in self.main.inputs:
            if tensor in self.at:
                self.memory.write(self._placed(tensor))
        idle = [index for index in order if self._step(self.main.operators[index])]
        for tensor in self.main.outputs:
            if tensor in self.at:
                self._expect(tensor, "the caller gets", self._span(tensor))
        return tuple(idle)

    def _step(self, op: TfliteOperator) -> bool:
        read = self._read(op)
        results = [t for t in op.outputs if t in self.at]
        for tensor, span in read.items():
            self._expect(tensor, f"operator {op.index} ({op.kind}) reads", span)
        for tensor in results:
            self.values.setdefault(tensor, self._value(op, tensor))
        self._apart(op, [self._span(t) for t in results], list(read.values()))
        idle = bool(results)
        for tensor in results:
            new = _joined(self._placed(tensor))
            span = self._span(tensor)
            same = self.memory.read(*span) == new
            idle = idle and same
            for operand, other in read.items():
                low, high = max(span[0], other[0]), min(span[1], other[1])
                if low >= high or (span == other and (tensor, operand) in self.allowed):
                    continue
                before = self.memory.read(low, high)
                if before != _joined(
                    [b.cut(low, high) for b in new if b.start < high and low < b.stop]
                ):
                    raise PlanError(
                        f"operator {op.index} ({op.kind}) writes tensor {tensor} over bytes "
                        f"[{low}, {high}) of tensor {operand} while it reads them"
                    )
        for span in self.scratch.get(op.index, ()):
            self.memory.write([_Bytes(*span, _GARBAGE, 0)])
        for tensor in results:
            self.memory.write(self._placed(tensor))
        return idle

    def _apart(
        self, op: TfliteOperator, written: list[tuple[int, int]], read: list[tuple[int, int]]
    ) -> None:
        """Results and scratch lie apart from each other, and scratch from operands."""
        scratch = self.scratch.get(op.index, [])
        pairs = [(a, b) for n, a in enumerate(written) for b in written[n + 1 :]]
        pairs += [(a, b) for n, a in enumerate(scratch) for b in scratch[n + 1 :]]
        pairs += [(a, b) for a in scratch for b in (*written, *read)]
        for (low, end), (start, stop) in pairs:
            if max(low, start) < min(end, stop):
                raise PlanError(
                    f"operator {op.index} ({op.kind}) has results or scratch at [{low}, {end}) and "
                    f"[{start}, {stop}), which overlap"
                )

    def _read(self, op: TfliteOperator) -> dict[int, tuple[int, int]]:
        """The addresses that are read of every operand: all of it, but for a slice of rows."""
        found = {t: self._span(t) for t in dict.fromkeys(op.inputs) if t in self.at}
        start = _row_start(self.model, self.main, op)
        if start is not None and op.inputs[0] in found:
            low = self.at[op.inputs[0]] + start
            found[op.inputs[0]] = low, low + self._size(op.outputs[0])
        return found

    def _expect(self, tensor: int, who: str, span: tuple[int, int]) -> None:
        """These addresses hold what they should of the tensor's value."""
        start, stop = span
        right = [
            b.cut(start, stop) for b in self._placed(tensor) if b.start < stop and start < b.stop
        ]
        if self.memory.read(start, stop) != _joined(right):
            name = "".join(c if c.isprintable() else "?" for c in self.main.tensors[tensor].name)
            raise PlanError(
                f"{who} bytes [{start}, {stop}) of tensor {tensor} `{name[:80]}`, "
                f"of which some hold something else"
            )

    def _span(self, tensor: int) -> tuple[int, int]:
        return self.at[tensor], self.at[tensor] + self._size(tensor)

    def _size(self, tensor: int) -> int:
        return self.main.tensors[tensor].nbytes

    def _placed(self, tensor: int) -> list[_Bytes]:
        """A tensor's value at its offset."""
        whole = [_Bytes(0, self._size(tensor), tensor, 0)]
        return [b.moved(self.at[tensor]) for b in self.values.setdefault(tensor, whole)]

    def _value(self, op: TfliteOperator, result: int) -> list[_Bytes]:
        """The value of a result: bytes of operands' values where they are copied, else its own."""
        start = _row_start(self.model, self.main, op)
        if start is not None:
            size = self._size(result)
            own = [_Bytes(0, self._size(op.inputs[0]), op.inputs[0], 0)]
            known = self.values.get(op.inputs[0], own)
            inside = [b.cut(start, start + size) for b in known if b.start < start + size]
            return _joined([b.moved(-start) for b in inside if b.start < b.stop])
        if _joins_rows(self.main, op):
            found: list[_Bytes] = []
            at = 0
            for operand in op.inputs:
                size = self._size(operand)
                own = [_Bytes(0, size, -2 - operand, 0)]  # a constant, or what is elsewhere
                found += [b.moved(at) for b in self.values.get(operand, own)]
                at += size
            return _joined(found)
        return [_Bytes(0, self._size(result), result, 0)]


def _rows(shape: tuple[int, ...]) -> int:
    """The first axis that is not 1: along it, parts are consecutive bytes."""
    return next((axis for axis, size in enumerate(shape) if size != 1), len(shape) - 1)


def _joins_rows(main: TfliteSubgraph, op: TfliteOperator) -> bool:
    """Whether the operator writes its operands' bytes one after the other."""
    if op.kind != "CONCATENATION" or len(op.outputs) != 1 or min(op.inputs, default=-1) < 0:
        return False
    result = main.tensors[op.outputs[0]]
    options = op.attributes()
    axis = options.get("axis")
    if not isinstance(axis, int) or options.get("fused_activation_function", 0):
        return False
    axis %= max(len(result.shape), 1)
    operands = [main.tensors[t] for t in op.inputs]
    return (
        result.dtype in _COPIED
        and all(t.dtype == result.dtype and t.nbytes for t in operands)
        and prod(result.shape[:axis]) == 1
        and sum(t.nbytes for t in operands) == result.nbytes
    )


def _row_start(model: TfliteModel, main: TfliteSubgraph, op: TfliteOperator) -> int | None:
    """The first byte of the operand that a slice of rows copies; None for any other operator."""
    if op.kind not in {"SLICE", "STRIDED_SLICE"} or len(op.outputs) != 1:
        return None
    if len(op.inputs) != (3 if op.kind == "SLICE" else 4) or min(op.inputs) < 0:
        return None
    data, result = main.tensors[op.inputs[0]], main.tensors[op.outputs[0]]
    rank = len(data.shape)
    if data.dtype not in _COPIED or data.dtype != result.dtype or len(result.shape) != rank:
        return None
    if data.constant or data.variable or not data.nbytes or not result.nbytes:
        return None
    begin = _numbers(model, main, op.inputs[1])
    options = op.attributes()
    if op.kind == "STRIDED_SLICE":
        steps = _numbers(model, main, op.inputs[3])
        others = ("ellipsis_mask", "new_axis_mask", "shrink_axis_mask", "offset")
        if steps != [1] * rank or any(options.get(name, 0) for name in others):
            return None
        mask = options.get("begin_mask", 0)
        if begin is not None and isinstance(mask, int):
            begin = [0 if mask & 1 << n else b for n, b in enumerate(begin)]
            begin = [b + s if b < 0 else b for b, s in zip(begin, data.shape, strict=False)]
    if begin is None or len(begin) != rank:
        return None
    axis = _rows(data.shape)
    for n in range(rank):
        if begin[n] < 0 or begin[n] + result.shape[n] > data.shape[n]:
            return None
        if n != axis and result.shape[n] != data.shape[n]:
            return None
    return begin[axis] * prod(data.shape[axis + 1 :]) * (data.nbytes // prod(data.shape))


def _numbers(model: TfliteModel, main: TfliteSubgraph, tensor: int) -> list[int] | None:
    stored = main.tensors[tensor]
    width = {"int32": 4, "int64": 8}.get(stored.dtype)
    if width is None or not stored.constant or stored.sparse:
        return None
    buffer = model.buffers[stored.buffer]
    raw = None if buffer.outside else buffer.table.raw("data")
    if raw is None or len(raw) != width * prod(stored.shape):
        return None
    starts = range(0, len(raw), width)
    return [int.from_bytes(raw[n : n + width], "little", signed=True) for n in starts]
