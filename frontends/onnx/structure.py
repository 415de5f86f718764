"""Structural checks on an untrusted ModelProto: names, order, nesting, versions.

They come before any other reader of the model (shape inference and ONNX Runtime are native code and
follow whatever a file says).
"""

from __future__ import annotations

import heapq
from collections.abc import Set
from dataclasses import dataclass, field
from itertools import chain
from typing import TYPE_CHECKING, cast

import onnx

from lowtide.errors import ModelError
from lowtide.frontends.onnx.limits import (
    MAX_ATTRIBUTE_ITEMS,
    MAX_DEPTH,
    MAX_EXPANDED_NODES,
    MAX_NAME,
    MAX_NODES,
    MAX_RANK,
)

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Sequence

__all__ = ["check_structure", "node_label", "subgraphs"]

_FunctionKey = tuple[str, str, str]
_Scope = tuple[Set[str], ...]  # the names of every enclosing graph


@dataclass
class _Census:
    """What was counted so far, over all graphs and functions."""

    functions: dict[_FunctionKey, onnx.FunctionProto]
    nodes: int = 0
    unsorted: list[str] = field(default_factory=list[str])


def check_structure(model: onnx.ModelProto) -> tuple[str, ...]:
    """Check `model`, and sort the nodes of graphs that are acyclic but out of order, in place.

    ONNX asks for sorted nodes; runtimes accept any acyclic order, so Lowtide sorts (stably: always
    the ready node that comes first in the file) and says so.

    Returns:
        Notes for the user: the graphs that were sorted.

    Raises:
        ModelError: the model breaks a rule that no runtime could mend.
    """
    _check_versions(model)
    _check_text(
        [model.producer_name, model.producer_version, model.domain, model.doc_string],
        *([entry.key, entry.value] for entry in model.metadata_props),
    )
    census = _Census(_functions(model))
    _check_graph(model.graph, f"graph `{model.graph.name}`", (), 0, census=census, top=True)
    for function in model.functions:
        _check_function(function, census)
    _check_calls(model, census)
    return tuple(
        f"the nodes of {where} were not in topological order and have been sorted"
        for where in census.unsorted
    )


def node_label(node: onnx.NodeProto, index: int) -> str:
    """How messages call a node."""
    name = f"`{node.name}`" if node.name else f"number {index}"
    return f"node {name} ({node.op_type})"


def subgraphs(node: onnx.NodeProto) -> Iterator[tuple[str, onnx.GraphProto]]:
    """The graphs in a node's attributes, with the attributes' names."""
    for attribute in node.attribute:
        if attribute.HasField("g"):
            yield attribute.name, attribute.g
        for graph in attribute.graphs:
            yield attribute.name, graph


def _check_versions(model: onnx.ModelProto) -> None:
    if not model.HasField("graph"):
        raise ModelError("the file holds no graph: it is not an ONNX model, or it is damaged")
    newest_ir = int(onnx.IR_VERSION)
    if not 3 <= model.ir_version <= newest_ir:
        raise ModelError(
            f"the model has IR version {model.ir_version}; 3 to {newest_ir} are supported: "
            f"convert it, or install a newer onnx"
        )
    if not model.opset_import:
        raise ModelError("the model imports no operator set; it needs one for the domain ``")
    newest = onnx.defs.onnx_opset_version()
    seen: set[str] = set()
    for opset in model.opset_import:
        domain = "" if opset.domain == "ai.onnx" else opset.domain
        if domain in seen:
            raise ModelError(f"the operator set of domain `{domain}` is imported twice")
        seen.add(domain)
        if opset.version < 1 or (domain == "" and opset.version > newest):
            raise ModelError(
                f"the model imports version {opset.version} of domain `{domain}`; "
                f"1 to {newest} are supported: convert it with onnx.version_converter"
            )
    if len(model.graph.sparse_initializer):
        raise ModelError(
            f"graph `{model.graph.name}` has sparse initializers, which are not supported: "
            f"store them as dense tensors"
        )


def _functions(model: onnx.ModelProto) -> dict[_FunctionKey, onnx.FunctionProto]:
    found: dict[_FunctionKey, onnx.FunctionProto] = {}
    for function in model.functions:
        key = (function.domain, function.name, function.overload)
        if key in found:
            raise ModelError(f"the function `{function.domain}::{function.name}` is defined twice")
        found[key] = function
    return found


