"""Recomputation in an ONNX model: a node that runs again is a node of its own in the file."""

from __future__ import annotations

from collections import Counter
from itertools import chain
from typing import TYPE_CHECKING

import onnx_ir as ir

from lowtide.backends.onnx.dependence import node_key, reads, subgraphs
from lowtide.errors import PlanError

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

__all__ = ["repeated"]


def repeated(model: ir.Model, order: Sequence[ir.Node]) -> tuple[ir.Model, list[ir.Node]]:
    """A copy of `model` with one node for every step of `order`, and these nodes in that order.

    Later readers, the caller too, get the newest results. First runs keep their names, later ones
    and their values get `~2`, `~3`, ... behind, but the graph's outputs keep theirs. Weights are
    shared with `model`, which is not changed. A runtime that merges equal nodes undoes this; ONNX
    Runtime does so at every level but ORT_DISABLE_ALL.

    Raises:
        PlanError: a node with subgraphs comes again, or a subgraph reads what comes again.
    """
    copy = model.clone()
    twin = {id(old): new for old, new in zip(model.graph, copy.graph, strict=True)}
    steps = [twin[id(node)] for node in order]
    taken = {value.name for node in copy.graph for value in node.outputs}
    taken |= {value.name for value in copy.graph.inputs} | set(copy.graph.initializers)
    taken |= {node.name for node in copy.graph}
    again = {key for key, count in Counter(map(id, steps)).items() if count > 1}
    operands = {id(node): tuple(node.inputs) for node in steps}
    for node in copy.graph:
        inside = list(subgraphs(node))
        if inside and id(node) in again:
            raise PlanError(f"{node.op_type} node {node_key(node)!r} has subgraphs: it runs once")
        for producer in _captured(inside):
            if id(producer) in again:
                raise PlanError(
                    f"{producer.op_type} node {node_key(producer)!r} is read inside the subgraph "
                    f"of {node_key(node)!r}: it runs once"
                )
    newest: dict[int, ir.Value] = {}
    runs: dict[int, int] = {}
    result: list[ir.Node] = []
    for node in steps:
        runs[id(node)] = run = runs.get(id(node), 0) + 1
        values = [None if v is None else newest.get(id(v), v) for v in operands[id(node)]]
        if run == 1:
            for index, operand in enumerate(values):
                if operand is not node.inputs[index]:
                    node.replace_input_with(index, operand)
            result.append(node)
            continue
        clone = ir.Node(
            node.domain,
            node.op_type,
            values,
            list(node.attributes.values()),
            overload=node.overload,
            num_outputs=len(node.outputs),
            version=node.version,
            name=_name(node.name, run, taken),
        )
        for old, new in zip(node.outputs, clone.outputs, strict=True):
            new.name = _name(old.name, run, taken) if old.name else old.name
            new.shape, new.type = old.shape, old.type
            newest[id(old)] = new
        copy.graph.append(clone)
        result.append(clone)
    for index, value in enumerate(copy.graph.outputs):
        last = newest.get(id(value))
        if last is not None:
            value.name, last.name = last.name, value.name
            copy.graph.outputs[index] = last
    return copy, result


def _captured(graphs: Sequence[ir.Graph]) -> Iterator[ir.Node]:
    """The producers of what is read inside."""
    for graph in graphs:
        for value in chain(graph.outputs, *(reads(node) for node in graph)):
            producer = value.producer()
            if producer is not None:
                yield producer


def _name(name: str | None, run: int, taken: set[str | None]) -> str | None:
    if not name:
        return name
    found = f"{name}~{run}"
    while found in taken:
        found += "'"
    taken.add(found)
    return found
