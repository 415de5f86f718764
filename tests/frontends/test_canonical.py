"""ONNX Runtime's graphs in one form: the same names and the same order in every process."""

from __future__ import annotations

from collections.abc import Callable

import onnx
import pytest
from onnx import helper

from lowtide.bench.networks import nasnet, randwire
from lowtide.frontends.onnx import import_graph, optimized_by_ort, read
from lowtide.ir import print_graph, verify


@pytest.mark.parametrize("build", [nasnet, randwire])
def test_two_processes_agree(build: Callable[[int], onnx.ModelProto]) -> None:
    source = read(build(0))
    texts = [print_graph(import_graph(optimized_by_ort(source, level="all"))) for _ in range(3)]
    assert texts[0] == texts[1] == texts[2]
    assert "token" not in texts[0]


def test_the_order_is_the_files_where_the_operators_are() -> None:
    """Two branches that ONNX Runtime itself would run in its own order."""
    kind, shape = onnx.TensorProto.FLOAT, [1, 4]
    nodes = [
        helper.make_node("Exp", ["x"], ["a"], "first"),
        helper.make_node("Log", ["x"], ["b"], "second"),
        helper.make_node("Sin", ["b"], ["d"], "third"),
        helper.make_node("Cos", ["a"], ["c"], "fourth"),
        helper.make_node("Add", ["c", "d"], ["y"], "last"),
    ]
    graph = helper.make_graph(
        nodes,
        "branches",
        [helper.make_tensor_value_info("x", kind, shape)],
        [helper.make_tensor_value_info("y", kind, shape)],
    )
    opset = [helper.make_opsetid("", 17)]
    model = helper.make_model(graph, opset_imports=opset, ir_version=9)
    found = import_graph(optimized_by_ort(read(model), level="all"))
    verify(found)
    assert [op.name for op in found.ops] == ["first", "second", "third", "fourth", "last"]
