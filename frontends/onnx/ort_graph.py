"""The graph that ONNX Runtime really runs: its own optimised model, with all shapes."""

from __future__ import annotations

import math
import os
import shutil
import tempfile
import weakref
from pathlib import Path
from typing import TYPE_CHECKING, Literal, cast

import onnx_ir
from google.protobuf.message import EncodeError  # type: ignore[import-untyped]

from lowtide import child
from lowtide.errors import ModelError
from lowtide.frontends.onnx import payload
from lowtide.frontends.onnx.canonical import canonicalize
from lowtide.frontends.onnx.dimensions import require_bound
from lowtide.frontends.onnx.dtypes import ELEMENT_TYPES
from lowtide.frontends.onnx.limits import physical_memory_bytes
from lowtide.frontends.onnx.message import one_line
from lowtide.frontends.onnx.shapes import Inferred, annotate, check_sizes
from lowtide.ir.dtype import BITS

if TYPE_CHECKING:
    from lowtide.frontends.onnx.source import OnnxSource

__all__ = ["OrtLevel", "optimized_by_ort"]

OrtLevel = Literal["basic", "extended", "all"]

# Flags of /proc/cpuinfo on which MLAS chooses kernels and layouts.
_SMALL = 8192  # bytes of external data that are handed over inside the model
_INLINE_LIMIT = 1 << 30  # a model with more weights than this inside is handed over in two files


class _Folder:
    """A temporary folder that is removed with the last reference to it, or at exit."""

    def __init__(self) -> None:
        self.path = Path(tempfile.mkdtemp(prefix="lowtide-"))
        self.remove = weakref.finalize(self, shutil.rmtree, self.path, ignore_errors=True)


def optimized_by_ort(
    source: OnnxSource, *, level: OrtLevel, threads: int = 1, timeout_s: float = 300.0
) -> onnx_ir.Model:
    """The model that an ORT session at `level` runs, with ORT's own types and shapes on its values.

    ORT works in a child process. Its weights stay in a temporary folder that lives as long as the
    returned model or one of its tensors. Initializers are never among its inputs; required inputs
    and outputs are the source's. `all` is specific to this CPU and this
    version of ORT.

    Raises:
        ModelError: dimensions are open; ORT refuses the model, crashes, or runs out of memory or
            time; or its graph has other inputs or outputs than the source.
    """
    require_bound(source.open_dims)
    _require_ranks(source.model)
    folder = _Folder()
    try:
        path, data = _hand_over(source, folder.path)
    except (onnx_ir.serde.SerdeError, EncodeError, ValueError) as error:
        raise ModelError(one_line(f"the model cannot be handed to ONNX Runtime: {error}")) from None
    request: dict[str, object] = {
        "model": str(path),
        "folder": data,
        "work": str(folder.path),
        "level": level,
        "threads": threads,
    }
    try:
        reply = child.run(
            "lowtide.frontends.onnx.ort_session:optimize",
            request,
            timeout_s=timeout_s,
            memory_limit_bytes=_memory_limit(source.model),
        )
    except child.ChildError as error:
        raise ModelError(
            f"ONNX Runtime does not survive optimising the model at level `{level}`: {error}: "
            f"the model is damaged, or asks for more memory than there is"
        ) from None
    values = cast("dict[str, Inferred]", reply["values"])
    check_sizes(values)
    model = _loaded(folder, outside=bool(data))
    path.unlink()
    path.with_name("source.bin").unlink(missing_ok=True)
    _inherit(source.model, values)
    annotate(model, values)
    _check_signature(source.model, model, level)
    canonicalize(model, source.model)
    return model


def _require_ranks(model: onnx_ir.Model) -> None:
    for value in model.graph.inputs:
        constant = value.name in model.graph.initializers
        if value.shape is None and isinstance(value.type, onnx_ir.TensorType) and not constant:
            raise ModelError(
                one_line(
                    f"the input `{value.name}` has no shape, not even a rank: declare its "
                    f"dimensions in the model (they may be open)"
                )
            )


