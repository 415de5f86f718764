"""MatMul, Gemm, Einsum and what is made of them."""

# TensorFlow has no type stubs:
# pyright: reportUnknownLambdaType=false, reportUnknownArgumentType=false
# pyright: reportUnknownVariableType=false

from __future__ import annotations

import numpy as np

from lowtide.backends.tensorflow.from_onnx.call import Call
from lowtide.backends.tensorflow.from_onnx.dtypes import cast, computed_as, is_integer
from lowtide.backends.tensorflow.from_onnx.lazy import Tensor, tf
from lowtide.backends.tensorflow.from_onnx.registry import operator
from lowtide.backends.tensorflow.from_onnx.reshape import Flattened
from lowtide.backends.tensorflow.from_onnx.value import Value

__all__ = ["multiplied"]


def multiplied(first: Tensor, second: Tensor, **options: bool) -> Tensor:
    """The matrix product in ONNX's (numpy's) sense: vectors are rows or columns."""
    left, right = first.shape.rank, second.shape.rank
    if left == 1 and right == 1:
        result: Tensor = tf.reduce_sum(first * second)
        return result
    if left == 1:
        product = multiplied(tf.expand_dims(first, 0), second, **options)
        return _squeezed(product, -2)
    if right == 1:
        product = multiplied(first, tf.expand_dims(second, 1), **options)
        return _squeezed(product, -1)
    return computed_as("BatchMatMulV2", lambda a, b: tf.matmul(a, b, **options), first, second)


def _squeezed(tensor: Tensor, axis: int) -> Tensor:
    result: Tensor = tf.squeeze(tensor, [axis])
    return result


def _swapped(value: Value) -> bool:
    """Whether the value lies transposed in its last two axes and as ONNX has it in the others."""
    rank = value.rank or 0
    return rank >= 2 and value.order == (*range(rank - 2), rank - 1, rank - 2)


@operator("MatMul")
def _matmul(call: Call) -> Value:
    """Operands that lie transposed are multiplied as they lie."""
    first, second = call.value(0), call.value(1)
    options: dict[str, bool] = {}
    if isinstance(first, Flattened) and second.array is not None and second.array.ndim == 2:
        rows = np.ascontiguousarray(second.array[first.places])
        return Value(multiplied(first.lying, call.placed(rows)))
    left, right = first.tensor if not _swapped(first) else first.physical, second
    if _swapped(first) and (second.rank or 0) >= 2:
        options["transpose_a"] = True
    elif _swapped(first):
        left = first.tensor
    if _swapped(second) and (first.rank or 0) >= 2:
        options["transpose_b"] = True
        return Value(multiplied(left, second.physical, **options))
    if second.array is not None and second.array.ndim == 2 and (first.rank or 0) > 2:
        return _dense(call, left, right.tensor, options)
    return Value(multiplied(left, right.tensor, **options))


def _dense(call: Call, left: Tensor, right: Tensor, options: dict[str, bool]) -> Value:
    """A stack of rows times one matrix, as one product where the stack's shape is known."""
    shape = left.shape.as_list()
    if options or None in shape[1:]:
        return Value(multiplied(left, right, **options))
    del call
    rows = tf.reshape(left, [-1, shape[-1]])
    product = multiplied(rows, right)
    return Value(
        tf.reshape(product, [-1 if s is None else s for s in shape[:-1]] + [product.shape[-1]])
    )


