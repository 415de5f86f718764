"""Whole ONNX networks with random weights, and the onnx package's light models with such.

The light models come with equal weights throughout, so that their outputs say nothing; here every
weight is drawn, scaled to keep activations near one.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import onnx
from onnx import TensorProto, helper, numpy_helper

from lowtide.bench.networks import NETWORKS as BRANCHING

__all__ = [
    "EVERY",
    "LIGHT",
    "NETWORKS",
    "chain",
    "light",
    "lstm",
    "mobilenet_v2",
    "transformer",
    "unet",
]

_Array = npt.NDArray[np.generic]

LIGHT = (
    "bvlc_alexnet",
    "densenet121",
    "inception_v1",
    "inception_v2",
    "resnet50",
    "shufflenet",
    "squeezenet",
    "vgg19",
    "zfnet512",
)


class _Builder:
    """Nodes and weights of a network that is being built."""

    def __init__(self, seed: int) -> None:
        self.draw = np.random.default_rng(seed)
        self.nodes: list[onnx.NodeProto] = []
        self.weights: list[onnx.TensorProto] = []
        self._count = 0

    def weight(self, array: _Array) -> str:
        """A named initializer."""
        name = f"w{len(self.weights)}"
        self.weights.append(numpy_helper.from_array(array, name))
        return name

    def normal(self, *shape: int, scale: float = 1.0) -> str:
        """Normal numbers, float32."""
        return self.weight((self.draw.standard_normal(shape) * scale).astype(np.float32))

    def add(self, kind: str, *inputs: str, **attributes: Any) -> str:
        """A node with one output, whose name is returned."""
        self._count += 1
        name = f"{kind.lower()}_{self._count}"
        self.nodes.append(helper.make_node(kind, list(inputs), [name], name=name, **attributes))
        return name

    def conv(
        self, x: str, inputs: int, outputs: int, kernel: int, stride: int = 1, group: int = 1
    ) -> str:
        """A convolution with a bias, padded to keep the size."""
        scale = math.sqrt(2 / (inputs // group * kernel * kernel))
        pad = kernel // 2
        return self.add(
            "Conv",
            x,
            self.normal(outputs, inputs // group, kernel, kernel, scale=scale),
            self.normal(outputs, scale=0.1),
            kernel_shape=[kernel, kernel],
            strides=[stride, stride],
            pads=[pad, pad, pad, pad],
            group=group,
        )

    def norm(self, x: str, channels: int) -> str:
        """A batch normalization with drawn statistics."""
        positive = [
            self.weight(self.draw.uniform(0.8, 1.2, channels).astype(np.float32)) for _ in range(2)
        ]
        shifts = [self.normal(channels, scale=0.1) for _ in range(2)]
        return self.add("BatchNormalization", x, positive[0], shifts[0], shifts[1], positive[1])

    def model(
        self,
        inputs: Sequence[tuple[str, Sequence[int | str]]],
        outputs: Sequence[tuple[str, Sequence[int | str]]],
        opset: int = 17,
    ) -> onnx.ModelProto:
        """The checked model; shapes may name open dimensions."""
        infos = [
            [helper.make_tensor_value_info(n, TensorProto.FLOAT, list(s)) for n, s in values]
            for values in (inputs, outputs)
        ]
        graph = helper.make_graph(self.nodes, "network", infos[0], infos[1], self.weights)
        model = helper.make_model(
            graph, opset_imports=[helper.make_opsetid("", opset)], ir_version=8
        )
        onnx.checker.check_model(model)
        return model


def mobilenet_v2(size: int = 96, width: int = 1, seed: int = 0) -> onnx.ModelProto:
    """MobileNetV2's inverted residuals (Sandler et al., CVPR 2018), for 10 classes."""
    b = _Builder(seed)
    x = b.add("Clip", b.norm(b.conv("image", 3, 8 * width, 3, 2), 8 * width), *_bounds(b))
    channels = 8 * width
    for expand, out, repeat, stride in ((1, 8, 1, 1), (6, 16, 2, 2), (6, 24, 2, 2), (6, 32, 2, 1)):
        for index in range(repeat):
            source, wide = x, channels * expand
            y = x
            if expand > 1:
                y = b.add("Clip", b.norm(b.conv(y, channels, wide, 1), wide), *_bounds(b))
            y = b.conv(y, wide, wide, 3, stride if index == 0 else 1, group=wide)
            y = b.add("Clip", b.norm(y, wide), *_bounds(b))
            y = b.norm(b.conv(y, wide, out * width, 1), out * width)
            same = (stride == 1 or index > 0) and channels == out * width
            x = b.add("Add", source, y) if same else y
            channels = out * width
    x = b.add("GlobalAveragePool", x)
    x = b.add("Flatten", x)
    x = b.add("Gemm", x, b.normal(10, channels, scale=0.3), b.normal(10), transB=1)
    b.add("Softmax", x, axis=-1)
    return b.model([("image", [1, 3, size, size])], [(b.nodes[-1].output[0], [1, 10])])


