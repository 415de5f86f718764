"""Nodes at representative sizes whose memory `probe_kernels` measures.

ONNX's own node tests (`standard_cases`) cover nearly every operator and attribute at tiny sizes;
`cases` adds the contributed operators and the shapes on which a workspace depends.
"""

from __future__ import annotations

import warnings
from typing import TYPE_CHECKING, cast

import numpy as np
from onnx import helper

from lowtide.bench.kernel_probe import Case

if TYPE_CHECKING:
    from collections.abc import Iterator

    from numpy.typing import NDArray

    from lowtide.ir.op import Attribute

__all__ = ["cases", "standard_cases"]

_MS, _NCHWC = "com.microsoft", "com.microsoft.nchwc"
_NOT_PROBED = frozenset(
    {"If", "Loop", "Scan", "SequenceMap"}  # subgraphs
    | {"Shape", "Size"}  # ORT runs them ahead of everything else, so ahead of the probe's marks
    | {"Constant"}  # becomes an initializer
)


def _f(*shape: int) -> NDArray[np.float32]:
    return np.random.default_rng(0).standard_normal(shape).astype(np.float32)


def _u8(*shape: int) -> NDArray[np.uint8]:
    return np.random.default_rng(0).integers(0, 255, shape).astype(np.uint8)


def _s8(*shape: int) -> NDArray[np.int8]:
    return np.random.default_rng(0).integers(-127, 127, shape).astype(np.int8)


def _i64(*values: int) -> NDArray[np.int64]:
    return np.array(values, np.int64)


def _scale(value: float = 0.1) -> NDArray[np.float32]:
    return np.array(value, np.float32)


_Z = np.array(3, np.uint8)


def _case(kind: str, *inputs: NDArray[np.generic] | None, **settings: object) -> Case:
    """A case; `settings` are its fields (`domain`, `opset` ...) and attributes."""
    domain = cast("str", settings.pop("domain", ""))
    outputs = cast("int", settings.pop("outputs", 1))
    constant = cast("tuple[int, ...]", settings.pop("constant", ()))
    opset = cast("int", settings.pop("opset", 21))
    threads = cast("int", settings.pop("threads", 1))
    shapes = " ".join("-" if a is None else f"{a.dtype}{list(a.shape)}" for a in inputs)
    options = " ".join(f"{name}={value}" for name, value in settings.items())
    name = f"{domain or 'onnx'}.{kind} {shapes} {options} threads={threads} constant={constant}"
    node = helper.make_node(
        kind,
        [f"i{i}" if a is not None else "" for i, a in enumerate(inputs)],
        [f"o{i}" for i in range(outputs)],
        domain=domain,
    )
    node.attribute.extend(
        helper.make_attribute(name, cast("Attribute", value)) for name, value in settings.items()
    )
    return Case(name, node, inputs, frozenset(constant), opset, threads)


