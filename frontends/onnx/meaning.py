"""What ONNX operators compute, as far as rewrites know them."""

from __future__ import annotations

from typing import TYPE_CHECKING, cast

from lowtide.ir import Role, Values
from lowtide.ir.semantics import (
    Add,
    Concat,
    Convolution,
    Identity,
    Normalization,
    Pad,
    Pointwise,
    Pooling,
    Slice,
    Split,
    Window,
)

if TYPE_CHECKING:
    from collections.abc import Callable

    from lowtide.ir import Op, Tensor
    from lowtide.ir.semantics import Meaning

__all__ = ["meaning"]

_CHANNELS = 1
_FLOATS = frozenset({"float16", "float32", "float64", "bfloat16"})
_UNARY = frozenset(
    {"Abs", "Ceil", "Celu", "Elu", "Erf", "Exp", "Floor", "Gelu", "HardSigmoid", "HardSwish"}
    | {"LeakyRelu", "Log", "Mish", "Neg", "Reciprocal", "Relu", "Round", "Selu", "Shrink"}
    | {"Sigmoid", "Sign", "Softplus", "Softsign", "Sqrt", "Tanh", "ThresholdedRelu"}
)
_BINARY = frozenset({"Add", "Div", "Mul", "Pow", "PRelu", "Sub"})


def meaning(op: Op, integers: Callable[[Tensor], tuple[int, ...] | None]) -> Meaning | None:
    """What an op of the dialect `onnx` computes; None where no rewrite is to know.

    Args:
        op: the op.
        integers: the values of a small constant of integers; None where it is none.
    """
    if op.dialect == "onnx.com.microsoft" and op.kind == "FusedConv":
        return _convolution(op)
    if op.dialect != "onnx" or op.traits.pinned or op.traits.random or op.traits.once:
        return None
    same = _identity(op, integers)
    if same is not None:
        return Identity(op, same)
    if op.kind == "Conv":
        return _convolution(op)
    if op.kind in ("MaxPool", "AveragePool"):
        return _pooling(op)
    if op.kind == "Concat":
        return _concat(op)
    if op.kind == "Split":
        return _split(op)
    if op.kind == "Slice":
        return _slice(op, integers)
    if op.kind == "Pad":
        return _pad(op, integers)
    return _add(op) or _pointwise(op)


def _operand(op: Op, position: int) -> Tensor | None:
    return op.inputs[position] if position < len(op.inputs) else None


def _axis(op: Op, default: int, rank: int) -> int:
    axis = cast("int", op.attributes.get("axis", default))
    return axis + rank if axis < 0 else axis


def _identity(op: Op, integers: Callable[[Tensor], tuple[int, ...] | None]) -> Tensor | None:
    """The operand, where the op hands it on as it is."""
    data = _operand(op, 0)
    if data is None or len(op.outputs) != 1 or data.role is Role.CONSTANT:
        return None
    result = op.outputs[0]
    if (data.dtype, data.shape) != (result.dtype, result.shape) or data.dtype == "opaque":
        return None
    always = op.kind in ("Identity", "Dropout", "Reshape", "Flatten", "Squeeze", "Unsqueeze")
    always |= op.kind in ("Cast", "Slice", "Expand", "Tile")
    if op.kind == "Slice":
        steps = _operand(op, 4)
        always = steps is None or all(step > 0 for step in integers(steps) or (-1,))
    if op.kind in ("Concat", "Split", "Sum", "Max", "Min", "Mean"):
        always = len(op.inputs) == 1 or op.kind == "Split"
    if op.kind == "Transpose":
        order = cast("tuple[int, ...]", op.attributes.get("perm", ()))
        always = order == tuple(range(len(data.shape)))
    if op.kind == "Pad":
        amounts = _operand(op, 1)
        given = op.attributes.get("pads") if amounts is None else integers(amounts)
        always = given is not None and not any(cast("tuple[int, ...]", given))
    return data if always else None


