"""What a node reads, captured values of its subgraphs included."""

from __future__ import annotations

from typing import TYPE_CHECKING

import onnx_ir as ir

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

__all__ = ["node_key", "predecessors", "reads", "subgraphs"]


def node_key(node: ir.Node) -> str:
    """The name of the node's first named output: unique in a graph, unlike node names."""
    return next((value.name for value in node.outputs if value.name), "")


def subgraphs(node: ir.Node) -> Iterator[ir.Graph]:
    """The graphs in the node's attributes (not those nested in them)."""
    for attribute in node.attributes.values():
        if attribute.is_ref():
            continue
        if attribute.type == ir.AttributeType.GRAPH:
            yield attribute.as_graph()
        elif attribute.type == ir.AttributeType.GRAPHS:
            yield from attribute.as_graphs()


def reads(node: ir.Node) -> Iterator[ir.Value]:
    """Every value that the node or a subgraph of it reads, in order, possibly repeated."""
    for value in node.inputs:
        if value is not None:
            yield value
    for graph in subgraphs(node):
        for inner in graph:
            yield from reads(inner)
        yield from graph.outputs


def predecessors(nodes: Sequence[ir.Node]) -> list[list[int]]:
    """For every node the positions in `nodes` of those whose results it reads, ascending."""
    position = {id(node): index for index, node in enumerate(nodes)}
    return [
        sorted(
            {
                position[id(producer)]
                for value in reads(node)
                if (producer := value.producer()) is not None and id(producer) in position
            }
            - {index}
        )
        for index, node in enumerate(nodes)
    ]
