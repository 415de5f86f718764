"""Which copies need not take memory: slices that lie in their operand, parts in their result.

With batch 1, some rows of an image are consecutive bytes, and so are those of a concatenation:

    operand    [..........|sssssssssss|........]      the slice lies at operand + k rows
    result     [aaaaaaaa|bbbbbbbbbbbbbbbb|cccc]       the parts lie in the result, one after another

TFLM runs whatever offsets the offline plan gives, and then copies bytes onto themselves: SLICE and
STRIDED_SLICE (of stride 1) write sequentially, CONCATENATION copies part by part, with memcpy and
both pointers the same. That memcpy allows the same pointer is no promise of the C standard, but of
every library that compilers generate calls to it for (a struct assigned to itself); every entry
is executed by a test, and every plan is executed before it is written. So whole tensors need not
be alive at once: of the bytes of a root (a tensor that lies in no other one) only those count that
were written and are still read.

    pieces of the root   [   p0   |  p1  |    p2    ]   cut where any member begins or ends; each is
                                                        written by one operator and has readers

What is written over such a concatenation as a whole (`in_place`), as its only reader, lies there
too, so that the pieces go on with it.

Conditions: the axis that is cut is the first one that is not 1; the offset is a multiple of 16, as
of every tensor in TFLM's arena (its kernels may count on it); the model has one subgraph. A part is
made by an operator, is no result or input of the graph, is not a view, and lies in one place.
"""

from __future__ import annotations

from dataclasses import dataclass
from math import prod
from typing import TYPE_CHECKING, NamedTuple

from lowtide.backends.tflite.tflm.in_place import Kernels, shareable
from lowtide.backends.tflite.tflm.lifetimes import ALIGNMENT

if TYPE_CHECKING:
    from collections.abc import Mapping

    from lowtide.frontends.tflite import TfliteModel, TfliteOperator, TfliteTensor

__all__ = ["Elision", "Piece", "Place", "find_elision"]

_DTYPES = ("float32", "int8", "int16")  # for which it was executed
_INTEGERS = {"int32": 4, "int64": 8}


class Place(NamedTuple):
    """Where a tensor lies: `offset` bytes into `base`."""

    base: int
    offset: int


class Piece(NamedTuple):
    """The bytes [start, stop) of a root, and the tensor as part of which they are written.

    Pieces begin aligned: one whose tensor ends in between takes the bytes up to there as well.
    """

    start: int
    stop: int
    origin: int


@dataclass(frozen=True)
class Elision:
    """Tensors of the main subgraph that lie in others.

    Attributes:
        placed: where they lie.
        views: those of them that slices make.
        pieces: of every root in which others lie, by rising offset.
    """

    placed: Mapping[int, Place]
    views: frozenset[int]
    pieces: Mapping[int, tuple[Piece, ...]]

    def __bool__(self) -> bool:
        return bool(self.placed)

    def at(self, tensor: int) -> Place:
        """The root in which a tensor lies, and where."""
        return _root(self.placed, tensor)

    def within(self, tensor: int, nbytes: int) -> tuple[Piece, ...]:
        """The pieces that a tensor consists of; none where it is neither a root nor in one."""
        root, start = self.at(tensor)
        found = self.pieces.get(root, ())
        return tuple(p for p in found if start <= p.start and p.stop <= _aligned(start + nbytes))

    @property
    def bases(self) -> frozenset[int]:
        """The tensors in which others lie."""
        return frozenset(place.base for place in self.placed.values())

    @property
    def involved(self) -> frozenset[int]:
        """All of them: they take no part in in-place results, but for a part that is one."""
        return frozenset(self.placed) | self.bases


