"""Branching int8 networks for microcontrollers, made from a seed and converted by TensorFlow.

- RandWire: Xie et al., "Exploring Randomly Wired Neural Networks for Image Recognition" (ICCV
  2019), WS(4, 0.75) with 32 nodes, as SERENITY has it; edges go from lower to higher index, a node
  sums its inputs, applies ReLU and a separable convolution. Deviation: the sum is not weighted.
- NASNet-like: Zoph et al., "Learning Transferable Architectures" (CVPR 2018), cells NASNet-A.
- DARTS-like: Liu et al., "DARTS" (ICLR 2019), cells of the genotype DARTS_V2.
  Deviation of both: where two cells differ in size, a 1x1 convolution of stride 2 adapts.
- SkyNet: Zhang et al. (MLSys 2020), model C: six bundles of a depthwise 3x3 and a pointwise
  convolution, both with ReLU6, and a space-to-depth bypass from the third to the sixth.

Batch normalisation is in the weights and biases, where every converter puts it. The layers of a
network are in the order in which plain code creates them. The order of the file is the converter's:
nearly that one, but equal operators are merged, ReLU moves into the operator before it, and what
TensorFlow sorts stays as it sorts it. Weights, biases and the images for calibration are random
with the network's seed.

    python -m lowtide.bench.edge_models FOLDER [--only NAME ...]
"""

from __future__ import annotations

import argparse
import sys
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, cast

import networkx as nx

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

__all__ = [
    "NETWORKS",
    "Layer",
    "Network",
    "darts",
    "main",
    "nasnet",
    "randwire",
    "skynet",
]

Kind = Literal[
    "input",
    "conv",
    "depthwise",
    "add",
    "concat",
    "relu",
    "max_pool",
    "average_pool",
    "space_to_depth",
    "mean",
    "dense",
]


@dataclass(frozen=True, slots=True)
class Layer:
    """One layer: what it reads (earlier layers, by index) and the shape it gives, in NHWC.

    `kernel`, `stride` and `dilation` are those of convolutions and pools, which pad to the same
    size; `activation` follows a convolution.
    """

    kind: Kind
    inputs: tuple[int, ...]
    shape: tuple[int, ...]
    kernel: int = 1
    stride: int = 1
    dilation: int = 1
    activation: Literal["", "relu", "relu6"] = ""


@dataclass(frozen=True, slots=True)
class Network:
    """Layers in creation order; the first is the input, the last the output."""

    name: str
    seed: int
    layers: tuple[Layer, ...]


