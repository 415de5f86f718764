"""Where an emitted model's weights live: references kept, files copied, large ones moved out."""

from __future__ import annotations

import contextlib
import errno
import os
from dataclasses import dataclass, field
from pathlib import Path
from typing import IO, TYPE_CHECKING, cast

import onnx_ir as ir

from lowtide.backends.atomic import AtomicFile
from lowtide.backends.onnx.dependence import subgraphs
from lowtide.errors import ModelError

if TYPE_CHECKING:
    from collections.abc import Generator, Iterator

    import onnx

__all__ = ["Weights", "data_files"]

_PROTO_LIMIT_BYTES = 2**31 - 2**26  # a protobuf holds less than 2 GiB; leave room for the graph
_MOVE_OUT_BYTES = 1024


@dataclass
class Weights:
    """The data files that go beside a destination.

    Attributes:
        destination: the model file.
        copies: source data file to name beside the destination.
        written: in-memory initializers that go to a data file of their own, when together they
            would not fit into a protobuf.
        written_name: the name of that file.
    """

    destination: Path
    copies: dict[Path, str] = field(default_factory=dict[Path, str])
    written: list[ir.Value] = field(default_factory=list[ir.Value])
    written_name: str = ""

    @staticmethod
    def plan(model: ir.Model, destination: Path) -> Weights:
        """What must be copied or written for `destination`; O(tensors), reads no data."""
        weights = Weights(destination)
        folder = os.path.realpath(destination.parent)
        embedded = 0
        for tensor in _tensors(model):
            if isinstance(tensor, ir.ExternalTensor):
                if os.path.realpath(cast("str", tensor.base_dir)) != folder:
                    source = _source(tensor)
                    if source not in weights.copies:
                        weights.copies[source] = weights._name(len(weights.copies))
            else:
                embedded += tensor.nbytes
        if embedded > _PROTO_LIMIT_BYTES:
            weights.written = [
                value
                for value in model.graph.initializers.values()
                if value.const_value is not None
                and not isinstance(value.const_value, ir.ExternalTensor)
                and value.const_value.dtype != ir.DataType.STRING
                and value.const_value.nbytes >= _MOVE_OUT_BYTES
            ]
            weights.written_name = weights._name(len(weights.copies))
        return weights

    def _name(self, index: int) -> str:
        return f"{self.destination.name}{f'.{index}' if index else ''}.data"

    def files(self) -> list[Path]:
        """The data files that will be beside the destination."""
        names = [*self.copies.values(), *([self.written_name] if self.written else [])]
        return [self.destination.parent / name for name in names]

    def write(self, stack: contextlib.ExitStack) -> list[AtomicFile]:
        """Write the data files, not yet under their names."""
        done: list[AtomicFile] = []
        for source, name in self.copies.items():
            target = stack.enter_context(AtomicFile(self.destination.parent / name))
            with source.open("rb") as stream:
                _copy(stream, target.stream)
            done.append(target)
        if self.written:
            target = stack.enter_context(AtomicFile(self.destination.parent / self.written_name))
            for value in self.written:
                assert value.const_value is not None
                target.stream.write(value.const_value.tobytes())
            done.append(target)
        return done

    @contextlib.contextmanager
    def moved_out(self) -> Generator[None]:
        """Within, the initializers that are written to a data file refer to it."""
        kept = [value.const_value for value in self.written]
        offset = 0
        try:
            for value, tensor in zip(self.written, kept, strict=True):
                assert tensor is not None
                value.const_value = ir.ExternalTensor(
                    self.written_name,
                    offset,
                    tensor.nbytes,
                    tensor.dtype,
                    shape=ir.Shape(tensor.shape.numpy()),
                    name=value.name or "",
                    doc_string=tensor.doc_string,
                    base_dir=self.destination.parent,
                )
                offset += tensor.nbytes
            yield
        finally:
            for value, tensor in zip(self.written, kept, strict=True):
                value.const_value = tensor

    def relink(self, model: ir.Model, proto: onnx.ModelProto) -> None:
        """Point the references in `proto` at the copied files."""
        if not self.copies:
            return
        names: dict[str, str] = {}
        for tensor in _tensors(model):
            if isinstance(tensor, ir.ExternalTensor):
                location = cast("str", tensor.location)
                name = self.copies.get(_source(tensor), location)
                if names.setdefault(location, name) != name:
                    raise ModelError(
                        f"external data {location!r} means two different files in one model:"
                        " save the model in one folder first"
                    )
        for entry in _locations(proto):
            entry.value = names.get(entry.value, entry.value)


