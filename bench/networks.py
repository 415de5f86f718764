"""Branching networks as ONNX models, made from a seed: where the execution order matters most.

- RandWire: Xie et al., "Exploring Randomly Wired Neural Networks for Image Recognition" (ICCV
  2019). Watts-Strogatz WS(n, k, p) graphs, edges from lower to higher index; a node sums its
  inputs, applies ReLU, a separable convolution and batch normalisation. Deviation: the sum is not
  weighted.
- NASNet-like: Zoph et al., "Learning Transferable Architectures" (CVPR 2018), normal cells
  NASNet-A.
- DARTS-like: Liu et al., "DARTS" (ICLR 2019), normal cells of the published genotype DARTS_V2.

All weights are random with a fixed seed, so every build of a network is the same model.

    python -m lowtide.bench.networks randwire randwire.onnx --seed 0
"""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import TYPE_CHECKING, Any

import networkx as nx
import numpy as np
import onnx
from onnx import helper, numpy_helper

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

__all__ = ["NETWORKS", "darts", "main", "nasnet", "randwire"]


class _Builder:
    """Appends NCHW operators to a growing ONNX graph; every method returns the result's name."""

    def __init__(self, seed: int) -> None:
        self.random = np.random.default_rng(seed)
        self.nodes: list[onnx.NodeProto] = []
        self.weights: list[onnx.TensorProto] = []
        self.channels: dict[str, int] = {}

    def add(self, kind: str, inputs: Sequence[str], channels: int, **attributes: Any) -> str:
        name = f"{kind.lower()}_{len(self.nodes)}"
        self.nodes.append(helper.make_node(kind, list(inputs), [name], name=name, **attributes))
        self.channels[name] = channels
        return name

    def weight(self, *shape: int) -> str:
        fan_in = int(np.prod(shape[1:])) or 1
        values = self.random.standard_normal(shape) / np.sqrt(fan_in)
        name = f"weight_{len(self.weights)}"
        self.weights.append(numpy_helper.from_array(values.astype(np.float32), name))
        return name

    def conv(
        self,
        x: str,
        channels: int,
        kernel: int = 1,
        *,
        stride: int = 1,
        depthwise: bool = False,
        dilation: int = 1,
    ) -> str:
        width = self.channels[x]
        group = width if depthwise else 1
        pad = dilation * (kernel // 2)
        return self.add(
            "Conv",
            [x, self.weight(channels, width // group, kernel, kernel)],
            channels,
            kernel_shape=[kernel, kernel],
            strides=[stride, stride],
            dilations=[dilation, dilation],
            pads=[pad] * 4,
            group=group,
        )

    def norm(self, x: str) -> str:
        width = self.channels[x]
        parameters: list[str] = []
        for low, high in ((0.5, 1.5), (-0.5, 0.5), (-0.5, 0.5), (0.5, 1.5)):
            name = f"weight_{len(self.weights)}"
            values = self.random.uniform(low, high, width).astype(np.float32)
            self.weights.append(numpy_helper.from_array(values, name))
            parameters.append(name)
        return self.add("BatchNormalization", [x, *parameters], width)

    def relu(self, x: str) -> str:
        return self.add("Relu", [x], self.channels[x])

    def separable(
        self, x: str, channels: int, kernel: int = 3, *, stride: int = 1, dilation: int = 1
    ) -> str:
        depth = self.conv(
            x, self.channels[x], kernel, stride=stride, depthwise=True, dilation=dilation
        )
        return self.norm(self.conv(depth, channels))

    def pool(self, kind: str, x: str, kernel: int = 3, stride: int = 1) -> str:
        return self.add(
            kind,
            [x],
            self.channels[x],
            kernel_shape=[kernel, kernel],
            strides=[stride, stride],
            pads=[kernel // 2] * 4,
        )

    def total(self, tensors: Sequence[str]) -> str:
        if len(tensors) == 1:
            return tensors[0]
        return self.add("Sum", tensors, self.channels[tensors[0]])

    def concat(self, tensors: Sequence[str]) -> str:
        return self.add("Concat", tensors, sum(self.channels[t] for t in tensors), axis=1)

    def head(self, x: str, classes: int) -> str:
        pooled = self.add("GlobalAveragePool", [self.relu(x)], self.channels[x])
        flat = self.add("Flatten", [pooled], self.channels[x])
        bias = self.weight(classes)
        return self.add(
            "Gemm", [flat, self.weight(classes, self.channels[x]), bias], classes, transB=1
        )

    def model(self, name: str, output: str, side: int, classes: int) -> onnx.ModelProto:
        self.nodes[-1].output[0] = "logits"
        assert output == self.nodes[-1].name
        kind = onnx.TensorProto.FLOAT
        graph = helper.make_graph(
            self.nodes,
            name,
            [helper.make_tensor_value_info("image", kind, [1, 3, side, side])],
            [helper.make_tensor_value_info("logits", kind, [1, classes])],
            self.weights,
        )
        model = helper.make_model(
            graph,
            opset_imports=[helper.make_opsetid("", 17)],
            ir_version=9,
            producer_name="lowtide",
        )
        onnx.checker.check_model(model, full_check=True)
        return model


def randwire(
    seed: int = 0,
    *,
    nodes: int = 32,
    degree: int = 4,
    rewire: float = 0.75,
    channels: int = 32,
    side: int = 112,
    stages: int = 1,
) -> onnx.ModelProto:
    """A stem and `stages` randomly wired stages of `nodes` nodes each."""
    b = _Builder(seed)
    b.channels["image"] = 3
    x = b.norm(b.conv("image", channels, 3, stride=2))
    for stage in range(stages):
        wiring = nx.connected_watts_strogatz_graph(nodes, degree, rewire, seed=seed * 97 + stage)
        sources: list[list[int]] = [[] for _ in range(nodes)]
        for a, c in wiring.edges():
            sources[max(a, c)].append(min(a, c))
        width = channels * 2**stage
        stride = 1 if stage == 0 else 2
        results: list[str] = []
        for node in range(nodes):
            if sources[node]:
                entry = b.total([results[s] for s in sorted(sources[node])])
                results.append(b.separable(b.relu(entry), width))
            else:
                results.append(b.separable(b.relu(x), width, stride=stride))
        read = {s for before in sources for s in before}
        x = b.total([results[v] for v in range(nodes) if v not in read])
    return b.model("randwire", b.head(x, 10), side, 10)


def nasnet(
    seed: int = 0, *, cells: int = 4, channels: int = 24, side: int = 112
) -> onnx.ModelProto:
    """A stem and `cells` NASNet-A normal cells; each joins six branches by concatenation."""
    b = _Builder(seed)
    b.channels["image"] = 3
    before = now = b.norm(b.conv("image", channels, 3, stride=2))

    def fit(x: str) -> str:
        return b.norm(b.conv(b.relu(x), channels))

    def separable(x: str, kernel: int) -> str:
        return b.separable(b.relu(b.separable(b.relu(x), channels, kernel)), channels, kernel)

    for _ in range(cells):
        h, p = fit(now), fit(before)
        blocks = [
            b.total([separable(h, 3), h]),
            b.total([separable(p, 3), separable(h, 5)]),
            b.total([b.pool("AveragePool", h), p]),
            b.total([b.pool("AveragePool", p), b.pool("AveragePool", p)]),
            b.total([separable(p, 5), separable(p, 3)]),
        ]
        before, now = now, b.concat([p, *blocks])
    return b.model("nasnet", b.head(now, 10), side, 10)


def darts(seed: int = 0, *, cells: int = 4, channels: int = 24, side: int = 112) -> onnx.ModelProto:
    """A stem and `cells` DARTS_V2 normal cells of four nodes with two inputs each."""
    b = _Builder(seed)
    b.channels["image"] = 3
    before = now = b.norm(b.conv("image", channels, 3, stride=2))

    def fit(x: str) -> str:
        return b.norm(b.conv(b.relu(x), channels))

    def separable(x: str) -> str:
        return b.separable(b.relu(b.separable(b.relu(x), channels)), channels)

    def dilated(x: str) -> str:
        return b.separable(b.relu(x), channels, dilation=2)

    for _ in range(cells):
        s0, s1 = fit(before), fit(now)
        n0 = b.total([separable(s0), separable(s1)])
        n1 = b.total([separable(s0), separable(s1)])
        n2 = b.total([separable(s1), s0])
        n3 = b.total([s0, dilated(n0)])
        before, now = now, b.concat([n0, n1, n2, n3])
    return b.model("darts", b.head(now, 10), side, 10)


NETWORKS: dict[str, Callable[[int], onnx.ModelProto]] = {
    "randwire": randwire,
    "nasnet": nasnet,
    "darts": darts,
}


def main() -> None:
    """Write one network to a file."""
    parser = argparse.ArgumentParser(description="Write a generated branching network as ONNX.")
    parser.add_argument("network", choices=NETWORKS)
    parser.add_argument("output", type=Path)
    parser.add_argument("--seed", type=int, default=0)
    arguments = parser.parse_args()
    onnx.save(NETWORKS[arguments.network](arguments.seed), arguments.output)


if __name__ == "__main__":
    main()