class _Builder:
    """Appends layers; every method returns the new layer's index."""

    def __init__(self, height: int, width: int) -> None:
        self.layers: list[Layer] = [Layer("input", (), (1, height, width, 3))]

    def channels(self, x: int) -> int:
        return self.layers[x].shape[-1]

    def side(self, x: int) -> int:
        return self.layers[x].shape[1]

    def _add(self, layer: Layer) -> int:
        self.layers.append(layer)
        return len(self.layers) - 1

    def _strided(self, x: int, channels: int, stride: int) -> tuple[int, ...]:
        _, height, width, _ = self.layers[x].shape
        return 1, -(-height // stride), -(-width // stride), channels

    def conv(
        self,
        x: int,
        channels: int,
        kernel: int = 1,
        stride: int = 1,
        activation: Literal["", "relu", "relu6"] = "",
    ) -> int:
        shape = self._strided(x, channels, stride)
        return self._add(Layer("conv", (x,), shape, kernel, stride, activation=activation))

    def depthwise(
        self,
        x: int,
        kernel: int = 3,
        stride: int = 1,
        dilation: int = 1,
        activation: Literal["", "relu", "relu6"] = "",
    ) -> int:
        shape = self._strided(x, self.channels(x), stride)
        return self._add(Layer("depthwise", (x,), shape, kernel, stride, dilation, activation))

    def separable(
        self, x: int, channels: int, kernel: int = 3, stride: int = 1, dilation: int = 1
    ) -> int:
        return self.conv(self.depthwise(x, kernel, stride, dilation), channels)

    def relu(self, x: int) -> int:
        return self._add(Layer("relu", (x,), self.layers[x].shape))

    def pool(
        self, kind: Literal["max", "average"], x: int, kernel: int = 3, stride: int = 1
    ) -> int:
        shape = self._strided(x, self.channels(x), stride)
        name: Kind = "max_pool" if kind == "max" else "average_pool"
        return self._add(Layer(name, (x,), shape, kernel, stride))

    def total(self, terms: Sequence[int]) -> int:
        """The sum, one addition after the other: TFLite adds two tensors at a time."""
        result = terms[0]
        for term in terms[1:]:
            result = self._add(Layer("add", (result, term), self.layers[term].shape))
        return result

    def concat(self, parts: Sequence[int]) -> int:
        shape = (*self.layers[parts[0]].shape[:3], sum(map(self.channels, parts)))
        return self._add(Layer("concat", tuple(parts), shape))

    def space_to_depth(self, x: int) -> int:
        _, height, width, channels = self.layers[x].shape
        return self._add(
            Layer("space_to_depth", (x,), (1, height // 2, width // 2, 4 * channels), stride=2)
        )

    def head(self, x: int, classes: int) -> None:
        pooled = self._add(Layer("mean", (self.relu(x),), (1, self.channels(x))))
        self._add(Layer("dense", (pooled,), (1, classes)))

    def network(self, name: str, seed: int) -> Network:
        return Network(name, seed, tuple(self.layers))


def randwire(
    name: str,
    seed: int,
    *,
    side: int,
    stem_stride: int,
    channels: int,
    stages: int,
    nodes: int = 32,
    degree: int = 4,
    rewire: float = 0.75,
) -> Network:
    """A stem and randomly wired stages; all halve the size, the later ones double the channels."""
    b = _Builder(side, side)
    x = b.conv(0, channels, 3, stem_stride)
    for stage in range(stages):
        sources: list[list[int]] = [[] for _ in range(nodes)]
        for one, two in _wiring(nodes, degree, rewire, seed * 97 + stage):
            sources[max(one, two)].append(min(one, two))
        width = channels * 2**stage
        results: list[int] = []
        for before in sources:
            if before:
                entry = b.total([results[s] for s in sorted(before)])
                results.append(b.separable(b.relu(entry), width))
            else:
                results.append(b.separable(b.relu(x), width, stride=2))
        read = {s for before in sources for s in before}
        x = b.total([results[v] for v in range(nodes) if v not in read])
    b.head(x, 10)
    return b.network(name, seed)


def _wiring(nodes: int, degree: int, rewire: float, seed: int) -> list[tuple[int, int]]:
    """The edges of a connected Watts-Strogatz graph."""
    build = cast("Callable[..., Any]", nx.connected_watts_strogatz_graph)
    return list(build(nodes, degree, rewire, seed=seed).edges())


def nasnet(name: str, seed: int, *, side: int, stem_stride: int, channels: int) -> Network:
    """A stem, two normal cells, a reduction cell that doubles the channels, two normal cells."""
    b = _Builder(side, side)
    before = now = b.conv(0, channels, 3, stem_stride)
    for cell in ("normal", "normal", "reduction", "normal", "normal"):
        if cell == "reduction":
            channels *= 2
        h = _fit(b, now, channels, b.side(now))
        p = _fit(b, before, channels, b.side(now))

        def separable(x: int, kernel: int, stride: int = 1, channels: int = channels) -> int:
            first = b.separable(b.relu(x), channels, kernel, stride)
            return b.separable(b.relu(first), channels, kernel)

        if cell == "normal":
            blocks = [
                p,
                b.total([separable(h, 3), h]),
                b.total([separable(p, 3), separable(h, 5)]),
                b.total([b.pool("average", h), p]),
                b.total([b.pool("average", p), b.pool("average", p)]),
                b.total([separable(p, 5), separable(p, 3)]),
            ]
        else:
            x0 = b.total([separable(h, 5, 2), separable(p, 7, 2)])
            x1 = b.total([b.pool("max", h, 3, 2), separable(p, 7, 2)])
            x2 = b.total([b.pool("average", h, 3, 2), separable(p, 5, 2)])
            x3 = b.total([b.pool("average", x0), x1])
            x4 = b.total([separable(x0, 3), b.pool("max", h, 3, 2)])
            blocks = [x1, x2, x3, x4]
        before, now = now, b.concat(blocks)
    b.head(now, 10)
    return b.network(name, seed)


def darts(name: str, seed: int, *, side: int, stem_stride: int, channels: int) -> Network:
    """A stem, two normal cells, a reduction cell that doubles the channels, two normal cells."""
    b = _Builder(side, side)
    before = now = b.conv(0, channels, 3, stem_stride)
    for cell in ("normal", "normal", "reduction", "normal", "normal"):
        if cell == "reduction":
            channels *= 2
        s0 = _fit(b, before, channels, b.side(now))
        s1 = _fit(b, now, channels, b.side(now))

        def separable(x: int, channels: int = channels) -> int:
            return b.separable(b.relu(b.separable(b.relu(x), channels)), channels)

        if cell == "normal":
            n0 = b.total([separable(s0), separable(s1)])
            n1 = b.total([separable(s0), separable(s1)])
            n2 = b.total([separable(s1), s0])
            n3 = b.total([s0, b.separable(b.relu(n0), channels, dilation=2)])
        else:
            n0 = b.total([b.pool("max", s0, 3, 2), b.pool("max", s1, 3, 2)])
            n1 = b.total([n0, b.pool("max", s1, 3, 2)])
            n2 = b.total([b.pool("max", s0, 3, 2), n0])
            n3 = b.total([n0, b.pool("max", s1, 3, 2)])
        before, now = now, b.concat([n0, n1, n2, n3])
    b.head(now, 10)
    return b.network(name, seed)


def _fit(b: _Builder, x: int, channels: int, side: int) -> int:
    """What a cell does with its inputs: to its channels, and to the size of the nearer one."""
    return b.conv(b.relu(x), channels, 1, 2 if b.side(x) > side else 1)


def skynet(name: str, seed: int, *, height: int, width: int) -> Network:
    """Six bundles, with the channels as published; the head gives ten channels per position."""
    b = _Builder(height, width)

    def bundle(x: int, channels: int) -> int:
        return b.conv(b.depthwise(x, activation="relu6"), channels, activation="relu6")

    x = b.pool("max", bundle(0, 48), 2, 2)
    x = b.pool("max", bundle(x, 96), 2, 2)
    third = bundle(x, 192)
    bypass = b.space_to_depth(third)
    x = bundle(bundle(b.pool("max", third, 2, 2), 384), 512)
    b.conv(bundle(b.concat([bypass, x]), 96), 10)
    return b.network(name, seed)


# The benchmark: names, seeds, sizes and creation order, fixed before any result was seen.
NETWORKS: dict[str, Callable[[], Network]] = {
    network.args[0]: network
    for network in (
        *(
            partial(randwire, f"randwire_32_s{k}", k, side=32, stem_stride=1, channels=32, stages=1)
            for k in range(4)
        ),
        *(
            partial(randwire, f"randwire_96_s{k}", k, side=96, stem_stride=2, channels=16, stages=2)
            for k in range(4)
        ),
        partial(nasnet, "nasnet_32", 0, side=32, stem_stride=1, channels=8),
        partial(nasnet, "nasnet_96", 0, side=96, stem_stride=2, channels=8),
        partial(darts, "darts_32", 0, side=32, stem_stride=1, channels=16),
        partial(darts, "darts_96", 0, side=96, stem_stride=2, channels=8),
        partial(skynet, "skynet_32x64", 0, height=32, width=64),
        partial(skynet, "skynet_96", 0, height=96, width=96),
    )
}


def main(arguments: Sequence[str] | None = None) -> int:
    """Write networks as .tflite files."""
    from lowtide.bench.edge_convert import convert

    parser = argparse.ArgumentParser(prog="edge_models", description=__doc__)
    parser.add_argument("folder", type=Path)
    parser.add_argument("--only", nargs="*", metavar="NAME", choices=NETWORKS)
    options = parser.parse_args(arguments)
    for name, build in NETWORKS.items():
        if options.only and name not in options.only:
            continue
        path = options.folder / f"{name}.tflite"
        path.write_bytes(convert(build()))
        print(f"{path}: {path.stat().st_size:,} bytes", flush=True)
    return 0


if __name__ == "__main__":
    sys.exit(main())
