"""Small convolutional TFLite networks with what rewrites look for, and running them in process."""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np

from lowtide.backends.tflite.tflm.compare import tflm_runner
from lowtide.backends.tflite.tflm.feeds import feeds_for
from lowtide.backends.tflite.tflm.interpreter import captured
from lowtide.bench.tflite_builder import TfliteBuilder
from lowtide.errors import ModelError
from lowtide.frontends.tflite import TfliteImport, TfliteSource, import_graph, read
from lowtide.ir import unroll, verify
from lowtide.ir.semantics import Window
from lowtide.passes.rewrite.rule import Refusal

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from numpy.typing import NDArray

    from lowtide.frontends.tflite import TfliteDialect
    from lowtide.ir import Graph
    from lowtide.passes.rewrite.rule import Rewrite, Rule

    Arrays = list[NDArray[np.generic]]
    Runner = Callable[[Arrays], Arrays]

__all__ = [
    "NETWORK_KINDS",
    "Network",
    "Value",
    "difference",
    "exhausted",
    "feeds",
    "imported",
    "in_litert",
    "in_tflm",
    "network",
]

NETWORK_KINDS = ("float32", "int8")
_SCALES = ((0.05, 3), (0.08, -7))
_INDEX = "INT32"


class Value(NamedTuple):
    """A tensor under construction: its number, shape and which of the scales it has."""

    tensor: int
    shape: tuple[int, ...]
    scale: int = 0


