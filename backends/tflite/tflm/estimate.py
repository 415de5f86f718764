"""Scratch of kernel libraries that are not executed here: formulas from their sources, estimates.

Only the operators that a library has kernels of its own for, and of those only the element types of
its own paths; everything else runs TFLM's reference kernels there too, whose scratch was measured.
Sizes change between versions of a library, so that nothing planned with them is called proven, and
a build is to check `arena_used_bytes`.

CMSIS-NN (ARM-software/CMSIS-NN, Source/): arm_convolve_get_buffer_sizes_s8.c and _s16.c,
arm_depthwise_conv_get_buffer_sizes_s8.c and _s16.c, arm_fully_connected_get_buffer_sizes_s8.c,
arm_avgpool_get_buffer_sizes_s8.c; asked for in tensorflow/lite/micro/kernels/cmsis_nn/*.cc. For
cores with the DSP extension (Cortex-M4, M7, M33) or without it (M0, M0+, M3), not for Helium, and
as other compilers than Arm's build it. SVDF asks for what the reference kernel does (one Prepare).

ESP-NN (espressif/esp-nn, for the ESP32-S3): esp_nn_get_conv_scratch_size_esp32s3 in
src/convolution/esp_nn_conv_esp32s3.c, esp_nn_get_depthwise_conv_scratch_size_esp32s3 in
src/convolution/esp_nn_depthwise_conv_s8_esp32s3.c, esp_nn_get_softmax_scratch_size_esp32s3; asked
for in esp-tflite-micro, tensorflow/lite/micro/kernels/esp_nn/*.cc.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from lowtide.backends.tflite.tflm.in_place import Kernels
from lowtide.backends.tflite.tflm.scratch import KernelScratch
from lowtide.errors import InputError

if TYPE_CHECKING:
    from lowtide.backends.tflite.tflm.lifetimes import Scratch
    from lowtide.frontends.tflite import TfliteModel, TfliteOperator, TfliteSubgraph

__all__ = ["estimate_scratch"]

# They have kernels of the library's own, of which no formula is known here.
_UNKNOWN = {
    Kernels.CMSIS_NN: {"BATCH_MATMUL", "TRANSPOSE_CONV", "UNIDIRECTIONAL_SEQUENCE_LSTM"},
    Kernels.ESP_NN: set[str](),
}
_FAST_S16 = 512  # elements of a filter up to which CMSIS-NN takes its fast kernels


def estimate_scratch(
    model: TfliteModel, reference: KernelScratch, kernels: Kernels, *, dsp: bool = True
) -> KernelScratch:
    """What a library's kernels would ask for; the result is not `validated`.

    Args:
        model: a checked model.
        reference: the reference kernels' scratch, measured; it holds for all operators that the
            library leaves to them.
        kernels: the library.
        dsp: the core has the DSP extension (CMSIS-NN only).

    Raises:
        InputError: for the reference kernels there is nothing to estimate.
    """
    if kernels is Kernels.REFERENCE:
        raise InputError("the reference kernels' scratch is measured, not estimated")
    sizes: Scratch = {}
    unknown: list[tuple[int, int]] = []
    for subgraph in model.subgraphs:
        for operator in subgraph.operators:
            key = subgraph.index, operator.index
            own = _own(subgraph, operator, kernels, dsp=dsp)
            if own is None and key in reference.unknown:
                unknown.append(key)
            elif own is None and key in reference.sizes:
                sizes[key] = reference.sizes[key]
            elif own is not None and own < 0:
                unknown.append(key)
            elif own:
                sizes[key] = (own,)
    return KernelScratch(sizes, "formulas", tuple(unknown))


def _own(
    subgraph: TfliteSubgraph, operator: TfliteOperator, kernels: Kernels, *, dsp: bool
) -> int | None:
    """Bytes of the library's own kernel, -1 for unknown; None where the reference kernel runs."""
    if operator.kind in _UNKNOWN[kernels]:
        return -1
    operands = [subgraph.tensors[t] for t in operator.inputs if t >= 0]
    if not operands:
        return None
    dtype = operands[0].dtype
    if kernels is Kernels.ESP_NN:
        if dtype != "int8":
            return None
        if operator.kind == "SOFTMAX":  # its width is the second dimension
            return 4 * operands[0].shape[1] if len(operands[0].shape) > 1 else -1
        if operator.kind not in {"CONV_2D", "DEPTHWISE_CONV_2D"}:
            return None
        layer = _convolution(subgraph, operator)
        if layer is None:
            return -1
        return _esp_conv(layer) if operator.kind == "CONV_2D" else _esp_depthwise(layer)
    if dtype not in {"int8", "int16"}:
        return None
    if operator.kind == "AVERAGE_POOL_2D":
        if not dsp:
            return 0
        return 4 * operands[0].shape[-1] if dtype == "int8" and operands[0].shape else -1
    if operator.kind == "FULLY_CONNECTED":
        return 0 if dtype == "int8" else -1
    if operator.kind not in {"CONV_2D", "DEPTHWISE_CONV_2D"}:
        return None
    layer = _convolution(subgraph, operator)
    if layer is None or operands[1].dtype != "int8":  # 4-bit weights have other kernels
        return -1
    if operator.kind == "CONV_2D":
        return _cmsis_conv_s8(layer) if dtype == "int8" else _cmsis_conv_s16(layer, dsp=dsp)
    if dtype == "int8":
        return _cmsis_depthwise_s8(layer, dsp=dsp)
    return _cmsis_depthwise_s16(layer, dsp=dsp)


