"""What TFLite's operators compute, in the terms of `ir.semantics`.

Activations are laid out as batch, height, width, channels; the weights of CONV_2D as outputs,
height, width, inputs, those of DEPTHWISE_CONV_2D as 1, height, width, outputs. The shapes in a file
are not trusted: where they are not those that the operator makes, it has no meaning.

Left without a meaning, so that no rewrite touches it: what is pinned or random; a quantized
operator that would rescale where a float one copies (concatenations of several scales);
convolutions of floats with integer weights, which choose a scale from all of their data as they
run.
"""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

from lowtide.ir import Role
from lowtide.ir.semantics import (
    Add,
    Concat,
    Conversion,
    Convolution,
    Identity,
    Pad,
    Pointwise,
    Pooling,
    Slice,
    Split,
    Window,
)

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

    from lowtide.frontends.tflite.constants import Facts
    from lowtide.ir import Op, Tensor
    from lowtide.ir.semantics import Meaning

__all__ = ["meaning_of"]

_UNARY = frozenset(
    {"ABS", "CAST", "CEIL", "COS", "DEQUANTIZE", "ELU", "EXP", "FLOOR", "GELU", "HARD_SWISH"}
    | {"LEAKY_RELU", "LOG", "LOGICAL_NOT", "LOGISTIC", "NEG", "QUANTIZE", "RELU", "RELU6"}
    | {"RELU_0_TO_1", "RELU_N1_TO_1", "ROUND", "RSQRT", "SIGN", "SIN", "SQRT", "SQUARE", "TANH"}
)
_BINARY = frozenset(
    {"ADD", "DIV", "EQUAL", "FLOOR_DIV", "FLOOR_MOD", "GREATER", "GREATER_EQUAL", "LESS"}
    | {"LESS_EQUAL", "MAXIMUM", "MINIMUM", "MUL", "NOT_EQUAL", "POW", "PRELU", "SQUARED_DIFFERENCE"}
    | {"SUB"}
)
_WHOLE = frozenset({"int32", "int64"})


def meaning_of(op: Op, facts: Facts) -> Meaning | None:
    """What the op computes; None where no rewrite is to know."""
    if op.dialect != "tflite" or op.traits.pinned or op.traits.random or not op.outputs:
        return None
    if len(op.outputs) > 1 and op.kind not in _SPLITS:
        return None
    tensors = (*op.operands, *op.outputs)
    if any(t.role is Role.STATE or t.dtype == "opaque" or 0 in t.shape for t in tensors):
        return None
    if any(t.role is Role.CONSTANT and not facts.readable(t) for t in op.operands):
        return None
    if op.kind in _UNARY:
        return _unary(op, facts)
    if op.kind in _BINARY:
        return _binary(op)
    reader = _READERS.get(op.kind)
    return None if reader is None else reader(op, facts)


# -------------------------------------------------------------------- elementwise


def _unary(op: Op, facts: Facts) -> Meaning | None:
    data = _operand(op, 0)
    result = op.outputs[0]
    if data is None or data.shape != result.shape:
        return None
    if op.kind in {"CAST", "QUANTIZE"} and facts.same_scale(data, result):
        return Identity(op, data)
    if op.kind in {"CAST", "DEQUANTIZE"} and (data.dtype, result.dtype) == ("float16", "float32"):
        return Conversion(op, data)
    return Pointwise(op, data)


def _binary(op: Op) -> Meaning | None:
    result = op.outputs[0]
    terms = tuple(t for t in op.inputs if t is not None)
    if len(terms) != 2:
        return None
    constant = [t.role is Role.CONSTANT for t in terms]
    if op.kind == "ADD" and not any(constant):
        same = all(t.shape == result.shape and t.dtype == result.dtype for t in terms)
        active = op.attributes.get("fused_activation_function", 0) != 0
        exact = result.dtype in _WHOLE and not active
        return Add(op, terms, active, exact) if same else None
    if constant.count(True) != 1:
        return None
    where = constant.index(True)
    data, other = terms[1 - where], terms[where]
    if data.shape != result.shape or len(other.shape) > len(data.shape):
        return None
    if math.prod(other.shape) == 1:
        return Pointwise(op, data)
    if not data.shape or math.prod(other.shape) != data.shape[-1]:
        return None
    if other.shape[-1] != data.shape[-1]:
        return None
    return Pointwise(op, data, len(data.shape) - 1, ((where, len(other.shape) - 1),))


# -------------------------------------------------------------------- copies


