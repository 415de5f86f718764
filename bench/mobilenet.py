"""MobileNetV2 as an int8 .tflite file with random weights, written directly, without a converter.

Sandler et al., "MobileNetV2: Inverted Residuals and Linear Bottlenecks" (CVPR 2018), table 2, with
the width multiplier as the reference implementation rounds it. Convolutions of stride 2 are `SAME`,
as in the original code: there are no PAD operators, which would only make the baseline higher.
"""

from __future__ import annotations

from math import prod

import numpy as np

from lowtide.bench.tflite_builder import TfliteBuilder

__all__ = ["mobilenet_v2"]

# expansion, channels, repeats, stride
_BLOCKS = (
    (1, 16, 1, 1),
    (6, 24, 2, 2),
    (6, 32, 3, 2),
    (6, 64, 4, 2),
    (6, 96, 3, 1),
    (6, 160, 3, 2),
    (6, 320, 1, 1),
)
_RELU6 = 3  # ActivationFunctionType
_BENT = (6 / 255, -128)  # scale and zero point of what a ReLU6 makes
_STRAIGHT = (0.05, 3)


def mobilenet_v2(side: int, *, width: float = 0.35, classes: int = 10, seed: int = 0) -> bytes:
    """The file.

    Args:
        side: rows and columns of the image.
        width: multiplies the channels.
        classes: of the last layer.
        seed: of the weights.
    """
    return _Network(seed).build(side, width, classes)


def _channels(wanted: float) -> int:
    """A multiple of 8, at most 10 % below `wanted`."""
    rounded = max(8, int(wanted + 4) // 8 * 8)
    return rounded if rounded >= 0.9 * wanted else rounded + 8


class _Network:
    def __init__(self, seed: int) -> None:
        self.random = np.random.default_rng(seed)
        self.file = TfliteBuilder("MobileNetV2, int8, random weights")
        self.scales: dict[int, float] = {}
        self.shapes: dict[int, tuple[int, ...]] = {}

    def build(self, side: int, width: float, classes: int) -> bytes:
        x = self.tensor("image", (1, side, side, 3), _STRAIGHT)
        self.file.inputs(x)
        x = self.conv("stem", x, _channels(32 * width), 3, 2)
        number = 0
        for expansion, channels, repeats, stride in _BLOCKS:
            for repeat in range(repeats):
                step = stride if repeat == 0 else 1
                x = self.block(f"block{number}", x, expansion, _channels(channels * width), step)
                number += 1
        x = self.conv("last", x, max(1280, _channels(1280 * width)), 1, 1)
        x = self.pool(x)
        x = self.dense(x, classes)
        self.file.outputs(x)
        return self.file.data()

    def block(self, name: str, x: int, expansion: int, channels: int, stride: int) -> int:
        before = self.shapes[x][3]
        y = x
        if expansion > 1:
            y = self.conv(f"{name}/expand", y, expansion * before, 1, 1)
        y = self.conv(f"{name}/depthwise", y, 0, 3, stride)
        y = self.conv(f"{name}/project", y, channels, 1, 1, bent=False)
        if stride > 1 or before != channels:
            return y
        total = self.tensor(f"{name}/add", self.shapes[y], _STRAIGHT)
        self.file.op("ADD", [x, y], [total], "AddOptions", version=2)
        return total

    def tensor(self, name: str, shape: tuple[int, ...], scale: tuple[float, int]) -> int:
        made = self.file.tensor(name, shape, "INT8", quantization=([scale[0]], [scale[1]], 0))
        self.scales[made], self.shapes[made] = scale[0], shape
        return made

    def conv(
        self, name: str, x: int, channels: int, size: int, stride: int, *, bent: bool = True
    ) -> int:
        """A convolution, depthwise if `channels` is 0."""
        _, high, wide, before = self.shapes[x]
        depthwise = channels == 0
        channels = channels or before
        shape = (1, size, size, before) if depthwise else (channels, size, size, before)
        result = self.tensor(
            name,
            (1, -(-high // stride), -(-wide // stride), channels),
            _BENT if bent else _STRAIGHT,
        )
        operands = self.weights(name, x, result, shape, 3 if depthwise else 0)
        options: dict[str, object] = {"strideW": stride, "strideH": stride, "padding": 0}
        options["fusedActivationFunction"] = _RELU6 if bent else 0
        if depthwise:
            options["depthMultiplier"] = 1
        kind = "DEPTHWISE_CONV_2D" if depthwise else "CONV_2D"
        table = "DepthwiseConv2DOptions" if depthwise else "Conv2DOptions"
        self.file.op(kind, operands, [result], table, values=options, version=3)
        return result

    def weights(
        self,
        name: str,
        x: int,
        result: int,
        shape: tuple[int, ...],
        axis: int,
        *,
        each: bool = True,
    ) -> list[int]:
        """Data, weights and bias, scaled so that a result is spread over its range."""
        channels = shape[axis]
        taps = prod(shape) // channels
        scale = self.scales[result] / self.scales[x] / (73 * np.sqrt(taps))
        spread = self.random.uniform(0.8, 1.2, channels) if each else np.ones(1)
        scales = [float(np.float32(scale * s)) for s in spread]
        weights = self.file.tensor(
            f"{name}/weights",
            shape,
            "INT8",
            data=self.random.integers(-127, 128, shape).astype(np.int8),
            quantization=(scales, [0] * len(scales), axis),
        )
        bias = self.file.tensor(
            f"{name}/bias",
            (channels,),
            "INT32",
            data=self.random.integers(-2000, 2000, channels).astype(np.int32),
            quantization=([s * self.scales[x] for s in scales], [0] * len(scales), 0),
        )
        return [x, weights, bias]

    def pool(self, x: int) -> int:
        _, high, wide, channels = self.shapes[x]
        result = self.tensor("pool", (1, 1, 1, channels), _BENT)
        options = {"strideW": wide, "strideH": high, "filterWidth": wide, "filterHeight": high}
        values: dict[str, object] = {**options, "padding": 1}
        self.file.op("AVERAGE_POOL_2D", [x], [result], "Pool2DOptions", values=values, version=2)
        return result

    def dense(self, x: int, classes: int) -> int:
        result = self.tensor("scores", (1, classes), _STRAIGHT)
        operands = self.weights("dense", x, result, (classes, self.shapes[x][3]), 0, each=False)
        self.file.op("FULLY_CONNECTED", operands, [result], "FullyConnectedOptions", version=4)
        return result