def _check_graph(
    graph: onnx.GraphProto,
    where: str,
    outer: _Scope,
    depth: int,
    *,
    census: _Census,
    top: bool = False,
) -> None:
    if depth > MAX_DEPTH:
        raise ModelError(
            f"{where[:120]}... lies {depth} graphs deep; at most {MAX_DEPTH} are allowed"
        )
    _check_text(
        (tensor.name for tensor in graph.initializer),
        (v.name for v in chain(graph.input, graph.value_info, graph.output)),
        longest=MAX_NAME,
    )
    _check_text([graph.name, graph.doc_string])
    made: set[str] = set()
    for value in graph.input:
        if not value.name:
            raise ModelError(f"{where} has an input without a name")
        if value.name in made:
            raise ModelError(f"{where} has two inputs named `{value.name}`; names must be unique")
        made.add(value.name)
        _check_type(value, f"input `{value.name}` of {where}", required=top)
    constants: set[str] = set()
    for tensor in graph.initializer:
        if not tensor.name:
            raise ModelError(f"{where} has an initializer without a name")
        if tensor.name in constants:
            raise ModelError(f"{where} has two initializers named `{tensor.name}`")
        constants.add(tensor.name)
    made |= constants
    for value in (*graph.value_info, *graph.output):
        _check_type(value, f"`{value.name}` in {where}", required=False)
    _check_nodes(graph.node, where, made, outer, depth, census=census)
    for node in graph.node:
        made.update(node.output)
    for value in graph.output:
        if value.name in made and value.name:
            continue
        if _sees(outer, value.name):
            raise ModelError(
                f"{where} returns `{value.name}`, a value of an outer graph; "
                f"runtimes ask for an Identity in between"
            )
        raise ModelError(f"{where} has the output `{value.name}`, which no node makes")
    if top and not graph.output:
        raise ModelError(f"{where} has no outputs: nothing is computed")
    if len({v.name for v in graph.output}) != len(graph.output):
        raise ModelError(f"{where} lists the same output twice")


def _check_function(function: onnx.FunctionProto, census: _Census) -> None:
    where = f"function `{function.domain}::{function.name}`"
    _check_text([function.name, function.domain, function.overload], function.input)
    made = set(function.input)
    if len(made) != len(function.input):
        raise ModelError(f"{where} has two inputs of one name")
    _check_nodes(function.node, where, made, (), 0, census=census)
    for node in function.node:
        made.update(node.output)
    for name in function.output:
        if name not in made:
            raise ModelError(f"{where} has the output `{name}`, which no node makes")


def _check_nodes(
    nodes: Sequence[onnx.NodeProto],
    where: str,
    made: set[str],
    outer: _Scope,
    depth: int,
    *,
    census: _Census,
) -> None:
    """Names and order of a node list; descends into subgraphs. O(nodes + edges) when sorted."""
    census.nodes += len(nodes)
    if census.nodes > MAX_NODES:
        raise ModelError(f"{where}: the model has more than {MAX_NODES} nodes")
    producer: dict[str, int] = {}
    for index, node in enumerate(nodes):
        _check_text(
            [node.name, node.op_type, node.domain, node.overload],
            node.input,
            node.output,
            longest=MAX_NAME,
        )
        _check_text([node.doc_string])
        if not node.op_type:
            raise ModelError(f"{where}, {node_label(node, index)} has no operator type")
        for name in node.output:
            if not name:
                continue
            if name in producer:
                other = node_label(nodes[producer[name]], producer[name])
                raise ModelError(
                    f"{where}: `{name}` is made twice, by {other} and by "
                    f"{node_label(node, index)}; every value needs one producer"
                )
            if name in made:
                raise ModelError(
                    f"{where}: {node_label(node, index)} makes `{name}`, which is already an "
                    f"input or an initializer"
                )
            producer[name] = index
        _check_attributes(node, index, where)
    visible = (*outer, made, producer.keys())
    reads = [
        _reads(node, index, where, visible, depth, census=census)
        for index, node in enumerate(nodes)
    ]
    for index, names in enumerate(reads):
        for name in names:
            if not _sees(visible, name):
                raise ModelError(
                    f"{where}: {node_label(nodes[index], index)} reads `{name}`, which nobody "
                    f"makes: no input, initializer or node has this name"
                )
    needs = [{producer[n] for n in names if n in producer and n not in made} for names in reads]
    if all(not n or max(n) < index for index, n in enumerate(needs)):
        return
    order = _sorted(needs)
    if len(order) < len(nodes):
        stuck = sorted(set(range(len(nodes))) - set(order))
        listed = ", ".join(node_label(nodes[i], i) for i in stuck[:4])
        raise ModelError(
            f"{where} has a cycle: {len(stuck)} nodes wait for one another or for what follows "
            f"the cycle, among them {listed}"
        )
    copies = [onnx.NodeProto.FromString(nodes[i].SerializeToString()) for i in order]
    for index, copy in enumerate(copies):
        nodes[index].CopyFrom(copy)
    census.unsorted.append(where)


def _reads(
    node: onnx.NodeProto,
    index: int,
    where: str,
    visible: _Scope,
    depth: int,
    *,
    census: _Census,
) -> set[str]:
    """What a node reads, the values that its subgraphs capture included."""
    names = {name for name in node.input if name}
    for attribute, graph in subgraphs(node):
        inside = f"{where}, {node_label(node, index)}, `{attribute}`"
        _check_graph(graph, inside, visible, depth + 1, census=census)
        names |= _captured(graph)
    return names


