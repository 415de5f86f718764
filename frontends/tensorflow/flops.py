"""Floating point operations of TensorFlow ops."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

from lowtide.tensorflow_types import load_tensorflow

if TYPE_CHECKING:
    from lowtide.tensorflow_types import TfGraph, TfOperation

__all__ = ["op_flops"]

# What moves data and computes nothing.
_NONE = frozenset(
    {"BroadcastTo", "ConcatV2", "ExpandDims", "Fill", "GatherV2", "Identity", "IdentityN", "NoOp"}
    | {"OnesLike", "Pack", "Pad", "PadV2", "ReadVariableOp", "Reshape", "Shape", "Slice", "Split"}
    | {"Squeeze", "StopGradient", "StridedSlice", "Tile", "Transpose", "Unpack", "ZerosLike"}
)


def op_flops(graph: TfGraph, op: TfOperation) -> int:
    """TensorFlow's own statistics; else the elements of the largest operand or result."""
    if op.type in _NONE:
        return 0
    load_tensorflow("tensorflow.python.profiler.internal.flops_registry")
    ops = load_tensorflow("tensorflow.python.framework.ops")
    try:
        known = ops.get_stats_for_node_def(graph, op.node_def, "flops").value
    except (ValueError, TypeError, KeyError):  # a shape or layout that the statistics do not know
        known = None
    if known is not None:
        return int(known)
    shapes = [t.shape for t in (*op.inputs, *op.outputs)]
    return max((math.prod(s.as_list()) for s in shapes if s.is_fully_defined()), default=0)