def standard_cases() -> Iterator[Case]:
    """ONNX's node tests, at opsets that both ORT and the probe's own nodes accept."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        from onnx.backend.test.case.node import collect_testcases

        collected = collect_testcases(None)
    for test in collected:
        model = test.model
        if model is None or len(model.graph.node) != 1 or not test.data_sets:
            continue
        node = model.graph.node[0]
        if node.domain or node.op_type in _NOT_PROBED or test.name.endswith("_expanded"):
            continue
        if node.op_type == "QLinearMatMul" and "float16" in test.name:
            continue  # without a kernel for these scales, ORT puts the function's body in its place
        data = cast("list[object]", test.data_sets[0][0])
        if not all(isinstance(a, np.ndarray | np.generic) for a in data):
            continue
        given = iter(np.asarray(a) for a in data)
        inputs = tuple(next(given) if name else None for name in node.input)
        version = next(o.version for o in model.opset_import if o.domain in ("", "ai.onnx"))
        yield Case(test.name, node, inputs, frozenset(), min(max(version, 13), 23))


def cases() -> Iterator[Case]:
    """The rest."""
    yield from _convolutions()
    yield from _matrix()
    yield from _rows()
    yield from _recurrent()
    yield from _quantized()
    yield from _transformer()
    yield from _element_wise()


def _convolutions() -> Iterator[Case]:
    for threads in (1, 2):
        same: dict[str, object] = {"pads": (1, 1, 1, 1), "threads": threads}
        for domain, kind in (("", "Conv"), (_MS, "FusedConv")):
            extra: dict[str, object] = {"activation": "Relu"} if domain else {}
            for batch, channels, size, filters in (
                (1, 64, 14, 64),  # segmented
                (1, 64, 7, 256),  # expanded: more filters than pixels
                (2, 16, 20, 24),
            ):
                yield _case(
                    kind,
                    _f(batch, channels, size, size),
                    _f(filters, channels, 3, 3),
                    constant=(1,),
                    domain=domain,
                    **same,
                    **extra,
                )
            yield _case(
                kind, _f(1, 64, 14, 14), _f(32, 64, 1, 1), domain=domain, threads=threads, **extra
            )
            yield _case(
                kind, _f(1, 32, 14, 14), _f(32, 1, 3, 3), domain=domain, group=32, **same, **extra
            )
        yield _case(
            "Conv", _f(1, 32, 64, 64), _f(64, 32, 3, 3), strides=(2, 2), constant=(1,), **same
        )
        yield _case("Conv", _f(1, 12, 56), _f(20, 12, 5), pads=(2, 2), threads=threads)
        yield _case("Conv", _f(1, 4, 8, 9, 10), _f(6, 4, 3, 3, 3), threads=threads)
        yield _case("Conv", _f(1, 32, 14, 14), _f(64, 32, 1, 1), strides=(2, 2), threads=threads)
        yield _case("ConvTranspose", _f(1, 16, 14, 14), _f(16, 8, 3, 3), threads=threads)
        yield _case(
            "ConvTranspose", _f(2, 16, 7, 7), _f(16, 8, 4, 4), strides=(2, 2), constant=(1,), **same
        )
        yield _case("ConvTranspose", _f(1, 16, 7, 7), _f(16, 8, 2, 2), group=2, strides=(2, 2))
        yield _case("ConvTranspose", _f(1, 6, 20), _f(6, 3, 3), threads=threads)
        nchwc: dict[str, object] = {"domain": _NCHWC, "threads": threads}
        yield _case("Conv", _f(1, 64, 14, 14), _f(64, 64, 3, 3), **nchwc, pads=(1, 1, 1, 1))
        yield _case("Conv", _f(1, 3, 32, 32), _f(16, 3, 3, 3), **nchwc)
        yield _case("Conv", _f(1, 64, 14, 14), _f(32, 64, 1, 1), **nchwc)
        yield _case("Conv", _f(1, 64, 14, 14), _f(64, 1, 3, 3), **nchwc, group=64)
        z = _f(1, 64, 14, 14)
        yield _case("Conv", z, _f(64, 64, 3, 3), _f(64), z, **nchwc, pads=(1, 1, 1, 1))
        pool: dict[str, object] = {"kernel_shape": (3, 3), "strides": (2, 2)}
        yield _case("MaxPool", z, **nchwc, **pool)
        yield _case("AveragePool", z, **nchwc, **pool)
        yield _case("GlobalAveragePool", z, **nchwc)
        yield _case("GlobalMaxPool", z, **nchwc)
        yield _case("ReorderInput", z, **nchwc)
        yield _case("ReorderInput", _f(1, 14, 14, 64), **nchwc, channels_last=1)
        yield _case("ReorderOutput", z, **nchwc, channels=60)
        yield _case("ReorderOutput", z, **nchwc, channels=60, channels_last=1)
        yield _case("Upsample", z, **nchwc, scales=(1, 1, 2, 2))
        yield _case("Upsample", z, **nchwc, scales=(1, 1, 2, 2), mode="linear")
        yield _case(
            "FusedConv",
            _f(1, 64, 14, 14),
            _f(64, 64, 3, 3),
            _f(64),
            z,
            domain=_MS,
            pads=(1, 1, 1, 1),
            threads=threads,
        )
        yield _case("MaxPool", z, **pool, threads=threads)
        yield _case("MaxPool", z, **pool, outputs=2, threads=threads)
        yield _case("AveragePool", z, **pool, threads=threads)
        yield _case("LpPool", z, **pool, threads=threads)
        yield _case("GlobalAveragePool", z, threads=threads)
        yield _case("LRN", z, size=5, threads=threads)
        yield _case("InstanceNormalization", z, _f(64), _f(64), threads=threads)
        yield _case(
            "BatchNormalization", z, _f(64), _f(64), _f(64), np.abs(_f(64)), threads=threads
        )
        yield _case("MeanVarianceNormalization", z, threads=threads)
        yield _case("MeanVarianceNormalization", z, axes=(0, 1, 2, 3), threads=threads)
    for size, threads in ((14, 4), (30, 4), (9, 3)):
        yield _case("Conv", _f(1, 64, size, size), _f(64, 64, 3, 3), threads=threads)
        yield _case("Conv", _f(3, 16, size, size), _f(32, 4, 3, 3), group=4, threads=threads)
    for mode in ("nearest", "linear", "cubic"):
        yield _case(
            "Resize",
            _f(1, 8, 20, 30),
            None,
            np.array([1, 1, 2, 2], np.float32),
            constant=(2,),
            mode=mode,
        )
    yield _case("GridSample", _f(1, 4, 20, 20), _f(1, 30, 30, 2))
    yield _case(
        "RoiAlign", _f(1, 4, 40, 40), np.array([[0, 0, 20, 20]] * 6, np.float32), _i64(*[0] * 6)
    )
    yield _case("DepthToSpace", _f(1, 16, 20, 20), blocksize=2)
    yield _case("SpaceToDepth", _f(1, 16, 20, 20), blocksize=2)


def _matrix() -> Iterator[Case]:
    for constant in ((), (1,)):
        for threads in (1, 2):
            options: dict[str, object] = {"constant": constant, "threads": threads}
            yield _case("Gemm", _f(40, 96), _f(96, 130), _f(130), **options)
            yield _case("Gemm", _f(96, 40), _f(130, 96), **options, transA=1, transB=1)
            yield _case("MatMul", _f(40, 96), _f(96, 130), **options)
            yield _case("MatMul", _f(3, 40, 96), _f(3, 96, 130), **options)
            yield _case("MatMul", _f(1, 512), _f(512, 1000), **options)
            yield _case("FusedMatMul", _f(40, 96), _f(130, 96), **options, domain=_MS, transB=1)
            yield _case(
                "FusedGemm", _f(40, 96), _f(96, 130), **options, domain=_MS, activation="Relu"
            )
    yield _case("Einsum", _f(6, 20, 30), _f(6, 30, 40), equation="bij,bjk->bik")
    yield _case("Einsum", _f(20, 30), _f(30, 40), equation="ij,jk->ik")
    yield _case("Einsum", _f(6, 20, 8, 30), _f(6, 25, 8, 30), equation="bihd,bjhd->bhij")
    yield _case("Einsum", _f(20, 30), equation="ij->ji")


def _rows() -> Iterator[Case]:
    x = _f(4, 20, 30)
    for kind in ("Softmax", "LogSoftmax", "Hardmax"):
        for axis in (0, 1, 2):
            yield _case(kind, x, axis=axis)
    for kind in ("ReduceSum", "ReduceMean", "ReduceMax", "ReduceL2", "ReduceProd", "ReduceMin"):
        for axes in ((0,), (1,), (2,), (0, 2), (0, 1, 2)):
            yield _case(kind, x, _i64(*axes), constant=(1,))
    for kind in ("ArgMax", "ArgMin"):
        yield _case(kind, x, axis=1)
    yield _case("TopK", x, _i64(5), constant=(1,), outputs=2)
    yield _case("TopK", x, _i64(5), constant=(1,), outputs=2, axis=1)
    yield _case("TopK", x, _i64(5), constant=(1,), outputs=2, threads=2)
    yield _case("CumSum", x, np.array(1, np.int64), constant=(1,))
    yield _case("Transpose", x, perm=(2, 0, 1))
    yield _case("Transpose", x, perm=(0, 2, 1))
    yield _case("Pad", x, _i64(0, 1, 1, 0, 1, 1), constant=(1,))
    yield _case("Slice", x, _i64(1), _i64(15), _i64(1), _i64(2), constant=(1, 2, 3, 4))
    yield _case("Split", x, _i64(10, 20), constant=(1,), outputs=2, axis=2)
    yield _case("Concat", x, x, axis=1)
    yield _case("Gather", x, _i64(0, 2, 1), axis=1)
    yield _case("Tile", x, _i64(2, 1, 3), constant=(1,))
    yield _case("Expand", _f(4, 1, 30), _i64(4, 20, 30), constant=(1,))
    yield _case("LayerNormalization", x, _f(30), _f(30))
    yield _case("LayerNormalization", x, _f(30), _f(30), outputs=3)
    yield _case("Trilu", _f(30, 30))
    yield _case("NonZero", x)
    yield _case("Unique", _f(300), outputs=4)
    yield _case("ScatterElements", x, np.zeros((4, 20, 5), np.int64), _f(4, 20, 5), axis=2)
    yield _case("ScatterND", x, np.zeros((3, 1), np.int64), _f(3, 20, 30))
    yield _case("Cast", x, to=1)
    yield _case("Cast", x, to=10)
    yield _case("Cast", x, to=6)
    yield _case("Dropout", x)
    yield _case("OneHot", _i64(1, 2, 3), _i64(10), _f(2), constant=(1, 2))


def _recurrent() -> Iterator[Case]:
    for threads in (1, 2):
        for kind, gates in (("LSTM", 4), ("GRU", 3), ("RNN", 1)):
            for direction, count in (("forward", 1), ("bidirectional", 2)):
                yield _case(
                    kind,
                    _f(12, 3, 20),
                    _f(count, gates * 24, 20),
                    _f(count, gates * 24, 24),
                    _f(count, 2 * gates * 24),
                    constant=(1, 2, 3),
                    outputs=2,
                    hidden_size=24,
                    direction=direction,
                    threads=threads,
                )


def _quantized() -> Iterator[Case]:
    s = _scale()
    for threads in (1, 2):
        for weights in (_u8, _s8):
            zero = np.array(0, weights(1).dtype)
            for channels, filters, kernel, group in (
                (64, 32, 3, 1),
                (64, 32, 1, 1),
                (64, 64, 3, 64),
                (3, 16, 3, 1),
            ):
                yield _case(
                    "QLinearConv",
                    _u8(1, channels, 14, 14),
                    s,
                    _Z,
                    weights(filters, channels // group, kernel, kernel),
                    s,
                    zero,
                    s,
                    _Z,
                    constant=(1, 2, 3, 4, 5, 6, 7),
                    group=group,
                    threads=threads,
                )
        yield _case(
            "QLinearConv",
            _u8(1, 14, 14, 64),
            s,
            _Z,
            _s8(32, 64, 3, 3),
            s,
            np.array(0, np.int8),
            s,
            _Z,
            domain=_MS,
            channels_last=1,
            constant=(1, 2, 3, 4, 5, 6, 7),
            threads=threads,
        )
        yield _case("ConvInteger", _u8(1, 16, 14, 14), _u8(32, 16, 3, 3), _Z, threads=threads)
        for constant in ((), (1,)):
            options: dict[str, object] = {"constant": constant, "threads": threads}
            yield _case("MatMulInteger", _u8(40, 96), _u8(96, 130), _Z, _Z, **options)
            yield _case(
                "DynamicQuantizeMatMul", _f(40, 96), _u8(96, 130), s[None], domain=_MS, **options
            )
            yield _case(
                "MatMulIntegerToFloat",
                _u8(40, 96),
                _u8(96, 130),
                s[None],
                s[None],
                domain=_MS,
                **options,
            )
        for constants in ((1, 2, 4, 5, 6, 7), (1, 2, 3, 4, 5, 6, 7)):
            yield _case(
                "QLinearMatMul",
                _u8(40, 96),
                s,
                _Z,
                _u8(96, 130),
                s,
                _Z,
                s,
                _Z,
                constant=constants,
                threads=threads,
            )
            yield _case(
                "QGemm",
                _u8(40, 96),
                s,
                _Z,
                _u8(96, 130),
                s,
                _Z,
                None,
                s,
                _Z,
                constant=constants,
                domain=_MS,
                threads=threads,
            )
    yield _case("DynamicQuantizeLinear", _f(40, 96), outputs=3)
    yield _case("QuantizeLinear", _f(40, 96), s, _Z, constant=(1, 2))
    yield _case("DequantizeLinear", _u8(40, 96), s, _Z, constant=(1, 2))
    x = _u8(1, 16, 14, 14)
    for kind in ("QLinearAdd", "QLinearMul"):
        yield _case(kind, x, s, _Z, x, s, _Z, s, _Z, constant=(1, 2, 4, 5, 6, 7), domain=_MS)
    for kind in ("QLinearSigmoid", "QLinearLeakyRelu"):
        yield _case(kind, x, s, _Z, s, _Z, constant=(1, 2, 3, 4), domain=_MS)
    for last in (0, 1):
        pooling: dict[str, object] = {
            "constant": (1, 2, 3, 4),
            "domain": _MS,
            "channels_last": last,
        }
        yield _case("QLinearGlobalAveragePool", x, s, _Z, s, _Z, **pooling)
        yield _case("QLinearAveragePool", x, s, _Z, s, _Z, **pooling, kernel_shape=(2, 2))
    yield _case("QLinearConcat", s, _Z, x, s, _Z, x, s, _Z, domain=_MS, axis=1)


def _transformer() -> Iterator[Case]:
    x, bias = _f(2, 12, 32), _f(32)
    yield _case("Gelu", x, domain=_MS)
    yield _case("Gelu", x, opset=20)
    yield _case("Gelu", x, opset=20, approximate="tanh")
    yield _case("FastGelu", x, domain=_MS)
    yield _case("FastGelu", x, bias, domain=_MS)
    yield _case("BiasGelu", x, bias, domain=_MS)
    yield _case("QuickGelu", x, domain=_MS)
    yield _case("SkipLayerNormalization", x, x, bias, bias, bias, domain=_MS)
    yield _case("SkipSimplifiedLayerNormalization", x, x, bias, domain=_MS)
    yield _case("SimplifiedLayerNormalization", x, bias, opset=17)
    yield _case("RMSNormalization", x, bias, opset=23)
    ids = np.ones((2, 12), np.int32)
    yield _case(
        "EmbedLayerNormalization",
        ids,
        ids,
        _f(50, 32),
        _f(20, 32),
        _f(4, 32),
        bias,
        bias,
        outputs=2,
        constant=(2, 3, 4, 5, 6),
        domain=_MS,
    )
    for threads in (1, 2):
        yield _case(
            "Attention",
            x,
            _f(32, 96),
            _f(96),
            constant=(1, 2),
            domain=_MS,
            num_heads=4,
            threads=threads,
        )
        yield _case("MultiHeadAttention", x, x, x, domain=_MS, num_heads=4, threads=threads)
        yield _case("MultiHeadAttention", x, _f(2, 20, 32), _f(2, 20, 32), domain=_MS, num_heads=4)
        yield _case("Attention", _f(2, 4, 12, 8), _f(2, 4, 20, 8), _f(2, 4, 20, 8), opset=23)
    yield _case(
        "MatMulNBits",
        _f(12, 64),
        _u8(96, 2, 16),
        _f(192),
        constant=(1, 2),
        domain=_MS,
        K=64,
        N=96,
        bits=4,
        block_size=32,
    )


def _element_wise() -> Iterator[Case]:
    x, y = _f(4, 20, 30), _f(30)
    for kind in ("Add", "Sub", "Mul", "Div", "Pow", "Max", "Min"):
        yield _case(kind, np.abs(x), np.abs(x))
        yield _case(kind, np.abs(x), np.abs(y))
    for kind in ("Sum", "Mean", "Max", "Min"):
        yield _case(kind, x, x, x)
        yield _case(kind, x, y, x, x)
    yield _case("Where", x > 0, x, x)
    yield _case("Where", x > 0, x, y)
    yield _case("PRelu", x, np.array(0.5, np.float32))
    yield _case("Clip", x, np.array(0, np.float32), np.array(6, np.float32), constant=(1, 2))
    for kind in ("Erf", "Sqrt", "Exp", "HardSigmoid", "HardSwish", "Celu", "Round"):
        yield _case(kind, x)
