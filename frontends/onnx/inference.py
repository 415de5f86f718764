"""The child's side of shape inference: native inference first, ORT's symbolic one for the rest.

It runs on a skeleton of the model (no weights) in a process of its own, since native inference
follows whatever the file says.
"""

from __future__ import annotations

import logging
from pathlib import Path
from typing import TYPE_CHECKING, cast

import onnx
import onnx.shape_inference

from lowtide.errors import ModelError

if TYPE_CHECKING:
    from collections.abc import Iterable

__all__ = ["infer", "infer_symbolically"]

# What `infer` returns for a value: element type (None when it is no tensor), and the dimensions,
# None where unknown or the rank is.
_Found = dict[str, tuple[int | None, list[int | str | None] | None]]

_STANDARD = ("", "ai.onnx", "ai.onnx.ml", "ai.onnx.training", "ai.onnx.preview.training")


def infer(request: dict[str, object]) -> dict[str, object]:
    """`onnx.shape_inference` with data propagation on the skeleton at `request["model"]`.

    What the file declares is believed only where inference finds nothing: for operators of other
    domains from the start, and for what is unknown after the first run.

    Raises:
        ModelError: operand types break the operators' rules, or memory runs out.
    """
    path = Path(str(request["model"]))
    model = onnx.ModelProto.FromString(path.read_bytes())
    declared = {value.name: value for value in model.graph.value_info}
    custom = {n for node in model.graph.node if node.domain not in _STANDARD for n in node.output}
    _declare(model, (value for name, value in declared.items() if name in custom))
    model = _native(model)
    found = _collect(model)
    _fill_dropout_masks(model, found)
    unknown = set(_unknown(model, found))
    if unknown & declared.keys():
        kept = [v for v in model.graph.value_info if v.name not in unknown]
        _declare(model, [*kept, *(v for n, v in declared.items() if n in unknown)])
        model = _native(model)
        found = _collect(model)
        _fill_dropout_masks(model, found)
        unknown = set(_unknown(model, found))
    if unknown:
        path.with_suffix(".inferred").write_bytes(model.SerializeToString())
    return {
        "values": found,
        "nested": _nested(model.graph),
        "complete": not unknown,
        "problem": _complaint(model)[:300] if unknown else "",
    }


def infer_symbolically(request: dict[str, object]) -> dict[str, object]:
    """ORT's symbolic inference on what `infer` left beside the skeleton."""
    from onnxruntime.tools.symbolic_shape_infer import SymbolicShapeInference

    logging.disable(logging.CRITICAL)
    path = Path(str(request["model"])).with_suffix(".inferred")
    model = onnx.ModelProto.FromString(path.read_bytes())
    engine = SymbolicShapeInference(2**31 - 1, True, False, 0)
    problem = ""
    try:
        # `infer_shapes` is these lines, but it throws the partial result away.
        engine._preprocess(model)  # pyright: ignore[reportPrivateUsage]
        while engine.run_:
            engine._infer_impl()  # pyright: ignore[reportPrivateUsage]
        engine._update_output_from_vi()  # pyright: ignore[reportPrivateUsage]
    except Exception as error:
        problem = f"{type(error).__name__}: {_one_line(error)}"
    result = cast("onnx.ModelProto | None", getattr(engine, "out_mp_", None))
    found = _collect(result) if result is not None else {}
    return {"values": found, "complete": False, "problem": problem[:300]}


def _native(model: onnx.ModelProto) -> onnx.ModelProto:
    """Native inference; what it cannot infer it leaves out, operand types it insists on."""
    try:
        return onnx.shape_inference.infer_shapes(
            model, check_type=True, strict_mode=False, data_prop=True
        )
    except MemoryError:
        raise ModelError(
            "shape inference runs out of memory: the shapes are absurd, or computed from absurdly "
            "many values"
        ) from None
    except onnx.shape_inference.InferenceError as error:
        raise ModelError(f"onnx refuses the model: {_one_line(error)}") from None


def _complaint(model: onnx.ModelProto) -> str:
    """Why native inference did not get through, in its own words."""
    try:
        onnx.shape_inference.infer_shapes(model, check_type=True, strict_mode=True, data_prop=True)
    except Exception as error:
        return _one_line(error)
    return ""


def _one_line(error: Exception) -> str:
    return " ".join(str(error).split())[:400]


def _declare(model: onnx.ModelProto, values: Iterable[onnx.ValueInfoProto]) -> None:
    copies = [onnx.ValueInfoProto.FromString(value.SerializeToString()) for value in values]
    del model.graph.value_info[:]
    model.graph.value_info.extend(copies)


def _collect(model: onnx.ModelProto) -> _Found:
    found: _Found = {}
    for value in (*model.graph.input, *model.graph.value_info, *model.graph.output):
        kind = value.type.WhichOneof("value")
        if kind is None:
            continue
        if kind != "tensor_type":
            found[value.name] = (None, None)
            continue
        tensor = value.type.tensor_type
        dims: list[int | str | None] | None = None
        if tensor.HasField("shape"):
            dims = [
                d.dim_value if d.HasField("dim_value") else (d.dim_param or None)
                for d in tensor.shape.dim
            ]
        if tensor.elem_type:
            found[value.name] = (tensor.elem_type, dims)
    return found


def _nested(graph: onnx.GraphProto) -> _Found:
    """What is known inside subgraphs, to be bounded like the rest; names are made unique."""
    found: _Found = {}
    for node in graph.node:
        for attribute in node.attribute:
            inner = [*attribute.graphs, *([attribute.g] if attribute.HasField("g") else [])]
            for number, body in enumerate(inner):
                where = f"{node.op_type} {node.name or node.output[0]}/{attribute.name}{number}/"
                values = {**_collect(onnx.ModelProto(graph=body)), **_nested(body)}
                found.update((where + name, value) for name, value in values.items())
    return found


def _fill_dropout_masks(model: onnx.ModelProto, found: _Found) -> None:
    """The mask of Dropout before opset 10, which native inference leaves out: like the operand."""
    version = max((o.version for o in model.opset_import if o.domain in _STANDARD[:2]), default=1)
    for node in model.graph.node:
        if node.op_type != "Dropout" or node.domain not in _STANDARD[:2] or version >= 10:
            continue
        for name in node.output[1:2]:
            if name and found.get(name, (0, None))[1] is None and node.input[0] in found:
                found[name] = found[node.input[0]]


def _unknown(model: onnx.ModelProto, found: _Found) -> list[str]:
    """The results of the main graph's nodes that are tensors of unknown type or size."""
    names: list[str] = []
    for node in model.graph.node:
        for name in node.output:
            if not name:
                continue
            kind, dims = found.get(name, (0, None))
            if kind is None:
                continue
            if kind == 0 or dims is None or not all(isinstance(d, int) for d in dims):
                names.append(name)
    return names
