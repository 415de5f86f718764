"""TFLite models written directly, without a converter: for tests, fuzzing and benchmarks.

Built with ai_edge_litert's generated schema and flatbuffers' builder, hence independent of the
reader and the writer that are tried on them.
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any, cast

import numpy as np

from lowtide.errors import MissingExtraError

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from numpy.typing import NDArray

__all__ = [
    "TfliteBuilder",
    "branching",
    "litert_schema",
    "outside",
    "pack",
    "quantized",
    "stateful",
]


def litert_schema() -> Any:
    """ai_edge_litert's generated schema module, which has no types.

    Raises:
        MissingExtraError: it is not installed.
    """
    try:
        return importlib.import_module("ai_edge_litert.schema_py_generated")
    except ImportError as error:
        raise MissingExtraError(
            'building TFLite models needs ai_edge_litert: pip install "lowtide[edge]"'
        ) from error


def pack(model: object) -> bytes:
    """The file of a `ModelT`."""
    flatbuffers = importlib.import_module("flatbuffers")
    builder = flatbuffers.Builder(1024)
    builder.Finish(cast("Any", model).Pack(builder), file_identifier=b"TFL3")
    return bytes(builder.Output())


class TfliteBuilder:
    """A model under construction: one `ModelT`, its subgraphs filled by index."""

    def __init__(self, description: str = "") -> None:
        self.schema = litert_schema()
        self.model = self.schema.ModelT()
        self.model.version = 3
        self.model.description = description
        self.model.buffers = [self.schema.BufferT()]
        self.model.operatorCodes = []
        self.model.metadata = []
        self.model.subgraphs = []
        self._codes: dict[tuple[int, str], int] = {}
        self.subgraph("main")

    def subgraph(self, name: str) -> int:
        """Add a subgraph; its index."""
        subgraph = self.schema.SubGraphT()
        subgraph.name = name
        subgraph.tensors, subgraph.operators = [], []
        subgraph.inputs, subgraph.outputs = [], []
        self.model.subgraphs.append(subgraph)
        return len(self.model.subgraphs) - 1

    def buffer(self, data: bytes) -> int:
        """Add a buffer; its index."""
        buffer = self.schema.BufferT()
        buffer.data = np.frombuffer(data, np.uint8)
        self.model.buffers.append(buffer)
        return len(self.model.buffers) - 1

    def tensor(
        self,
        name: str,
        shape: Sequence[int],
        kind: str = "FLOAT32",
        *,
        data: NDArray[Any] | None = None,
        variable: bool = False,
        quantization: tuple[Sequence[float], Sequence[int], int] | None = None,
        subgraph: int = 0,
    ) -> int:
        """Add a tensor; its index. `quantization` is scales, zero points and dimension."""
        tensor = self.schema.TensorT()
        tensor.name = name
        tensor.shape = list(shape)
        tensor.type = getattr(self.schema.TensorType, kind)
        tensor.isVariable = variable
        tensor.hasRank = True
        tensor.buffer = 0 if data is None else self.buffer(data.tobytes())
        if quantization is not None:
            parameters = self.schema.QuantizationParametersT()
            parameters.scale, parameters.zeroPoint = map(list, quantization[:2])
            parameters.quantizedDimension = quantization[2]
            tensor.quantization = parameters
        tensors = self.model.subgraphs[subgraph].tensors
        tensors.append(tensor)
        return len(tensors) - 1

    def op(
        self,
        kind: str,
        inputs: Sequence[int],
        outputs: Sequence[int],
        options: str = "",
        *,
        custom: str = "",
        values: Mapping[str, object] | None = None,
        version: int = 1,
        subgraph: int = 0,
    ) -> int:
        """Add an operator; its index. `options` is a table of BuiltinOptions, with `values`."""
        builtin = getattr(self.schema.BuiltinOperator, kind)
        key = (builtin, custom)
        if key not in self._codes:
            code = self.schema.OperatorCodeT()
            code.builtinCode = builtin
            code.deprecatedBuiltinCode = min(builtin, 127)
            code.customCode = custom or None
            code.version = version
            self._codes[key] = len(self.model.operatorCodes)
            self.model.operatorCodes.append(code)
        operator = self.schema.OperatorT()
        operator.opcodeIndex = self._codes[key]
        operator.inputs, operator.outputs = list(inputs), list(outputs)
        if options:
            operator.builtinOptionsType = getattr(self.schema.BuiltinOptions, options)
            operator.builtinOptions = getattr(self.schema, f"{options}T")()
            for name, value in (values or {}).items():
                setattr(operator.builtinOptions, name, value)
        operators = self.model.subgraphs[subgraph].operators
        operators.append(operator)
        return len(operators) - 1

    def inputs(self, *tensors: int, subgraph: int = 0) -> None:
        """The subgraph's inputs."""
        self.model.subgraphs[subgraph].inputs = list(tensors)

    def outputs(self, *tensors: int, subgraph: int = 0) -> None:
        """The subgraph's outputs."""
        self.model.subgraphs[subgraph].outputs = list(tensors)

    def metadata(self, name: str, data: bytes) -> None:
        """Add named metadata."""
        entry = self.schema.MetadataT()
        entry.name, entry.buffer = name, self.buffer(data)
        self.model.metadata.append(entry)

    def data(self) -> bytes:
        """The file."""
        return pack(self.model)


