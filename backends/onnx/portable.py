"""Control edges that make ONNX Runtime's default order the planned one.

    u ──────────────── Size ── Range(s, s, 1) ─┐  an empty int64 vector that needs u to have run
    x ── Unsqueeze(x, axes = that) ── w        │  w reads x through a view that adds no axis
              ▲────────────────────────────────┘

The default order is a depth first search that enters a node's producers highest index first, so the
control nodes, which stand directly before w in the file, have u run before anything else that w
needs. An edge is only ever put from the node planned directly before w to w, and only where the
search would run w too early, so there are fewer edges than nodes and none is redundant when it is
made. All three operators take constant time, whatever u computes. Before opset 13 Unsqueeze knows
no axes input and a Reshape takes its place; before opset 11 there is no Range.
"""

from __future__ import annotations

import heapq
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
import onnx_ir as ir

from lowtide.backends.onnx.dependence import node_key, predecessors
from lowtide.backends.onnx.emit import arrange
from lowtide.errors import PlanError
from lowtide.solvers.schedule.orders.ort_default import reverse_dfs

if TYPE_CHECKING:
    from collections.abc import Sequence

__all__ = ["Portable", "control_edges", "portable"]

_PREFIX = "lowtide.order."
# What ONNX Runtime has kernels of Size, Unsqueeze and Reshape for.
_CARRIERS = frozenset(
    {
        *(ir.DataType.FLOAT, ir.DataType.DOUBLE, ir.DataType.FLOAT16),
        *(ir.DataType.INT8, ir.DataType.INT16, ir.DataType.INT32, ir.DataType.INT64),
        *(ir.DataType.UINT8, ir.DataType.UINT16, ir.DataType.UINT32, ir.DataType.UINT64),
        *(ir.DataType.BOOL, ir.DataType.STRING),
    }
)


@dataclass(frozen=True, slots=True)
class Portable:
    """A model whose default order is the planned one.

    Attributes:
        model: a copy with control nodes; weights are shared with the source.
        order: the order in which its nodes must stand in the file. This is not the planned order.
        planned: the first output's name of every node of the source in the planned order.
        edges: how many control edges were needed.
    """

    model: ir.Model
    order: tuple[ir.Node, ...]
    planned: tuple[str, ...]
    edges: int