def _bounds(b: _Builder) -> tuple[str, str]:
    return b.weight(np.array(0.0, np.float32)), b.weight(np.array(6.0, np.float32))


def unet(size: int = 64, depth: int = 3, seed: int = 0) -> onnx.ModelProto:
    """U-Net (Ronneberger et al., MICCAI 2015): skips, transposed convolutions, one resize."""
    b = _Builder(seed)
    x, channels, skips = "image", 3, list[tuple[str, int]]()
    for level in range(depth):
        out = 8 << level
        x = b.add("Relu", b.conv(x, channels, out, 3))
        x = b.add("Relu", b.conv(x, out, out, 3))
        skips.append((x, out))
        x, channels = b.add("MaxPool", x, kernel_shape=[2, 2], strides=[2, 2]), out
    x = b.add("Relu", b.conv(x, channels, channels, 3))
    for level, (skip, out) in enumerate(reversed(skips)):
        if level == 1:
            scales = b.weight(np.array([1, 1, 2, 2], np.float32))
            x = b.add(
                "Resize", x, "", scales, mode="linear", coordinate_transformation_mode="half_pixel"
            )
        else:
            weight = b.normal(channels, out, 2, 2, scale=math.sqrt(1 / channels))
            x = b.add("ConvTranspose", x, weight, kernel_shape=[2, 2], strides=[2, 2])
            channels = out
        x = b.add("Concat", x, skip, axis=1)
        x = b.add("Relu", b.conv(x, channels + out, out, 3))
        channels = out
    b.add("Sigmoid", b.conv(x, channels, 1, 1))
    return b.model([("image", [1, 3, size, size])], [(b.nodes[-1].output[0], [1, 1, size, size])])


def transformer(
    length: int = 16, width: int = 32, heads: int = 4, layers: int = 2, seed: int = 0
) -> onnx.ModelProto:
    """A transformer encoder (Vaswani et al., 2017) as exporters write it; an open batch."""
    b = _Builder(seed)
    x = "tokens"
    head = width // heads
    split = b.weight(np.array([0, 0, heads, head], np.int64))
    merge = b.weight(np.array([0, 0, width], np.int64))
    scale = b.weight(np.array(1 / math.sqrt(head), np.float32))
    spread = 1 / math.sqrt(width)

    def dense(value: str, inputs: int, outputs: int) -> str:
        weight = b.normal(inputs, outputs, scale=1 / math.sqrt(inputs))
        return b.add("Add", b.add("MatMul", value, weight), b.normal(outputs, scale=spread))

    def normal(value: str) -> str:
        scales = b.weight(np.ones(width, np.float32))
        return b.add("LayerNormalization", value, scales, b.normal(width, scale=0.1), axis=-1)

    for _ in range(layers):
        q, k, v = (b.add("Reshape", dense(x, width, width), split) for _ in range(3))
        q = b.add("Transpose", q, perm=[0, 2, 1, 3])
        k = b.add("Transpose", k, perm=[0, 2, 3, 1])
        v = b.add("Transpose", v, perm=[0, 2, 1, 3])
        scores = b.add("Softmax", b.add("Mul", b.add("MatMul", q, k), scale), axis=-1)
        mixed = b.add("Transpose", b.add("MatMul", scores, v), perm=[0, 2, 1, 3])
        x = normal(b.add("Add", x, dense(b.add("Reshape", mixed, merge), width, width)))
        wide = dense(x, width, 4 * width)
        half = b.weight(np.array(0.5, np.float32))
        root = b.weight(np.array(math.sqrt(2), np.float32))
        one = b.weight(np.array(1.0, np.float32))
        curve = b.add("Add", b.add("Erf", b.add("Div", wide, root)), one)
        wide = b.add("Mul", b.add("Mul", wide, curve), half)
        x = normal(b.add("Add", x, dense(wide, 4 * width, width)))
    return b.model([("tokens", ["batch", length, width])], [(x, ["batch", length, width])])


