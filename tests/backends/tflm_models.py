"""Small TFLite models for the tests of the TFLM backend, written through the schema's objects."""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np

if TYPE_CHECKING:
    from collections.abc import Sequence

__all__ = [
    "ModelBuilder",
    "Quantization",
    "SubgraphBuilder",
    "branching_model",
    "call_twice_model",
    "code_of",
    "plan_bytes",
    "random_model",
    "resource_model",
    "scratch_model",
    "while_model",
]

fb: Any = importlib.import_module("ai_edge_litert.schema_py_generated")
flatbuffers: Any = importlib.import_module("flatbuffers")

_TYPES = {
    "float32": (fb.TensorType.FLOAT32, np.float32),
    "int8": (fb.TensorType.INT8, np.int8),
    "int16": (fb.TensorType.INT16, np.int16),
    "int32": (fb.TensorType.INT32, np.int32),
    "int64": (fb.TensorType.INT64, np.int64),
    "uint8": (fb.TensorType.UINT8, np.uint8),
    "bool": (fb.TensorType.BOOL, np.bool_),
    "resource": (fb.TensorType.RESOURCE, np.int32),
}


def code_of(name: str) -> int:
    """The builtin operator's number."""
    return int(getattr(fb.BuiltinOperator, name))


class Quantization(NamedTuple):
    """Scales (one, or one per channel) and zero point."""

    scales: tuple[float, ...]
    zero_point: int = 0
    axis: int = 0