def _hand_over(source: OnnxSource, work: Path) -> tuple[Path, str]:
    """Write the model for ORT; the folder of its external data (empty when beside the file)."""
    path = work / "source.onnx"
    tensors = [v.const_value for g in source.model.graphs() for v in g.initializers.values()]
    inline = sum(
        t.nbytes for t in tensors if t is not None and not isinstance(t, onnx_ir.ExternalTensor)
    )
    folders = {
        os.fspath(cast("str", t.base_dir)) for t in tensors if isinstance(t, onnx_ir.ExternalTensor)
    }
    if inline > _INLINE_LIMIT:
        model = source.model.clone()
        kept = [v for v in model.graph.inputs if v.name not in model.graph.initializers]
        model.graph.inputs.clear()
        model.graph.inputs.extend(kept)
        model.ir_version = max(model.ir_version, 4)
        onnx_ir.save(model, path, external_data="source.bin")
        return path, ""
    proto = onnx_ir.to_proto(source.model)
    constants = {tensor.name for tensor in proto.graph.initializer}
    for index in reversed(range(len(proto.graph.input))):
        if proto.graph.input[index].name in constants:
            del proto.graph.input[index]
    proto.ir_version = max(proto.ir_version, 4)
    for tensor, label in payload.tensors(proto):
        # ORT's shape inference cannot read shapes that lie in another file.
        if payload.is_external(tensor) and payload.dense_bytes(tensor, label) <= _SMALL:
            payload.load_external(tensor, Path(next(iter(folders))))
    path.write_bytes(proto.SerializeToString())
    return path, folders.pop() if folders else ""


def _memory_limit(model: onnx_ir.Model) -> int:
    """Address space for ORT: some copies of the weights and of what it may fold, capped."""
    weights = sum(
        v.const_value.nbytes for v in model.graph.initializers.values() if v.const_value is not None
    )
    varying = {v for v in model.graph.inputs if v.name not in model.graph.initializers}
    folded = 0
    for node in model.graph:
        if any(v in varying for v in node.inputs):
            varying.update(node.outputs)
            continue
        for value in node.outputs:
            if value.shape is not None and value.shape.is_static() and value.dtype is not None:
                bits = BITS.get(ELEMENT_TYPES.get(value.dtype.value, ""), 0)
                folded += math.prod(value.shape.numpy()) * bits // 8
    return min(physical_memory_bytes(), 4 * (weights + folded) + (2 << 30))


def _loaded(folder: _Folder, *, outside: bool) -> onnx_ir.Model:
    """ORT's saved model; whoever holds it, or one of its tensors, holds the folder.

    Weights that fit in one file are read into the model, unless the source keeps its own `outside`.
    """
    model = onnx_ir.load(folder.path / "optimized.onnx")
    weights = folder.path / "weights.bin"
    if not outside and (not weights.exists() or weights.stat().st_size <= _INLINE_LIMIT):
        return onnx_ir.external_data.load_to_model(model)
    model.meta["lowtide.folder"] = folder
    for graph in model.graphs():
        for value in graph.initializers.values():
            if isinstance(value.const_value, onnx_ir.ExternalTensor):
                value.const_value.meta["lowtide.folder"] = folder
    return model


def _inherit(source: onnx_ir.Model, values: dict[str, Inferred]) -> None:
    """Where ORT leaves a dimension open that our inference knew, take ours (names persist)."""
    for node in source.graph:
        for value in node.outputs:
            known = values.get(value.name or "")
            if known is None or known[0] is None or value.shape is None:
                continue
            dims = known[1]
            if (dims is None or not all(isinstance(d, int) for d in dims)) and (
                value.shape.is_static() and value.dtype is not None
            ):
                values[str(value.name)] = value.dtype.value, list(value.shape.numpy())


def _check_signature(source: onnx_ir.Model, model: onnx_ir.Model, level: str) -> None:
    """Required inputs and outputs are the source's: names, order, types and known shapes."""
    required = [v for v in source.graph.inputs if v.name not in source.graph.initializers]
    for what, expected, found in (
        ("inputs", required, list(model.graph.inputs)),
        ("outputs", list(source.graph.outputs), list(model.graph.outputs)),
    ):
        if [v.name for v in expected] != [v.name for v in found]:
            raise ModelError(
                f"ONNX Runtime's graph at level `{level}` has the {what} "
                f"{[v.name for v in found]} instead of {[v.name for v in expected]}: try another "
                f"level"
            )
        for ours, theirs in zip(expected, found, strict=True):
            if ours.type != theirs.type or not _agree(ours.shape, theirs.shape):
                raise ModelError(
                    f"ONNX Runtime's graph at level `{level}` gives `{ours.name}` the type "
                    f"{theirs.type} {theirs.shape} instead of {ours.type} {ours.shape}: try "
                    f"another level"
                )


def _agree(ours: onnx_ir.Shape | None, theirs: onnx_ir.Shape | None) -> bool:
    """Whether two shapes can be the same: equal wherever both are known."""
    if ours is None or theirs is None:
        return True
    return len(ours) == len(theirs) and all(
        a == b
        for a, b in zip(ours, theirs, strict=True)
        if isinstance(a, int) and isinstance(b, int)
    )
