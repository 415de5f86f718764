"""Sound models for the frontend's tests, one feature each."""

from __future__ import annotations

import os
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import onnx
from onnx import TensorProto
from onnx import helper as h

__all__ = [
    "FLOAT",
    "INT64",
    "LIGHT",
    "chain",
    "external",
    "model_of",
    "same_function",
    "tensor",
    "value",
    "with_if",
    "with_loop",
]

FLOAT, INT64, BOOL = TensorProto.FLOAT, TensorProto.INT64, TensorProto.BOOL
LIGHT = sorted(
    Path(os.path.dirname(onnx.__file__), "backend", "test", "data", "light").glob("*.onnx")
)


def value(
    name: str, shape: Sequence[int | str | None] | None = None, kind: int = FLOAT
) -> onnx.ValueInfoProto:
    return h.make_tensor_value_info(name, kind, shape)


def tensor(name: str, values: Sequence[int], *, kind: int = INT64) -> TensorProto:
    return h.make_tensor(name, kind, [len(values)], values)


def model_of(
    nodes: Sequence[onnx.NodeProto],
    inputs: Sequence[onnx.ValueInfoProto],
    outputs: Sequence[onnx.ValueInfoProto],
    initializers: Sequence[TensorProto] = (),
    *,
    functions: Sequence[onnx.FunctionProto] = (),
    opset: int = 17,
    ir_version: int = 8,
    value_info: Sequence[onnx.ValueInfoProto] = (),
) -> onnx.ModelProto:
    graph = h.make_graph(
        nodes, "net", inputs, outputs, list(initializers), value_info=list(value_info)
    )
    imports = [h.make_opsetid("", opset)]
    if functions:
        imports.append(h.make_opsetid("f", 1))
    return h.make_model(
        graph, opset_imports=imports, ir_version=ir_version, functions=list(functions)
    )


def chain(shape: Sequence[int | str | None] = (1, 3, 8, 8)) -> onnx.ModelProto:
    """Conv, Relu, Reshape, Gemm: what a small network has."""
    rng = np.random.default_rng(0)
    weights = [
        onnx.numpy_helper.from_array(rng.random((4, 3, 3, 3), dtype=np.float32), "conv.weight"),
        onnx.numpy_helper.from_array(rng.random((256, 10), dtype=np.float32), "fc.weight"),
        tensor("flat", [1, 256]),
    ]
    nodes = [
        h.make_node("Conv", ["x", "conv.weight"], ["c"], name="conv", pads=[1, 1, 1, 1]),
        h.make_node("Relu", ["c"], ["r"], name="relu"),
        h.make_node("Reshape", ["r", "flat"], ["v"], name="view"),
        h.make_node("Gemm", ["v", "fc.weight"], ["y"], name="fc"),
    ]
    return model_of(nodes, [value("x", shape)], [value("y")], weights)


def external(folder: Path, *, rows: int = 256, sparse: bool = False) -> Path:
    """A MatMul whose weights lie in another file; `sparse` makes that file of zeros, unwritten."""
    model = model_of(
        [h.make_node("MatMul", ["x", "w"], ["a"]), h.make_node("Reshape", ["a", "s"], ["y"])],
        [value("x", [1, rows])],
        [value("y")],
    )
    model.graph.initializer.append(
        TensorProto(name="w", data_type=FLOAT, dims=[rows, 256], data_location="EXTERNAL")
    )
    model.graph.initializer.append(
        TensorProto(name="s", data_type=INT64, dims=[2], data_location="EXTERNAL")
    )
    size = rows * 256 * 4
    for index, (offset, length) in enumerate(((0, size), (size, 16))):
        for key, text in (("location", "w.bin"), ("offset", offset), ("length", length)):
            model.graph.initializer[index].external_data.add(key=key, value=str(text))
    with (folder / "w.bin").open("wb") as file:
        if not sparse:
            file.write(np.ones((rows, 256), np.float32).tobytes())
        file.seek(size)
        file.write(np.array([4, 64], np.int64).tobytes())
    path = folder / "model.onnx"
    path.write_bytes(model.SerializeToString())
    return path


def with_if() -> onnx.ModelProto:
    """An If whose branches read `a` (twice) and `x` from outside; one holds a nested If."""
    inner = h.make_graph(
        [h.make_node("Add", ["a", "late"], ["i"])], "inner", [], [value("i", [2, 3])]
    )
    then = h.make_graph(
        [
            h.make_node("Mul", ["a", "x"], ["m"]),
            h.make_node("If", ["c"], ["t"], then_branch=inner, else_branch=inner),
        ],
        "then",
        [],
        [value("t", [2, 3])],
    )
    other = h.make_graph([h.make_node("Add", ["a", "k"], ["e"])], "else", [], [value("e", [2, 3])])
    other.initializer.append(h.make_tensor("k", FLOAT, [3], [1.0, 2.0, 3.0]))
    nodes = [
        h.make_node("Relu", ["x"], ["a"], name="relu"),
        h.make_node("Abs", ["x"], ["late"], name="abs"),
        h.make_node("If", ["c"], ["y"], name="branch", then_branch=then, else_branch=other),
    ]
    return model_of(nodes, [value("x", [2, 3]), value("c", [], BOOL)], [value("y", [2, 3])])


def with_loop() -> onnx.ModelProto:
    """A Loop that adds an outer value three times."""
    body = h.make_graph(
        [h.make_node("Add", ["v", "outer"], ["w"]), h.make_node("Identity", ["go"], ["on"])],
        "body",
        [value("i", [], INT64), value("go", [], BOOL), value("v", [4])],
        [value("on", [], BOOL), value("w", [4])],
    )
    nodes = [
        h.make_node("Relu", ["x"], ["outer"], name="relu"),
        h.make_node("Loop", ["n", "", "x"], ["y"], name="loop", body=body),
    ]
    return model_of(
        nodes,
        [value("x", [4])],
        [value("y", [4])],
        [h.make_tensor("n", INT64, [], [3])],
    )


def same_function(kind: str = "Relu") -> onnx.ModelProto:
    """A model function called twice."""
    body = [h.make_node(kind, ["a"], ["t"]), h.make_node("Add", ["t", "b"], ["c"])]
    function = h.make_function("f", "Act", ["a", "b"], ["c"], body, [h.make_opsetid("", 17)])
    nodes = [
        h.make_node("Act", ["x", "x"], ["m"], domain="f"),
        h.make_node("Act", ["m", "x"], ["y"], domain="f"),
    ]
    return model_of(nodes, [value("x", [2, 8])], [value("y")], functions=[function])
