"""Shapes of all values: inferred in a child process on a skeleton of the model, then bounded."""

from __future__ import annotations

import math
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING, cast

import onnx
import onnx_ir

from lowtide import child
from lowtide.errors import ModelError
from lowtide.frontends.onnx.dtypes import ELEMENT_TYPES
from lowtide.frontends.onnx.limits import MAX_RANK, physical_memory_bytes
from lowtide.frontends.onnx.payload import is_external, load_external
from lowtide.ir.dtype import BITS

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence

__all__ = ["INFERENCE_PROBLEM", "OPAQUE", "Inferred", "annotate", "infer_shapes"]

# Element type (None for what is no tensor) and dimensions (None for an unknown rank; a name or None
# for an unknown dimension).
Inferred = tuple[int | None, list[int | str | None] | None]

# Where a model's `meta` keeps what inference complained about, for a later error to quote.
INFERENCE_PROBLEM = "lowtide.inference"
# Where a value's `meta` says that it is no tensor, for files that do not declare its type.
OPAQUE = "lowtide.opaque"

_KEPT_INTEGERS = 1024  # initializers up to this size may feed shapes and stay in the skeleton
_KEPT_OTHERS = 64
_INTEGERS = (2, 3, 4, 5, 6, 7, 9, 12, 13)
_NATIVE_MEMORY = 200 << 20
_SYMBOLIC_MEMORY = 1 << 30
_BYTES_PER_SKELETON_BYTE = 40


def infer_shapes(model: onnx.ModelProto, folder: Path | None) -> tuple[dict[str, Inferred], str]:
    """The types and shapes of the main graph's values, and what inference complained about.

    `onnx.shape_inference` with data propagation; ORT's symbolic inference where that leaves
    something unknown. `model` has passed the structural checks and is not changed.

    Raises:
        ModelError: inference crashed, ran out of memory, or a value would not fit the machine.
    """
    skeleton = _skeleton(model, folder).SerializeToString()
    scaled = _BYTES_PER_SKELETON_BYTE * len(skeleton)
    with tempfile.TemporaryDirectory(prefix="lowtide-") as work:
        path = Path(work, "skeleton.onnx")
        path.write_bytes(skeleton)
        request = {"model": str(path)}
        timeout_s = 30 + len(skeleton) / 1e6
        try:
            reply = child.run(
                "lowtide.frontends.onnx.inference:infer",
                request,
                timeout_s=timeout_s,
                memory_limit_bytes=_NATIVE_MEMORY + scaled,
            )
        except child.ChildError as error:
            raise ModelError(
                f"shape inference does not survive the model: {error}: the file is damaged or "
                f"asks for absurd shapes"
            ) from None
        values, problem = _values(reply), str(reply["problem"])
        check_sizes(values)
        check_sizes(_values(reply, "nested"))
        if not reply["complete"]:
            more, complaint = _symbolic(request, timeout_s, _SYMBOLIC_MEMORY + scaled)
            check_sizes(more)
            for name, value in more.items():
                if not _static(values.get(name)):
                    values[name] = value
            problem = problem or complaint
    return values, problem


def _symbolic(
    request: Mapping[str, object], timeout_s: float, limit: int
) -> tuple[dict[str, Inferred], str]:
    """What symbolic inference adds; nothing where it fails, since it is the second opinion."""
    try:
        reply = child.run(
            "lowtide.frontends.onnx.inference:infer_symbolically",
            request,
            timeout_s=timeout_s,
            memory_limit_bytes=limit,
        )
    except child.ChildError as error:
        return {}, str(error)
    return _values(reply), str(reply["problem"])


def annotate(model: onnx_ir.Model, values: Mapping[str, Inferred]) -> None:
    """Write types and shapes onto the main graph's values, in place."""
    for value in _main_values(model):
        found = values.get(value.name or "")
        if found is None:
            continue
        if found[0] is None:
            value.meta[OPAQUE] = True
            continue
        kind, dims = found[0], found[1]
        value.type = onnx_ir.TensorType(onnx_ir.DataType(kind))
        if dims is not None:
            value.shape = onnx_ir.Shape(dims)


def check_sizes(values: Mapping[str, Inferred]) -> None:
    """No value is larger than the machine's memory, negative, or of absurd rank.

    Raises:
        ModelError: the first value that is.
    """
    memory = physical_memory_bytes()
    for name, (kind, dims) in values.items():
        if kind is None or dims is None:
            continue
        if len(dims) > MAX_RANK:
            raise ModelError(f"`{name}` has {len(dims)} dimensions, over {MAX_RANK}")
        known = [d for d in dims if isinstance(d, int)]
        if any(d < 0 for d in known):
            raise ModelError(f"`{name}` has a negative dimension in its shape {dims}")
        bits = BITS[ELEMENT_TYPES.get(kind, "opaque")] or 8
        nbytes = (math.prod(known) * bits + 7) // 8
        if nbytes > memory and len(known) == len(dims):
            raise ModelError(
                f"`{name}` has the shape {dims} and would take {nbytes} bytes, more than this "
                f"machine's {memory}: the model is not meant to run here, or is hostile"
            )


