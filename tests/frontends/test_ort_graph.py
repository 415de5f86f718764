"""ONNX Runtime's own graph: same interface, all shapes known, weights alive, crashes contained."""

# pyright: reportUnknownVariableType=false, reportUnknownArgumentType=false
# ORT's native module has no stubs.

from __future__ import annotations

import gc
import math
from collections.abc import Callable
from pathlib import Path
from typing import cast

import numpy as np
import onnx
import onnx_ir
import onnxruntime as ort
import pytest
from numpy.typing import NDArray
from onnx import helper as h

from lowtide.errors import ModelError
from lowtide.frontends.onnx import (
    OrtLevel,
    import_graph,
    optimized_by_ort,
    read,
)
from tests.frontends.models import (
    FLOAT,
    LIGHT,
    chain,
    external,
    model_of,
    same_function,
    tensor,
    value,
    with_if,
    with_loop,
)

SMALL = [
    p
    for p in LIGHT
    if p.stem.removeprefix("light_") in ("inception_v1", "shufflenet", "squeezenet")
]
LEVELS: tuple[OrtLevel, ...] = ("basic", "extended", "all")


def _run(model: str | bytes, *, optimised: bool) -> list[NDArray[np.float32]]:
    options = ort.SessionOptions()
    levels = ort.GraphOptimizationLevel
    options.graph_optimization_level = (
        levels.ORT_ENABLE_ALL if optimised else levels.ORT_DISABLE_ALL
    )
    options.intra_op_num_threads = 1
    options.log_severity_level = 4
    session = ort.InferenceSession(model, options, ["CPUExecutionProvider"])
    rng = np.random.default_rng(0)
    feeds: dict[str, NDArray[np.float32] | NDArray[np.bool_]] = {}
    for node in session.get_inputs():
        if "float" in node.type:
            feeds[node.name] = rng.random(node.shape, dtype=np.float32)
        else:
            feeds[node.name] = np.ones(node.shape, np.bool_)
    return cast("list[NDArray[np.float32]]", session.run(None, feeds))


@pytest.mark.parametrize("path", SMALL, ids=lambda p: p.stem)
def test_light_models_at_all(path: Path) -> None:
    source = read(path)
    model = optimized_by_ort(source, level="all")
    graph = import_graph(model)
    required = [
        v for v in source.model.graph.inputs if v.name not in source.model.graph.initializers
    ]
    assert [t.name for t in graph.inputs] == [v.name for v in required]
    assert [t.name for t in graph.outputs] == [v.name for v in source.model.graph.outputs]
    assert all(math.prod(t.shape) > 0 for t in graph.tensors)
    assert len(graph) < len(import_graph(source.model))


@pytest.mark.parametrize("level", LEVELS)
def test_the_saved_graph_computes_the_same(level: OrtLevel, tmp_path: Path) -> None:
    original = chain()
    model = optimized_by_ort(read(original), level=level)
    onnx_ir.save(model, tmp_path / "saved.onnx", external_data="saved.bin")
    expected = _run(original.SerializeToString(), optimised=True)
    found = _run(str(tmp_path / "saved.onnx"), optimised=False)
    for a, b in zip(expected, found, strict=True):
        np.testing.assert_allclose(a, b, rtol=1e-5)


@pytest.mark.parametrize("build", [with_if, with_loop, same_function])
def test_subgraphs_and_functions(build: Callable[[], onnx.ModelProto], tmp_path: Path) -> None:
    original = build()
    model = optimized_by_ort(read(original), level="extended")
    graph = import_graph(model)
    assert [t.name for t in graph.outputs] == ["y"]
    onnx_ir.save(model, tmp_path / "saved.onnx", external_data="saved.bin")
    expected = _run(original.SerializeToString(), optimised=False)
    found = _run(str(tmp_path / "saved.onnx"), optimised=False)
    np.testing.assert_array_equal(expected[0], found[0])