class Network:
    """A builder of layers over float32 or int8 activations in batch, height, width, channels."""

    def __init__(self, kind: str, seed: int = 0) -> None:
        self.build = TfliteBuilder(f"{kind} {seed}")
        self.float = kind == "float32"
        self.kind = "FLOAT32" if self.float else "INT8"
        self.version = 1 if self.float else 2
        self.rng = np.random.default_rng(seed)
        self.read: set[int] = set()
        self.sources: list[Value] = []
        self.made: list[Value] = []

    # ---------------------------------------------------------------- tensors

    def value(self, shape: Sequence[int], scale: int = 0) -> Value:
        """A new activation."""
        quantization = None
        if not self.float:
            factor, zero = _SCALES[scale]
            quantization = ([factor], [zero], 0)
        name = f"v{len(self.made) + len(self.sources)}"
        index = self.build.tensor(name, shape, self.kind, quantization=quantization)
        return Value(index, tuple(shape), scale)

    def source(self, shape: Sequence[int], scale: int = 0) -> Value:
        """An input of the network."""
        value = self.value(shape, scale)
        self.sources.append(value)
        return value

    def integers(self, values: Sequence[int], shape: Sequence[int] | None = None) -> int:
        """A constant of int32."""
        data = np.array(values, np.int32)
        return self.build.tensor("n", shape or data.shape, _INDEX, data=data)

    def constant(self, shape: Sequence[int], scale: int = 0) -> Value:
        """A constant of the activations' type."""
        if self.float:
            data: Any = self.rng.standard_normal(shape).astype(np.float32)
            index = self.build.tensor("c", shape, self.kind, data=data)
        else:
            factor, zero = _SCALES[scale]
            data = self.rng.integers(-128, 128, shape).astype(np.int8)
            scales = ([factor], [zero], 0)
            index = self.build.tensor("c", shape, self.kind, data=data, quantization=scales)
        return Value(index, tuple(shape), scale)

    def op(
        self,
        kind: str,
        inputs: Sequence[Value | int],
        shape: Sequence[int],
        options: str = "",
        *,
        scale: int = 0,
        version: int | None = None,
        **values: object,
    ) -> Value:
        """An operator with one result."""
        result = self.value(shape, scale)
        self.ops(kind, inputs, [result], options, version=version, **values)
        return result

    def ops(
        self,
        kind: str,
        inputs: Sequence[Value | int],
        results: Sequence[Value],
        options: str = "",
        *,
        version: int | None = None,
        **values: object,
    ) -> None:
        """An operator; operands are values, or the indices of other constants."""
        self.read |= {v.tensor for v in inputs if isinstance(v, Value)}
        self.build.op(
            kind,
            [v.tensor if isinstance(v, Value) else v for v in inputs],
            [r.tensor for r in results],
            options,
            values=values,
            version=self.version if version is None else version,
        )
        self.made += results

    # ---------------------------------------------------------------- layers

    def conv(
        self,
        data: Value,
        made: int,
        *,
        size: int = 3,
        stride: int = 1,
        same: bool = True,
        dilation: int = 1,
        activation: int = 0,
        depthwise: bool = False,
        groups: int = 1,
        scale: int = 0,
        half: bool = False,
    ) -> Value:
        """A convolution; of a depthwise one `made` is a multiple of the channels."""
        channels = data.shape[3]
        shape = (1, size, size, made) if depthwise else (made, size, size, channels // groups)
        weights = self._weights(shape, 3 if depthwise else 0, data.scale, half=half)
        lengths = [
            -(-n // stride) if same else (n - dilation * (size - 1) - 1) // stride + 1
            for n in data.shape[1:3]
        ]
        values: dict[str, object] = {
            "padding": 0 if same else 1,
            "strideW": stride,
            "strideH": stride,
            "dilationWFactor": dilation,
            "dilationHFactor": dilation,
            "fusedActivationFunction": activation,
        }
        if depthwise:
            values["depthMultiplier"] = made // channels
        kind, options = "CONV_2D", "Conv2DOptions"
        if depthwise:
            kind, options = "DEPTHWISE_CONV_2D", "DepthwiseConv2DOptions"
        result = (1, *lengths, made)
        version = 1 if self.float else 3
        return self.op(
            kind, [data, *weights], result, options, scale=scale, version=version, **values
        )

    def _weights(
        self, shape: tuple[int, ...], axis: int, scale: int, *, half: bool
    ) -> tuple[int | Value, int]:
        made = shape[axis]
        if self.float:
            kernel = (self.rng.standard_normal(shape) / np.sqrt(np.prod(shape[:3]))).astype(
                np.float32
            )
            bias: Any = self.rng.standard_normal(made).astype(np.float32)
            biases = self.build.tensor("b", [made], data=bias)
            if not half:
                return self.build.tensor("w", shape, data=kernel), biases
            stored = self.build.tensor("w", shape, "FLOAT16", data=kernel.astype(np.float16))
            whole = self.build.tensor("w32", shape)
            self.build.op("DEQUANTIZE", [stored], [whole], "DequantizeOptions", version=3)
            return whole, biases
        data = self.rng.integers(-127, 128, shape).astype(np.int8)
        scales = [float(s) for s in self.rng.uniform(0.002, 0.02, made).astype(np.float32)]
        weights = self.build.tensor(
            "w", shape, "INT8", data=data, quantization=(scales, [0] * made, axis)
        )
        bias = self.rng.integers(-999, 1000, made).astype(np.int32)
        factors = [s * _SCALES[scale][0] for s in scales]
        biases = self.build.tensor(
            "b", [made], _INDEX, data=bias, quantization=(factors, [0] * made, 0)
        )
        return weights, biases

    def concat(self, parts: Sequence[Value], axis: int = 3) -> Value:
        """A concatenation of values of one scale."""
        shape = list(parts[0].shape)
        shape[axis] = sum(p.shape[axis] for p in parts)
        return self.op(
            "CONCATENATION", parts, shape, "ConcatenationOptions", scale=parts[0].scale, axis=axis
        )

    def pad(self, data: Value, sizes: Sequence[tuple[int, int]]) -> Value:
        """Zeros around."""
        shape = [n + a + b for n, (a, b) in zip(data.shape, sizes, strict=True)]
        paddings = self.integers([s for pair in sizes for s in pair], (len(sizes), 2))
        return self.op("PAD", [data, paddings], shape, "PadOptions", scale=data.scale)

    def slice(self, data: Value, axis: int, start: int, stop: int) -> Value:
        """A part along an axis."""
        begin = [start if a == axis else 0 for a in range(len(data.shape))]
        size = [stop - start if a == axis else -1 for a in range(len(data.shape))]
        shape = [stop - start if a == axis else n for a, n in enumerate(data.shape)]
        operands = [data, self.integers(begin), self.integers(size)]
        return self.op("SLICE", operands, shape, "SliceOptions", scale=data.scale)

    def split(self, data: Value, axis: int, parts: int) -> list[Value]:
        """Equal parts along an axis."""
        shape = list(data.shape)
        shape[axis] //= parts
        results = [self.value(shape, data.scale) for _ in range(parts)]
        # Names are by number: those of several results at once are made apart.
        for number, result in enumerate(results):
            tensor = self.build.model.subgraphs[0].tensors[result.tensor]
            tensor.name = f"{tensor.name}.{number}"
        self.ops(
            "SPLIT", [self.integers([axis], ()), data], results, "SplitOptions", numSplits=parts
        )
        return results

    def pool(self, data: Value, kind: str, *, size: int, stride: int, same: bool) -> Value:
        """AVERAGE or MAX."""
        lengths = [-(-n // stride) if same else (n - size) // stride + 1 for n in data.shape[1:3]]
        return self.op(
            f"{kind}_POOL_2D",
            [data],
            (1, *lengths, data.shape[3]),
            "Pool2DOptions",
            scale=data.scale,
            padding=0 if same else 1,
            strideW=stride,
            strideH=stride,
            filterWidth=size,
            filterHeight=size,
        )

    def unary(self, kind: str, data: Value) -> Value:
        """An elementwise operator without options, to the same scale."""
        return self.op(kind, [data], data.shape, scale=data.scale)

    def binary(self, kind: str, one: Value, other: Value, *, activation: int = 0) -> Value:
        """ADD, SUB or MUL."""
        options = f"{kind.capitalize()}Options"
        return self.op(
            kind, [one, other], one.shape, options, scale=one.scale,
            fusedActivationFunction=activation,
        )  # fmt: skip

    def no_op(self, which: str, data: Value) -> Value:
        """An operator that computes nothing."""
        shape, rank = data.shape, len(data.shape)
        if which == "RESHAPE":
            operands: list[Value | int] = [data, self.integers(shape)]
            return self.op(which, operands, shape, "ReshapeOptions", scale=data.scale, version=1)
        if which == "TRANSPOSE":
            operands = [data, self.integers(range(rank))]
            return self.op(which, operands, shape, "TransposeOptions", scale=data.scale)
        if which == "PAD":
            return self.pad(data, [(0, 0)] * rank)
        if which == "SLICE":
            return self.slice(data, 1, 0, shape[1])
        if which == "SPLIT":
            return self.split(data, 3, 1)[0]
        if which == "CONCATENATION":
            return self.concat([data])
        begin, end, ones = [0] * rank, list(shape), [1] * rank
        operands = [data, *(self.integers(v) for v in (begin, end, ones))]
        return self.op(
            "STRIDED_SLICE", operands, shape, "StridedSliceOptions", scale=data.scale, beginMask=1
        )

    def data(self, *outputs: Value) -> bytes:
        """The file; without outputs, what nobody reads is one."""
        self.build.inputs(*(v.tensor for v in self.sources))
        left = [v for v in self.made if v.tensor not in self.read]
        self.build.outputs(*(v.tensor for v in outputs or left))
        return self.build.data()


_NO_OPS = ("RESHAPE", "TRANSPOSE", "PAD", "SLICE", "SPLIT", "CONCATENATION", "STRIDED_SLICE")


def network(kind: str, seed: int, layers: int = 12, *, half: bool = False) -> bytes:
    """A random network with concatenations, padding, no-ops and constants where rewrites look.

    With `half`, some weights of a float one are stored as float16, which TFLM does not run.
    """
    net = Network(kind, seed)
    rng = net.rng
    values = [net.source((1, 8, 8, int(rng.integers(1, 4)))), net.source((1, 8, 8, 2))]

    def pick() -> Value:
        return values[-1 - int(rng.integers(0, min(5, len(values))))]

    def alike(one: Value, *, channels: bool) -> list[Value]:
        end = 4 if channels else 3
        return [v for v in values if v.shape[:end] == one.shape[:end] and v.scale == one.scale]

    def few(found: list[Value]) -> list[Value]:
        count = int(rng.integers(1, 4))
        return [found[int(i)] for i in rng.integers(0, len(found), count)]

    def convolved(data: Value, *, depthwise: bool, same: bool | None = None) -> Value:
        many = data.shape[3] * int(rng.integers(1, 3)) if depthwise else int(rng.integers(1, 6))
        even = data.shape[3] % 2 == 0 and many % 2 == 0 and not depthwise
        return net.conv(
            data,
            many,
            size=int(rng.choice([1, 2, 3])),
            stride=int(rng.choice([1, 1, 2])),
            same=bool(rng.random() < 0.7) if same is None else same,
            activation=int(rng.choice([0, 1, 3])),
            depthwise=depthwise,
            groups=2 if even and rng.random() < 0.3 else 1,
            scale=int(rng.integers(0, 2)),
            half=half and bool(rng.random() < 0.5),
        )

    def layer() -> Value:
        data = pick()
        while min(data.shape[1:3]) < 4:
            data = values[int(rng.integers(0, 2))]
        choice = int(rng.integers(0, 10))
        if choice == 0:
            return convolved(data, depthwise=bool(rng.random() < 0.5))
        if choice <= 3:  # a concatenation, perhaps of one, and what reads it
            joined = net.concat([data, *few(alike(data, channels=False))])
            if rng.random() < 0.4:
                joined = net.concat([joined, *few(alike(joined, channels=False))])
            if joined.shape[3] > 12:
                return joined
            if rng.random() < 0.5:
                joined = net.unary(str(rng.choice(["RELU", "RELU6"])), joined)
            if rng.random() < 0.3:
                joined = net.pool(joined, "MAX", size=2, stride=1, same=True)
            return convolved(joined, depthwise=bool(rng.random() < 0.6))
        if choice == 4:
            depthwise = bool(rng.random() < 0.5)
            if rng.random() < 0.5:  # what the convolution's own padding can be
                stride = int(rng.integers(1, 3))
                windows = [Window(3, stride).same(n) for n in data.shape[1:3]]
                pairs = [(0, 0), *((w.before, w.after) for w in windows), (0, 0)]
                many = data.shape[3] if depthwise else 3
                return net.conv(
                    net.pad(data, pairs), many, stride=stride, same=False, depthwise=depthwise
                )
            before, after = (int(n) for n in rng.integers(0, 3, 2))
            padded = net.pad(data, [(0, 0), (before, after), (before, after), (0, 0)])
            return convolved(padded, depthwise=depthwise, same=False)
        if choice == 5:
            return net.no_op(str(rng.choice(_NO_OPS)), data)
        if choice == 6:
            which = str(rng.choice(["AVERAGE", "MAX"]))
            return net.pool(data, which, size=3, stride=int(rng.integers(1, 3)), same=True)
        if choice == 7:
            return net.binary("ADD", data, alike(data, channels=True)[0])
        if choice == 8:
            pieces = [net.constant((1, 1, 1, 1), data.scale) for _ in range(data.shape[3])]
            row = net.concat(pieces[:10]) if 1 < len(pieces) <= 10 else pieces[0]
            return net.binary(str(rng.choice(["ADD", "MUL"])), data, row)
        joined = net.concat([data, data], axis=int(rng.integers(1, 4)))
        axis = int(rng.integers(1, 4))
        length = joined.shape[axis]
        if length % 2 == 0 and rng.random() < 0.5:
            return net.split(joined, axis, 2)[int(rng.integers(0, 2))]
        return net.slice(joined, axis, length // 4, length)

    while len(values) < layers + 2:
        values += [layer()]
    return net.data()


def imported(data: bytes) -> tuple[TfliteSource, TfliteImport]:
    """A model read, and its graph."""
    source = read(data)
    return source, import_graph(source)


def feeds(data: bytes, count: int = 2) -> list[Arrays]:
    """Random inputs and those at the ends of the ranges."""
    return [list(arrays) for arrays in feeds_for(read(data).model, random=count)]


def exhausted(
    graph: Graph, dialect: TfliteDialect, rules: Sequence[Rule]
) -> tuple[Graph, list[Rewrite], list[Refusal]]:
    """A copy of the graph with all rewrites that the rules find, what they are, and refusals."""
    copy = unroll(graph, graph.ops)
    applied: list[Rewrite] = []
    refused: dict[Refusal, None] = {}
    while True:
        found: list[tuple[Rule, Rewrite]] = []
        for rule in rules:
            for site in rule.sites(copy, dialect):
                if isinstance(site, Refusal):
                    refused[site] = None
                else:
                    found.append((rule, site))
        if not found:
            return copy, applied, list(refused)
        rule, rewrite = found[0]
        rule.apply(copy, dialect, rewrite)
        verify(copy)
        applied.append(rewrite)


def difference(one: bytes, other: bytes, where: Callable[[bytes], Runner]) -> str | None:
    """What differs between the outputs of two models in a runtime; None if nothing does."""
    runs = where(one), where(other)
    for number, arrays in enumerate(feeds(one)):
        first, second = (run(arrays) for run in runs)
        for index, (a, b) in enumerate(zip(first, second, strict=True)):
            if a.dtype != b.dtype or a.shape != b.shape:
                return f"output {index}: {a.dtype}{a.shape} and {b.dtype}{b.shape}"
            if a.tobytes() != b.tobytes():
                return f"output {index} differs in {int((a != b).sum())} elements in run {number}"
    return None


def in_litert(data: bytes, kernels: str = "BUILTIN_REF") -> Runner:
    """LiteRT with its reference kernels; others may round by the place in a vector."""
    module: Any = importlib.import_module("ai_edge_litert.interpreter")
    with captured():
        interpreter = module.Interpreter(
            model_content=data,
            num_threads=1,
            experimental_op_resolver_type=getattr(module.OpResolverType, kernels),
        )
        interpreter.allocate_tensors()

    def run(arrays: Arrays) -> Arrays:
        for detail, array in zip(interpreter.get_input_details(), arrays, strict=True):
            interpreter.set_tensor(detail["index"], array)
        interpreter.invoke()
        return [
            np.array(interpreter.get_tensor(d["index"])) for d in interpreter.get_output_details()
        ]

    return run


def in_tflm(data: bytes) -> Runner:
    """TFLite Micro."""
    outputs = len(read(data).model.subgraphs[0].outputs)
    try:
        return tflm_runner(data, outputs, 1 << 20)
    except ModelError as error:
        raise AssertionError(str(error)) from error