def branching(seed: int, operators: int = 12) -> bytes:
    """A random float graph of elementwise operators, reshapes and convolutions over [1, 4, 4, 2].

    What nobody reads is an output. It runs in LiteRT.
    """
    rng = np.random.default_rng(seed)
    build = TfliteBuilder(f"branching {seed}")
    shape = (1, 4, 4, 2)
    values = [build.tensor("input", shape)]
    build.inputs(*values)
    read: set[int] = set()
    for i in range(operators):
        choice = int(rng.integers(0, 5))
        first, second = (values[int(k)] for k in rng.integers(0, len(values), 2))
        if rng.random() < 0.5:
            first = values[-1]
        made = build.tensor("" if i % 7 == 6 else f"value_{i % 9}", shape)
        if choice == 0:
            build.op("ADD", [first, second], [made], "AddOptions")
            read.add(second)
        elif choice == 1:
            build.op("MUL", [first, second], [made], "MulOptions")
            read.add(second)
        elif choice == 2:
            build.op("RELU", [first], [made])
        elif choice == 3:
            shape_data = build.tensor(f"shape_{i}", [4], "INT32", data=np.array(shape, np.int32))
            build.op("RESHAPE", [first, shape_data], [made], "ReshapeOptions")
        else:
            weights = rng.standard_normal((2, 3, 3, 2)).astype(np.float32) / 8
            filters = build.tensor(f"filters_{i}", weights.shape, data=weights)
            bias = build.tensor(f"bias_{i}", [2], data=np.zeros(2, np.float32))
            build.op(
                "CONV_2D",
                [first, filters, bias],
                [made],
                "Conv2DOptions",
                values={"strideW": 1, "strideH": 1},
            )
        read.add(first)
        values.append(made)
    build.outputs(*(v for v in values if v not in read))
    return build.data()


def quantized(seed: int, branches: int = 3) -> bytes:
    """An int8 graph: per-channel convolutions in branches, joined by a concatenation."""
    rng = np.random.default_rng(seed)
    build = TfliteBuilder(f"quantized {seed}")
    activation = ([0.05], [3], 0)
    source = build.tensor("input", (1, 6, 6, 4), "INT8", quantization=activation)
    build.inputs(source)
    ends: list[int] = []
    for i in range(branches):
        weights = rng.integers(-127, 128, (8, 1, 1, 4)).astype(np.int8)
        scales = [float(s) for s in rng.uniform(0.01, 0.02, 8).astype(np.float32)]
        filters = build.tensor(
            f"filters_{i}", weights.shape, "INT8", data=weights, quantization=(scales, [0] * 8, 0)
        )
        bias = build.tensor(
            f"bias_{i}",
            [8],
            "INT32",
            data=rng.integers(-99, 99, 8).astype(np.int32),
            quantization=([s * 0.05 for s in scales], [0] * 8, 0),
        )
        wide = build.tensor(f"wide_{i}", (1, 6, 6, 8), "INT8", quantization=activation)
        conv = {"strideW": 1, "strideH": 1, "fusedActivationFunction": 1}
        build.op("CONV_2D", [source, filters, bias], [wide], "Conv2DOptions", values=conv)
        small = build.tensor(f"small_{i}", (1, 2, 2, 8), "INT8", quantization=activation)
        pool = {"strideW": 3, "strideH": 3, "filterWidth": 3, "filterHeight": 3}
        build.op("MAX_POOL_2D", [wide], [small], "Pool2DOptions", values=pool, version=2)
        ends.append(small)
    joined = build.tensor("joined", (1, 2, 2, 8 * branches), "INT8", quantization=activation)
    build.op("CONCATENATION", ends, [joined], "ConcatenationOptions", values={"axis": 3}, version=2)
    build.outputs(joined)
    build.metadata("min_runtime_version", b"1.14.0\0\0\0\0\0\0\0\0\0\0")
    return build.data()


