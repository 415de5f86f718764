"""When each buffer of a model is alive under TensorFlow Lite Micro.

    scope   0      1      2      3          one scope for the caller, then one per operator; an
           inputs  op 0   op 1   op 2       operator that calls subgraphs is followed by one scope
             |─────────────|                per call and the scopes of the callee's operators
                   |──────────────|  outputs stay to the end of their subgraph

What lives in the arena: every tensor without data in the file that is no variable and not empty,
used or not, and the scratch buffers that kernels ask for. Variables, their handles, the tensors'
structures and the kernels' own data are in the persistent tail. Source: AllocationInfoBuilder in
tensorflow/lite/micro/micro_allocation_info.cc, as in the package `tflite-micro` (`trace` reads the
same from the running interpreter). Older sources let a tensor live from its latest creation, so
that a subgraph that is called twice forgets its first call: a plan under the lifetimes here holds
for them too.
"""

from __future__ import annotations

from dataclasses import dataclass
from math import prod
from typing import TYPE_CHECKING

from lowtide.errors import ModelError

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from lowtide.frontends.tflite import TfliteModel, TfliteTensor

__all__ = [
    "ALIGNMENT",
    "NOT_IN_ARENA",
    "ArenaBuffer",
    "Scratch",
    "arena_buffers",
    "arena_bytes",
    "resource_handles",
    "scopes_of",
]

ALIGNMENT = 16  # MicroArenaBufferAlignment()
NOT_IN_ARENA = -1
_MAX_SCOPES = 1_000_000
_RESOURCE = 13  # TensorType.RESOURCE
_HANDLE_BYTES = 4

# Bytes of each scratch buffer by (subgraph, operator), in the order in which the kernel asks.
Scratch = dict[tuple[int, int], tuple[int, ...]]


@dataclass(frozen=True, slots=True)
class ArenaBuffer:
    """One buffer, as TFLM hands it to its memory planner.

    Attributes:
        subgraph: whose it is.
        tensor: the tensor's index in the subgraph; -1 for scratch.
        operator: the operator (in the file's numbering) that asked for it; -1 for a tensor.
        nbytes: its size, rounded up to 16.
        first: the scope in which it is created; -1 for a tensor that nothing uses.
        last: the last scope in which it is used, inclusive.
    """

    subgraph: int
    tensor: int
    operator: int
    nbytes: int
    first: int
    last: int

    @property
    def is_scratch(self) -> bool:
        """It is a kernel's scratch, which TFLM places by itself."""
        return self.tensor < 0


class _Span:
    __slots__ = ("first", "last")

    def __init__(self) -> None:
        self.first = self.last = -1

    def create(self, scope: int) -> None:
        """Only the first creation counts: what a second call makes again lives since the first."""
        if self.first < 0:
            self.first = scope

    def use(self, scope: int) -> None:
        self.last = scope


def arena_buffers(
    model: TfliteModel,
    scratch: Mapping[tuple[int, int], Sequence[int]],
    orders: Mapping[int, Sequence[int]] | None = None,
) -> tuple[ArenaBuffer, ...]:
    """The buffers in the order in which TFLM adds them to its planner: tensors, then scratch.

    Args:
        model: a checked model.
        scratch: the bytes of every kernel's scratch buffers, by (subgraph, operator).
        orders: a new order of operators for some subgraphs, by operator index; else the file's.

    Raises:
        ModelError: subgraphs call each other in a circle, or millions of times.
    """
    walk = _Walk(model, scratch, orders or {})
    walk.subgraph(0)
    handles = resource_handles(model)
    found: list[ArenaBuffer] = []
    for subgraph in model.subgraphs:
        for tensor in subgraph.tensors:
            nbytes = arena_bytes(model, tensor)
            if nbytes == 0 or (subgraph.index, tensor.index) in handles:
                continue
            span = walk.tensors[subgraph.index][tensor.index]
            found.append(_buffer(subgraph.index, tensor.index, -1, nbytes, span))
    for subgraph in model.subgraphs:
        for operator in walk.order(subgraph.index):
            sizes = scratch.get((subgraph.index, operator), ())
            for number, nbytes in enumerate(sizes):
                span = walk.scratch[subgraph.index, operator][number]
                found.append(_buffer(subgraph.index, -1, operator, nbytes, span))
    return tuple(found)


