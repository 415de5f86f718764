"""TFLite models in the graph IR."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from lowtide.bench.tflite_builder import (
    TfliteBuilder,
    branching,
    litert_schema,
    pack,
    quantized,
    stateful,
)
from lowtide.errors import InputError
from lowtide.frontends.tflite import import_graph, read
from lowtide.ir import Accounting, Role, simulate
from tests.tflite_objects import everything

LITERT: Any = litert_schema()


def test_a_quantized_model() -> None:
    imported = import_graph(read(quantized(1)))
    graph = imported.graph
    assert [op.qualified for op in graph.ops[:2]] == ["tflite.CONV_2D", "tflite.MAX_POOL_2D"]
    assert [op.source for op in graph.ops] == list(range(7))
    assert [op.flops for op in graph.ops[:2]] == [2 * 6 * 6 * 8 * 4, 2 * 2 * 8 * 9]
    conv = graph.ops[0]
    assert [t.role for t in conv.operands] == [Role.INPUT, Role.CONSTANT, Role.CONSTANT]
    assert conv.attributes["stride_w"] == 1
    assert conv.attributes["dilation_w_factor"] == 1  # a default, not stored
    assert graph.ops[-1].attributes == {"axis": 3, "fused_activation_function": 0}
    assert [t.nbytes for t in graph.outputs] == [1 * 2 * 2 * 24]
    assert not any(op.traits.pinned or op.traits.view or op.workspace_known for op in graph.ops)
    timeline = simulate(graph, Accounting(inputs_in_arena=True, alignment=16))
    assert timeline.peak_bytes == 144 + 288 + 32 + 32  # the third convolution


def test_tensors_are_found_by_index_and_back() -> None:
    source = read(quantized(1))
    imported = import_graph(source)
    for index, tensor in enumerate(imported.tensors):
        assert tensor is not None
        assert tensor.name == source.model.subgraphs[0].tensors[index].name
        assert imported.index(tensor) == index
    other = import_graph(source).graph.inputs[0]
    with pytest.raises(KeyError):
        imported.index(other)
    assert imported.operator(imported.graph.ops[3]).index == 3


def test_what_keeps_state_is_pinned() -> None:
    graph = import_graph(read(stateful())).graph
    pinned = [op.kind for op in graph.ops if op.traits.pinned]
    assert pinned == ["VAR_HANDLE", "READ_VARIABLE", "ASSIGN_VARIABLE", "Unheard Of"]
    assert [op.kind for op in graph.ops if op.traits.random] == ["RANDOM_UNIFORM"]
    assert graph.tensor("handle").dtype == "opaque"
    assert graph.tensor("handle").nbytes == 0


def test_control_flow_is_pinned_when_what_it_runs_is() -> None:
    model = LITERT.ModelT.InitFromObj(LITERT.Model.GetRootAs(stateful(), 0))
    then = model.subgraphs[1]
    then.operators[0].opcodeIndex = 5  # the custom operator
    model.subgraphs[2].operators[0].opcodeIndex = 6  # the random one
    source = read(pack(model))
    op = import_graph(source).graph.ops[4]
    assert (op.kind, op.traits.pinned, op.traits.random) == ("IF", True, True)
    assert source.model.subgraphs[0].operators[4].calls == (1, 2)


def test_variables_are_state_and_pin_their_operators() -> None:
    build = TfliteBuilder()
    x, y, z = (build.tensor(n, [1, 2]) for n in "xyz")
    weights = build.tensor("weights", [2, 2], data=np.ones((2, 2), np.float32))
    time = build.tensor("time", [2, 1], data=np.ones((2, 1), np.float32))
    state = build.tensor("state", [1, 2], variable=True)
    build.op("SVDF", [x, weights, time, -1, state], [y], "SVDFOptions", values={"rank": 1})
    build.op("RELU", [x], [z])
    build.inputs(x)
    build.outputs(y, z)
    graph = import_graph(read(build.data())).graph
    assert graph.tensor("state").role is Role.STATE
    assert [op.traits.pinned for op in graph.ops] == [True, False]
    assert graph.ops[0].inputs[3] is None


def test_known_pure_custom_operators_are_free() -> None:
    build = TfliteBuilder()
    x, y, z = (build.tensor(n, [1]) for n in "xyz")
    build.op("CUSTOM", [x], [y], custom="TFLite_Detection_PostProcess")
    build.op("CUSTOM", [x], [z], custom="CIRCULAR_BUFFER")
    build.inputs(x)
    build.outputs(y, z)
    graph = import_graph(read(build.data())).graph
    assert [(op.kind, op.traits.pinned) for op in graph.ops] == [
        ("TFLite_Detection_PostProcess", False),
        ("CIRCULAR_BUFFER", True),
    ]


def test_odd_names_become_unique() -> None:
    build = TfliteBuilder()
    names = ("", "a", "a", "a#2", "", "line\nbreak")
    tensors = [build.tensor(n, [1]) for n in names]
    for i in tensors[1:]:
        build.op("RELU", [tensors[0]], [i])
    build.inputs(tensors[0])
    build.outputs(*tensors[1:])
    found = import_graph(read(build.data())).tensors
    assert [t.name for t in found if t] == [
        "tensor#0", "a", "a#2", "a#2#3", "tensor#4", "line?break",
    ]  # fmt: skip


def test_inputs_outputs_and_constants_in_odd_roles() -> None:
    """An input that is an output, a constant as an output and as an input, an empty constant, a
    tensor that nobody touches, an output listed twice."""
    build = TfliteBuilder()
    x, y, idle = (build.tensor(n, [2]) for n in ("x", "y", "idle"))
    constant = build.tensor("c", [2], data=np.ones(2, np.float32))
    empty = build.tensor("empty", [0], "INT32")
    build.op("RESHAPE", [x, empty], [y])
    build.inputs(x, x, constant)
    build.outputs(x, constant, y, y)
    imported = import_graph(read(build.data()))
    assert imported.tensors[idle] is None
    assert [t.name for t in imported.graph.inputs] == ["x"]
    assert [t.name for t in imported.graph.outputs] == ["x", "c", "y", "y"]
    assert imported.graph.tensor("empty").role is Role.CONSTANT


@pytest.mark.parametrize(
    ("kind", "elements", "size"),
    [("INT4", 5, 3), ("INT2", 5, 2), ("UINT4", 4, 2), ("BFLOAT16", 3, 6), ("BOOL", 3, 3)],
)
def test_sizes_of_small_types(kind: str, elements: int, size: int) -> None:
    build = TfliteBuilder()
    c = build.tensor("c", [elements], kind, data=np.zeros(size, np.uint8))
    y = build.tensor("y", [elements], kind)
    build.op("RELU", [c], [y])
    build.outputs(y)
    graph = import_graph(read(build.data())).graph
    assert [t.nbytes for t in graph.tensors] == [size, size]


def test_sparse_and_compressed_constants_have_sizes_of_their_own() -> None:
    build = TfliteBuilder()
    c = build.tensor("c", [4, 4], data=np.ones(3, np.float32))
    y = build.tensor("y", [4, 4])
    build.op("RELU", [c], [y])
    build.outputs(y)
    tensor = build.model.subgraphs[0].tensors[c]
    tensor.sparsity = LITERT.SparsityParametersT()
    source = read(build.data())
    assert source.model.subgraphs[0].tensors[c].sparse
    assert import_graph(source).graph.tensor("c").nbytes == 64
    tensor.sparsity = None
    build.metadata("COMPRESSION_METADATA", b"")
    assert len(read(build.data()).buffer(1)) == 12


def test_dynamic_shapes_are_noted() -> None:
    build = TfliteBuilder()
    x, y = (build.tensor(n, [1, 2]) for n in "xy")
    build.model.subgraphs[0].tensors[x].shapeSignature = [-1, 2]
    build.op("RELU", [x], [y])
    build.inputs(x)
    build.outputs(y)
    source = read(build.data())
    assert "1 tensors have dimensions that are not fixed" in source.notes[0]
    assert source.model.subgraphs[0].tensors[x].dynamic


def test_every_option_becomes_plain_attributes() -> None:
    source = read(pack(everything()))
    graph = import_graph(source).graph
    for op in graph.ops:
        table = source.model.subgraphs[0].operators[int(str(op.source))].options
        assert table is not None
        bytes_only = {f.name for f in table.kind.fields if f.code == "B"}
        assert set(op.attributes) >= {f.name for f in table.kind.fields} - bytes_only


@settings(max_examples=30)
@given(st.integers(0, 10_000), st.integers(1, 40))
def test_random_graphs_have_the_file_s_dependencies(seed: int, operators: int) -> None:
    source = read(branching(seed, operators))
    subgraph = source.model.subgraphs[0]
    graph = import_graph(source).graph
    for op, before in zip(graph.ops, subgraph.predecessors(), strict=True):
        producers = {t.producer.source for t in op.operands if t.producer is not None}
        assert producers == set(before)


def test_other_subgraphs() -> None:
    source = read(stateful())
    assert [op.kind for op in import_graph(source, 2).graph.ops] == ["TANH"]
    with pytest.raises(InputError, match="subgraph 3 does not exist: the model has 3"):
        import_graph(source, 3)
