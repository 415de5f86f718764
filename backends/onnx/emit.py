"""Write a model with its nodes in a planned order, and nothing else changed."""

from __future__ import annotations

import contextlib
from typing import TYPE_CHECKING

import onnx_ir as ir

from lowtide.backends.atomic import AtomicFile, commit_together
from lowtide.backends.onnx.dependence import node_key, reads
from lowtide.backends.onnx.weights import Weights, data_files
from lowtide.errors import InputError, ModelError, PlanError

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from pathlib import Path

    import onnx

__all__ = ["arrange", "emit"]

_PREFIX = "lowtide."


def emit(
    model: ir.Model,
    order: Sequence[ir.Node],
    destination: Path,
    *,
    provenance: Mapping[str, str],
    source: Path | None = None,
    force: bool = True,
) -> None:
    """Write `model` to `destination` with its nodes in `order`; the model itself is not changed.

    External data stays where it is when it lies in the destination's folder, else its files are
    copied beside the destination (`NAME.data`). Weights in memory that exceed what a protobuf holds
    go to such a file too. All files are written without a name and named at the end, the model
    last. The bytes depend on the arguments only.

    Args:
        model: the model, as `onnx_ir.load` gives it (external data stays lazy).
        order: every node of the main graph once; `Constant` nodes may be left out and are put
            before their first reader.
        destination: the file to write.
        provenance: metadata properties, keys beginning with `lowtide.`; they replace older ones.
        source: the file that the model came from, protected from being overwritten.
        force: whether an existing destination may be replaced.

    Raises:
        InputError: the destination is the source or one of its data files, or cannot be written.
        ModelError: external data is missing, or the model cannot be serialised.
        PlanError: the order is not one of this graph's topological orders.
    """
    wrong = [key for key in provenance if not key.startswith(_PREFIX)]
    if wrong:
        raise ValueError(f"provenance keys must begin with {_PREFIX!r}: {wrong}")
    arranged = arrange(model.graph, order)
    weights = Weights.plan(model, destination)
    _protect(model, destination, weights, source, force=force)
    try:
        with contextlib.ExitStack() as stack:
            files = weights.write(stack)
            with weights.moved_out():
                proto = _serialise(model, destination)
            weights.relink(model, proto)
            _reorder(model.graph, proto, arranged)
            _stamp(proto, provenance)
            target = stack.enter_context(AtomicFile(destination))
            target.stream.write(_bytes(proto, destination))
            commit_together([*files, target])
    except OSError as error:
        raise InputError(f"cannot write {destination}: {error.strerror or error}") from error


def arrange(graph: ir.Graph, order: Sequence[ir.Node]) -> list[ir.Node]:
    """`order` completed by the `Constant` nodes that it leaves out.

    Raises:
        PlanError: not a permutation of the graph's nodes, or a node comes before what it reads.
    """
    nodes = list(graph)
    own, named = {id(node) for node in nodes}, {id(node) for node in order}
    if len(named) != len(order) or not named <= own:
        raise PlanError(
            f"the order names {len(order)} nodes, {len(order) - len(named)} of them twice and"
            f" {len(named - own)} that are not in graph {graph.name!r}"
        )
    missing = [node for node in nodes if id(node) not in named]
    lost = next((n for n in missing if n.op_type != "Constant" or n.domain != ""), None)
    if lost is not None:
        raise PlanError(f"the order leaves out {lost.op_type} node {node_key(lost)!r}")
    free = {id(node): node for node in missing}
    done: set[int] = set()
    arranged: list[ir.Node] = []
    for node in order:
        for value in reads(node):
            producer = value.producer()
            if producer is None or id(producer) in done or id(producer) not in own:
                continue
            if id(producer) not in free:
                raise PlanError(
                    f"{node.op_type} node {node_key(node)!r} is ordered before"
                    f" {producer.op_type} node {node_key(producer)!r}, whose result it reads"
                )
            done.add(id(producer))
            arranged.append(producer)
        done.add(id(node))
        arranged.append(node)
    return [*(node for node in missing if id(node) not in done), *arranged]


def _protect(
    model: ir.Model, destination: Path, weights: Weights, source: Path | None, *, force: bool
) -> None:
    inputs = data_files(model)
    absent = sorted(str(path) for path in inputs if not path.is_file())
    if absent:
        raise ModelError(f"external data file {absent[0]} does not exist: put it where it belongs")
    if source is not None:
        inputs.add(source.resolve())
    if not destination.parent.is_dir():
        raise InputError(f"folder {destination.parent} does not exist: create it first")
    for path in (destination, *weights.files()):
        if path.resolve() in inputs:
            raise InputError(f"{path} is an input file and is never written to: choose another -o")
        if path.is_dir():
            raise InputError(f"{path} is a folder: name a file")
        if not force and path.exists():
            raise InputError(f"{path} exists already: remove it or choose another -o")


def _serialise(model: ir.Model, destination: Path) -> onnx.ModelProto:
    try:
        return ir.to_proto(model)
    except Exception as error:
        raise ModelError(f"cannot serialise the model for {destination}: {error}") from error


def _reorder(graph: ir.Graph, proto: onnx.ModelProto, arranged: Sequence[ir.Node]) -> None:
    place = {id(node): index for index, node in enumerate(graph)}
    written = list(proto.graph.node)
    del proto.graph.node[:]
    proto.graph.node.extend(written[place[id(node)]] for node in arranged)


def _stamp(proto: onnx.ModelProto, provenance: Mapping[str, str]) -> None:
    kept = [(p.key, p.value) for p in proto.metadata_props if not p.key.startswith(_PREFIX)]
    del proto.metadata_props[:]
    for key, value in (*kept, *sorted(provenance.items())):
        proto.metadata_props.add(key=key, value=value)


def _bytes(proto: onnx.ModelProto, destination: Path) -> bytes:
    try:
        data: bytes = proto.SerializeToString(deterministic=True)
    except Exception as error:
        raise ModelError(f"cannot serialise the model for {destination}: {error}") from error
    return data