@dataclass(frozen=True, slots=True)
class _Convolution:
    """Sizes are (height, width)."""

    batch: int
    inputs: tuple[int, int]
    channels: int
    kernel: tuple[int, int]
    outputs: tuple[int, int]
    results: int
    stride: tuple[int, int]
    dilation: tuple[int, int]
    multiplier: int

    @property
    def padding(self) -> tuple[int, int]:
        """What TFLM pads at the start: half of what is missing."""
        found = [
            max(0, (out - 1) * stride + (kernel - 1) * dilation + 1 - size) // 2
            for size, kernel, out, stride, dilation in zip(
                self.inputs, self.kernel, self.outputs, self.stride, self.dilation, strict=True
            )
        ]
        return found[0], found[1]

    @property
    def taps(self) -> int:
        """Elements of one filter over all input channels."""
        return self.kernel[0] * self.kernel[1] * self.channels


def _convolution(subgraph: TfliteSubgraph, operator: TfliteOperator) -> _Convolution | None:
    if len(operator.inputs) < 2 or min(operator.inputs[:2]) < 0 or len(operator.outputs) != 1:
        return None
    source, weights = (subgraph.tensors[t].shape for t in operator.inputs[:2])
    result = subgraph.tensors[operator.outputs[0]].shape
    options = operator.attributes()
    named = ("stride_h", "stride_w", "dilation_h_factor", "dilation_w_factor")
    numbers = [options.get(name, 1) for name in named]
    plain = [n for n in numbers if isinstance(n, int)]
    if any(len(shape) != 4 for shape in (source, weights, result)) or len(plain) != 4:
        return None
    return _Convolution(
        batch=source[0],
        inputs=(source[1], source[2]),
        channels=source[3],
        kernel=(weights[1], weights[2]),
        outputs=(result[1], result[2]),
        results=result[3],
        stride=(plain[0], plain[1]),
        dilation=(plain[2], plain[3]),
        multiplier=result[3] // source[3] if source[3] else 0,
    )


def _cmsis_conv_s8(layer: _Convolution) -> int:
    if layer.kernel == (1, 1) and layer.padding == (0, 0) and layer.dilation == (1, 1):
        return 0
    return 2 * 2 * (-(-layer.taps // 4) * 4)  # two columns of int16


def _cmsis_conv_s16(layer: _Convolution, *, dsp: bool) -> int:
    fast = dsp and layer.taps < _FAST_S16 and layer.dilation == (1, 1)
    return 2 * 2 * layer.taps if fast else 0


def _cmsis_depthwise_s8(layer: _Convolution, *, dsp: bool) -> int:
    if layer.channels != layer.results or layer.batch != 1 or layer.dilation != (1, 1):
        return 0
    if layer.kernel == (3, 3) and max(layer.padding) <= 1:
        return 0
    return 2 * layer.taps if dsp else 0


def _cmsis_depthwise_s16(layer: _Convolution, *, dsp: bool) -> int:
    small = layer.kernel[0] * layer.kernel[1] < _FAST_S16
    fast = layer.multiplier == 1 and layer.dilation == (1, 1) and small
    return 2 * layer.taps if fast and dsp else 0


def _esp_conv(layer: _Convolution) -> int:
    (height, width), (pad_h, pad_w) = layer.inputs, layer.padding
    if layer.kernel == (1, 1) and layer.padding == (0, 0) and layer.stride == (1, 1):
        channels = -(-layer.channels // 8) * 8
        padded = height * width * channels if layer.channels % 8 else 0
        transposed = 2 * 8 * channels if height * width >= 8 else 0
        return padded + channels * layer.results + transposed + 32
    channels = -(-layer.channels // 16) * 16
    padded = 0
    if layer.padding != (0, 0):
        padded = (width + 2 * pad_w) * (height + 2 * pad_h) * layer.channels
    return (
        padded
        + layer.kernel[0] * layer.kernel[1] * channels * layer.results
        + 32
        + (4 * layer.results)
    )


def _esp_depthwise(layer: _Convolution) -> int:
    (height, width), channels = layer.inputs, layer.channels
    weights = layer.taps * layer.multiplier
    area = height * width * channels
    if layer.multiplier == 1 and channels % 8 == 0 and layer.kernel == (3, 3):
        if channels % 16:
            return 2 * (weights + area) + 16
        pad_h, pad_w = (2 * pad for pad in layer.padding)
        if layer.padding == (0, 0):
            pad_h = layer.outputs[0] * layer.stride[0] + 2 - height
            pad_w = layer.outputs[1] * layer.stride[1] + 2 - width
        padded = (width + pad_w) * (height + pad_h) * channels if pad_w or pad_h else 0
        return weights + padded + 16
    if layer.multiplier % 4 == 0:
        return 2 * (weights + area) + 16
    return 32
