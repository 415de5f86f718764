"""Floating point operations of TensorFlow ops."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from lowtide.tensorflow_types import TfOperation, TfTensor

__all__ = ["op_flops"]

# What moves data and computes nothing.
_NONE = frozenset(
    {"BroadcastTo", "ConcatV2", "ExpandDims", "Fill", "GatherV2", "Identity", "IdentityN", "NoOp"}
    | {"OnesLike", "Pack", "Pad", "PadV2", "ReadVariableOp", "Reshape", "Shape", "Slice", "Split"}
    | {"Squeeze", "StopGradient", "StridedSlice", "Tile", "Transpose", "Unpack", "ZerosLike"}
)
# Convolutions: where the filter (or its gradient) and the small side's values are.
_FORWARD = frozenset({"Conv2D", "Conv3D", "DepthwiseConv2dNative"})
_TO_INPUT = ("BackpropInput", "BackpropInputV2")
_TO_FILTER = ("BackpropFilter", "BackpropFilterV2")
_PRODUCTS = frozenset({"MatMul", "BatchMatMul", "BatchMatMulV2", "BatchMatMulV3"})


def op_flops(op: TfOperation) -> int:
    """Two for each multiplication and addition of products and convolutions; else one an element.

    A convolution multiplies every value on its output side with the part of the filter that makes
    it: `2 x values x filter elements / output channels`; its gradients take as many.
    """
    if op.type in _NONE:
        return 0
    if op.type in _FORWARD:
        return _convolution(op.outputs[0], op.inputs[1], depthwise="Depthwise" in op.type)
    if "Conv" in op.type and op.type.endswith(_TO_INPUT):
        return _convolution(op.inputs[2], op.inputs[1], depthwise="Depthwise" in op.type)
    if "Conv" in op.type and op.type.endswith(_TO_FILTER):
        return _convolution(op.inputs[2], op.outputs[0], depthwise="Depthwise" in op.type)
    if op.type in _PRODUCTS:
        left, right, out = (_count(t) for t in (*op.inputs[:2], op.outputs[0]))
        batch = math.prod(op.outputs[0].shape.as_list()[:-2]) if out else 1
        # (m k)(k n)(m n) = (m k n)^2
        return 2 * batch * math.isqrt(left * right * out // max(batch, 1) ** 3) if out else 0
    return max((_count(t) for t in (*op.inputs, *op.outputs)), default=0)


def _convolution(values: TfTensor, kernel: TfTensor, *, depthwise: bool) -> int:
    if not kernel.shape.is_fully_defined():
        return 0
    dims = kernel.shape.as_list()
    # Of a depthwise filter [h, w, channels, multiplier] one value uses h x w places.
    per_value = math.prod(dims[:-2] if depthwise else dims[:-1])
    return 2 * _count(values) * per_value


def _count(tensor: TfTensor) -> int:
    return math.prod(tensor.shape.as_list()) if tensor.shape.is_fully_defined() else 0
