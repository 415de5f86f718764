"""Scratch that ONNX Runtime's CPU kernels allocate while they run (1.31, x86-64).

Each rule gives the bytes above operands and results at the kernel's highest point, or None where
this variant of the node has not been worked out. ORT rounds every block up to 64 bytes; so do the
rules. What kernels take from malloc directly (index vectors and the like) is not in them, nor is
the packing buffer (some 40 KiB) that MLAS keeps per thread once a thread has worked on a quantized
GEMM.
The formulas follow the kernels' sources, named in each docstring (core/providers/cpu and
contrib_ops/cpu of the ORT repository), and `bench/probe_kernels.py` compares them with executions.
"""

from __future__ import annotations

import math
import os
from typing import TYPE_CHECKING

from lowtide.ir.dtype import nbytes

if TYPE_CHECKING:
    from collections.abc import Callable

    from lowtide.frontends.onnx.kernels import KernelQuery, TensorType

    Rule = Callable[[KernelQuery], int | None]

__all__ = [
    "attention",
    "attention_standard",
    "batch_normalization",
    "bias_gelu",
    "conv",
    "conv_integer",
    "conv_transpose",
    "dynamic_quantize_matmul",
    "gru",
    "lrn",
    "lstm",
    "multi_head_attention",
    "nothing",
    "qgemm",
    "qlinear_average_pool",
    "qlinear_conv",
    "qlinear_matmul",
    "resize",
    "rnn",
    "softmax",
    "variadic",
    "where",
]

_BLOCK = 64  # MlasGetPreferredBufferAlignment
_FLOAT = 4
_SGEMM_STRIDE = 128 * 128  # MLAS_SGEMM_STRIDEN * MLAS_SGEMM_STRIDEK: elements of a thread's panel
_SGEMM_THREAD_WORK = 64 * 1024  # MLAS_SGEMM_THREAD_COMPLEXITY
_SGEMM_THREAD_ALIGN = 16  # MLAS_SGEMM_STRIDEN_THREAD_ALIGN
_SGEMM_BATCH_ENTRY = 64  # sizeof(MLAS_SGEMM_DATA_PARAMS)


def nothing(query: KernelQuery) -> int | None:
    """The kernel works on operands, results and the stack."""
    del query
    return 0


