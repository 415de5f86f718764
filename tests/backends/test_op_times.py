"""Times of a model's nodes, from ONNX Runtime's profile."""

from __future__ import annotations

from typing import TYPE_CHECKING

import onnx
import onnx_ir
import pytest
from onnx import TensorProto, helper

from lowtide.backends.onnx.op_times import op_times
from lowtide.child import ChildError
from lowtide.frontends.onnx import read

if TYPE_CHECKING:
    from pathlib import Path


def written(path: Path, side: int, *, size: str | int) -> onnx_ir.Model:
    """MatMul of a large matrix with itself, Relu of a small vector."""
    infos = [
        helper.make_tensor_value_info("x", TensorProto.FLOAT, (side, side)),
        helper.make_tensor_value_info("v", TensorProto.FLOAT, (size,)),
    ]
    nodes = [helper.make_node("MatMul", ["x", "x"], ["y"]), helper.make_node("Relu", ["v"], ["w"])]
    outputs = [onnx.ValueInfoProto(name=name) for name in "yw"]
    graph = helper.make_graph(nodes, "two", infos, outputs)
    opsets = [helper.make_opsetid("", 17)]
    onnx.save(helper.make_model(graph, opset_imports=opsets, ir_version=8), path)
    return read(path, dims={"n": 4} if size == "n" else {}).model


def test_every_node_has_a_time(tmp_path: Path) -> None:
    """More for more work."""
    model = written(tmp_path / "two.onnx", 400, size="n")
    times = {node.op_type: time for node, time in op_times(model, dims={"n": 4}).items()}
    assert set(times) == {"MatMul", "Relu"}
    assert 0 < times["Relu"] < times["MatMul"]


def test_a_model_that_cannot_run(tmp_path: Path) -> None:
    """The child's end is an error of ours."""
    model = written(tmp_path / "two.onnx", 4, size=4)
    for node in model.graph:
        if node.op_type == "Relu":
            node.domain = "no.such.domain"
    with pytest.raises(ChildError):
        op_times(model, dims={})