class SubgraphBuilder:
    """Tensors and operators of one subgraph; tensors are named by the index that adding returns."""

    def __init__(self, model: ModelBuilder, name: str) -> None:
        self.model = model
        self.subgraph: Any = fb.SubGraphT()
        self.subgraph.name = name
        self.subgraph.tensors, self.subgraph.operators = [], []
        self.subgraph.inputs, self.subgraph.outputs = [], []

    def tensor(
        self,
        shape: Sequence[int],
        dtype: str = "int8",
        *,
        data: np.ndarray | None = None,
        quantization: Quantization | None = None,
        variable: bool = False,
    ) -> int:
        """Add a tensor; int8 and int16 ones get a scale of their own unless one is given."""
        tensor: Any = fb.TensorT()
        tensor.name = f"{self.subgraph.name}/t{len(self.subgraph.tensors)}"
        tensor.shape = list(shape)
        tensor.type = _TYPES[dtype][0]
        tensor.isVariable = variable
        tensor.buffer = 0 if data is None else self.model.buffer(np.asarray(data, _TYPES[dtype][1]))
        if quantization is None and dtype in {"int8", "int16"}:
            zero = 0 if dtype == "int16" else -3
            quantization = Quantization((0.05 if dtype == "int8" else 1e-3,), zero)
        if quantization is not None:
            held: Any = fb.QuantizationParametersT()
            held.scale = list(quantization.scales)
            held.zeroPoint = [quantization.zero_point] * len(quantization.scales)
            held.quantizedDimension = quantization.axis
            tensor.quantization = held
        self.subgraph.tensors.append(tensor)
        return len(self.subgraph.tensors) - 1

    def op(
        self,
        name: str,
        inputs: Sequence[int],
        outputs: Sequence[int],
        options: Any = None,
        version: int = 1,
    ) -> int:
        """Add an operator; its options by the object of its options' class."""
        operator: Any = fb.OperatorT()
        operator.opcodeIndex = self.model.opcode(name, version)
        operator.inputs, operator.outputs = list(inputs), list(outputs)
        if options is not None:
            kind = type(options).__name__.removesuffix("T")
            operator.builtinOptionsType = getattr(fb.BuiltinOptions, kind)
            operator.builtinOptions = options
        self.subgraph.operators.append(operator)
        return len(self.subgraph.operators) - 1

    def convolution(
        self, source: int, channels: int, *, kernel: int = 1, stride: int = 1, seed: int = 0
    ) -> int:
        """A SAME convolution with random weights and bias; int8, int16 or float by its input."""
        held = self.subgraph.tensors[source]
        n, h, w, c = held.shape
        rng = np.random.default_rng(seed + 1000 * len(self.subgraph.tensors))
        shape = (channels, kernel, kernel, c)
        dtype = next(k for k, v in _TYPES.items() if v[0] == held.type)
        if dtype == "float32":
            weights = self.tensor(
                shape, "float32", data=rng.normal(size=shape).astype(np.float32) * 0.3
            )
            bias = self.tensor(
                (channels,), "float32", data=rng.normal(size=channels).astype(np.float32)
            )
        else:
            scales = tuple(float(s) for s in rng.uniform(0.002, 0.01, channels))
            weights = self.tensor(
                shape,
                "int8",
                data=rng.integers(-127, 128, shape).astype(np.int8),
                quantization=Quantization(scales),
            )
            in_scale = float(held.quantization.scale[0])
            wide = "int64" if dtype == "int16" else "int32"
            bias = self.tensor(
                (channels,),
                wide,
                data=rng.integers(-500, 500, channels).astype(_TYPES[wide][1]),
                quantization=Quantization(tuple(in_scale * s for s in scales)),
            )
        result = self.tensor((n, -(-h // stride), -(-w // stride), channels), dtype)
        options: Any = fb.Conv2DOptionsT()
        options.strideH = options.strideW = stride
        options.dilationHFactor = options.dilationWFactor = 1
        options.padding = fb.Padding.SAME
        self.op("CONV_2D", [source, weights, bias], [result], options, 3)
        return result

    def add(self, one: int, two: int) -> int:
        """The sum of two tensors, of the shape of the first."""
        held = self.subgraph.tensors[one]
        dtype = next(k for k, v in _TYPES.items() if v[0] == held.type)
        result = self.tensor(held.shape, dtype)
        options: Any = fb.AddOptionsT()
        options.potScaleInt16 = False
        self.op("ADD", [one, two], [result], options, 2)
        return result


class ModelBuilder:
    """A model; `finish` gives the file's bytes."""

    def __init__(self) -> None:
        self.model: Any = fb.ModelT()
        self.model.version = 3
        self.model.description = "test"
        empty: Any = fb.BufferT()
        self.model.buffers = [empty]
        self.model.operatorCodes, self.model.subgraphs, self.model.metadata = [], [], []
        self.codes: dict[tuple[str, int], int] = {}

    def subgraph(self, name: str = "main") -> SubgraphBuilder:
        """Add a subgraph."""
        made = SubgraphBuilder(self, name)
        self.model.subgraphs.append(made.subgraph)
        return made

    def buffer(self, data: np.ndarray | bytes) -> int:
        """Add a buffer."""
        held: Any = fb.BufferT()
        held.data = np.frombuffer(
            data if isinstance(data, bytes) else np.ascontiguousarray(data).tobytes(), np.uint8
        )
        self.model.buffers.append(held)
        return len(self.model.buffers) - 1

    def opcode(self, name: str, version: int) -> int:
        """The index of an operator code, added where it is new."""
        key = (name, version)
        if key not in self.codes:
            code: Any = fb.OperatorCodeT()
            code.builtinCode = code_of(name)
            code.deprecatedBuiltinCode = min(code.builtinCode, 127)
            code.version = version
            self.model.operatorCodes.append(code)
            self.codes[key] = len(self.codes)
        return self.codes[key]

    def metadata(self, name: str, data: bytes) -> None:
        """Add a named buffer."""
        entry: Any = fb.MetadataT()
        entry.name, entry.buffer = name, self.buffer(data)
        self.model.metadata.append(entry)

    def finish(self) -> bytes:
        """The file."""
        builder = flatbuffers.Builder(4096)
        builder.Finish(self.model.Pack(builder), b"TFL3")
        return bytes(builder.Output())


def branching_model(dtype: str = "int8", *, branches: int = 3, side: int = 8) -> bytes:
    """Branches of convolutions from one input, written breadth first, summed up at the end."""
    model = ModelBuilder()
    main = model.subgraph()
    source = main.tensor((1, side, side, 4), dtype)
    main.subgraph.inputs = [source]
    wide = [main.convolution(source, 16, seed=i) for i in range(branches)]
    narrow = [main.convolution(t, 2 + i, kernel=3, seed=9 + i) for i, t in enumerate(wide)]
    same = [main.convolution(t, 4, seed=20 + i) for i, t in enumerate(narrow)]
    total = same[0]
    for other in same[1:]:
        total = main.add(total, other)
    main.subgraph.outputs = [total]
    return model.finish()


def plan_bytes(offsets: Sequence[int], *, version: int = 1, count: int | None = None) -> bytes:
    """The metadata `OfflineMemoryAllocation`, possibly with wrong numbers."""
    held = len(offsets) if count is None else count
    return np.array([version, 0, held, *offsets], "<i4").tobytes()


def while_model() -> bytes:
    """Doubles a tensor four times a round until a counter reaches 3; with tensors nobody uses."""
    model = ModelBuilder()
    main, condition, body = (model.subgraph(n) for n in ("main", "condition", "body"))
    counter, value = main.tensor((1,), "int32"), main.tensor((1, 64), "float32")
    main.tensor((1, 100), "float32")
    main.tensor((1, 90), "float32")
    results = [main.tensor((1,), "int32"), main.tensor((1, 64), "float32")]
    options: Any = fb.WhileOptionsT()
    options.condSubgraphIndex, options.bodySubgraphIndex = 1, 2
    main.op("WHILE", [counter, value], results, options)
    main.subgraph.inputs, main.subgraph.outputs = [counter, value], results
    tested = [condition.tensor((1,), "int32"), condition.tensor((1, 64), "float32")]
    last = condition.tensor((1,), "int32", data=np.array([3], np.int32))
    more = condition.tensor((1,), "bool")
    condition.op("LESS", [tested[0], last], [more], fb.LessOptionsT())
    condition.subgraph.inputs, condition.subgraph.outputs = tested, [more]
    held = [body.tensor((1,), "int32"), body.tensor((1, 64), "float32")]
    one = body.tensor((1,), "int32", data=np.array([1], np.int32))
    body.subgraph.inputs = held
    following, doubled = body.add(held[0], one), body.add(held[1], held[1])
    body.subgraph.outputs = [following, body.add(doubled, doubled)]
    return model.finish()


def call_twice_model() -> bytes:
    """Two IF operators that run the same subgraphs, with an operator between them."""
    model = ModelBuilder()
    main, double, keep = (model.subgraph(n) for n in ("main", "double", "keep"))
    for branch in (double, keep):
        given = branch.tensor((1, 64), "float32")
        branch.subgraph.inputs = [given]
        middle = branch.add(given, given)
        branch.subgraph.outputs = [branch.add(middle, given)]
    choice, value = main.tensor((1,), "bool"), main.tensor((1, 64), "float32")

    def branching(operand: int) -> int:
        options: Any = fb.IfOptionsT()
        options.thenSubgraphIndex, options.elseSubgraphIndex = 1, 2
        result = main.tensor((1, 64), "float32")
        main.op("IF", [choice, operand], [result], options)
        return result

    first = branching(value)
    wide = main.add(first, value)
    main.subgraph.inputs = [choice, value]
    main.subgraph.outputs = [main.add(branching(wide), first)]
    return model.finish()


def resource_model() -> bytes:
    """A variable, read and assigned in the main subgraph, and read in the branches of an IF."""
    model = ModelBuilder()
    main, first, second = (model.subgraph(n) for n in ("main", "first", "second"))

    def handle(graph: SubgraphBuilder) -> int:
        options: Any = fb.VarHandleOptionsT()
        options.container, options.sharedName = "", "state"
        made = graph.tensor((), "resource")
        graph.op("VAR_HANDLE", [], [made], options)
        return made

    def current(graph: SubgraphBuilder, variable: int) -> int:
        made = graph.tensor((1, 40), "float32")
        graph.op("READ_VARIABLE", [variable], [made], fb.ReadVariableOptionsT())
        return made

    for branch, times in ((first, 1), (second, 2)):
        branch.subgraph.inputs = [branch.tensor((), "resource"), branch.tensor((1, 40), "float32")]
        total = branch.subgraph.inputs[1]
        for _ in range(times):
            total = branch.add(total, current(branch, branch.subgraph.inputs[0]))
        branch.subgraph.outputs = [total]
    choice, value = main.tensor((1,), "bool"), main.tensor((1, 40), "float32")
    variable = handle(main)
    total = main.add(current(main, variable), value)
    main.op("ASSIGN_VARIABLE", [variable, total], [], fb.AssignVariableOptionsT())
    options: Any = fb.IfOptionsT()
    options.thenSubgraphIndex, options.elseSubgraphIndex = 1, 2
    result = main.tensor((1, 40), "float32")
    main.op("IF", [choice, variable, total], [result], options)
    main.subgraph.inputs, main.subgraph.outputs = [choice, value], [result]
    return model.finish()


def scratch_model() -> bytes:
    """Kernels with scratch of their own: SVDF (two), MEAN, TRANSPOSE_CONV, ADD_N."""
    model = ModelBuilder()
    main = model.subgraph()
    rng = np.random.default_rng(11)
    image = main.tensor((1, 4, 4, 3))
    sequence = main.tensor((1, 8))
    main.subgraph.inputs = [image, sequence]
    # int8 SVDF: rank 1, 4 filters, memory of 5
    features = main.tensor(
        (4, 8), "int8", data=rng.integers(-90, 90, (4, 8)), quantization=Quantization((0.01,))
    )
    times = main.tensor(
        (4, 5), "int16", data=rng.integers(-900, 900, (4, 5)), quantization=Quantization((1e-4,))
    )
    bias = main.tensor(
        (4,), "int32", data=rng.integers(-9, 9, 4), quantization=Quantization((1e-6,))
    )
    state = main.tensor((1, 20), "int16", quantization=Quantization((0.01,)), variable=True)
    filtered = main.tensor((1, 4))
    options: Any = fb.SVDFOptionsT()
    options.rank, options.fusedActivationFunction = 1, fb.ActivationFunctionType.RELU
    main.op("SVDF", [sequence, features, times, bias, state], [filtered], options, 3)
    axes = main.tensor((2,), "int32", data=np.array([1, 2], np.int32))
    mean = main.tensor((1, 3))
    reducer: Any = fb.ReducerOptionsT()
    reducer.keepDims = False
    main.op("MEAN", [image, axes], [mean], reducer, 2)
    shape = main.tensor((4,), "int32", data=np.array([1, 8, 8, 2], np.int32))
    kernel = main.tensor(
        (2, 2, 2, 3),
        "int8",
        data=rng.integers(-90, 90, (2, 2, 2, 3)),
        quantization=Quantization((0.01, 0.02)),
    )
    grown = main.tensor((1, 8, 8, 2))
    transposed: Any = fb.TransposeConvOptionsT()
    transposed.strideH = transposed.strideW = 2
    transposed.padding = fb.Padding.VALID
    main.op("TRANSPOSE_CONV", [shape, kernel, image], [grown], transposed, 1)
    total = main.tensor((1, 8, 8, 2))
    main.op("ADD_N", [grown, main.add(grown, grown), grown], [total], fb.AddNOptionsT())
    main.subgraph.outputs = [filtered, mean, total]
    return model.finish()


def random_model(seed: int) -> tuple[bytes, list[list[int]]]:
    """A random network of convolutions, sums, activations, means and reshapes, and three orders."""
    rng = np.random.default_rng(seed)
    dtype = ("int8", "float32")[int(rng.integers(2))]
    model = ModelBuilder()
    main = model.subgraph()
    values = [main.tensor((1, 4, 4, int(c)), dtype) for c in rng.integers(1, 9, rng.integers(1, 3))]
    main.subgraph.inputs = list(values)
    for step in range(int(rng.integers(3, 12))):
        source = int(rng.choice(values))
        shape = [int(d) for d in main.subgraph.tensors[source].shape]
        kind = int(rng.integers(5))
        if kind == 0:
            values.append(main.convolution(source, int(rng.integers(1, 9)), seed=step))
        elif kind == 1:
            same = [t for t in values if list(main.subgraph.tensors[t].shape) == shape]
            values.append(main.add(source, int(rng.choice(same))))
        elif kind == 2:
            values.append(main.tensor(shape, dtype))
            main.op("RELU", [source], [values[-1]])
        elif kind == 3:
            values.append(main.tensor((1, shape[-1]), dtype))
            axes = main.tensor((2,), "int32", data=np.array([1, 2], np.int32))
            reducer: Any = fb.ReducerOptionsT()
            reducer.keepDims = False
            main.op("MEAN", [source, axes], [values[-1]], reducer, 2)
            main.subgraph.outputs.append(values.pop())
        else:
            flat = main.tensor((1, int(np.prod(shape))), dtype)
            options: Any = fb.ReshapeOptionsT()
            options.newShape = [1, int(np.prod(shape))]
            main.op("RESHAPE", [source], [flat], options)
            main.subgraph.outputs.append(flat)
    used = {t for op in main.subgraph.operators for t in op.inputs}
    main.subgraph.outputs += [t for t in values if t not in used and t not in main.subgraph.inputs]
    operators = main.subgraph.operators
    maker = {op.outputs[0]: index for index, op in enumerate(operators)}
    orders = [list(range(len(operators)))]
    for _ in range(2):
        order: list[int] = []
        while len(order) < len(operators):
            ready = [
                i
                for i, op in enumerate(operators)
                if i not in order and all(maker.get(t, i) in (*order, i) for t in op.inputs)
            ]
            order.append(int(rng.choice(ready)))
        orders.append(order)
    return model.finish(), orders
