"""A float twin of a convolutional TFLite network as an ONNX model: same operators, same shapes.

For runtimes that do not read TFLite, and for rewrites that quantized sums do not allow. Weights are
random with a fixed seed; layouts are NCHW. An image of operators `first` to `last` alone makes a
cell: what it reads from outside becomes its inputs, what is read outside its outputs.

    python -m lowtide.bench.swiftnet_onnx swiftnet_vww224_uint8.tflite swiftnet.onnx [--cells 5:33]
"""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import onnx
from onnx import helper, numpy_helper

from lowtide.errors import ModelError
from lowtide.frontends.tflite import import_graph, read
from lowtide.ir import Role

if TYPE_CHECKING:
    from collections.abc import Sequence

    from lowtide.ir import Graph, Op, Tensor

__all__ = ["main", "swiftnet_onnx"]


def swiftnet_onnx(
    path: Path, *, first: int = 0, last: int | None = None, seed: int = 0
) -> onnx.ModelProto:
    """The operators from `first` up to `last`, without the latter, of a file's main subgraph.

    Raises:
        ModelError: an operator that SwiftNet does not have.
    """
    return _Twin(import_graph(read(path)).graph, first, last, seed).run()


def _nchw(shape: Sequence[int]) -> list[int]:
    return [shape[0], shape[3], shape[1], shape[2]] if len(shape) == 4 else list(shape)


class _Twin:
    def __init__(self, graph: Graph, first: int, last: int | None, seed: int) -> None:
        self.ops = graph.ops[first:last]
        self.graph = graph
        self.random = np.random.default_rng(seed)
        self.names: dict[Tensor, str] = {}
        self.nodes: list[onnx.NodeProto] = []
        self.weights: list[onnx.TensorProto] = []
        self.inputs: dict[Tensor, str] = {}

    def run(self) -> onnx.ModelProto:
        for op in self.ops:
            self._add(op)
        inside = set(self.ops)
        handed = set(self.graph.outputs)
        outputs = [
            t
            for op in self.ops
            for t in op.outputs
            if t in handed or any(reader not in inside for reader in t.consumers)
        ]
        graph = helper.make_graph(
            self.nodes,
            "swiftnet",
            [_value(name, tensor) for tensor, name in self.inputs.items()],
            [_value(self.names[tensor], tensor) for tensor in outputs],
            self.weights,
        )
        model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8)
        onnx.checker.check_model(model, full_check=True)
        return model

    def _name(self, tensor: Tensor) -> str:
        if tensor not in self.names:
            self.names[tensor] = f"value_{len(self.names)}"
            if tensor.producer not in self.ops:
                self.inputs[tensor] = self.names[tensor]
        return self.names[tensor]

    def _weight(self, shape: Sequence[int]) -> str:
        fan_in = int(np.prod(shape[1:])) or 1
        values = self.random.standard_normal(shape).astype(np.float32) / np.sqrt(fan_in)
        name = f"weight_{len(self.weights)}"
        self.weights.append(numpy_helper.from_array(values.astype(np.float32), name))
        return name

    def _add(self, op: Op) -> None:
        data = [t for t in op.operands if t.role is not Role.CONSTANT]
        inputs = [self._name(tensor) for tensor in data]
        result = op.outputs[0]
        attributes: dict[str, Any] = {}
        if op.kind in ("CONV_2D", "DEPTHWISE_CONV_2D"):
            kind = "Conv"
            kernel = next(t for t in op.operands if t.role is Role.CONSTANT).shape
            depthwise = op.kind != "CONV_2D"
            shape = (result.shape[3], 1 if depthwise else kernel[3], *kernel[1:3])
            inputs += [self._weight(shape), self._weight((result.shape[3],))]
            attributes = {"group": data[0].shape[3] if depthwise else 1, **_window(op)}
        elif op.kind in ("MAX_POOL_2D", "AVERAGE_POOL_2D"):
            kind = "MaxPool" if op.kind == "MAX_POOL_2D" else "AveragePool"
            size = (
                int(str(op.attributes["filter_height"])),
                int(str(op.attributes["filter_width"])),
            )
            attributes = {"kernel_shape": size, **_window(op)}
        elif op.kind == "CONCATENATION":
            kind, attributes = "Concat", {"axis": 1}
        elif op.kind == "ADD":
            kind = "Add"
        elif op.kind == "SPLIT" and len(op.outputs) == 1:
            kind = "Identity"
        elif op.kind == "SOFTMAX":
            kind, attributes = "Softmax", {"axis": -1}
        elif op.kind == "FULLY_CONNECTED":
            flat = f"flat_{len(self.nodes)}"
            self.nodes.append(helper.make_node("Flatten", inputs, [flat], name=flat))
            kind, attributes = "Gemm", {"transB": 1}
            width = int(np.prod(data[0].shape[1:]))
            inputs = [
                flat,
                self._weight((result.shape[-1], width)),
                self._weight(result.shape[-1:]),
            ]
        else:
            raise ModelError(f"the operator {op.kind} is not one of SwiftNet's")
        name = self._name(result)
        self.nodes.append(helper.make_node(kind, inputs, [name], name=name, **attributes))


def _window(op: Op) -> dict[str, Any]:
    strides = [int(str(op.attributes["stride_h"])), int(str(op.attributes["stride_w"]))]
    auto = "VALID" if op.attributes["padding"] == 1 else "SAME_UPPER"
    return {"strides": strides, "auto_pad": auto}


def _value(name: str, tensor: Tensor) -> onnx.ValueInfoProto:
    return helper.make_tensor_value_info(name, onnx.TensorProto.FLOAT, _nchw(tensor.shape))


def main(arguments: Sequence[str] | None = None) -> None:
    """Write the twin."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("source", type=Path)
    parser.add_argument("destination", type=Path)
    parser.add_argument("--first", type=int, default=0)
    parser.add_argument("--last", type=int)
    parser.add_argument("--seed", type=int, default=0)
    options = parser.parse_args(arguments)
    model = swiftnet_onnx(options.source, first=options.first, last=options.last, seed=options.seed)
    onnx.save(model, options.destination)


if __name__ == "__main__":
    main()