def portable(model: ir.Model, order: Sequence[ir.Node]) -> Portable:
    """Copy `model` and add the control edges without which ONNX Runtime would leave `order`.

    Holds for levels at which ONNX Runtime leaves the graph's operators as they are: for a graph
    that it wrote at some level, that level or less, if that is at most BASIC.

    Args:
        model: the model; it is not changed.
        order: the planned order of its nodes, `Constant` nodes being optional.

    Raises:
        PlanError: no topological order of the graph, or a node has no tensor to hang an edge on.
    """
    arrange(model.graph, order)
    copy = model.clone()
    twin = {id(old): new for old, new in zip(model.graph, copy.graph, strict=True)}
    nodes = [twin[id(node)] for node in order if not _is_constant(node)]
    before, operands = predecessors(nodes), _operands(nodes)
    number = {id(node): index for index, node in enumerate(nodes)}
    source = [number[id(node)] for node in copy.graph if id(node) in number]
    found = control_edges(before, operands, range(len(nodes))[::-1], len(nodes))
    assert found is not None  # no node needs more than one edge
    late, file_order = control_edges(before, operands, source, len(found[0]) // 2) or found
    writer = _Writer(copy)
    control = {w: writer.edge(nodes[w - 1], nodes[w]) for w in sorted(late)}
    written = [node for w in file_order for node in (*control.get(w, ()), nodes[w])]
    _confirm(written, nodes)
    everything = arrange(copy.graph, written)
    copy.graph.remove(everything)
    copy.graph.extend(everything)
    return Portable(copy, tuple(everything), tuple(map(node_key, nodes)), len(late))


def control_edges(
    predecessors: Sequence[Sequence[int]],
    operands: Sequence[int],
    wish: Sequence[int],
    limit: int,
) -> tuple[set[int], list[int]] | None:
    """The nodes w that need an edge from w - 1, and the file order for which that holds.

    Args:
        predecessors: of every node, nodes being numbered in the planned order.
        operands: of every node, the producer of the operand that an edge would wrap, or -1.
        wish: all nodes, in the order that they should have in the file where dependencies and edges
            allow. The plan's reverse makes the search's ties fall as planned; the source's order
            needs no edge at all where the plan is what ONNX Runtime did anyway.
        limit: give up, with None, once more edges than this are needed.

    Complexity: O(rounds (nodes + edges) log nodes + nodes run anew); a few rounds.
    """
    late: set[int] = set()
    while True:
        file_order = _file_order(predecessors, late, wish)
        found = _search(predecessors, operands, file_order, late, limit)
        late |= found
        if len(late) > limit:
            return None
        if not found:
            return late, file_order


def _file_order(
    predecessors: Sequence[Sequence[int]], late: set[int], wish: Sequence[int]
) -> list[int]:
    """Kahn's order with edges, of the ready nodes the one that is wished for first."""
    rank = [0] * len(wish)
    for index, node in enumerate(wish):
        rank[node] = index
    successors: list[list[int]] = [[] for _ in predecessors]
    missing = [0] * len(predecessors)
    for node, reads in enumerate(predecessors):
        for producer in {*reads, node - 1} if node in late else reads:
            successors[producer].append(node)
            missing[node] += 1
    ready = [rank[node] for node, count in enumerate(missing) if not count]
    heapq.heapify(ready)
    order: list[int] = []
    while ready:
        node = wish[heapq.heappop(ready)]
        order.append(node)
        for reader in successors[node]:
            missing[reader] -= 1
            if not missing[reader]:
                heapq.heappush(ready, rank[reader])
    return order


def _search(
    predecessors: Sequence[Sequence[int]],
    operands: Sequence[int],
    file_order: Sequence[int],
    known: set[int],
    limit: int,
) -> set[int]:
    """Run ONNX Runtime's search; where it would run w too early, give w its edge and go back.

    What the search did before it entered w does not depend on the edge, so that it resumes there.
    """
    place = {node: index for index, node in enumerate(file_order)}
    inputs = [sorted(reads, key=place.__getitem__) for reads in predecessors]
    inner = {producer for reads in predecessors for producer in reads}
    inner.update(node - 1 for node in known)
    # A node to enter, or with what had been entered and run before it, to leave.
    stack = [(node, -1, 0) for node in file_order if node not in inner]
    visited = [False] * len(predecessors)
    entered: list[int] = []
    done = 0
    found: set[int] = set()
    while stack:
        node, mark, ran = stack.pop()
        if mark < 0:
            if visited[node]:
                continue
            mark, ran = len(entered), done
        elif node == done:
            done += 1
            continue
        else:  # too early: other nodes are planned between the last that ran and this one
            found.add(node)
            if len(found) + len(known) > limit:
                break
            for undone in entered[mark:]:
                visited[undone] = False
            del entered[mark:]
            done = ran
        entered.append(node)
        visited[node] = True
        stack.append((node, mark, ran))
        stack.extend((producer, -1, 0) for producer in inputs[node] if not visited[producer])
        if node in found or node in known:
            stack.extend((first, -1, 0) for first in (operands[node], node - 1) if first >= 0)
    return found


class _Writer:
    """Adds control nodes to a graph."""

    def __init__(self, model: ir.Model) -> None:
        self._graph = model.graph
        self._opset = model.opset_imports.get("", 0)
        if self._opset < 5:
            raise PlanError(
                f"control edges need opset 5, the model has {self._opset}: leave out --portable"
            )
        names: set[str | None] = set()
        for graph in model.graphs():
            names.update(value.name for value in graph.inputs)
            names.update(graph.initializers)
            for node in graph:
                names.update((node.name, *(value.name for value in node.outputs)))
        self._prefix = _PREFIX
        while any(name and name.startswith(self._prefix) for name in names):
            self._prefix += "_"
        self._made = 0
        self._constants: dict[tuple[tuple[int, ...], int], ir.Value] = {}

    def edge(self, first: ir.Node, then: ir.Node) -> list[ir.Node]:
        """Make `then` depend on `first`; the new nodes in their order, constants apart."""
        source = _smallest_tensor(first)
        target = _target(then)
        if source is None or target is None:
            raise PlanError(
                f"{first.op_type} node {node_key(first)!r} must run before {then.op_type} node"
                f" {node_key(then)!r}, and there is no tensor to hang a control edge on:"
                " leave out --portable"
            )
        nodes: list[ir.Node] = []
        if self._opset >= 13:
            view = self._node("Unsqueeze", [target, self._empty(source, nodes)], nodes)
        else:
            shape: list[ir.Value] = []
            if target.shape is None:
                shape = [self._node("Shape", [target], nodes)]  # before Size, to run after it
            elif len(target.shape):
                shape = [self._constant((0,) * len(target.shape))]
            shape.append(self._empty(source, nodes))
            if len(shape) > 1:
                shape = [self._node("Concat", shape, nodes, axis=0)]
            view = self._node("Reshape", [target, *shape], nodes)
        view.type, view.shape = target.type, target.shape
        for index, value in enumerate(then.inputs):
            if value is target:
                then.replace_input_with(index, view)
        return nodes

    def _empty(self, source: ir.Value, nodes: list[ir.Node]) -> ir.Value:
        """An int64 vector of no elements that is there once `source` is."""
        size = self._node("Size", [source], nodes)
        if self._opset >= 11:
            return self._node("Range", [size, size, self._constant((1,), scalar=True)], nodes)
        vector = self._node("Reshape", [size, self._constant((1,))], nodes)
        if self._opset >= 10:
            zero = self._constant((0,))
            return self._node("Slice", [vector, zero, zero], nodes)
        return self._node("Slice", [vector], nodes, starts=[0], ends=[0])

    def _node(
        self,
        kind: str,
        inputs: Sequence[ir.Value],
        nodes: list[ir.Node],
        **attributes: int | list[int],
    ) -> ir.Value:
        name = f"{self._prefix}{self._made}"
        self._made += 1
        node = ir.node(kind, inputs, attributes, name=name)
        node.outputs[0].name = name
        self._graph.append(node)
        nodes.append(node)
        return node.outputs[0]

    def _constant(self, values: tuple[int, ...], *, scalar: bool = False) -> ir.Value:
        key = (values, 0 if scalar else 1)
        if key not in self._constants:
            array = np.array(values[0] if scalar else values, np.int64)
            tensor = ir.Tensor(array, name=f"{self._prefix}{self._made}.value")
            made: list[ir.Node] = []
            self._constants[key] = self._node("Constant", [], made)
            made[0].attributes["value"] = ir.AttrTensor("value", tensor)
        return self._constants[key]


def _confirm(written: Sequence[ir.Node], planned: Sequence[ir.Node]) -> None:
    """Predict the default order of the file as it will be written, control nodes and all."""
    place = {id(node): index for index, node in enumerate(planned)}
    order = [place.get(id(written[index]), -1) for index in reverse_dfs(predecessors(written))]
    if [index for index in order if index >= 0] != list(range(len(planned))):
        raise PlanError("the control edges do not give the planned order: leave out --portable")


def _operands(nodes: Sequence[ir.Node]) -> list[int]:
    place = {id(node): index for index, node in enumerate(nodes)}
    targets = [_target(node) for node in nodes]
    return [place.get(id(v.producer()), -1) if v is not None else -1 for v in targets]


def _is_constant(node: ir.Node) -> bool:
    return node.op_type == "Constant" and node.domain == ""


def _is_tensor(value: ir.Value | None) -> bool:
    if value is None or not value.name:
        return False
    if value.type is None:
        return True
    return isinstance(value.type, ir.TensorType) and value.type.dtype in _CARRIERS


def _smallest_tensor(node: ir.Node) -> ir.Value | None:
    """The tensor among the outputs that costs least when it has to wait."""

    def elements(value: ir.Value) -> float:
        if value.shape is None or not value.shape.is_static():
            return float("inf")
        return float(np.prod(value.shape.numpy(), dtype=np.float64))

    return min(filter(_is_tensor, node.outputs), key=elements, default=None)


def _target(node: ir.Node) -> ir.Value | None:
    """The operand to read through a view: an activation, since constants may be pre-packed."""
    tensors = [value for value in node.inputs if value is not None and _is_tensor(value)]

    def fixed(value: ir.Value) -> bool:
        producer = value.producer()
        return value.is_initializer() or (producer is not None and _is_constant(producer))

    return next((v for v in tensors if not fixed(v)), tensors[0] if tensors else None)
