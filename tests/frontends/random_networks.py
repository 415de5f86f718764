"""Small random ONNX graphs of views, in-place kernels, others, and kernels with scratch."""

from __future__ import annotations

import random

import numpy as np
import onnx_ir
from onnx import NodeProto, TensorProto, ValueInfoProto, helper, numpy_helper, shape_inference

_ALONE = ("Relu", "Sigmoid", "Tanh", "Clip", "Abs", "Neg", "Softmax", "SoftmaxFirst", "Identity")
_SHAPED = ("Reshape", "Flatten", "Transpose", "Conv", "Cast", "LRN")
_TOGETHER = ("Add", "Mul", "Sum", "Concat", "Where", "FusedConv")


def random_network(seed: int, nodes: int = 14) -> onnx_ir.Model:
    """A graph whose values are all [1, 8, 10, 12] but for a few, with one to three outputs."""
    choose = random.Random(seed)
    made: list[NodeProto] = []
    values = ["x"]  # of the common shape
    spare: list[str] = []  # of other shapes
    for index in range(nodes):
        kind = choose.choice(_ALONE + _SHAPED + _TOGETHER)
        name = f"v{index}"
        one, two, three = (choose.choice(values[-4:]) for _ in range(3))
        if kind == "Reshape":
            made.append(helper.make_node("Reshape", [one, "flat"], [f"{name}_flat"]))
            made.append(helper.make_node("Reshape", [f"{name}_flat", "common"], [name]))
        elif kind == "Flatten":
            made.append(helper.make_node("Flatten", [one], [name]))
            spare.append(name)
            continue
        elif kind == "Transpose":
            made.append(helper.make_node("Transpose", [one], [f"{name}_t"], perm=[0, 1, 3, 2]))
            made.append(helper.make_node("Relu", [f"{name}_t"], [f"{name}_r"]))
            made.append(helper.make_node("Transpose", [f"{name}_r"], [name], perm=[0, 1, 3, 2]))
        elif kind == "Conv":
            made.append(helper.make_node("Conv", [one, "w"], [name], pads=[1, 1, 1, 1]))
        elif kind == "FusedConv":
            node = helper.make_node("FusedConv", [one, "w", "b", two], [name], pads=[1, 1, 1, 1])
            node.domain = "com.microsoft"
            made.append(node)
        elif kind == "Cast":
            made.append(helper.make_node("Cast", [one], [f"{name}_i"], to=TensorProto.INT32))
            made.append(helper.make_node("Cast", [f"{name}_i"], [name], to=TensorProto.FLOAT))
        elif kind == "LRN":
            made.append(helper.make_node("LRN", [one], [name], size=3))
        elif kind == "SoftmaxFirst":
            made.append(helper.make_node("Softmax", [one], [name], axis=1))
        elif kind == "Clip":
            made.append(helper.make_node("Clip", [one, "low"], [name]))
        elif kind == "Concat":
            made.append(helper.make_node("Concat", [one, two], [name], axis=1))
            spare.append(name)
            continue
        elif kind == "Where":
            made.append(helper.make_node("Greater", [one, two], [f"{name}_c"]))
            made.append(helper.make_node("Where", [f"{name}_c", one, three], [name]))
        elif kind in ("Add", "Mul"):
            made.append(helper.make_node(kind, [one, two], [name]))
        elif kind == "Sum":
            made.append(helper.make_node(kind, [one, two, three], [name]))
        else:
            made.append(helper.make_node(kind, [one], [name]))
        values.append(name)
    read = {operand for node in made for operand in node.input}
    outputs = [v for v in values[1:] + spare if v not in read][:8]
    constants = [
        numpy_helper.from_array(np.array([-1], np.int64), "flat"),
        numpy_helper.from_array(np.array([1, 8, 10, 12], np.int64), "common"),
        numpy_helper.from_array(np.array(0, np.float32), "low"),
        numpy_helper.from_array(np.full((8, 8, 3, 3), 0.1, np.float32), "w"),
        numpy_helper.from_array(np.zeros(8, np.float32), "b"),
    ]
    fused = {node.output[0] for node in made if node.domain}
    known = [_info(name) for name in values if name in fused]
    graph = helper.make_graph(
        made,
        f"random_{seed}",
        [_info("x")],
        [_info(v) if v in fused else ValueInfoProto(name=v) for v in outputs],
        constants,
        value_info=known,
    )
    opsets = [helper.make_opsetid("", 17), helper.make_opsetid("com.microsoft", 1)]
    model = helper.make_model(graph, opset_imports=opsets, ir_version=8)
    return onnx_ir.from_proto(shape_inference.infer_shapes(model))


def _info(name: str) -> ValueInfoProto:
    return helper.make_tensor_value_info(name, TensorProto.FLOAT, [1, 8, 10, 12])