def data_files(model: ir.Model) -> set[Path]:
    """The resolved paths of all external data files that the model refers to."""
    return {_source(tensor) for tensor in _tensors(model) if isinstance(tensor, ir.ExternalTensor)}


def _source(tensor: ir.ExternalTensor) -> Path:
    return Path(tensor.path).resolve()  # pyright: ignore[reportUnknownArgumentType]


def _tensors(model: ir.Model) -> Iterator[ir.TensorProtocol]:
    """Every tensor stored in the model: initializers and attributes, subgraphs and functions."""
    yield from _graph_tensors(model.graph)
    for function in model.functions.values():
        for node in function:
            yield from _node_tensors(node)


def _graph_tensors(graph: ir.Graph) -> Iterator[ir.TensorProtocol]:
    for value in graph.initializers.values():
        if value.const_value is not None:
            yield value.const_value
    for node in graph:
        yield from _node_tensors(node)


def _node_tensors(node: ir.Node) -> Iterator[ir.TensorProtocol]:
    for attribute in node.attributes.values():
        if attribute.is_ref():
            continue
        if attribute.type == ir.AttributeType.TENSOR:
            yield attribute.as_tensor()
        elif attribute.type == ir.AttributeType.TENSORS:
            yield from attribute.as_tensors()
    for graph in subgraphs(node):
        yield from _graph_tensors(graph)


def _locations(proto: onnx.ModelProto) -> Iterator[onnx.StringStringEntryProto]:
    """The `location` entries of all external tensors."""

    def of_tensor(tensor: onnx.TensorProto) -> Iterator[onnx.StringStringEntryProto]:
        if tensor.data_location == tensor.EXTERNAL:
            for entry in tensor.external_data:
                if entry.key == "location":
                    yield entry

    def of_node(node: onnx.NodeProto) -> Iterator[onnx.StringStringEntryProto]:
        for attribute in node.attribute:
            if attribute.HasField("t"):
                yield from of_tensor(attribute.t)
            for tensor in attribute.tensors:
                yield from of_tensor(tensor)
            if attribute.HasField("g"):
                yield from of_graph(attribute.g)
            for graph in attribute.graphs:
                yield from of_graph(graph)

    def of_graph(graph: onnx.GraphProto) -> Iterator[onnx.StringStringEntryProto]:
        for tensor in graph.initializer:
            yield from of_tensor(tensor)
        for node in graph.node:
            yield from of_node(node)

    yield from of_graph(proto.graph)
    for function in proto.functions:
        for node in function.node:
            yield from of_node(node)


def _copy(source: IO[bytes], target: IO[bytes]) -> None:
    """Copy a file, holes as holes, in constant memory."""
    size = os.fstat(source.fileno()).st_size
    position = 0
    while position < size:
        end = size
        if hasattr(os, "SEEK_DATA"):
            try:
                position = os.lseek(source.fileno(), position, os.SEEK_DATA)
                end = os.lseek(source.fileno(), position, os.SEEK_HOLE)
            except OSError as error:
                if error.errno == errno.ENXIO:  # only a hole is left
                    break
        source.seek(position)
        target.seek(position)
        while position < end:
            chunk = source.read(min(1 << 22, end - position))
            if not chunk:
                raise OSError(f"{source.name} became shorter while it was copied")
            target.write(chunk)
            position += len(chunk)
    target.flush()
    os.ftruncate(target.fileno(), size)
