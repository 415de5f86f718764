"""One form for the graphs that ONNX Runtime writes, whose names and ties change from run to run.

ONNX Runtime walks hash maps while it rewrites, so that the nodes it adds come in another order,
with other numbers in their names, in every process. Here nodes get the order of the source's file
as far as dependencies allow, and what has no name in the source gets one from its structure.
"""

from __future__ import annotations

import hashlib
import heapq
from typing import TYPE_CHECKING

import onnx_ir

if TYPE_CHECKING:
    from collections.abc import Sequence

__all__ = ["canonicalize"]

# Position in the source's file, structure, positions of the readers: what orders two nodes.
_Key = tuple[int, str, tuple[int, ...]]


def canonicalize(model: onnx_ir.Model, source: onnx_ir.Model) -> None:
    """Order and name the nodes, values and initializers of `model` by what `source` says.

    Two nodes that compute the same for the same readers are the only ties left, and they may be
    exchanged. O(nodes log nodes + edges).

    Args:
        model: ONNX Runtime's version of `source`; changed in place, its meaning is not.
        source: the model that ONNX Runtime was given.
    """
    position: dict[str | None, int] = {
        value.name: index
        for index, node in enumerate(source.graph)
        for value in node.outputs
        if value.name
    }
    constants = {*source.graph.initializers, *(v.name for v in source.graph.inputs)}
    nodes = list(model.graph)
    named_nodes = {node.name: index for index, node in enumerate(source.graph) if node.name}
    keys = _keys(model, nodes, position, named_nodes, constants)
    order = _topological(nodes, keys)
    model.graph.remove(nodes)
    model.graph.extend(order)
    taken: set[str | None] = {*position, *constants, *(v.name for v in model.graph.inputs)}
    node_names: set[str | None] = {*named_nodes}
    for node in order:
        for index, value in enumerate(node.outputs):
            if value.name and value.name not in position:
                stem = f"{node.op_type}_{keys[node][1][:12]}"
                value.name = _free(f"{stem}.{index}" if index else stem, taken)
        if node.name not in node_names:
            node.name = _free(f"{node.op_type}:{_first_output(node)}", node_names)
    _name_initializers(model, order, constants, taken)


def _keys(
    model: onnx_ir.Model,
    nodes: Sequence[onnx_ir.Node],
    position: dict[str | None, int],
    named_nodes: dict[str, int],
    constants: set[str | None],
) -> dict[onnx_ir.Node, _Key]:
    """What orders the nodes; `nodes` are in a topological order."""
    digests: dict[onnx_ir.Value, str] = {}
    ranks: dict[onnx_ir.Value, int] = {}
    for value in (*model.graph.inputs, *model.graph.initializers.values()):
        digests[value] = f"{value.name}" if value.name in constants else _content(value)
    keys: dict[onnx_ir.Node, _Key] = {}
    for node in nodes:
        parts = [node.domain, node.op_type, *sorted(map(_attribute, node.attributes.values()))]
        parts += [digests.get(v, f"{v.name}") if v is not None else "-" for v in node.inputs]
        parts += [v.name if v.name in position else "" for v in node.outputs if v.name]
        digest = hashlib.sha256("\0".join(parts).encode()).hexdigest()
        places = [position[v.name] for v in node.outputs if v.name in position]
        if not places and node.name and node.name.removesuffix("_nchwc") in named_nodes:
            places = [named_nodes[node.name.removesuffix("_nchwc")]]
        if not places:
            places = [max((ranks.get(v, -1) for v in node.inputs if v is not None), default=-1)]
        for index, value in enumerate(node.outputs):
            named = value.name in position
            digests[value] = f"{value.name}" if named else f"{digest}:{index}"
            ranks[value] = places[0]
        readers = sorted(
            position.get(result.name, -1)
            for value in node.outputs
            for use in value.uses()
            for result in use.node.outputs
        )
        keys[node] = (places[0], digest, tuple(readers))
    return keys


def _content(value: onnx_ir.Value) -> str:
    """A weight that ONNX Runtime made, by its bytes; by its shape where it lies in a file."""
    tensor = value.const_value
    if tensor is None or isinstance(tensor, onnx_ir.ExternalTensor):
        return f"constant {value.dtype} {value.shape}"
    return hashlib.blake2b(tensor.tobytes(), digest_size=16).hexdigest()


def _attribute(attribute: onnx_ir.Attr) -> str:
    """The attribute as text; a tensor or a graph by its name only."""
    value: object = attribute.value
    if isinstance(value, onnx_ir.Graph | onnx_ir.TensorProtocol):
        value = value.name
    return f"{attribute.name}={value}"


def _topological(
    nodes: Sequence[onnx_ir.Node], keys: dict[onnx_ir.Node, _Key]
) -> list[onnx_ir.Node]:
    """Kahn's order, of the ready nodes always the one with the least key."""
    number = {node: index for index, node in enumerate(nodes)}
    missing = [0] * len(nodes)
    readers: list[list[int]] = [[] for _ in nodes]
    for reader, node in enumerate(nodes):
        for producer in {number[p] for p in _producers(node) if p in number}:
            readers[producer].append(reader)
            missing[reader] += 1
    ready = [(keys[nodes[index]], index) for index, count in enumerate(missing) if not count]
    heapq.heapify(ready)
    order: list[onnx_ir.Node] = []
    while ready:
        _, index = heapq.heappop(ready)
        order.append(nodes[index])
        for reader in readers[index]:
            missing[reader] -= 1
            if not missing[reader]:
                heapq.heappush(ready, (keys[nodes[reader]], reader))
    return order


def _producers(node: onnx_ir.Node) -> list[onnx_ir.Node]:
    """The nodes whose results this one reads, in its subgraphs too."""
    found = [value.producer() for value in node.inputs if value is not None]
    for attribute in node.attributes.values():
        value: object = attribute.value
        inner = value if isinstance(value, list | tuple) else [value]
        for graph in inner:
            if isinstance(graph, onnx_ir.Graph):
                for each in graph:
                    found += _producers(each)
                found += [output.producer() for output in graph.outputs]
    return [producer for producer in found if producer is not None]


def _name_initializers(
    model: onnx_ir.Model,
    order: Sequence[onnx_ir.Node],
    constants: set[str | None],
    taken: set[str | None],
) -> None:
    """Name what ONNX Runtime made after its first reader, and sort it behind the source's own."""
    initializers = model.graph.initializers
    made = {value for name, value in initializers.items() if name not in constants}
    kept = [value for value in initializers.values() if value not in made]
    renamed: dict[onnx_ir.Value, str] = {}
    for node in order:
        for index, value in enumerate(node.inputs):
            if value is not None and value in made and value not in renamed:
                renamed[value] = _free(f"{_first_output(node)}.{index}", taken)
    rest = sorted(made.difference(renamed), key=lambda value: str(value.name))
    initializers.clear()
    for value in (*sorted(kept, key=lambda v: str(v.name)), *renamed, *rest):
        if value in renamed:
            value.name = renamed[value]
            if value.const_value is not None:
                value.const_value.name = value.name
        initializers.add(value)


def _first_output(node: onnx_ir.Node) -> str:
    return next((str(value.name) for value in node.outputs if value.name), "none")


def _free(name: str, taken: set[str | None]) -> str:
    """`name`, or with a number behind it where it is taken; it is taken afterwards."""
    unique, number = name, 1
    while unique in taken:
        number += 1
        unique = f"{name}#{number}"
    taken.add(unique)
    return unique
