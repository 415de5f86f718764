"""Single ONNX nodes, emitted and run beside ONNX Runtime in this process."""

# ONNX Runtime's extension module has no stubs:
# pyright: reportUnknownVariableType=false, reportUnknownArgumentType=false

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import numpy.typing as npt
import onnx
import onnx_ir
import onnxruntime as ort
from onnx import helper, numpy_helper

from lowtide.backends.tensorflow.from_onnx.graph import Built, build
from lowtide.backends.tensorflow.from_onnx.lazy import tf

Array = npt.NDArray[Any]


def model_of(
    nodes: Sequence[onnx.NodeProto],
    inputs: Mapping[str, Array],
    outputs: Sequence[str],
    constants: Mapping[str, Array] | None = None,
    *,
    opset: int = 17,
    open_axes: Mapping[str, Sequence[int]] | None = None,
) -> onnx.ModelProto:
    infos: list[onnx.ValueInfoProto] = []
    for name, value in inputs.items():
        shape: list[int | str] = list(value.shape)
        for axis in (open_axes or {}).get(name, ()):
            shape[axis] = f"{name}_{axis}"
        kind = helper.np_dtype_to_tensor_dtype(value.dtype)
        infos.append(helper.make_tensor_value_info(name, kind, shape))
    graph = helper.make_graph(
        list(nodes),
        "case",
        infos,
        [onnx.ValueInfoProto(name=name) for name in outputs],
        [numpy_helper.from_array(value, name) for name, value in (constants or {}).items()],
    )
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", opset)], ir_version=8)


def expected(model: onnx.ModelProto, inputs: Mapping[str, Array]) -> list[Array]:
    options = ort.SessionOptions()
    options.log_severity_level = 4
    session: Any = ort.InferenceSession(
        model.SerializeToString(), options, providers=["CPUExecutionProvider"]
    )
    return [np.asarray(value) for value in session.run(None, dict(inputs))]


def emitted(model: onnx.ModelProto, inputs: Mapping[str, Array]) -> tuple[Built, list[Array]]:
    built = build(onnx_ir.from_proto(model))
    results = built.function(*(tf.constant(inputs[name]) for name in built.inputs))
    return built, [results[name].numpy() for name in built.outputs]


def agrees(
    model: onnx.ModelProto, inputs: Mapping[str, Array], *, tolerance: float = 1e-5
) -> Built:
    """The emitted model computes what ONNX Runtime computes."""
    wanted = expected(model, inputs)
    built, found = emitted(model, inputs)
    for want, have in zip(wanted, found, strict=True):
        assert have.shape == want.shape
        assert have.dtype == want.dtype
        scale = max(1.0, float(np.abs(want).max(initial=0.0)))
        np.testing.assert_allclose(have, want, rtol=0, atol=tolerance * scale)
    return built


def quantized() -> onnx.ModelProto:
    """A convolution between QuantizeLinear and DequantizeLinear."""
    draw = np.random.default_rng(0)
    x = draw.standard_normal((1, 3, 8, 8)).astype(np.float32)
    nodes = [
        helper.make_node("QuantizeLinear", ["x", "sx", "zx"], ["xq"]),
        helper.make_node("DequantizeLinear", ["xq", "sx", "zx"], ["xd"]),
        helper.make_node("DequantizeLinear", ["w", "sw", "zw"], ["wd"], axis=0),
        helper.make_node("Conv", ["xd", "wd"], ["c"], pads=[1, 1, 1, 1]),
        helper.make_node("Relu", ["c"], ["r"]),
        helper.make_node("QuantizeLinear", ["r", "sy", "zy"], ["yq"]),
        helper.make_node("DequantizeLinear", ["yq", "sy", "zy"], ["y"]),
    ]
    constants = {
        "sx": np.array(0.03, np.float32),
        "zx": np.array(3, np.int8),
        "w": draw.integers(-127, 128, (4, 3, 3, 3)).astype(np.int8),
        "sw": np.array([0.01, 0.02, 0.005, 0.015], np.float32),
        "zw": np.zeros(4, np.int8),
        "sy": np.array(0.1, np.float32),
        "zy": np.array(-128, np.int8),
    }
    return model_of(nodes, {"x": x}, ["y"], constants)
