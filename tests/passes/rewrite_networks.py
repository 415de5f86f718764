"""Random convolutional networks with the patterns that rewrites look for."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
import onnx
from onnx import helper, numpy_helper

if TYPE_CHECKING:
    from numpy.typing import NDArray

__all__ = ["in_float64", "patterned"]


class _Network:
    def __init__(self, seed: int) -> None:
        self.random = np.random.default_rng(seed)
        self.nodes: list[onnx.NodeProto] = []
        self.weights: list[onnx.TensorProto] = []
        self.shapes: dict[str, tuple[int, ...]] = {"x": (1, 4, 6, 5)}

    def constant(self, values: NDArray[np.float32] | NDArray[np.int64]) -> str:
        self.weights.append(numpy_helper.from_array(values, f"w{len(self.weights)}"))
        return self.weights[-1].name

    def weight(self, *shape: int) -> str:
        return self.constant(self.random.uniform(-1, 1, shape).astype(np.float32))

    def add(self, kind: str, inputs: list[str], shape: tuple[int, ...], **attributes: Any) -> str:
        name = f"{kind.lower()}_{len(self.nodes)}"
        self.nodes.append(helper.make_node(kind, inputs, [name], name=name, **attributes))
        self.shapes[name] = shape
        return name

    def conv(self, x: str, channels: int, *, kernel: int = 1, groups: int = 1) -> str:
        width = self.shapes[x][1]
        inputs = [x, self.weight(channels, width // groups, kernel, kernel)]
        if self.random.random() < 0.5:
            inputs.append(self.weight(channels))
        shape = (1, channels, *self.shapes[x][2:])
        pads = [kernel // 2] * 4
        return self.add("Conv", inputs, shape, pads=pads, group=groups)

    def norm(self, x: str) -> str:
        shape = self.shapes[x]
        inputs = [x, *(self.weight(shape[1]) for _ in range(3))]
        inputs.append(self.constant(self.random.uniform(0.5, 1, shape[1]).astype(np.float32)))
        return self.add("BatchNormalization", inputs, shape)

    def step(self, x: str) -> str:
        """An op that goes through a concatenation."""
        shape = self.shapes[x]
        width = shape[1]
        match int(self.random.integers(12)):
            case 0:
                return self.add("Relu", [x], shape)
            case 1:
                bounds = [self.constant(np.array(v, np.float32)) for v in (-1, 1)]
                return self.add("Clip", [x, *bounds], shape)
            case 2:
                return self.add("Mul", [x, self.weight(width, 1, 1)], shape)
            case 3:
                return self.norm(x)
            case 4:
                return self.add("MaxPool", [x], shape, kernel_shape=[3, 3], pads=[1] * 4)
            case 5:
                return self.add("AveragePool", [x], shape, kernel_shape=[3, 3], pads=[1] * 4)
            case 6:
                return self.conv(x, width * 2, kernel=3, groups=width)
            case 7:
                return self.conv(x, width, kernel=3, groups=2)
            case 8:
                return self.add("Identity", [x], shape)
            case 9:
                amounts = self.constant(np.array([0, 0, 1, 1, 0, 0, 1, 1], np.int64))
                padded = (*shape[:2], shape[2] + 2, shape[3] + 2)
                x = self.add("Pad", [x, amounts], padded)
                weights = self.weight(width, width, 3, 3)
                return self.add("Conv", [x, weights], shape)
            case 10:
                size = self.constant(np.array([1, width - 1], np.int64))
                name = f"split_{len(self.nodes)}"
                parts = [f"{name}_{index}" for index in range(2)]
                self.nodes.append(helper.make_node("Split", [x, size], parts, name=name, axis=1))
                for part, length in zip(parts, (1, width - 1), strict=True):
                    self.shapes[part] = (shape[0], length, *shape[2:])
                return self.concat(parts)
            case _:
                halves = [self.weight(1, *shape[1:3], 1) for _ in range(shape[3])]
                addend = self.add("Concat", halves, shape, axis=3)
                return self.add("Add", [x, addend], shape)

    def concat(self, parts: list[str]) -> str:
        width = sum(self.shapes[part][1] for part in parts)
        return self.add("Concat", parts, (1, width, *self.shapes[parts[0]][2:]), axis=1)


def patterned(seed: int) -> onnx.ModelProto:
    """Branches, concatenations (of concatenations), what goes through them, and sums."""
    net = _Network(seed)
    random = net.random
    live = ["x"]
    for _ in range(int(random.integers(1, 4))):
        x = live[int(random.integers(len(live)))]
        parts = [net.conv(x, int(random.choice([2, 4]))) for _ in range(int(random.integers(2, 5)))]
        joined = net.concat(parts)
        if random.random() < 0.4:
            joined = net.concat([joined, net.conv(x, 2)])
        for _ in range(int(random.integers(3))):
            joined = net.step(joined)
        result = net.conv(joined, 4, kernel=int(random.choice([1, 3])))
        if random.random() < 0.3:
            result = net.norm(result)
        if random.random() < 0.6:
            terms = [result, net.conv(x, 4), *[name for name in live if net.shapes[name][1] == 4]]
            for term in terms[1:]:
                result = net.add("Add", [result, term], net.shapes[result])
        live.append(result)
    outputs = [live[-1]] if random.random() < 0.7 else live[-2:]
    graph = helper.make_graph(
        net.nodes,
        "patterned",
        [helper.make_tensor_value_info("x", onnx.TensorProto.FLOAT, net.shapes["x"])],
        [
            helper.make_tensor_value_info(name, onnx.TensorProto.FLOAT, net.shapes[name])
            for name in dict.fromkeys(outputs)
            if name != "x"
        ],
        net.weights,
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8)
    onnx.checker.check_model(model, full_check=True)
    return model


def in_float64(model: onnx.ModelProto) -> onnx.ModelProto:
    """The same network in double precision."""
    copy = onnx.ModelProto()
    copy.CopyFrom(model)
    for weight in copy.graph.initializer:
        values = numpy_helper.to_array(weight)
        if values.dtype == np.float32:
            weight.CopyFrom(numpy_helper.from_array(values.astype(np.float64), weight.name))
    for value in [*copy.graph.input, *copy.graph.output]:
        value.type.tensor_type.elem_type = onnx.TensorProto.DOUBLE
    return copy