def _blocks(*sizes: int) -> int:
    return sum(-(-size // _BLOCK) * _BLOCK for size in sizes)


def _bytes(tensor: TensorType) -> int:
    return _blocks(nbytes(tensor.dtype, tensor.shape))


def _operand(query: KernelQuery, index: int) -> TensorType | None:
    return query.inputs[index] if index < len(query.inputs) else None


def _result(query: KernelQuery, index: int = 0) -> TensorType | None:
    return query.outputs[index] if index < len(query.outputs) else None


def _integer(query: KernelQuery, name: str, default: int) -> int:
    value = query.attributes.get(name, default)
    return value if isinstance(value, int) else default


def _integers(query: KernelQuery, name: str) -> tuple[int, ...]:
    value = query.attributes.get(name, ())
    return tuple(int(v) for v in value) if isinstance(value, tuple) else ()


def _pads_and_strides(query: KernelQuery) -> bool:
    """Whether strides are one and there is no padding, explicit or automatic."""
    automatic = query.attributes.get("auto_pad", "NOTSET") not in ("NOTSET", "VALID")
    strides, pads = _integers(query, "strides"), _integers(query, "pads")
    return all(s == 1 for s in strides) and not automatic and not any(pads)


# ------------------------------------------------------------------ convolutions


def conv(query: KernelQuery) -> int | None:
    """Conv, FusedConv: `nn/conv.cc`, MLAS `convolve.cpp` (MlasConvPrepare).

    A pointwise convolution multiplies in place. With more filters than output pixels the input is
    unrolled as a whole (pixels * K), else in panels of 64 KiB per thread.
    """
    x, w, y = _operand(query, 0), _operand(query, 1), _result(query)
    if x is None or w is None or y is None or x.dtype != "float32":
        return None
    if 0 in y.shape:
        return 0
    batch, group = x.shape[0], _integer(query, "group", 1)
    kernel, pixels = math.prod(w.shape[2:]), math.prod(y.shape[2:])
    channels, filters, depth = w.shape[1], w.shape[0] // group, w.shape[1] * kernel
    if len(x.shape) > 5:
        return _blocks(depth * pixels * _FLOAT)
    if _pads_and_strides(query):
        image, window = list(x.shape[2:]), list(w.shape[2:])
        if len(image) == 1:  # MLAS makes it two-dimensional
            image, window = [1, *image], [1, *window]
        dense = all(d == 1 for d in _integers(query, "dilations"))
        if kernel == 1:
            return 0
        if len(image) == 2 and dense and channels == 1:
            whole_rows = window[1] == image[1]
            whole_columns = window == [image[0], 1]
            if whole_rows or whole_columns:
                return 0
    if filters > pixels:
        return _blocks(depth * pixels * _FLOAT)
    batches = batch * group
    threads = min(filters * pixels * depth // _SGEMM_THREAD_WORK + 1, query.threads)
    if batches > 1:
        threads = min(query.threads, batches)
    elif threads > 1:
        stride = -(-pixels // threads)
        stride = -(-stride // _SGEMM_THREAD_ALIGN) * _SGEMM_THREAD_ALIGN
        if stride >= pixels:
            threads = 1
        elif stride * (threads - 1) >= pixels:
            threads -= 1
    return _blocks(threads * _SGEMM_STRIDE * _FLOAT)


def conv_transpose(query: KernelQuery) -> int | None:
    """ConvTranspose: `nn/conv_transpose.cc`: the columns of one image and group."""
    x, w = _operand(query, 0), _operand(query, 1)
    if x is None or w is None or x.dtype != "float32":
        return None
    return _blocks(math.prod(w.shape[1:]) * math.prod(x.shape[2:]) * _FLOAT)


def conv_integer(query: KernelQuery) -> int | None:
    """ConvInteger: `nn/conv_integer.cc`: the columns of one image and group, in bytes."""
    w, y = _operand(query, 1), _result(query)
    if w is None or y is None:
        return None
    if math.prod(w.shape[2:]) == 1 and _pads_and_strides(query):
        return 0
    return _blocks(math.prod(w.shape[1:]) * math.prod(y.shape[2:]))


def qlinear_conv(query: KernelQuery) -> int | None:
    """QLinearConv: `quantization/qlinearconv.cc`, MLAS `convsym.cpp`.

    One image is transposed to channels-last and back. Signed constant weights may take the
    symmetric kernels (channels in fours, 16 filters or more; depthwise in sixteens), which read
    through an array of pointers and write 8-bit results at once; the others need 32-bit sums, and
    columns or pointers. Which symmetric kernels exist depends on the CPU: this is AVX2 and later.
    """
    x, w, y = _operand(query, 0), _operand(query, 3), _result(query)
    if x is None or w is None or y is None:
        return None
    group = _integer(query, "group", 1)
    last = _integer(query, "channels_last", 0) == 1
    filters, channels, kernel = w.shape[0], w.shape[1], math.prod(w.shape[2:])
    pixels = math.prod(y.shape[1:-1] if last else y.shape[2:])
    image = math.prod(x.shape[1:])
    constant = len(query.constant) > 3 and query.constant[3]
    depthwise = channels == 1 and group == filters
    if constant and x.dtype == "uint8" and w.dtype == "int8":
        symmetric = (
            (depthwise and group % 16 == 0)
            if group > 1
            else (channels % 4 == 0 and filters >= 16 and filters % 4 == 0)
        )
    else:
        symmetric = False
    pointwise = kernel == 1 and _pads_and_strides(query)
    sizes = [] if last else [image, filters * pixels]
    if not constant:
        sizes.append(nbytes(w.dtype, w.shape))
    if not symmetric:
        sizes.append(filters * pixels * 4)
    if symmetric or depthwise:
        if not pointwise or depthwise:
            sizes.append(pixels * kernel * 8)
    elif not pointwise:
        sizes.append(channels * kernel * pixels)
    return _blocks(*sizes)


# ------------------------------------------------------------------ matrices


def qlinear_matmul(query: KernelQuery) -> int | None:
    """QLinearMatMul: `quantization/quantize_linear_matmul.cc`: 32-bit sums of the result."""
    y = _result(query)
    return None if y is None else _blocks(math.prod(y.shape) * 4)


def qgemm(query: KernelQuery) -> int | None:
    """QGemm: `quantization/quant_gemm.cc`: 32-bit sums where the result has 8 bits."""
    y = _result(query)
    if y is None:
        return None
    return _blocks(math.prod(y.shape) * 4) if y.dtype in ("int8", "uint8") else 0


def dynamic_quantize_matmul(query: KernelQuery) -> int | None:
    """DynamicQuantizeMatMul: `quantization/dynamic_quantize_matmul.cc`: the quantized operand."""
    a = _operand(query, 0)
    return None if a is None else _blocks(math.prod(a.shape))


# ------------------------------------------------------------------ attention


def attention(query: KernelQuery) -> int | None:
    """com.microsoft Attention: `bert/attention.cc`, `attention_cpu_base.h`, without past or mask.

    The projected Q, K and V, the scores, one GEMM descriptor per head, and the heads' results.
    """
    x, w, y = _operand(query, 0), _operand(query, 1), _result(query)
    heads = _integer(query, "num_heads", 0)
    if x is None or w is None or y is None or not heads or len(query.outputs) > 1:
        return None
    if any(t is not None for t in query.inputs[3:]) or _integer(query, "unidirectional", 0):
        return None
    batch, length = x.shape[:2]
    return _blocks(
        batch * length * w.shape[1] * _FLOAT,
        batch * heads * length * length * _FLOAT,
        batch * heads * _SGEMM_BATCH_ENTRY,
        _bytes(y),
    )


def multi_head_attention(query: KernelQuery) -> int | None:
    """MultiHeadAttention: `bert/multihead_attention.cc` (flash), on three 3-D operands alone.

    Q, K and V with heads outermost, and per thread the rows of one block of queries and keys, whose
    sizes follow from the CPU's level-2 cache.
    """
    q, k, v = (_operand(query, i) for i in range(3))
    heads = _integer(query, "num_heads", 0)
    if q is None or k is None or v is None or not heads or len(query.outputs) > 1:
        return None
    if {len(t.shape) for t in (q, k, v)} != {3} or q.shape[1] == 1:
        return None
    if any(t is not None for t in query.inputs[3:]) or _integer(query, "unidirectional", 0):
        return None
    key_size, value_size = q.shape[2] // heads, v.shape[2] // heads
    key_block = max(_level2_cache() // (_FLOAT * 4 * (key_size + value_size)), 1)
    query_block = min(key_block, key_size + value_size, q.shape[1])
    key_block = min(key_block, k.shape[1])
    row = query_block * 2 + query_block * key_block + query_block * value_size
    return _blocks(_bytes(q), _bytes(k), _bytes(v), query.threads * row * _FLOAT)


def _level2_cache() -> int:
    """Bytes, as ORT reads them off the CPU; 1 MiB where the system does not say."""
    try:
        return os.sysconf("SC_LEVEL2_CACHE_SIZE") or 1 << 20
    except (AttributeError, OSError, ValueError):
        return 1 << 20


def attention_standard(query: KernelQuery) -> int | None:
    """ONNX Attention (opset 23): `llm/attention.cc`: the scores; three operands alone."""
    q, k = _operand(query, 0), _operand(query, 1)
    if q is None or k is None or q.dtype != "float32" or len(query.outputs) > 1:
        return None
    if any(t is not None for t in query.inputs[3:]) or query.attributes.get("is_causal"):
        return None
    heads = q.shape[1] if len(q.shape) == 4 else _integer(query, "q_num_heads", 0)
    return _blocks(q.shape[0] * heads * q.shape[-2] * k.shape[-2] * _FLOAT) if heads else None


def bias_gelu(query: KernelQuery) -> int | None:
    """BiasGelu, FastGelu: `bert/bias_gelu.cc`: one temporary of the operand's size, if biased."""
    x = _operand(query, 0)
    if x is None:
        return None
    return _bytes(x) if _operand(query, 1) is not None else 0


# ------------------------------------------------------------------ recurrent


def _recurrent(query: KernelQuery) -> tuple[int, int, int, int, int] | None:
    """Steps, batch, input size, hidden size and directions."""
    x, r = _operand(query, 0), _operand(query, 2)
    if x is None or r is None or x.dtype != "float32" or _integer(query, "layout", 0):
        return None
    return x.shape[0], x.shape[1], x.shape[2], r.shape[2], r.shape[0]


def _reversal(query: KernelQuery, steps: int, batch: int, width: int, hidden: int) -> int:
    if query.attributes.get("direction", "forward") == "forward":
        return 0
    return _blocks(steps * batch * width * _FLOAT, steps * batch * hidden * _FLOAT)


def _absent(query: KernelQuery, outputs: int, directions: int, state: int) -> int:
    """Final states that nobody asked for are written to scratch."""
    missing = sum(_result(query, i) is None for i in range(1, outputs))
    return missing * _blocks(directions * state)


def lstm(query: KernelQuery) -> int | None:
    """LSTM: `rnn/deep_cpu_lstm.cc`, `uni_directional_lstm.cc`; no peepholes or lengths."""
    dims = _recurrent(query)
    if dims is None or any(_operand(query, i) is not None for i in (4, 7)):
        return None
    steps, batch, width, hidden, directions = dims
    state = batch * hidden * _FLOAT
    biased = _operand(query, 3) is not None
    one = _blocks(
        *([hidden * _FLOAT] * (6 if biased else 2)),
        *([state] * 3),
        4 * hidden * batch * steps * _FLOAT,
        batch * 4,
    )
    rest = _absent(query, 3, directions, state) + _reversal(query, steps, batch, width, hidden)
    return directions * one + rest


def gru(query: KernelQuery) -> int | None:
    """GRU: `rnn/deep_cpu_gru.cc`; no sequence lengths."""
    dims = _recurrent(query)
    if dims is None or _operand(query, 4) is not None:
        return None
    steps, batch, width, hidden, directions = dims
    state = batch * hidden * _FLOAT
    linear = _integer(query, "linear_before_reset", 0) != 0
    states = 2 + linear + (3 + linear if _operand(query, 3) is not None else 0)
    one = _blocks(*([state] * states), 3 * hidden * batch * steps * _FLOAT, batch * 4)
    rest = _absent(query, 2, directions, state) + _reversal(query, steps, batch, width, hidden)
    return directions * one + rest


def rnn(query: KernelQuery) -> int | None:
    """RNN: `rnn/rnn.cc`: the products of one direction; both results asked for."""
    dims = _recurrent(query)
    if dims is None or _result(query, 0) is None or _result(query, 1) is None:
        return None
    steps, batch, _, hidden, _ = dims
    return _blocks(steps * batch * hidden * _FLOAT)


# ------------------------------------------------------------------ images, rows, element-wise


def batch_normalization(query: KernelQuery) -> int | None:
    """BatchNormalization: `nn/batch_norm.cc`: nothing at inference; training is not modelled."""
    return None if any(t is not None for t in query.outputs[1:]) else 0


def lrn(query: KernelQuery) -> int | None:
    """LRN: `nn/lrn.cc`: the scale of every element, and one image's squares padded in channels."""
    x = _operand(query, 0)
    size = _integer(query, "size", 0)
    if x is None or not size or len(x.shape) != 4:
        return None
    plane = x.shape[2] * x.shape[3]
    return _blocks(math.prod(x.shape) * _FLOAT, (x.shape[1] + size - 1) * plane * _FLOAT)


def resize(query: KernelQuery) -> int | None:
    """Resize: `tensor/upsample.cc`: linear mode tabulates indices and weights of each axis."""
    y = _result(query)
    if y is None or query.attributes.get("antialias"):
        return None
    mode = query.attributes.get("mode", "nearest")
    if mode == "nearest":
        return 0
    if mode != "linear" or len(y.shape) not in (2, 3, 4, 5):
        return None
    axes = 2 if len(y.shape) in (2, 4) else 3
    return _blocks(8 * axes * sum(y.shape[-axes:]))


def softmax(query: KernelQuery) -> int | None:
    """Softmax, LogSoftmax, Hardmax: `math/softmax.cc`.

    Since opset 13 an axis that is not the last is transposed: operand and result once more.
    """
    x = _operand(query, 0)
    if x is None:
        return None
    axis = _integer(query, "axis", -1)
    last = axis in (-1, len(x.shape) - 1)
    return 0 if query.version < 13 or last else 2 * _bytes(x)


def qlinear_average_pool(query: KernelQuery) -> int | None:
    """QLinearAveragePool: `quantization/qlinear_pool.cc`: the operand as floats."""
    x = _operand(query, 0)
    return None if x is None else _blocks(math.prod(x.shape) * _FLOAT)


def variadic(query: KernelQuery) -> int | None:
    """Sum, Mean, Max, Min: `math/element_wise_ops.cc`: the result of all operands but the last."""
    operands = [t for t in query.inputs if t is not None]
    if len(operands) < 3:
        return 0
    return _blocks(nbytes(operands[0].dtype, _broadcast(*(t.shape for t in operands[:-1]))))


def where(query: KernelQuery) -> int | None:
    """Where: `math/where_op.cc`: what is selected from either side, before they are merged."""
    condition, x, y = (_operand(query, i) for i in range(3))
    if condition is None or x is None or y is None or x.dtype == "opaque":
        return None
    return _blocks(
        nbytes(x.dtype, _broadcast(condition.shape, x.shape)),
        nbytes(y.dtype, _broadcast(condition.shape, y.shape)),
    )


def _broadcast(*shapes: tuple[int, ...]) -> tuple[int, ...]:
    rank = max(map(len, shapes))
    aligned = [(1,) * (rank - len(s)) + s for s in shapes]
    return tuple(next((d for d in dims if d != 1), 1) for dims in zip(*aligned, strict=True))