def _aligned(end: int) -> int:
    return -(-end // ALIGNMENT) * ALIGNMENT


def _root(placed: Mapping[int, Place], tensor: int) -> Place:
    offset = 0
    while tensor in placed:
        offset += placed[tensor].offset
        tensor = placed[tensor].base
    return Place(tensor, offset)


def find_elision(model: TfliteModel, kernels: Kernels = Kernels.REFERENCE) -> Elision:
    """The copies of the main subgraph that take no memory; none for libraries not executed.

    Args:
        model: a checked model.
        kernels: the library that runs it.
    """
    if kernels is not Kernels.REFERENCE or len(model.subgraphs) != 1:
        return Elision({}, frozenset(), {})
    return _Finder(model).run()


class _Finder:
    def __init__(self, model: TfliteModel) -> None:
        self.model = model
        self.main = model.subgraphs[0]
        self.seen = {*self.main.inputs, *self.main.outputs}
        self.made = {t for op in self.main.operators for t in op.outputs if t >= 0}
        self.readers: dict[int, set[int]] = {}
        for op in self.main.operators:
            for tensor in op.inputs:
                self.readers.setdefault(tensor, set()).add(op.index)
        self.placed: dict[int, Place] = {}
        self.slices = {
            op.outputs[0]: found
            for op in self.main.operators
            if (found := self._slice(op)) is not None
        }

    def run(self) -> Elision:
        parts: dict[int, list[int]] = {}
        for op in self.main.operators:
            if op.kind == "CONCATENATION":
                self._concatenation(op, parts)
        views = frozenset(t for t in self.slices if t not in self.placed)
        for tensor in views:
            self.placed[tensor] = self.slices[tensor]
        for op in self.main.operators:
            self._overwriting(op, parts)
        cuts: dict[int, set[int]] = {}
        for tensor in self.placed:
            root, start = _root(self.placed, tensor)
            size = self.main.tensors[root].nbytes
            end = _aligned(start + self.main.tensors[tensor].nbytes)
            cuts.setdefault(root, set()).update((0, start, min(end, size), size))
        pieces = {
            root: tuple(
                Piece(start, stop, self._origin(root, start, parts))
                for start, stop in zip(sorted(at), sorted(at)[1:], strict=False)
            )
            for root, at in cuts.items()
        }
        return Elision(dict(self.placed), views, pieces)

    def _origin(self, root: int, start: int, parts: Mapping[int, list[int]]) -> int:
        """The innermost part at an offset."""
        for part in parts.get(root, ()):
            offset = self.placed[part].offset
            if offset <= start < offset + self.main.tensors[part].nbytes:
                return self._origin(part, start - offset, parts)
        return root

    def _concatenation(self, op: TfliteOperator, parts: dict[int, list[int]]) -> None:
        axis = op.attributes().get("axis")
        if not isinstance(axis, int) or len(op.outputs) != 1 or op.outputs[0] < 0:
            return
        result = self.main.tensors[op.outputs[0]]
        if not self._plain(result) or result.index in self.main.inputs:
            return
        axis += len(result.shape) if axis < 0 else 0
        if not 0 <= axis < len(result.shape) or prod(result.shape[:axis]) != 1:
            return
        if op.attributes().get("fused_activation_function", 0) != 0:
            return
        operands = [self.main.tensors[t] for t in op.inputs if t >= 0]
        if sum(t.nbytes for t in operands) != result.nbytes:
            return
        offset = 0
        for operand in operands:
            if (
                offset % ALIGNMENT == 0
                and operand.type == result.type
                and self._plain(operand)
                and operand.index in self.made
                and operand.index not in self.seen
                and operand.index not in self.placed
                and operand.index != result.index
                and op.inputs.count(operand.index) == 1
            ):
                self.placed[operand.index] = Place(result.index, offset)
                parts.setdefault(result.index, []).append(operand.index)
            offset += operand.nbytes

    def _overwriting(self, op: TfliteOperator, parts: Mapping[int, list[int]]) -> None:
        """A result that in every order may be written over a concatenation of parts."""
        for position in shareable(self.main, op, Kernels.REFERENCE):
            operand, result = op.inputs[position], op.outputs[0]
            if result in self.main.outputs or result in self.placed or operand in self.placed:
                continue
            if operand in parts and self._read_once(operand, parts):
                self.placed[result] = Place(operand, 0)
                return

    def _read_once(self, tensor: int, parts: Mapping[int, list[int]]) -> bool:
        """Whether one operator reads it, and only its concatenation reads each of its parts."""
        once = len(self.readers.get(tensor, ())) == 1
        return once and all(self._read_once(part, parts) for part in parts.get(tensor, ()))

    def _slice(self, op: TfliteOperator) -> Place | None:
        """Where a slice's result lies in the operand, if its bytes are consecutive there."""
        if op.kind not in {"SLICE", "STRIDED_SLICE"} or len(op.outputs) != 1 or op.outputs[0] < 0:
            return None
        if min(op.inputs[:2], default=-1) < 0 or len(op.inputs) < 3:
            return None
        data, result = self.main.tensors[op.inputs[0]], self.main.tensors[op.outputs[0]]
        if not self._plain(data) or not self._plain(result) or data.type != result.type:
            return None
        if result.index in self.seen or data.index not in self.made | set(self.main.inputs):
            return None
        if len(data.shape) != len(result.shape):
            return None
        begin = self._integers(self.main.tensors[op.inputs[1]])
        if begin is None or len(begin) != len(data.shape):
            return None
        if op.kind == "STRIDED_SLICE":
            steps = self._integers(self.main.tensors[op.inputs[3]]) if len(op.inputs) > 3 else None
            if steps is None or any(step != 1 for step in steps):
                return None
            options = op.attributes()
            if any(
                options.get(f"{name}_mask", 0) for name in ("ellipsis", "new_axis", "shrink_axis")
            ):
                return None
            mask = options.get("begin_mask", 0)
            if not isinstance(mask, int) or options.get("offset"):
                return None
            begin = tuple(
                0 if mask >> n & 1 else b + (data.shape[n] if b < 0 else 0)
                for n, b in enumerate(begin)
            )
        axis = next((n for n, size in enumerate(data.shape) if size != 1), 0)
        for n, (start, size, whole) in enumerate(zip(begin, result.shape, data.shape, strict=True)):
            if start < 0 or start + size > whole or (n != axis and (start, size) != (0, whole)):
                return None
        offset = begin[axis] * (data.nbytes // data.shape[axis])
        return Place(data.index, offset) if offset % ALIGNMENT == 0 else None

    def _plain(self, tensor: TfliteTensor) -> bool:
        held = not (tensor.constant or tensor.variable or tensor.dynamic)
        return held and tensor.nbytes > 0 and tensor.dtype in _DTYPES

    def _integers(self, tensor: TfliteTensor) -> tuple[int, ...] | None:
        """The elements of a short constant."""
        width = _INTEGERS.get(tensor.dtype)
        if width is None or not tensor.constant or tensor.sparse or len(tensor.shape) != 1:
            return None
        buffer = self.model.buffers[tensor.buffer]
        data = None if buffer.outside else buffer.table.raw("data")
        if data is None or len(data) != tensor.shape[0] * width:
            return None
        return tuple(
            int.from_bytes(data[n : n + width], "little", signed=True)
            for n in range(0, len(data), width)
        )