def _windows(op: Op, data: Tensor, kernel: tuple[int, ...]) -> dict[int, Window] | None:
    spatial = len(data.shape) - 2
    auto = op.attributes.get("auto_pad", "NOTSET")
    if spatial < 1 or len(kernel) != spatial or op.attributes.get("ceil_mode", 0):
        return None
    strides = cast("tuple[int, ...]", op.attributes.get("strides", (1,) * spatial))
    dilations = cast("tuple[int, ...]", op.attributes.get("dilations", (1,) * spatial))
    pads = cast("tuple[int, ...]", op.attributes.get("pads", (0,) * (2 * spatial)))
    found: dict[int, Window] = {}
    for i in range(spatial):
        before, after = pads[i], pads[spatial + i]
        window = Window(kernel[i], strides[i], dilations[i])
        length = data.shape[2 + i]
        if auto in ("SAME_UPPER", "SAME_LOWER"):
            wanted = -(-length // strides[i])
            total = max(0, (wanted - 1) * strides[i] + window.reach - length)
            small, large = total // 2, total - total // 2
            before, after = (small, large) if auto == "SAME_UPPER" else (large, small)
        elif auto == "VALID":
            before = after = 0
        if before < 0 or after < 0:
            return None
        found[2 + i] = Window(kernel[i], strides[i], dilations[i], before, after)
        if found[2 + i].results(length) != op.outputs[0].shape[2 + i]:
            return None
    return found


def _convolution(op: Op) -> Convolution | None:
    data, weights = _operand(op, 0), _operand(op, 1)
    if data is None or weights is None or len(weights.shape) != len(data.shape):
        return None
    windows = _windows(op, data, weights.shape[2:])
    if windows is None:
        return None
    return Convolution(
        op,
        data,
        weights,
        bias=_operand(op, 2),
        addend=_operand(op, 3),
        channels=_CHANNELS,
        windows=windows,
        groups=cast("int", op.attributes.get("group", 1)),
        inputs_axis=1,
        outputs_axis=0,
        activation=bool(op.attributes.get("activation", "")),
    )


def _pooling(op: Op) -> Pooling | None:
    data = _operand(op, 0)
    kernel = op.attributes.get("kernel_shape")
    if data is None or not isinstance(kernel, tuple) or len(op.outputs) != 1:
        return None
    windows = _windows(op, data, cast("tuple[int, ...]", kernel))
    if windows is None:
        return None
    padded = any(window.before or window.after for window in windows.values())
    if padded and op.kind == "AveragePool" and op.attributes.get("count_include_pad", 0):
        return None
    return Pooling(op, data, channels=_CHANNELS, windows=windows)


def _concat(op: Op) -> Concat:
    parts = tuple(t for t in op.inputs if t is not None)
    return Concat(op, parts, _axis(op, 1, len(op.outputs[0].shape)))


def _split(op: Op) -> Split | None:
    data = _operand(op, 0)
    return None if data is None else Split(op, data, _axis(op, 0, len(data.shape)))


def _slice(op: Op, integers: Callable[[Tensor], tuple[int, ...] | None]) -> Slice | None:
    data = _operand(op, 0)
    if data is None:
        return None
    given: list[tuple[int, ...]] = []
    for position, name in enumerate(("starts", "ends", "axes", "steps"), 1):
        operand = _operand(op, position)
        value = op.attributes.get(name) if operand is None else integers(operand)
        if value is None and operand is not None:
            return None
        given.append(cast("tuple[int, ...]", value or ()))
    starts, _, axes, steps = given
    if any(step != 1 for step in steps):
        return None
    axes = axes or tuple(range(len(starts)))
    cut = [a for a in axes if data.shape[a] != op.outputs[0].shape[a]]
    if len(cut) != 1 or len(starts) != len(axes):
        return None
    axis = cut[0] + len(data.shape) if cut[0] < 0 else cut[0]
    length = data.shape[axis]
    start = starts[axes.index(cut[0])]
    start = min(max(start + length if start < 0 else start, 0), length)
    return Slice(op, data, axis, start, start + op.outputs[0].shape[axis])


def _pad(op: Op, integers: Callable[[Tensor], tuple[int, ...] | None]) -> Pad | None:
    data, amounts, value = (_operand(op, position) for position in range(3))
    if data is None or op.attributes.get("mode", "constant") != "constant":
        return None
    if _operand(op, 3) is not None or op.attributes.get("value", 0.0):
        return None
    if value is not None and integers(value) != (0,):
        return None
    given = op.attributes.get("pads") if amounts is None else integers(amounts)
    rank = len(data.shape)
    pads = cast("tuple[int, ...]", given or ())
    if len(pads) != 2 * rank or any(pad < 0 for pad in pads):
        return None
    sizes = {axis: (pads[axis], pads[rank + axis]) for axis in range(rank)}
    return Pad(op, data, {axis: size for axis, size in sizes.items() if any(size)})


def _add(op: Op) -> Add | None:
    terms = tuple(t for t in op.inputs if t is not None)
    if op.kind not in ("Add", "Sum") or len(terms) < 2:
        return None
    result = op.outputs[0]
    if any(t.shape != result.shape or t.role is Role.CONSTANT for t in terms):
        return None
    return Add(op, terms, exact_sums=result.dtype not in _FLOATS)


def _pointwise(op: Op) -> Pointwise | None:
    data = _operand(op, 0)
    if data is None or len(op.outputs) != 1 or data.role is Role.CONSTANT:
        return None
    result = op.outputs[0]
    others = [(i, t) for i, t in enumerate(op.inputs) if i and t is not None]
    if op.kind in _BINARY and len(others) == 1 and others[0][1].role is not Role.CONSTANT:
        return None
    known = op.kind in _UNARY or op.kind in ("Cast", "Clip") or op.kind in _BINARY
    if op.kind == "BatchNormalization":
        training = bool(op.attributes.get("training_mode", 0))
        known = len(data.shape) > 1 and len(others) == 4 and not training
    constant = all(t.role is Role.CONSTANT for _, t in others)
    if not known or not constant or data.shape != result.shape or data.dtype == "opaque":
        return None
    width = data.shape[_CHANNELS] if len(data.shape) > 1 else 0
    channels: list[tuple[int, int]] = []
    for position, tensor in others:
        if op.kind == "BatchNormalization":
            axis = 0
        else:
            wide = [a for a, length in enumerate(tensor.shape) if length != 1]
            if not wide:
                continue
            axis = wide[0]
            if len(wide) > 1 or axis - len(tensor.shape) != _CHANNELS - len(data.shape):
                return None
        if tensor.shape[axis] != width:
            return None
        channels.append((position, axis))
    if op.kind == "BatchNormalization":
        scale, shift, mean, variance = (t for _, t in others)
        return Normalization(
            op,
            data,
            _CHANNELS,
            tuple(channels),
            scale=scale,
            shift=shift,
            mean=mean,
            variance=variance,
            epsilon=float(cast("float", op.attributes.get("epsilon", 1e-5))),
        )
    return Pointwise(op, data, _CHANNELS if len(data.shape) > 1 else None, tuple(channels))


def recipe_integers(tensor: Tensor) -> tuple[int, ...] | None:
    """The integers of a constant that a rewrite introduced."""
    recipe = tensor.recipe
    if not isinstance(recipe, Values):
        return None
    return tuple(int(item) for item in recipe.items)
