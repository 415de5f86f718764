"""What the importer makes of small functions; run as a script in a process of its own."""

# TensorFlow and Keras have no stubs: their modules are loaded as values of any type.
# pyright: reportUntypedFunctionDecorator=false, reportUnknownLambdaType=false

from __future__ import annotations

import importlib
import json
from typing import Any

from lowtide.frontends.tensorflow import import_function
from lowtide.frontends.tensorflow.kernels import pooling_workspace
from lowtide.ir import Accounting, Graph, Role, simulate

tf: Any = importlib.import_module("tensorflow")
W = tf.Variable(tf.ones((8, 8)))
COUNT = tf.Variable(0)


def graph_of(function: Any, *shapes: tuple[int, ...]) -> Graph:
    specs = [tf.TensorSpec(shape) for shape in shapes]
    return import_function(tf.function(function).get_concrete_function(*specs))


def kinds(graph: Graph, kind: str) -> list[Any]:
    return [op for op in graph.ops if op.kind == kind]


def reuse(x: Any) -> Any:
    y = tf.reshape(x @ W, (4, 4))  # a view of the product
    return tf.reduce_sum(tf.nn.relu(tf.exp(y))), tf.reduce_sum(tf.square(y))


def update(x: Any) -> Any:
    y = x @ W
    W.assign_sub(tf.ones((8, 8)) * tf.reduce_sum(y))
    COUNT.assign_add(1)
    return y


def convolve(x: Any, kernel: Any) -> Any:
    with tf.GradientTape() as tape:
        tape.watch(x)
        y = tf.nn.max_pool2d(tf.nn.conv2d(x, kernel, 1, "SAME"), 2, 2, "VALID")
        value = tf.reduce_sum(y)
    return tape.gradient(value, x)


def constant(x: Any) -> Any:
    return x + tf.raw_ops.Tile(input=tf.raw_ops.Fill(dims=[1, 8], value=1.0), multiples=[2, 1])


def found() -> dict[str, Any]:
    reused, updated = graph_of(reuse, (2, 8)), graph_of(update, (2, 8))
    convolved = graph_of(convolve, (1, 8, 8, 3), (3, 3, 3, 4))
    folded = graph_of(constant, (2, 8))
    split = graph_of(lambda x: [t * 2.0 for t in tf.split(x * 3.0, 2)], (4, 16))
    again = simulate(reused, Accounting())
    reshape, relu = kinds(reused, "Reshape")[0], kinds(reused, "Relu")[0]
    (gradient,) = kinds(convolved, "MaxPoolGrad")
    winners = pooling_workspace(gradient.source)
    (assign,) = kinds(updated, "AssignSubVariableOp")
    (product,) = kinds(updated, "MatMul")
    return {
        "view": reshape.outputs[0].storage.producer.kind,
        "in_place": [tuple(pair) for pair in relu.in_place],
        "reused_peak": again.peak_bytes,
        "read": kinds(reused, "ReadVariableOp")[0].outputs[0].storage.role == Role.STATE,
        "state": sum(t.nbytes for t in updated.tensors if t.role is Role.STATE),
        "pinned": sorted(op.kind for op in updated.ops if op.traits.pinned),
        "waits": assign in [c for t in product.outputs for c in t.consumers],
        "flops": {
            "MatMul": product.flops,
            "Conv2D": kinds(convolved, "Conv2D")[0].flops,
            "Conv2DBackpropInput": kinds(convolved, "Conv2DBackpropInput")[0].flops,
        },
        "winners": winners,
        "winners_read": any(t.name.endswith("@winners") for t in gradient.operands),
        "folded": [t.nbytes for op in kinds(folded, "Tile") for t in op.outputs],
        "split": [tuple(t.alias)[1] for op in kinds(split, "Split") for t in op.outputs],
        "onednn": winners is not None,
    }


if __name__ == "__main__":
    print(json.dumps(found()))