def _concatenation(op: Op, facts: Facts) -> Meaning | None:
    result = op.outputs[0]
    parts = tuple(t for t in op.inputs if t is not None)
    axis = _axis(op.attributes.get("axis"), result)
    if not parts or axis is None or op.attributes.get("fused_activation_function", 0) != 0:
        return None
    if any(not facts.same_scale(t, result) for t in parts):
        return None
    length = 0
    for part in parts:
        if len(part.shape) != len(result.shape) or _other(part, axis) != _other(result, axis):
            return None
        length += part.shape[axis]
    if length != result.shape[axis]:
        return None
    return Identity(op, parts[0]) if len(parts) == 1 else Concat(op, parts, axis)


def _split(op: Op, facts: Facts) -> Meaning | None:
    axes, data = (2, 0) if op.kind == "SPLIT_V" else (0, 1)
    source = _operand(op, data)
    values = facts.integers(_operand(op, axes))
    if source is None or values is None or len(values) != 1:
        return None
    axis = _axis(values[0], source)
    if axis is None or any(not facts.same_scale(source, t) for t in op.outputs):
        return None
    length = 0
    for part in op.outputs:
        if len(part.shape) != len(source.shape) or _other(part, axis) != _other(source, axis):
            return None
        length += part.shape[axis]
    if length != source.shape[axis]:
        return None
    return Identity(op, source) if len(op.outputs) == 1 else Split(op, source, axis)


def _slice(op: Op, facts: Facts) -> Meaning | None:
    data, result = _operand(op, 0), op.outputs[0]
    begin, size = facts.integers(_operand(op, 1)), facts.integers(_operand(op, 2))
    if data is None or begin is None or size is None:
        return None
    if not len(begin) == len(size) == len(data.shape):
        return None
    stops = [
        length if count == -1 else start + count
        for start, count, length in zip(begin, size, data.shape, strict=True)
    ]
    return _part(op, facts, data, result, begin, stops)


def _strided_slice(op: Op, facts: Facts) -> Meaning | None:
    data, result = _operand(op, 0), op.outputs[0]
    begin, end, strides = (facts.integers(_operand(op, i)) for i in (1, 2, 3))
    if data is None or begin is None or end is None or strides is None:
        return None
    if not len(begin) == len(end) == len(strides) == len(data.shape) or set(strides) - {1}:
        return None
    masks = ("ellipsis_mask", "new_axis_mask", "shrink_axis_mask", "offset")
    if any(op.attributes.get(name, 0) for name in masks):
        return None
    first, last = (_integer(op, name) for name in ("begin_mask", "end_mask"))
    starts: list[int] = []
    stops: list[int] = []
    for axis, length in enumerate(data.shape):
        start = 0 if first >> axis & 1 else begin[axis]
        stop = length if last >> axis & 1 else end[axis]
        starts.append(min(max(start + length if start < 0 else start, 0), length))
        stops.append(min(max(stop + length if stop < 0 else stop, 0), length))
    return _part(op, facts, data, result, starts, stops)


def _part(
    op: Op,
    facts: Facts,
    data: Tensor,
    result: Tensor,
    starts: Sequence[int],
    stops: Sequence[int],
) -> Meaning | None:
    bounds = list(zip(starts, stops, data.shape, strict=True))
    if any(not 0 <= start < stop <= length for start, stop, length in bounds):
        return None
    if result.shape != tuple(stop - start for start, stop, _ in bounds):
        return None
    if not facts.same_scale(data, result):
        return None
    cut = [axis for axis, (start, stop, length) in enumerate(bounds) if stop - start < length]
    if not cut:
        return Identity(op, data)
    return Slice(op, data, cut[0], starts[cut[0]], stops[cut[0]]) if len(cut) == 1 else None


def _pad(op: Op, facts: Facts) -> Meaning | None:
    data, result = _operand(op, 0), op.outputs[0]
    sizes = facts.integers(_operand(op, 1))
    if data is None or sizes is None or len(sizes) != 2 * len(data.shape):
        return None
    if any(size < 0 for size in sizes) or not facts.same_scale(data, result):
        return None
    pairs = [(sizes[2 * axis], sizes[2 * axis + 1]) for axis in range(len(data.shape))]
    expected = tuple(n + a + b for n, (a, b) in zip(data.shape, pairs, strict=True))
    if result.shape != expected:
        return None
    if not any(sizes):
        return Identity(op, data)
    if op.kind != "PAD":  # which puts the zero point; PADV2 puts what it is given
        return None
    return Pad(op, data, {axis: pair for axis, pair in enumerate(pairs) if any(pair)})