def stateful() -> bytes:
    """Variables by handle, an IF with two subgraphs, a custom operator and a random one."""
    build = TfliteBuilder("stateful")
    x = build.tensor("x", [2])
    flag = build.tensor("flag", [1], "BOOL")
    handle = build.tensor("handle", [1], "RESOURCE")
    old, new, picked = (build.tensor(n, [2]) for n in ("old", "new", "picked"))
    opaque, noise = build.tensor("opaque", [2]), build.tensor("noise", [2])
    shape = build.tensor("shape", [1], "INT32", data=np.array([2], np.int32))
    shared = {"container": "", "sharedName": "state"}
    build.op("VAR_HANDLE", [], [handle], "VarHandleOptions", values=shared)
    build.op("READ_VARIABLE", [handle], [old], "ReadVariableOptions")
    build.op("ADD", [old, x], [new], "AddOptions")
    build.op("ASSIGN_VARIABLE", [handle, new], [], "AssignVariableOptions")
    branches = {"thenSubgraphIndex": 1, "elseSubgraphIndex": 2}
    build.op("IF", [flag, x], [picked], "IfOptions", values=branches)
    build.op("CUSTOM", [x], [opaque], custom="Unheard Of")
    build.op("RANDOM_UNIFORM", [shape], [noise], "RandomOptions", values={"seed": 7, "seed2": 9})
    build.inputs(flag, x)
    build.outputs(new, picked, opaque, noise)
    for name, kind in (("then", "RELU"), ("else", "TANH")):
        index = build.subgraph(name)
        a, b = (build.tensor(n, [2], subgraph=index) for n in "ab")
        build.op(kind, [a], [b], subgraph=index)
        build.inputs(a, subgraph=index)
        build.outputs(b, subgraph=index)
    return build.data()


def outside() -> bytes:
    """A model in which a constant, metadata and an operator's options lie behind the flatbuffer."""

    def build(weights: int, text: int, options: int) -> bytes:
        maker = TfliteBuilder()
        x, y, z = (maker.tensor(n, [2]) for n in "xyz")
        w = maker.tensor("w", [2])
        maker.model.subgraphs[0].tensors[w].buffer = maker.buffer(b"")
        maker.op("ADD", [x, w], [y], "AddOptions")
        maker.op("CUSTOM", [x], [z], custom="Opaque")
        maker.inputs(x)
        maker.outputs(y, z)
        maker.metadata("outside", b"")
        for index, (offset, size) in enumerate(((weights, 8), (text, 5)), 1):
            buffer = maker.model.buffers[index]
            buffer.data, buffer.offset, buffer.size = None, offset, size
        custom = maker.model.subgraphs[0].operators[1]
        custom.largeCustomOptionsOffset, custom.largeCustomOptionsSize = options, 3
        return maker.data()

    size = len(build(1 << 40, 1 << 40, 1 << 40))
    start = size + -size % 64
    data = build(start, start + 64, start + 128)
    assert len(data) == size
    tail = bytearray(bytes(start - size) + bytes(192))
    tail[start - size : start - size + 8] = np.array([3, 4], np.float32).tobytes()
    tail[start - size + 64 : start - size + 69] = b"hello"
    tail[start - size + 128 : start - size + 131] = b"opt"
    return data + bytes(tail)
