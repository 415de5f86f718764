"""The hot region: what the peak holds, who made it, and who still needs it.

 made before          runs at the peak        still to come
┌───────┐                                      ┌───────┐
│ conv1 ├────────────────────────────────────▶ │ sum_9 │      an edge across the middle
└───────┘             ┌───────┐                └───────┘      is a tensor that is live
┌───────┐             │ sum_7 │                ┌───────┐      at the peak
│ conv2 ├───────────▶ │       ├──────────────▶ │ relu  │
└───────┘             └───────┘                └───────┘
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Sequence

    from lowtide.ir import Buffer, Timeline

__all__ = ["Edge", "HotOp", "HotRegion", "hot_region"]

_MOST_TENSORS = 14
_MOST_READERS = 2  # of one tensor that are drawn
_LAYERS = 3


@dataclass(frozen=True, slots=True)
class HotOp:
    """An op of the drawing, or the caller (`step` None) who hands over inputs or takes outputs."""

    name: str
    kind: str
    step: int | None
    layer: int  # 0: before the peak, 1: at it, 2: after


@dataclass(frozen=True, slots=True)
class Edge:
    """A tensor that is live at the peak, on its way from one op to another, by their numbers."""

    source: int
    target: int
    tensor: str
    nbytes: int
    more_readers: int  # that are not drawn


@dataclass(frozen=True, slots=True)
class HotRegion:
    """The drawing; `left_out` tensors of `left_out_bytes` together are live too."""

    step: int
    ops: tuple[HotOp, ...]
    edges: tuple[Edge, ...]
    left_out: int
    left_out_bytes: int

    def layer(self, number: int) -> tuple[int, ...]:
        """The ops of a layer from top to bottom, near to what they are joined to.

        Two sweeps of the barycentre heuristic (Sugiyama, Tagawa, Toda 1981,
        doi:10.1109/TSMC.1981.4308636).
        """
        layers = [[i for i, op in enumerate(self.ops) if op.layer == k] for k in range(_LAYERS)]
        for _ in range(2):
            for k in (2, 0):
                at = {i: place for layer in layers for place, i in enumerate(layer)}
                layers[k] = [i for _, i in sorted((self._centre(i, at), i) for i in layers[k])]
        return tuple(layers[number])

    def _centre(self, op: int, at: dict[int, int]) -> float:
        others = [e.target if e.source == op else e.source for e in self.edges if op in _ends(e)]
        places = [at[i] for i in others if self.ops[i].layer != 1]
        return sum(places) / len(places) if places else at[op]


def _ends(edge: Edge) -> tuple[int, int]:
    return edge.source, edge.target


def hot_region(timeline: Timeline) -> HotRegion | None:
    """The neighbourhood of the first step at which the peak is reached; None without ops."""
    if not timeline.steps:
        return None
    at = timeline.peak_step
    steps = timeline.steps
    made: dict[str, int] = {}
    readers: dict[str, list[int]] = {}
    for index, step in enumerate(steps):
        for result in step.op.outputs:
            made[result.name] = index
        for operand in step.op.operands:
            readers.setdefault(operand.storage.name, []).append(index)
    drawing = _Drawing(timeline)
    centre = drawing.op(at, 1)
    live = timeline.live_at(at)
    for buffer in live[:_MOST_TENSORS]:
        name = _present(buffer, made, at)
        born = made.get(name)
        source = centre if born == at else drawing.op(born, 0)
        later = [index for index in readers.get(name, ()) if index > at]
        if at in readers.get(name, ()) and source != centre:
            drawing.edge(source, centre, name, buffer.nbytes, 0)
        shown = later[:_MOST_READERS]
        for index in shown:
            more = len(later) - len(shown) if index == shown[-1] else 0
            drawing.edge(source, drawing.op(index, 2), name, buffer.nbytes, more)
        if not later and buffer.stop > at + 1:
            drawing.edge(source, drawing.op(None, 2), name, buffer.nbytes, 0)
    rest = live[_MOST_TENSORS:]
    return HotRegion(
        at,
        tuple(drawing.ops),
        tuple(drawing.edges),
        len(rest),
        sum(buffer.nbytes for buffer in rest),
    )


def _present(buffer: Buffer, made: dict[str, int], at: int) -> str:
    """The storage root that is in a buffer at a step, before the op of the step overwrites it."""
    names: Sequence[str] = [t.name for t in buffer.tensors if made.get(t.name, -1) <= at]
    return names[-1] if names else buffer.tensors[0].name


class _Drawing:
    """Collects ops and edges, each op once in its layer."""

    def __init__(self, timeline: Timeline) -> None:
        self._timeline = timeline
        self._known: dict[tuple[int | None, int], int] = {}
        self.ops: list[HotOp] = []
        self.edges: list[Edge] = []

    def op(self, step: int | None, layer: int) -> int:
        """The number of the op that runs at a step; None is the caller."""
        key = step, layer
        if key not in self._known:
            self._known[key] = len(self.ops)
            if step is None:
                name = "inputs" if layer == 0 else "kept to the end"
                self.ops.append(HotOp(name, "caller", None, layer))
            else:
                op = self._timeline.steps[step].op
                self.ops.append(HotOp(op.name, op.qualified, step, layer))
        return self._known[key]

    def edge(self, source: int, target: int, tensor: str, nbytes: int, more: int) -> None:
        """Join two ops."""
        self.edges.append(Edge(source, target, tensor, nbytes, more))