def test_folded_initializers_are_not_asked_of_the_caller() -> None:
    original = chain()
    original.graph.input.append(value("conv.weight", [4, 3, 3, 3]))
    original.graph.input.append(value("fc.weight", [256, 10]))
    original.ir_version = 3
    model = optimized_by_ort(read(original), level="extended")
    assert [v.name for v in model.graph.inputs] == ["x"]


def test_dimensions_are_bound_before_ort_sees_the_model() -> None:
    source = read(chain(["batch", 3, 8, 8]), dims={"batch": 2})
    assert source.model.graph.inputs[0].shape == onnx_ir.Shape([2, 3, 8, 8])
    with pytest.raises(ModelError, match="open"):
        optimized_by_ort(read(chain(["batch", 3, 8, 8])), level="all")


def test_weights_outside_live_as_long_as_the_model_or_a_tensor_of_it(tmp_path: Path) -> None:
    model = optimized_by_ort(read(external(tmp_path)), level="basic")
    weights = model.graph.initializers["w"].const_value
    assert isinstance(weights, onnx_ir.ExternalTensor)
    folder = Path(weights.path).parent
    assert sorted(p.name for p in folder.iterdir()) == ["optimized.onnx", "weights.bin"]
    del model
    gc.collect()
    assert weights.numpy().shape == (256, 256)
    del weights
    gc.collect()
    assert not folder.exists()


def test_weights_inside_stay_inside() -> None:
    model = optimized_by_ort(read(chain()), level="basic")
    weights = model.graph.initializers["fc.weight"].const_value
    assert weights is not None
    assert not isinstance(weights, onnx_ir.ExternalTensor)
    assert weights.numpy().shape == (256, 10)


def test_external_data_is_found_beside_the_model(tmp_path: Path) -> None:
    model = optimized_by_ort(read(external(tmp_path)), level="extended")
    weights = model.graph.initializers["w"].const_value
    assert weights is not None
    assert weights.numpy().sum() == 256 * 256
    assert sorted(p.name for p in tmp_path.iterdir()) == ["model.onnx", "w.bin"]


def test_a_model_that_ort_refuses_is_our_error() -> None:
    node = h.make_node("Mystery", ["x"], ["y"], domain="custom")
    source = read(model_of([node], [value("x", [2])], [value("y", [2])]))
    with pytest.raises(ModelError, match=r"ONNX Runtime .* refuses the model"):
        optimized_by_ort(source, level="all")


def test_a_child_that_does_not_answer_is_our_error() -> None:
    with pytest.raises(ModelError, match="does not survive"):
        optimized_by_ort(read(chain()), level="all", timeout_s=0.01)


def test_sequences_in_ort_graphs_are_opaque() -> None:
    nodes = [
        h.make_node("SequenceConstruct", ["x", "x"], ["s"]),
        h.make_node("SequenceLength", ["s"], ["n"]),
        h.make_node("Cast", ["n"], ["y"], to=FLOAT),
    ]
    source = read(model_of(nodes, [value("x", [4])], [value("y", [])]))
    graph = import_graph(optimized_by_ort(source, level="basic"))
    assert graph.tensor("s").dtype == "opaque"


def test_shapes_computed_from_constants_are_known() -> None:
    nodes = [
        h.make_node("Shape", ["x"], ["s"]),
        h.make_node("Gather", ["s", "i"], ["d"]),
        h.make_node("Concat", ["d", "minus"], ["t"], axis=0),
        h.make_node("Reshape", ["x", "t"], ["v"]),
        h.make_node("Relu", ["v"], ["y"]),
    ]
    constants = [tensor("i", [0]), tensor("minus", [-1])]
    source = read(model_of(nodes, [value("x", [2, 3, 4])], [value("y", ["a", "b"])], constants))
    graph = import_graph(optimized_by_ort(source, level="all"))
    assert graph.tensor("y").shape == (2, 12)