def _check_text(*groups: Iterable[str], longest: int | None = None) -> None:
    """Protobuf hands text that is not UTF-8 over as bytes, whatever its type says."""
    for text in chain.from_iterable(groups):
        if type(cast("object", text)) is not str:
            raise ModelError(f"the text {text!r:.60} is not UTF-8: the file is damaged")
        if longest is not None and len(text) > longest:
            raise ModelError(
                f"the name `{text[:60]}...` has {len(text)} characters, over {longest}"
            )


def _sees(scope: _Scope, name: str) -> bool:
    return any(name in names for names in scope)


def _captured(graph: onnx.GraphProto) -> set[str]:
    local = {v.name for v in graph.input} | {t.name for t in graph.initializer}
    for node in graph.node:
        local.update(node.output)
    names: set[str] = set()
    for node in graph.node:
        names.update(name for name in node.input if name)
        for _, inner in subgraphs(node):
            names |= _captured(inner)
    return names - local


def _sorted(needs: Sequence[set[int]]) -> list[int]:
    """Kahn's algorithm, always the lowest ready index; nodes on or behind cycles are left out."""
    users: list[list[int]] = [[] for _ in needs]
    waiting = [len(n) for n in needs]
    for index, sources in enumerate(needs):
        for source in sources:
            users[source].append(index)
    ready = [index for index, count in enumerate(waiting) if count == 0]
    order: list[int] = []
    while ready:
        index = heapq.heappop(ready)
        order.append(index)
        for user in users[index]:
            waiting[user] -= 1
            if waiting[user] == 0:
                heapq.heappush(ready, user)
    return order


def _check_attributes(node: onnx.NodeProto, index: int, where: str) -> None:
    names: set[str] = set()
    for attribute in node.attribute:
        _check_text([attribute.name, attribute.ref_attr_name])
        label = f"{where}, {node_label(node, index)}: attribute `{attribute.name}`"
        if attribute.name in names:
            raise ModelError(f"{label} is given twice")
        names.add(attribute.name)
        if attribute.type == onnx.AttributeProto.UNDEFINED:
            raise ModelError(f"{label} has no type: the file is damaged")
        items = len(attribute.ints) + len(attribute.floats) + len(attribute.strings)
        if items > MAX_ATTRIBUTE_ITEMS:
            raise ModelError(
                f"{label} has {items} items; at most {MAX_ATTRIBUTE_ITEMS} are allowed"
            )
        if attribute.HasField("sparse_tensor") or len(attribute.sparse_tensors):
            raise ModelError(f"{label} is a sparse tensor, which is not supported: make it dense")


def _check_type(value: onnx.ValueInfoProto, label: str, *, required: bool) -> None:
    kind = value.type.WhichOneof("value")
    if kind is None:
        if required:
            raise ModelError(f"{label} has no type")
        return
    if kind == "map_type":
        raise ModelError(f"{label} is a map, which is not supported: cut the model before it")
    if kind != "tensor_type":
        return
    tensor = value.type.tensor_type
    if tensor.elem_type not in onnx.TensorProto.DataType.values() or (
        required and tensor.elem_type == onnx.TensorProto.UNDEFINED
    ):
        raise ModelError(f"{label} has the unknown element type {tensor.elem_type}")
    if len(tensor.shape.dim) > MAX_RANK:
        raise ModelError(f"{label} has {len(tensor.shape.dim)} dimensions, over {MAX_RANK}")
    for axis, dim in enumerate(tensor.shape.dim):
        if dim.HasField("dim_value") and dim.dim_value < 0:
            raise ModelError(
                f"{label} has the negative dimension {dim.dim_value} at axis {axis}: "
                f"a dimension is 0 or more, or has a name when it is open"
            )


def _check_calls(model: onnx.ModelProto, census: _Census) -> None:
    """Function calls are acyclic and stay bounded when they are inlined."""
    size: dict[_FunctionKey, int] = {}
    active: list[_FunctionKey] = []

    def expanded(key: _FunctionKey) -> int:
        if key in size:
            return size[key]
        if key in active:
            raise ModelError(f"the function `{key[0]}::{key[1]}` calls itself")
        if len(active) >= MAX_DEPTH:
            raise ModelError(f"functions call one another more than {MAX_DEPTH} levels deep")
        active.append(key)
        size[key] = _bounded(census.functions[key].node, f"function `{key[0]}::{key[1]}`")
        active.pop()
        return size[key]

    def _bounded(nodes: Sequence[onnx.NodeProto], where: str) -> int:
        total = 0
        for node in nodes:
            key = (node.domain, node.op_type, node.overload)
            total += 1 + (expanded(key) if key in census.functions else 0)
            total += sum(_bounded(graph.node, where) for _, graph in subgraphs(node))
            if total > MAX_EXPANDED_NODES:
                raise ModelError(f"{where} grows over {MAX_EXPANDED_NODES} nodes once inlined")
        return total

    for key in census.functions:
        expanded(key)
    _bounded(model.graph.node, f"graph `{model.graph.name}`")
