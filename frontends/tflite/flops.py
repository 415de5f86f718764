"""A simple count of operations: a multiply-add is two, an elementwise result one."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from lowtide.ir import Tensor
    from lowtide.ir.op import Attribute

__all__ = ["operator_flops"]

_NONE = frozenset(
    {"ASSIGN_VARIABLE", "BITCAST", "BROADCAST_ARGS", "CALL_ONCE", "CONCATENATION", "EXPAND_DIMS"}
    | {"HASHTABLE", "PACK", "RANK", "READ_VARIABLE", "RESHAPE", "SHAPE", "SLICE", "SPLIT"}
    | {"SPLIT_V", "SQUEEZE", "STRIDED_SLICE", "TRANSPOSE", "UNPACK", "VAR_HANDLE"}
)


def operator_flops(
    kind: str,
    attributes: Mapping[str, Attribute],
    inputs: Sequence[Tensor | None],
    outputs: Sequence[Tensor],
) -> int:
    """Operations of one operator; what is not modelled counts one per element of its results."""
    if kind in _NONE:
        return 0
    shapes = [() if t is None else t.shape for t in inputs]
    elements = sum(math.prod(t.shape) for t in outputs)
    first = math.prod(outputs[0].shape) if outputs else 0
    if kind == "CONV_2D" and len(shapes) > 1:  # filters: output, height, width, input
        return 2 * first * math.prod(shapes[1][1:])
    if kind == "DEPTHWISE_CONV_2D" and len(shapes) > 1:  # filters: 1, height, width, output
        return 2 * first * math.prod(shapes[1][1:3])
    if kind == "CONV_3D" and len(shapes) > 1:  # filters: depth, height, width, input, output
        return 2 * first * math.prod(shapes[1][:4])
    if kind == "TRANSPOSE_CONV" and len(shapes) > 2:  # inputs: output shape, filters, data
        return 2 * math.prod(shapes[2]) * math.prod(shapes[1][:3])
    if kind == "FULLY_CONNECTED" and len(shapes) > 1 and shapes[1]:
        return 2 * first * shapes[1][-1]
    if kind == "BATCH_MATMUL" and len(shapes) > 1 and len(shapes[0]) > 1:
        return 2 * first * shapes[0][-2 if attributes.get("adj_x") else -1]
    if kind in {"AVERAGE_POOL_2D", "L2_POOL_2D", "MAX_POOL_2D"}:
        height, width = attributes.get("filter_height"), attributes.get("filter_width")
        if isinstance(height, int) and isinstance(width, int):
            return first * max(height, 1) * max(width, 1)
    if kind in {"MEAN", "REDUCE_MAX", "REDUCE_MIN", "REDUCE_PROD", "SUM"} and shapes:
        return max(elements, math.prod(shapes[0]))
    return elements
