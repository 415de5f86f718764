"""Fewer, larger decisions: the rematerialization problem without what does not matter.

A training step has thousands of ops, most of which look at bytes (views) or compute with a few of
them (learning rates, the statistics of a channel). The problem keeps the others:

    kept        makes or reads heavy bytes, or has effects
    attached    a view, or an op all of whose operands and results are light: it runs when somebody
                first needs its result, and again where the bytes that it shows were made again

The light bytes together are at most `_LIGHT_PART` of the peak; they count as constant memory. What
the solver returns is expanded to all ops and simulated exactly: the contraction never decides a
number that is reported.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from lowtide.ir import Role
from lowtide.solvers.remat.problem import RematProblem
from lowtide.solvers.schedule.problem import Buffer, InPlace

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from lowtide.ir import Graph, Op, Tensor
    from lowtide.solvers.remat.problem import Cost

__all__ = ["Contracted", "contract"]

_LIGHT_PART = 0.004


@dataclass(frozen=True)
class Contracted:
    """A problem whose node i is `kept[i]`, and the way back to all ops of the graph."""

    graph: Graph
    problem: RematProblem
    kept: tuple[Op, ...]

    def expand(self, nodes: Sequence[int]) -> tuple[Op, ...]:
        """All ops in an order in which the kept ones run as `nodes` has them. O(steps + uses)."""
        kept = set(self.kept)
        steps: list[Op] = []
        version: dict[Tensor, int] = {}  # storage -> how often it was made
        shown: dict[Tensor, int] = {}  # view -> the version that it shows
        done: set[Op] = set()

        def run(op: Op) -> None:
            pending = [(op, False)]
            while pending:
                current, ready = pending.pop()
                if not ready:
                    pending.append((current, True))
                    pending += [(maker, False) for maker in reversed(needed(current))]
                elif current is op or stale(current):
                    steps.append(current)
                    done.add(current)
                    for tensor in current.outputs:
                        if tensor.alias is None:
                            version[tensor] = version.get(tensor, 0) + 1
                        else:
                            shown[tensor] = version.get(tensor.storage, 0)

        def stale(op: Op) -> bool:
            if op not in done:
                return True
            views = (t for t in op.outputs if t.alias is not None)
            repeatable = op.traits.repeatable
            return repeatable and any(shown[t] != version.get(t.storage, 0) for t in views)

        def needed(op: Op) -> list[Op]:
            makers = dict.fromkeys(t.producer for t in op.operands)
            return [m for m in makers if m is not None and m not in kept and deep(m)]

        def deep(op: Op) -> bool:
            """Whether an attached op, or one that it rests on, has to run."""
            if stale(op):
                return True
            return op.traits.view and any(
                deep(t.producer)
                for t in op.operands
                if t.producer is not None and t.producer not in kept and t.producer.traits.view
            )

        for node in nodes:
            run(self.kept[node])
        for op in self.graph.ops:
            if op not in done:
                run(op)
        for tensor in self.graph.outputs:  # the caller gets the newest bytes
            maker = tensor.producer
            if maker is not None and maker not in kept and deep(maker):
                run(maker)
        return tuple(steps)


def contract(
    graph: Graph, costs: Mapping[Op, Cost], budget_bytes: int, peak_bytes: int
) -> Contracted:
    """The contracted problem of a graph, with its own order as the input order. O(ops + uses)."""
    light, light_bytes = _light(graph, peak_bytes)
    kept = tuple(op for op in graph.ops if not _attached(op, light))
    number = {op: index for index, op in enumerate(kept)}
    handed_out = {t.storage for t in graph.outputs}
    readers: dict[Tensor, set[int]] = {}
    for tensor in graph.tensors:
        found = readers.setdefault(tensor.storage, set())
        found.update(number[op] for op in tensor.consumers if op in number)
    buffers: list[Buffer] = []
    index_of: dict[Tensor, int] = {}
    single = {number[op] for op in kept if not op.traits.repeatable}
    for op in kept:
        for tensor in op.outputs:
            if tensor.storage is not tensor or tensor in light:
                continue
            index_of[tensor] = len(buffers)
            consumers = tuple(sorted(readers[tensor] - {number[op]}))
            buffers.append(Buffer(tensor.nbytes, number[op], consumers, tensor in handed_out))
    # A view that cannot be made again ties down the bytes that it shows.
    for op in graph.ops:
        if not op.traits.repeatable:
            for tensor in op.outputs:
                maker = tensor.storage.producer
                if maker in number:
                    single.add(number[maker])
    return Contracted(
        graph,
        RematProblem(
            num_nodes=len(kept),
            buffers=tuple(buffers),
            costs=tuple(costs[op] for op in kept),
            budget_bytes=budget_bytes,
            workspace=tuple(op.workspace_bytes for op in kept),
            precedence=_precedence(graph, number, index_of, buffers),
            in_place=_in_place(kept, index_of, handed_out),
            pinned=tuple(sorted(single)),
            constant_bytes=light_bytes,
        ),
        kept,
    )


def _light(graph: Graph, peak_bytes: int) -> tuple[set[Tensor], int]:
    """The smallest storage roots that together stay below the part that does not matter."""
    roots = [t for t in graph.tensors if t.storage is t and t.producer is not None]
    room = int(peak_bytes * _LIGHT_PART)
    light: set[Tensor] = set()
    total = 0
    for tensor in sorted(roots, key=lambda t: t.nbytes):
        if total + tensor.nbytes > room:
            break
        total += tensor.nbytes
        light.add(tensor)
    return light, total


def _attached(op: Op, light: set[Tensor]) -> bool:
    if op.traits.pinned or op.traits.random:
        return False
    if op.traits.view and all(t.alias is not None or t.nbytes == 0 for t in op.outputs):
        return True

    def free(tensor: Tensor) -> bool:
        root = tensor.storage
        return root in light or root.producer is None

    return op.workspace_bytes == 0 and all(free(t) for t in (*op.operands, *op.outputs))


def _precedence(
    graph: Graph, number: dict[Op, int], index_of: dict[Tensor, int], buffers: list[Buffer]
) -> tuple[tuple[int, int], ...]:
    """What kept ops need of other kept ops beside the buffers that they read."""
    behind: dict[Op, frozenset[int]] = {}  # attached op -> kept ops that it rests on
    pairs: dict[tuple[int, int], None] = {}
    for op in graph.ops:
        needed: set[int] = set()
        for tensor in op.operands:
            maker = tensor.producer
            if maker is None:
                continue
            if maker in number:
                buffer = index_of.get(tensor)
                if op not in number or buffer is None or buffers[buffer].producer != number[maker]:
                    needed.add(number[maker])
            else:
                needed |= behind[maker]
        if op in number:
            pairs.update(((before, number[op]), None) for before in sorted(needed))
        else:
            behind[op] = frozenset(needed)
    return tuple(pairs)


def _in_place(
    kept: Sequence[Op], index_of: dict[Tensor, int], handed_out: set[Tensor]
) -> tuple[InPlace, ...]:
    found: dict[InPlace, None] = {}
    for node, op in enumerate(kept):
        for candidate in op.in_place:
            operand, result = op.inputs[candidate.input], op.outputs[candidate.output]
            if operand is None or result in handed_out or result not in index_of:
                continue
            root = operand.storage
            if root.role is not Role.ACTIVATION or root in handed_out or root not in index_of:
                continue
            if root.nbytes == result.nbytes:
                found[InPlace(node, index_of[result], index_of[root])] = None
    return tuple(found)