def _same_shape(op: Op, facts: Facts) -> Meaning | None:
    """Copies whose result has the operand's shape: with it, all bytes are where they were."""
    data, result = _operand(op, 0), op.outputs[0]
    if data is None or data.shape != result.shape or not facts.same_scale(data, result):
        return None
    if op.kind == "TRANSPOSE":
        order = facts.integers(_operand(op, 1))
        if order is None or sorted(order) != list(range(len(data.shape))):
            return None
        long = [axis for axis in order if data.shape[axis] > 1]
        if long != sorted(long) or tuple(data.shape[a] for a in order) != result.shape:
            return None
    return Identity(op, data)


# -------------------------------------------------------------------- windows


def _convolution(op: Op, facts: Facts) -> Meaning | None:
    data, weights, bias = (_operand(op, i) for i in range(3))
    result = op.outputs[0]
    if data is None or weights is None or len(data.shape) != 4 or len(weights.shape) != 4:
        return None
    if len(result.shape) != 4 or not facts.readable(weights):
        return None
    if (data.dtype == "float32") != (weights.dtype == "float32") or data.dtype != result.dtype:
        return None
    if bias is not None and not (facts.readable(bias) and bias.shape == (result.shape[3],)):
        return None
    depthwise = op.kind == "DEPTHWISE_CONV_2D"
    read, made = data.shape[3], result.shape[3]
    if weights.shape[3 if depthwise else 0] != made or data.shape[0] != result.shape[0]:
        return None
    if depthwise:
        if weights.shape[0] != 1 or made % read:
            return None
        groups = read
    else:
        if read % weights.shape[3] or made % (read // weights.shape[3]):
            return None
        groups = read // weights.shape[3]
    dilations = (_integer(op, "dilation_h_factor"), _integer(op, "dilation_w_factor"))
    windows = _windows(op, data, weights.shape[1:3], dilations)
    if windows is None:
        return None
    return Convolution(
        op,
        data,
        weights,
        bias,
        None,
        3,
        windows,
        groups,
        None if depthwise else 3,
        3 if depthwise else 0,
        _integer(op, "fused_activation_function") != 0,
    )


def _pooling(op: Op, facts: Facts) -> Meaning | None:
    data, result = _operand(op, 0), op.outputs[0]
    if data is None or len(data.shape) != 4 or len(result.shape) != 4:
        return None
    if data.dtype != result.dtype or not facts.same_scale(data, result):
        return None
    if (data.shape[0], data.shape[3]) != (result.shape[0], result.shape[3]):
        return None
    sizes = (_integer(op, "filter_height"), _integer(op, "filter_width"))
    windows = _windows(op, data, sizes, (1, 1))
    return None if windows is None else Pooling(op, data, 3, windows)


def _windows(
    op: Op, data: Tensor, sizes: Sequence[int], dilations: Sequence[int]
) -> Mapping[int, Window] | None:
    padding = op.attributes.get("padding")
    strides = (_integer(op, "stride_h"), _integer(op, "stride_w"))
    if padding not in (0, 1) or min(*sizes, *strides, *dilations) < 1:
        return None
    found: dict[int, Window] = {}
    for axis, size, stride, dilation in zip((1, 2), sizes, strides, dilations, strict=True):
        window = Window(size, stride, dilation)
        length = data.shape[axis]
        found[axis] = window.same(length) if padding == 0 else window
        if found[axis].results(length) != op.outputs[0].shape[axis]:
            return None
    return found


# -------------------------------------------------------------------- steps


def _operand(op: Op, position: int) -> Tensor | None:
    return op.inputs[position] if position < len(op.inputs) else None


def _integer(op: Op, name: str) -> int:
    value = op.attributes.get(name, 0)
    return value if isinstance(value, int) else 0


def _axis(value: object, tensor: Tensor) -> int | None:
    rank = len(tensor.shape)
    if not isinstance(value, int) or not -rank <= value < rank:
        return None
    return value % rank


def _other(tensor: Tensor, axis: int) -> tuple[int, ...]:
    return tensor.shape[:axis] + tensor.shape[axis + 1 :]


_SPLITS = frozenset({"SPLIT", "SPLIT_V"})
_READERS: dict[str, Callable[[Op, Facts], Meaning | None]] = {
    "AVERAGE_POOL_2D": _pooling,
    "BROADCAST_TO": _same_shape,
    "CONCATENATION": _concatenation,
    "CONV_2D": _convolution,
    "DEPTHWISE_CONV_2D": _convolution,
    "L2_POOL_2D": _pooling,
    "MAX_POOL_2D": _pooling,
    "PAD": _pad,
    "PADV2": _pad,
    "RESHAPE": _same_shape,
    "SLICE": _slice,
    "SPLIT": _split,
    "SPLIT_V": _split,
    "STRIDED_SLICE": _strided_slice,
    "TILE": _same_shape,
    "TRANSPOSE": _same_shape,
}