def lstm(steps: int = 24, inputs: int = 8, hidden: int = 16, seed: int = 0) -> onnx.ModelProto:
    """A bidirectional LSTM, a GRU behind it, and a linear layer on the last state."""
    b = _Builder(seed)
    scale = 1 / math.sqrt(hidden)
    sequence = b.add("Transpose", "series", perm=[1, 0, 2])
    both = b.add(
        "LSTM",
        sequence,
        b.normal(2, 4 * hidden, inputs, scale=scale),
        b.normal(2, 4 * hidden, hidden, scale=scale),
        b.normal(2, 8 * hidden, scale=0.1),
        hidden_size=hidden,
        direction="bidirectional",
    )
    merged = b.add("Transpose", both, perm=[0, 2, 1, 3])
    flat = b.add("Reshape", merged, b.weight(np.array([0, 0, 2 * hidden], np.int64)))
    b.nodes.append(
        helper.make_node(
            "GRU",
            [
                flat,
                b.normal(1, 3 * hidden, 2 * hidden, scale=scale),
                b.normal(1, 3 * hidden, hidden, scale=scale),
                b.normal(1, 6 * hidden, scale=0.1),
            ],
            ["", "last"],
            name="gru",
            hidden_size=hidden,
            linear_before_reset=1,
        )
    )
    state = b.add("Squeeze", "last", b.weight(np.array([0], np.int64)))
    b.add("Gemm", state, b.normal(4, hidden, scale=scale), b.normal(4), transB=1)
    return b.model([("series", [1, steps, inputs])], [(b.nodes[-1].output[0], [1, 4])])


def chain(nodes: int = 1000, seed: int = 0) -> onnx.ModelProto:
    """Residual blocks of convolution, Tanh, sum and scaling, with this many nodes."""
    b = _Builder(seed)
    x = b.conv("image", 3, 8, 3)
    factor = b.weight(np.array(0.5, np.float32))
    while len(b.nodes) + 4 <= nodes:
        y = b.add("Tanh", b.conv(x, 8, 8, 3))
        x = b.add("Mul", b.add("Add", x, y), factor)
    while len(b.nodes) < nodes:
        x = b.add("Relu", x)
    return b.model([("image", [1, 3, 16, 16])], [(x, [1, 8, 16, 16])])


def light(name: str, seed: int = 0) -> onnx.ModelProto:
    """One of the onnx package's light models, every weight of which is drawn.

    Convolutions and matrices are scaled by their fan-in; variances are near 1.
    """
    folder = Path(onnx.__file__).parent / "backend" / "test" / "data" / "light"
    model = onnx.load(folder / f"light_{name}.onnx")
    draw = np.random.default_rng(seed)
    shapes = {t.name: numpy_helper.to_array(t) for t in model.graph.initializer}
    uses: dict[str, tuple[str, int]] = {}
    for node in model.graph.node:
        for index, operand in enumerate(node.input):
            uses.setdefault(operand, (node.op_type, index))
    kept = [n for n in model.graph.node if n.op_type != "ConstantOfShape"]
    drawn: list[onnx.TensorProto] = []
    for node in model.graph.node:
        if node.op_type != "ConstantOfShape":
            continue
        shape = [int(size) for size in shapes[node.input[0]]]
        kind, index = uses[node.output[0]]
        if kind in ("Conv", "Gemm", "MatMul") and index == 1:
            fan = math.prod(shape[1:]) if kind != "MatMul" else shape[0]
            array = draw.standard_normal(shape) * math.sqrt(2 / fan)
        elif (
            (kind == "BatchNormalization" and index in (1, 4))
            or kind == "Mul"
            or (kind == "Unsqueeze" and "scale" in node.output[0])
        ):
            array = draw.uniform(0.8, 1.2, shape)
        else:
            array = draw.standard_normal(shape) * 0.1
        drawn.append(numpy_helper.from_array(array.astype(np.float32), node.output[0]))
    gone = {
        name
        for node in model.graph.node
        if node.op_type == "ConstantOfShape"
        for name in node.input
    }
    still = {operand for node in kept for operand in node.input}
    inputs = [v for v in model.graph.input if v.name not in gone or v.name in still]
    constants = [t for t in model.graph.initializer if t.name not in gone or t.name in still]
    del model.graph.node[:], model.graph.input[:], model.graph.initializer[:]
    model.graph.node.extend(kept)
    model.graph.input.extend(inputs)
    model.graph.initializer.extend([*constants, *drawn])
    model.ir_version = max(model.ir_version, 4)
    last = model.graph.node[-1]
    if last.op_type == "Softmax":
        # Deep in saturation a softmax hides differences: what goes into it is an output too.
        model.graph.output.append(
            helper.make_tensor_value_info(last.input[0], TensorProto.FLOAT, None)
        )
    return model


NETWORKS: dict[str, Callable[[], onnx.ModelProto]] = {
    "mobilenet_v2": mobilenet_v2,
    "unet": unet,
    "transformer": transformer,
    "lstm": lstm,
    "chain_1000": chain,
}

# With the branching ones of seed 0 and the light models: all that conversions and peers are run on.
EVERY: dict[str, Callable[[], onnx.ModelProto]] = {
    **NETWORKS,
    **{name: partial(build, 0) for name, build in BRANCHING.items()},
    **{name: partial(light, name) for name in LIGHT},
}