def _main_values(model: onnx_ir.Model) -> Iterable[onnx_ir.Value]:
    yield from model.graph.inputs
    for node in model.graph:
        yield from node.outputs
    yield from model.graph.outputs


def _values(reply: Mapping[str, object], key: str = "values") -> dict[str, Inferred]:
    values = cast("dict[str, list[object]]", reply[key])
    return {name: cast("Inferred", tuple(pair)) for name, pair in values.items()}


def _static(value: Inferred | None) -> bool:
    if value is None or value[0] is None:
        return value is not None
    return value[1] is not None and all(isinstance(d, int) for d in value[1])


def _skeleton(model: onnx.ModelProto, folder: Path | None) -> onnx.ModelProto:
    """A copy without weights: large initializers become inputs, small integer ones stay."""
    bare = onnx.ModelProto(ir_version=max(model.ir_version, 4))
    bare.opset_import.extend(model.opset_import)
    imported = {opset.domain for opset in model.opset_import}
    for domain in sorted({node.domain for node in model.graph.node} - imported - {"", "ai.onnx"}):
        # Runtimes do not insist on an import of domains that are not ONNX's own.
        bare.opset_import.add(domain=domain, version=1)
    for function in model.functions:
        bare.functions.append(function)
        _strip(bare.functions[-1].node)
    graph = model.graph
    bare.graph.name = graph.name or "graph"
    bare.graph.input.extend(graph.input)
    inputs = {value.name for value in graph.input}
    for tensor in graph.initializer:
        if _small(tensor):
            _keep(bare.graph.initializer.add(), tensor, folder)
        elif tensor.name not in inputs:
            bare.graph.input.append(
                onnx.helper.make_tensor_value_info(tensor.name, tensor.data_type, list(tensor.dims))
            )
    for node in graph.node:
        _copy_node(bare.graph.node.add(), node)
    bare.graph.output.extend(onnx.ValueInfoProto(name=value.name) for value in graph.output)
    bare.graph.value_info.extend(graph.value_info)
    # Declared outputs are a claim like any other: believed only where inference finds nothing.
    made = {name for node in graph.node for name in node.output}
    listed = {value.name for value in graph.value_info}
    bare.graph.value_info.extend(
        value
        for value in graph.output
        if value.name in made and value.name not in listed and value.type.WhichOneof("value")
    )
    return bare


def _small(tensor: onnx.TensorProto) -> bool:
    limit = _KEPT_INTEGERS if tensor.data_type in _INTEGERS else _KEPT_OTHERS
    return math.prod(tensor.dims) <= limit and tensor.data_type != onnx.TensorProto.STRING


def _keep(copy: onnx.TensorProto, tensor: onnx.TensorProto, folder: Path | None) -> None:
    copy.CopyFrom(tensor)
    if not is_external(tensor) or folder is None:
        return
    load_external(copy, folder)


def _copy_node(copy: onnx.NodeProto, node: onnx.NodeProto) -> None:
    if node.ByteSize() < 1 << 16:
        copy.CopyFrom(node)
        _strip([copy])
        return
    # A node with weights in its attributes: do not copy those.
    copy.op_type, copy.domain, copy.name = node.op_type, node.domain, node.name
    copy.overload = node.overload
    copy.input.extend(node.input)
    copy.output.extend(node.output)
    for attribute in node.attribute:
        if attribute.HasField("t") and not _small(attribute.t):
            bare = copy.attribute.add(name=attribute.name, type=attribute.type)
            _declare(bare.t, attribute.t)
        else:
            copy.attribute.append(attribute)
    _strip([copy])


def _strip(nodes: Sequence[onnx.NodeProto] | Iterable[onnx.NodeProto]) -> None:
    """Drop the data of large tensors in attributes and subgraphs, in place."""
    for node in nodes:
        for attribute in node.attribute:
            if attribute.HasField("t") and not _small(attribute.t):
                _declare(attribute.t, attribute.t)
            graphs = [*attribute.graphs, *([attribute.g] if attribute.HasField("g") else [])]
            for graph in graphs:
                for tensor in graph.initializer:
                    if not _small(tensor):
                        _declare(tensor, tensor)
                _strip(graph.node)


def _declare(target: onnx.TensorProto, tensor: onnx.TensorProto) -> None:
    """Make `target` the declaration of `tensor`: type and shape without data."""
    bare = onnx.TensorProto(data_type=tensor.data_type, dims=tensor.dims, name=tensor.name)
    target.CopyFrom(bare)
