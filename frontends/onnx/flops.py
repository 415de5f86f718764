"""A simple count of floating point operations: a multiply-add is two, an elementwise result one."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from lowtide.frontends.onnx.kernels import TensorType
    from lowtide.ir.op import Attribute

__all__ = ["node_flops"]

_NONE = frozenset(
    {
        "Constant",
        "Dropout",
        "Flatten",
        "Identity",
        "Reshape",
        "Shape",
        "Size",
        "Squeeze",
        "Unsqueeze",
    }
)
_MATMULS = frozenset(
    {"FusedGemm", "FusedMatMul", "Gemm", "MatMul", "MatMulInteger", "QLinearMatMul"}
    | {"TransposeMatMul"}
)
_CONVS = frozenset({"Conv", "ConvInteger", "FusedConv", "QLinearConv"})


def node_flops(
    kind: str,
    attributes: Mapping[str, Attribute],
    inputs: Sequence[TensorType | None],
    outputs: Sequence[TensorType | None],
) -> int:
    """Operations of one node; what is not modelled counts one per element of its results."""
    if kind in _NONE:
        return 0
    elements = sum(math.prod(t.shape) for t in outputs if t is not None)
    first = next((math.prod(t.shape) for t in outputs if t is not None), 0)
    operands = [t.shape for t in inputs if t is not None]
    if kind in _CONVS and len(operands) > 1:
        weight = _weight(kind, operands)
        # Every result is a sum over one filter: (input channels / groups) x window.
        return 2 * first * math.prod(weight[1:])
    if kind == "ConvTranspose" and len(operands) > 1:
        # Every operand element is spread over (output channels / groups) x window.
        return 2 * math.prod(operands[0]) * math.prod(operands[1][1:])
    if kind in _MATMULS and operands and operands[0]:
        transposed = attributes.get("transA") == 1
        depth = operands[0][-2 if transposed and len(operands[0]) > 1 else -1]
        return 2 * first * depth
    return elements


def _weight(kind: str, operands: Sequence[tuple[int, ...]]) -> tuple[int, ...]:
    """The filter: the fourth operand of QLinearConv, the second of the others."""
    if kind == "QLinearConv" and len(operands) > 3:
        return operands[3]
    return operands[1]