@operator("Gemm", attributes=("alpha", "beta", "broadcast", "transA", "transB"))
def _gemm(call: Call) -> Value:
    alpha, beta = call.number("alpha", 1.0), call.number("beta", 1.0)
    trans_a, trans_b = bool(call.integer("transA", 0)), bool(call.integer("transB", 0))
    first, second = call.value(0), call.value(1)
    if _swapped(first):
        first, trans_a = Value(first.physical), not trans_a
    if _swapped(second):
        second, trans_b = Value(second.physical), not trans_b
    weight = second.array
    if weight is not None:
        # Weights are arranged now: [in, out], rows as the input's elements lie.
        matrix = weight.T if trans_b else weight
        if isinstance(first, Flattened) and not trans_a:
            matrix = matrix[first.places]
            first = Value(first.lying)
        if alpha != 1.0 and matrix.dtype.kind == "f":
            matrix = (matrix.astype(np.float64) * alpha).astype(matrix.dtype)
            alpha = 1.0
        second, trans_b = call.made(np.ascontiguousarray(matrix)), False
    product = computed_as(
        "MatMul",
        lambda a, b: tf.matmul(a, b, transpose_a=trans_a, transpose_b=trans_b),
        first.tensor,
        second.tensor,
    )
    if alpha != 1.0:
        product = _scaled(product, alpha)
    if call.has(2):
        bias = call.value(2)
        if bias.array is not None and bias.array.dtype.kind == "f":
            scaled = (bias.array.astype(np.float64) * beta).astype(bias.array.dtype)
            if scaled.ndim == 2 and scaled.shape[0] == 1:
                scaled = scaled[0]
            if scaled.ndim == 1 and scaled.shape[0] == product.shape[-1]:
                return Value(tf.nn.bias_add(product, call.placed(scaled)))
            return Value(product + call.placed(scaled))
        added = bias.tensor if beta == 1.0 else _scaled(bias.tensor, beta)
        if added.shape.rank == 2 and added.shape[0] == 1:
            # TensorFlow fuses the sum, and then takes a bias of rank 1 only.
            added = tf.reshape(added, [-1])
        product = computed_as("AddV2", tf.add, product, added)
    return Value(product)


def _scaled(tensor: Tensor, factor: float) -> Tensor:
    if is_integer(tensor.dtype):
        return cast(cast(tensor, tf.float64) * factor, tensor.dtype)
    scaled: Tensor = tensor * tf.cast(factor, tensor.dtype)
    return scaled


@operator("Einsum", attributes=("equation",))
def _einsum(call: Call) -> Value:
    equation = call.text("equation", "").replace(" ", "")
    tensors = [call.tensor(i) for i in range(len(call.inputs))]
    terms, arrow, result = equation.partition("->")
    if not arrow:
        letters = terms.replace(",", "").replace("...", "")
        result = ("..." if "..." in terms else "") + "".join(
            sorted(letter for letter in set(letters) if letters.count(letter) == 1)
        )
    return Value(tf.einsum(f"{terms}->{result}", *tensors))


@operator("MatMulInteger")
def _matmul_integer(call: Call) -> Value:
    left = _centered(call, 0, 2, rows=True)
    right = _centered(call, 1, 3, rows=False)
    return Value(multiplied(left, right))


def _centered(call: Call, operand: int, zero: int, *, rows: bool) -> Tensor:
    """An operand of integers with its zero point taken off, in int32."""
    x = cast(call.tensor(operand), tf.int32)
    if not call.has(zero):
        return x
    point = cast(call.tensor(zero), tf.int32)
    if point.shape.rank == 1 and point.shape[0] != 1:
        point = tf.expand_dims(point, 1) if rows else point
    return x - point


@operator("Det")
def _det(call: Call) -> Value:
    return Value(tf.linalg.det(call.tensor(0)))


@operator("LpNormalization", attributes=("axis", "p"))
def _lp_normalization(call: Call) -> Value:
    value = call.value(0)
    axis = call.axis(call.integer("axis", -1), call.rank(0))
    at = axis if value.order is None else value.order.index(axis)
    x = value.physical
    if call.integer("p", 2) == 1:
        norm = tf.reduce_sum(tf.abs(x), at, keepdims=True)
    else:
        norm = tf.sqrt(tf.reduce_sum(x * x, at, keepdims=True))
    return Value(tf.math.divide_no_nan(x, norm), value.order)


@operator("CumSum", "CumProd", attributes=("exclusive", "reverse"))
def _cumulated(call: Call) -> Value:
    function = tf.cumsum if call.node.op_type == "CumSum" else tf.math.cumprod
    kernel = "Cumsum" if call.node.op_type == "CumSum" else "Cumprod"
    axis = tf.reshape(cast(call.tensor(1), tf.int32), [])
    exclusive, reverse = bool(call.integer("exclusive", 0)), bool(call.integer("reverse", 0))
    x = call.tensor(0)
    return Value(
        computed_as(kernel, lambda t: function(t, axis, exclusive=exclusive, reverse=reverse), x)
    )
