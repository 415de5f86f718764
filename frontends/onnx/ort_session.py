"""The child's side of `ort_graph`: ONNX Runtime optimises the model and names all types."""

# pyright: reportUnknownVariableType=false, reportUnknownParameterType=false
# pyright: reportUnknownArgumentType=false
# ORT's native module has no stubs.

from __future__ import annotations

import re
from pathlib import Path
from typing import TYPE_CHECKING

import onnx
import onnxruntime as ort

from lowtide.errors import ModelError
from lowtide.frontends.onnx.dtypes import ORT_TYPES
from lowtide.frontends.onnx.message import one_line

if TYPE_CHECKING:
    from collections.abc import Sequence

__all__ = ["optimize"]

_LEVELS = {
    "basic": ort.GraphOptimizationLevel.ORT_ENABLE_BASIC,
    "extended": ort.GraphOptimizationLevel.ORT_ENABLE_EXTENDED,
    "all": ort.GraphOptimizationLevel.ORT_ENABLE_ALL,
}
_TENSOR = re.compile(r"tensor\((\w+)\)\Z")


def optimize(request: dict[str, object]) -> dict[str, object]:
    """Save the graph that ORT runs, and read the type and shape of each of its values.

    Args:
        request: `model` (the file), `folder` (where its external data is, or empty), `work` (where
            `optimized.onnx` and `weights.bin` go), `level`, `threads`.
    """
    ort.disable_telemetry_events()
    work = Path(str(request["work"]))
    options = _options(int(str(request["threads"])))
    options.graph_optimization_level = _LEVELS[str(request["level"])]
    options.optimized_model_filepath = str(work / "optimized.onnx")
    options.add_session_config_entry(
        "session.optimized_model_external_initializers_file_name", "weights.bin"
    )
    options.add_session_config_entry(
        "session.optimized_model_external_initializers_min_size_in_bytes", "1024"
    )
    _load(Path(str(request["model"])), str(request["folder"]), options)
    return {"values": _types(work / "optimized.onnx", _options(1))}


def _options(threads: int) -> ort.SessionOptions:
    options = ort.SessionOptions()
    options.log_severity_level = 4
    options.intra_op_num_threads = threads
    options.inter_op_num_threads = 1
    options.enable_cpu_mem_arena = False
    options.enable_mem_pattern = False
    options.add_session_config_entry("session.disable_prepacking", "1")
    return options


def _load(path: Path, folder: str, options: ort.SessionOptions) -> ort.InferenceSession:
    if folder:
        options.add_session_config_entry(
            "session.model_external_initializers_file_folder_path", folder
        )
    try:
        return ort.InferenceSession(
            path.read_bytes() if folder else str(path), options, ["CPUExecutionProvider"]
        )
    except Exception as error:  # ORT's exceptions have no base of their own
        text = one_line(str(error).replace(str(path), "the file")[:600])
        raise ModelError(f"ONNX Runtime {ort.__version__} refuses the model: {text}") from None


def _types(path: Path, options: ort.SessionOptions) -> dict[str, tuple[int | None, object]]:
    """Types and shapes of all results, from a session on a probe that returns every one of them."""
    model = onnx.load_model(path, load_external_data=False)
    returned = {value.name for value in model.graph.output}
    for node in model.graph.node:
        for name in node.output:
            if name and name not in returned:
                returned.add(name)
                model.graph.output.append(onnx.ValueInfoProto(name=name))
    probe = path.with_name("probe.onnx")
    probe.write_bytes(model.SerializeToString())
    options.graph_optimization_level = ort.GraphOptimizationLevel.ORT_DISABLE_ALL
    session = _load(probe, "", options)
    probe.unlink()
    return {
        arg.name: _type(arg.type, arg.shape)
        for arg in (*session.get_inputs(), *session.get_outputs())
    }


def _type(kind: str, shape: Sequence[int | str | None]) -> tuple[int | None, object]:
    match = _TENSOR.match(kind)
    if match is None or match[1] not in ORT_TYPES:
        return None, None
    return ORT_TYPES[match[1]], list(shape)