def scopes_of(
    model: TfliteModel, orders: Mapping[int, Sequence[int]] | None = None
) -> dict[int, tuple[int, int]]:
    """The first and the last scope of every operator of the main subgraph.

    Raises:
        ModelError: as `arena_buffers`.
    """
    walk = _Walk(model, {}, orders or {})
    walk.subgraph(0)
    return walk.scopes


def arena_bytes(model: TfliteModel, tensor: TfliteTensor) -> int:
    """What a tensor takes in the arena, before rounding; 0 for one that is not there.

    A resource is the number of a variable, 4 bytes; what it names is in the tail.
    """
    held = model.buffers[tensor.buffer]
    if tensor.variable or (tensor.constant and (held.outside or held.stop > held.start)):
        return 0
    return _HANDLE_BYTES * prod(tensor.shape) if tensor.type == _RESOURCE else tensor.nbytes


def resource_handles(model: TfliteModel) -> frozenset[tuple[int, int]]:
    """(subgraph, tensor) of what VAR_HANDLE makes: the kernel keeps it, outside the arena."""
    return frozenset(
        (subgraph.index, tensor)
        for subgraph in model.subgraphs
        for operator in subgraph.operators
        if operator.kind == "VAR_HANDLE"
        for tensor in operator.outputs
    )


def _buffer(subgraph: int, tensor: int, operator: int, nbytes: int, span: _Span) -> ArenaBuffer:
    size = -(-nbytes // ALIGNMENT) * ALIGNMENT
    return ArenaBuffer(subgraph, tensor, operator, size, span.first, span.last)


class _Walk:
    """The lifetimes, marked in TFLM's order."""

    def __init__(
        self,
        model: TfliteModel,
        scratch: Mapping[tuple[int, int], Sequence[int]],
        orders: Mapping[int, Sequence[int]],
    ) -> None:
        self.model = model
        self.orders = orders
        self.tensors = [[_Span() for _ in s.tensors] for s in model.subgraphs]
        self.scratch = {key: [_Span() for _ in sizes] for key, sizes in scratch.items()}
        self.scopes: dict[int, tuple[int, int]] = {}
        self.scope = 0
        self.active: list[int] = []

    def order(self, subgraph: int) -> Sequence[int]:
        return self.orders.get(subgraph, range(len(self.model.subgraphs[subgraph].operators)))

    def subgraph(self, number: int) -> None:
        if number in self.active:
            raise ModelError(f"subgraph {number} calls itself: TFLite Micro cannot run that")
        self.active.append(number)
        subgraph, spans = self.model.subgraphs[number], self.tensors[number]
        for tensor in subgraph.inputs:
            spans[tensor].create(self.scope)
            spans[tensor].use(self.scope)
        for index in self.order(number):
            self.scope += 1
            if self.scope > _MAX_SCOPES:
                raise ModelError(f"subgraphs call one another over {_MAX_SCOPES} times")
            start = self.scope
            operator = subgraph.operators[index]
            outputs = [t for t in operator.outputs if t >= 0]
            for tensor in outputs:
                spans[tensor].create(self.scope)
            for called in operator.calls:
                self.scope += 1
                self.subgraph(called)
            for tensor in (*operator.inputs, *outputs):
                if tensor >= 0:
                    spans[tensor].use(self.scope)
            for span in self.scratch.get((number, index), ()):
                span.create(start)
                span.use(self.scope)
            if number == 0:
                self.scopes[index] = (start, self.scope)
        for tensor in subgraph.outputs:
            spans[tensor].create(self.scope)
            spans[tensor].use(self.scope)
        self.active.pop()
