"""The edge benchmark's generators: structure without TensorFlow, one tiny conversion, the twin."""

from __future__ import annotations

import hashlib
import importlib
from collections import Counter
from pathlib import Path
from typing import Any, cast

import pytest

from lowtide.bench.edge_convert import convert
from lowtide.bench.edge_models import NETWORKS, Network, darts, nasnet, randwire, skynet
from lowtide.bench.swiftnet_twin import twin, verify
from lowtide.errors import ModelError
from lowtide.frontends.tflite import read


@pytest.mark.parametrize("name", NETWORKS)
def test_networks(name: str) -> None:
    """Every layer reads earlier ones, is read by later ones, and has a shape that follows."""
    network = NETWORKS[name]()
    assert network.name == name
    assert network == NETWORKS[name]()
    read_by = Counter(source for layer in network.layers for source in layer.inputs)
    for index, layer in enumerate(network.layers):
        shapes = [network.layers[source].shape for source in layer.inputs]
        assert all(source < index for source in layer.inputs)
        assert read_by[index] > 0 or index == len(network.layers) - 1
        if layer.kind in ("relu", "add"):
            assert set(shapes) == {layer.shape}
        if layer.kind == "concat":
            assert sum(shape[-1] for shape in shapes) == layer.shape[-1]
            assert {shape[:-1] for shape in shapes} == {layer.shape[:-1]}
        if layer.kind in ("conv", "depthwise", "max_pool", "average_pool"):
            ((_, height, width, channels),) = shapes
            assert layer.shape[1:3] == (-(-height // layer.stride), -(-width // layer.stride))
            assert layer.kind == "conv" or layer.shape[-1] == channels
    assert len(network.layers) <= 300


def test_nothing_was_changed_since() -> None:
    """The networks are those that were committed before any result."""
    text = "\n".join(repr(build()) for build in NETWORKS.values())
    assert hashlib.sha256(text.encode()).hexdigest()[:16] == "e74251c24fa09ae7"


def test_seeds_and_sizes() -> None:
    names = Counter(name.rsplit("_s", 1)[0] for name in NETWORKS if "randwire" in name)
    assert names == {"randwire_32": 4, "randwire_96": 4}
    wirings = {NETWORKS[f"randwire_32_s{seed}"]().layers for seed in range(4)}
    assert len(wirings) == 4
    for build in NETWORKS.values():
        assert max(build().layers[0].shape[1:3]) <= 96


def test_skynet_is_the_published_one() -> None:
    """Channels of the six bundles, and the bypass from the third to the sixth."""
    layers = skynet("s", 0, height=32, width=64).layers
    pointwise = [layer.shape[-1] for layer in layers if layer.kind == "conv"]
    assert pointwise == [48, 96, 192, 384, 512, 96, 10]
    (bypass,) = [layer for layer in layers if layer.kind == "space_to_depth"]
    assert layers[bypass.inputs[0]].shape == (1, 8, 16, 192)
    assert bypass.shape == (1, 4, 8, 768)
    (joined,) = [layer for layer in layers if layer.kind == "concat"]
    assert joined.shape == (1, 4, 8, 1280)
    assert all(layer.activation == "relu6" for layer in layers if layer.kind == "depthwise")


def test_cells_are_the_published_ones() -> None:
    cells = nasnet("n", 0, side=8, stem_stride=1, channels=4).layers
    joins = [len(layer.inputs) for layer in cells if layer.kind == "concat"]
    assert joins == [6, 6, 4, 6, 6]
    cells = darts("d", 0, side=8, stem_stride=1, channels=4).layers
    joins = [len(layer.inputs) for layer in cells if layer.kind == "concat"]
    assert joins == [4, 4, 4, 4, 4]
    assert {layer.dilation for layer in cells} == {1, 2}


@pytest.fixture(scope="module")
def tiny() -> Network:
    return randwire("tiny", 3, side=8, stem_stride=1, channels=4, stages=1, nodes=5)


@pytest.mark.tensorflow
def test_a_conversion(tiny: Network, tmp_path: Path) -> None:
    """Everything is int8, nothing is left out, and both runtimes agree on the outputs."""
    data = convert(tiny)
    source = read(data)
    (graph,) = source.model.subgraphs
    assert {t.dtype for t in graph.tensors if not t.constant} == {"int8"}
    kinds = Counter(op.kind for op in graph.operators)
    layers = Counter(layer.kind for layer in tiny.layers)
    assert kinds["CONV_2D"] == layers["conv"]
    assert kinds["DEPTHWISE_CONV_2D"] == layers["depthwise"]
    assert kinds["ADD"] == 3  # of 6: sums that begin alike are merged
    path = tmp_path / "tiny.tflite"
    path.write_bytes(data)
    assert cast("int", verify(path)["distinct"]) > 1


def small_uint8() -> bytes:
    """A model with each operator of SwiftNet that the twin gives weights, and a softmax."""
    schema: Any = importlib.import_module("ai_edge_litert.schema_py_generated")
    flatbuffers: Any = importlib.import_module("flatbuffers")
    model, graph = schema.ModelT(), schema.SubGraphT()
    model.version, model.buffers, model.operatorCodes = 3, [schema.BufferT()], []
    graph.tensors, graph.operators = [], []

    def tensor(shape: list[int], kind: str = "UINT8", size: int = 0) -> int:
        entry = schema.TensorT()
        entry.shape, entry.type = shape, getattr(schema.TensorType, kind)
        entry.name = f"t{len(graph.tensors)}"
        entry.quantization = schema.QuantizationParametersT()
        scale = 0.005 if kind == "INT32" else 0.1 if size else 0.05
        entry.quantization.scale = [scale]
        entry.quantization.zeroPoint = [0 if kind == "INT32" else 128]
        if size:
            entry.buffer = len(model.buffers)
            model.buffers.append(schema.BufferT())
            model.buffers[-1].data = [1] * size
        graph.tensors.append(entry)
        return len(graph.tensors) - 1

    def add(kind: str, inputs: list[int], shape: list[int], options: Any, option_type: int) -> int:
        code, op = schema.OperatorCodeT(), schema.OperatorT()
        code.builtinCode = code.deprecatedBuiltinCode = getattr(schema.BuiltinOperator, kind)
        op.opcodeIndex = len(model.operatorCodes)
        model.operatorCodes.append(code)
        op.inputs, op.outputs = inputs, [tensor(shape)]
        op.builtinOptions, op.builtinOptionsType = options, option_type
        graph.operators.append(op)
        return int(op.outputs[0])

    image = tensor([1, 4, 4, 3])
    bias = tensor([4], "INT32", 16)
    conv, depthwise = schema.Conv2DOptionsT(), schema.DepthwiseConv2DOptionsT()
    for options in (conv, depthwise):
        options.strideW = options.strideH = 1
        options.dilationWFactor = options.dilationHFactor = 1
    depthwise.depthMultiplier = 1
    weights = tensor([4, 3, 3, 3], size=108)
    one = add("CONV_2D", [image, weights, bias], [1, 4, 4, 4], conv, 1)
    weights = tensor([1, 3, 3, 4], size=36)
    two = add("DEPTHWISE_CONV_2D", [one, weights, bias], [1, 4, 4, 4], depthwise, 2)
    both = add("CONCATENATION", [one, two], [1, 4, 4, 8], schema.ConcatenationOptionsT(), 10)
    graph.operators[-1].builtinOptions.axis = 3
    weights, bias = tensor([2, 128], size=256), tensor([2], "INT32", 8)
    dense = schema.FullyConnectedOptionsT()
    scores = add("FULLY_CONNECTED", [both, weights, bias], [1, 2], dense, 8)
    softmax = schema.SoftmaxOptionsT()
    softmax.beta = 1.0
    result = add("SOFTMAX", [scores], [1, 2], softmax, 9)
    graph.tensors[result].quantization.scale = [1 / 256]
    graph.tensors[result].quantization.zeroPoint = [0]
    graph.inputs, graph.outputs = [image], [result]
    model.subgraphs = [graph]
    builder: Any = flatbuffers.Builder(1024)
    builder.Finish(model.Pack(builder), b"TFL3")
    return bytes(builder.Output())


def test_the_twin_has_the_same_operators_and_shapes(tmp_path: Path) -> None:
    """It shares a bias between operators, as SwiftNet does."""
    data = small_uint8()
    result = twin(data)
    assert result == twin(data)
    assert result != twin(data, seed=1)
    (before,), (after,) = read(data).model.subgraphs, read(result).model.subgraphs
    assert [(o.kind, o.inputs, o.outputs, o.attributes()) for o in before.operators] == [
        (o.kind, o.inputs, o.outputs, o.attributes()) for o in after.operators
    ]
    assert [t.shape for t in before.tensors] == [t.shape for t in after.tensors]
    types = {"uint8": "int8", "int32": "int32"}
    assert [types[t.dtype] for t in before.tensors] == [t.dtype for t in after.tensors]
    path = tmp_path / "twin.tflite"
    path.write_bytes(result)
    assert cast("int", verify(path)["distinct"]) > 1


def test_a_float_twin_and_a_cell_of_it(tmp_path: Path) -> None:
    data = small_uint8()
    result = twin(data, floats=True)
    (after,) = read(result).model.subgraphs
    assert {t.dtype for t in after.tensors} == {"float32"}
    assert all(t.table.table("quantization") is None for t in after.tensors)
    path = tmp_path / "twin.tflite"
    path.write_bytes(result)
    assert verify(path)["integers"] is False
    cell = twin(data, first=1, last=3)
    (inside,) = read(cell).model.subgraphs
    assert [o.kind for o in inside.operators] == ["DEPTHWISE_CONV_2D", "CONCATENATION"]
    assert [inside.tensors[t].shape for t in inside.inputs] == [(1, 4, 4, 4)]
    assert [inside.tensors[t].shape for t in inside.outputs] == [(1, 4, 4, 8)]
    path.write_bytes(cell)
    assert cast("int", verify(path)["distinct"]) > 1


def test_the_twin_of_another_network_is_refused() -> None:
    data = small_uint8()
    schema: Any = importlib.import_module("ai_edge_litert.schema_py_generated")
    flatbuffers: Any = importlib.import_module("flatbuffers")
    model: Any = schema.ModelT.InitFromObj(schema.Model.GetRootAs(data, 0))
    model.operatorCodes[2].builtinCode = schema.BuiltinOperator.PACK
    model.operatorCodes[2].deprecatedBuiltinCode = schema.BuiltinOperator.PACK
    builder: Any = flatbuffers.Builder(1024)
    builder.Finish(model.Pack(builder), b"TFL3")
    with pytest.raises(ModelError, match="the twin knows no PACK"):
        twin(bytes(builder.Output()))
