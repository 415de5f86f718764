"""Random numbers: of the distribution that is asked for; ONNX fixes no sequence."""

from __future__ import annotations

from lowtide.backends.tensorflow.from_onnx.call import Call
from lowtide.backends.tensorflow.from_onnx.dtypes import cast, dtype_of
from lowtide.backends.tensorflow.from_onnx.lazy import Tensor, tf
from lowtide.backends.tensorflow.from_onnx.registry import operator
from lowtide.backends.tensorflow.from_onnx.value import Value

__all__: list[str] = []


def _seed(call: Call) -> int | None:
    return int(call.number("seed", 0)) if call.given("seed") else None


def _drawn(call: Call, shape: object, dtype: object) -> Value:
    wide = dtype if getattr(dtype, "name", "") in ("float32", "float64") else tf.float32
    result: Tensor
    if call.node.op_type.startswith("RandomNormal"):
        mean, scale = call.number("mean", 0.0), call.number("scale", 1.0)
        result = tf.random.normal(shape, mean, scale, wide, _seed(call))
    else:
        low, high = call.number("low", 0.0), call.number("high", 1.0)
        result = tf.random.uniform(shape, low, high, wide, _seed(call))
    return Value(cast(result, dtype))


@operator(
    "RandomNormal",
    "RandomUniform",
    attributes=("dtype", "high", "low", "mean", "scale", "seed", "shape"),
    folds=False,
)
def _random(call: Call) -> Value:
    return _drawn(call, list(call.ints("shape") or ()), dtype_of(call.integer("dtype", 1)))


@operator(
    "RandomNormalLike",
    "RandomUniformLike",
    attributes=("dtype", "high", "low", "mean", "scale", "seed"),
    folds=False,
)
def _random_like(call: Call) -> Value:
    x = call.tensor(0)
    dtype = dtype_of(call.integer("dtype", 0)) or x.dtype
    return _drawn(call, tf.shape(x), dtype)


@operator("Bernoulli", attributes=("dtype", "seed"), folds=False)
def _bernoulli(call: Call) -> Value:
    x = call.tensor(0)
    dtype = dtype_of(call.integer("dtype", 0)) or x.dtype
    drawn = tf.random.uniform(tf.shape(x), dtype=tf.float32, seed=_seed(call))
    return Value(cast(drawn < cast(x, tf.float32), dtype))


@operator("Multinomial", attributes=("dtype", "sample_size", "seed"), folds=False)
def _multinomial(call: Call) -> Value:
    drawn = tf.random.categorical(
        call.tensor(0), call.integer("sample_size", 1), tf.int64, _seed(call)
    )
    return Value(cast(drawn, dtype_of(call.integer("dtype", 6))))
