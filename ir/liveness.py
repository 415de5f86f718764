"""The reference simulator: which bytes are live at every step of an execution order.

    bytes                     peak = the highest step
      |            ┌──┐
      |      ┌──┐  │  │       a step's height = live before
      |   ┌──┘  └──┘  └─┐       + results of the op (less what it overwrites in place)
      | ──┘             └──     + workspace
      +--------------------- step

Plain Python and slow on purpose: solvers and plans are checked against it.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from lowtide.errors import PlanError
from lowtide.ir.accounting import Accounting
from lowtide.ir.tensor import Role

if TYPE_CHECKING:
    from collections.abc import Sequence

    from lowtide.ir.graph import Graph
    from lowtide.ir.op import Op
    from lowtide.ir.tensor import Tensor

__all__ = ["Buffer", "Step", "Timeline", "simulate"]


@dataclass(frozen=True, slots=True)
class Buffer:
    """A run of storage: one tensor's, or several that follow one another in place.

    Attributes:
        tensors: the storage roots that live in it, in order of birth.
        nbytes: its size, aligned.
        start: the first step at which it is live.
        stop: one past the last step at which it is live (half-open).
    """

    tensors: tuple[Tensor, ...]
    nbytes: int
    start: int
    stop: int


@dataclass(frozen=True, slots=True)
class Step:
    """One executed op: the bytes live while it runs, and those of its workspace among them."""

    op: Op
    live_bytes: int
    workspace_bytes: int


@dataclass(frozen=True, slots=True)
class Timeline:
    """What `simulate` found.

    Attributes:
        steps: one entry per executed op.
        buffers: every buffer that was live, in order of birth.
        peak_bytes: the highest `live_bytes`; with no op, what the inputs and outputs hold.
        peak_step: the first step at which the peak is reached (0 when there is no op).
    """

    steps: tuple[Step, ...]
    buffers: tuple[Buffer, ...]
    peak_bytes: int
    peak_step: int

    def live_at(self, step: int) -> tuple[Buffer, ...]:
        """The buffers that are live at a step, largest first, ties in order of birth."""
        live = [b for b in self.buffers if b.start <= step < b.stop and b.nbytes > 0]
        return tuple(sorted(live, key=lambda b: -b.nbytes))


class _Live:
    """A buffer that is still live: what is in it, and the ops that have yet to read it."""

    __slots__ = ("nbytes", "readers", "start", "tensors")

    def __init__(self, tensor: Tensor, nbytes: int, readers: set[Op], start: int) -> None:
        self.tensors = [tensor]
        self.nbytes = nbytes
        self.readers = readers
        self.start = start


def simulate(graph: Graph, accounting: Accounting, order: Sequence[Op] | None = None) -> Timeline:
    """Execute `graph` in `order` (its own by default) and count the live bytes. O(n + uses).

    Views cost nothing and keep their base alive; an input that nobody reads costs nothing. A result
    may overwrite an operand of the same size that has no later reader and is neither an input, a
    constant nor an output of the graph.

    Args:
        graph: what runs.
        accounting: the rules under which bytes are counted.
        order: of the graph's ops; None for their own.

    Raises:
        PlanError: the order is not a permutation of the ops, or breaks a dependency.
    """
    ops = graph.ops if order is None else tuple(order)
    if len(ops) != len(graph) or set(ops) != set(graph.ops):
        raise PlanError("the order is not a permutation of the graph's ops")
    readers: dict[Tensor, set[Op]] = {}
    kept: set[Tensor] = set()
    for tensor in graph.tensors:
        readers.setdefault(tensor.storage, set()).update(tensor.consumers)
    if accounting.outputs_live_to_end:
        kept.update(t.storage for t in graph.outputs)
    overwritable = {t for t in graph.tensors if t.storage is t and t.role is Role.ACTIVATION} - {
        t.storage for t in graph.outputs
    }

    live: dict[Tensor, _Live] = {}  # keyed by the storage root that is in the buffer now
    finished: list[Buffer] = []
    total = 0
    if accounting.inputs_in_arena:
        for tensor in graph.inputs:
            if tensor.storage is tensor and (readers[tensor] or tensor in kept):
                nbytes = accounting.round_up(tensor.nbytes)
                live[tensor] = _Live(tensor, nbytes, set(readers[tensor]), 0)
                total += nbytes
    peak, peak_step = total, 0
    steps: list[Step] = []
    done: set[Op] = set()

    def finish(root: Tensor, stop: int) -> None:
        buffer = live.pop(root)
        finished.append(Buffer(tuple(buffer.tensors), buffer.nbytes, buffer.start, stop))

    for index, op in enumerate(ops):
        for operand in op.operands:
            if operand.producer is not None and operand.producer not in done:
                raise PlanError(f"op `{op.name}` runs before `{operand.producer.name}`")
        taken: set[Tensor] = set()
        for number, result in enumerate(op.outputs):
            if result.storage is not result:
                continue
            nbytes = accounting.round_up(result.nbytes)
            victim = None
            if accounting.in_place and result in overwritable:
                victim = _victim(op, number, live, overwritable, taken)
            if victim is not None:
                taken.add(victim)
                buffer = live.pop(victim)
                buffer.tensors.append(result)
                buffer.readers = set(readers[result])
                live[result] = buffer
            else:
                live[result] = _Live(result, nbytes, set(readers[result]), index)
                total += nbytes
        workspace = accounting.round_up(op.workspace_bytes)
        steps.append(Step(op, total + workspace, workspace))
        if total + workspace > peak or not done:
            peak, peak_step = max(peak, total + workspace), index
        done.add(op)
        for root in dict.fromkeys([t.storage for t in (*op.operands, *op.outputs)]):
            if root not in live:
                continue
            live[root].readers.discard(op)
            if not live[root].readers and root not in kept:
                total -= live[root].nbytes
                finish(root, index + 1)
    for root in list(live):
        finish(root, max(len(ops), 1))
    finished.sort(key=lambda b: b.start)
    return Timeline(tuple(steps), tuple(finished), peak, peak_step)


def _victim(
    op: Op,
    number: int,
    live: dict[Tensor, _Live],
    overwritable: set[Tensor],
    taken: set[Tensor],
) -> Tensor | None:
    """The storage root whose buffer output `number` of `op` may overwrite now, if any."""
    for candidate in op.in_place:
        operand = op.inputs[candidate.input]
        if candidate.output != number or operand is None:
            continue
        root = operand.storage
        if (
            root in overwritable
            and root in live
            and root not in taken
            and root.nbytes == op.outputs[number].nbytes
            and live[root].readers <= {op}
        ):
            return root
    return None
