"""ONNX models for the backend's tests: random DAGs, known peaks, and one with everything in it."""

from __future__ import annotations

import random
from typing import TYPE_CHECKING

import numpy as np
import onnx
import onnx_ir as ir
from onnx import TensorProto, helper

from lowtide.backends.onnx.dependence import node_key, predecessors

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

MIB = 1 << 20


def random_dag(nodes: int, seed: int, *, opset: int = 17) -> onnx.ModelProto:
    """Elementwise operators with repeated operands, initializers, Constants and inner outputs."""
    draw = random.Random(seed)
    values, made = ["x"], list[onnx.NodeProto]()
    for index in range(nodes):
        recent = values[-8:] if draw.random() < 0.7 else values
        operands = [draw.choice(recent) for _ in range(draw.choice((1, 2, 2, 2, 3)))]
        if draw.random() < 0.1:
            tensor = helper.make_tensor(f"t{index}", TensorProto.FLOAT, [4], [0.1] * 4)
            made.append(helper.make_node("Constant", [], [f"c{index}"], value=tensor))
            operands.append(f"c{index}")
        if draw.random() < 0.2:
            operands.append("w")
        kind = {1: "Relu", 2: "Add"}.get(len(operands), "Sum")
        name = draw.choice(("", f"n{index}"))
        made.append(helper.make_node(kind, operands, [f"v{index}"], name=name))
        values.append(f"v{index}")
    read = {name for node in made for name in node.input}
    outputs = [v for v in values[1:] if v not in read or draw.random() < 0.1]
    draw.shuffle(outputs)
    graph = helper.make_graph(
        made,
        "dag",
        [_float("x", 4)],
        [_float(name, 4) for name in outputs],
        [helper.make_tensor("w", TensorProto.FLOAT, [4], [0.5] * 4)],
    )
    return _model(graph, opset)


def random_order(graph: ir.Graph, seed: int) -> list[ir.Node]:
    """A random topological order, Constant nodes left out."""
    draw = random.Random(seed)
    nodes = [node for node in graph if node.op_type != "Constant"]
    waiting = [set(reads) for reads in predecessors(nodes)]
    order: list[ir.Node] = []
    done: set[int] = set()
    while len(order) < len(nodes):
        ready = [i for i in range(len(nodes)) if i not in done and waiting[i] <= done]
        chosen = draw.choice(ready)
        done.add(chosen)
        order.append(nodes[chosen])
    return order


def branching(branches: int, elements: int) -> onnx.ModelProto:
    """x -> `branches` tensors of `elements` floats, each reduced to one number; the sum of those.

    The file has all branches widen first: it peaks at branches * elements * 4 bytes, a depth first
    order at elements * 4.
    """
    indices = range(branches)
    nodes = [helper.make_node("Expand", ["x", "shape"], [f"wide{i}"]) for i in indices]
    nodes += [
        helper.make_node("ReduceMax", [f"wide{i}"], [f"thin{i}"], axes=[0, 1]) for i in indices
    ]
    nodes.append(helper.make_node("Sum", [f"thin{i}" for i in indices], ["y"]))
    graph = helper.make_graph(
        nodes,
        "branching",
        [_float("x", 1, 1)],
        [_float("y", 1, 1)],
        [helper.make_tensor("shape", TensorProto.INT64, [2], [1024, elements // 1024])],
    )
    return _model(graph, 13)


def everything() -> onnx.ModelProto:
    """Two orders, a subgraph that captures, a function, metadata, annotations, doc strings."""
    then = helper.make_graph([helper.make_node("Neg", ["b"], ["t"])], "then", [], [_float("t", 4)])
    other = helper.make_graph(
        [helper.make_node("Abs", ["b"], ["e"], name="abs")], "else", [], [_float("e", 4)]
    )
    twice = helper.make_function(
        "local", "Twice", ["p"], ["q"], [helper.make_node("Add", ["p", "p"], ["q"])],
        [helper.make_opsetid("", 17)],
    )  # fmt: skip
    nodes = [
        helper.make_node("Relu", ["x"], ["a"], name="first", doc_string="a node's doc"),
        helper.make_node("Sigmoid", ["x"], ["b"], name="second"),
        helper.make_node("Twice", ["a"], ["c"], domain="local"),
        helper.make_node("If", ["flag"], ["d"], then_branch=then, else_branch=other),
        helper.make_node("Sum", ["c", "d", "w"], ["y"]),
    ]
    nodes[0].metadata_props.add(key="node.key", value="node value")
    graph = helper.make_graph(
        nodes,
        "everything",
        [_float("x", 4), helper.make_tensor_value_info("flag", TensorProto.BOOL, [])],
        [_float("y", 4)],
        [helper.make_tensor("w", TensorProto.FLOAT, [4], [1.0, 2.0, 3.0, 4.0])],
        doc_string="a graph's doc",
        value_info=[_float("a", 4), _float("b", 4), _float("c", 4)],
    )
    annotation = graph.quantization_annotation.add(tensor_name="a")
    annotation.quant_parameter_tensor_names.add(key="SCALE_TENSOR", value="w")
    model = helper.make_model(
        graph,
        functions=[twice],
        opset_imports=[helper.make_opsetid("", 17), helper.make_opsetid("local", 1)],
        ir_version=10,
        producer_name="tests",
        producer_version="1",
        model_version=7,
        doc_string="a model's doc",
        domain="some.domain",
    )
    helper.set_model_props(model, {"author": "someone", "lowtide.plan": "an older plan"})
    onnx.checker.check_model(model, full_check=True)
    return model


def with_data(model: onnx.ModelProto, path: Path, data: str) -> None:
    """Save with all initializers in one external file."""
    for tensor in model.graph.initializer:
        array = onnx.numpy_helper.to_array(tensor)
        tensor.CopyFrom(onnx.numpy_helper.from_array(np.ascontiguousarray(array), tensor.name))
    onnx.save_model(model, str(path), save_as_external_data=True, location=data, size_threshold=0)


def keys(nodes: Sequence[ir.Node]) -> tuple[str, ...]:
    """The names that a plan has for nodes."""
    return tuple(node_key(node) for node in nodes if node.op_type != "Constant")


def _float(name: str, *shape: int) -> onnx.ValueInfoProto:
    return helper.make_tensor_value_info(name, TensorProto.FLOAT, shape)


def _model(graph: onnx.GraphProto, opset: int) -> onnx.ModelProto:
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", opset)], ir_version=8)
    onnx.checker.check_model(model, full_check=True)
    return model
