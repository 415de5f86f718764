"""ONNX nodes to ops: captures, functions, optional values, views, odd types, names, traits."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import onnx
import pytest
from onnx import TensorProto
from onnx import helper as h

from lowtide.errors import ModelError
from lowtide.frontends.onnx import import_graph, read
from lowtide.ir import Accounting, Graph, Role, parse, print_graph, simulate, verify
from tests.frontends.models import (
    FLOAT,
    INT64,
    chain,
    model_of,
    same_function,
    tensor,
    value,
    with_if,
    with_loop,
)


def _graph(
    nodes: Sequence[onnx.NodeProto],
    inputs: Sequence[onnx.ValueInfoProto],
    outputs: Sequence[onnx.ValueInfoProto],
    initializers: Sequence[TensorProto] = (),
) -> Graph:
    return import_graph(read(model_of(nodes, inputs, outputs, initializers)).model)


def test_golden_text(golden: Callable[[str, str], None]) -> None:
    text = print_graph(import_graph(read(chain()).model))
    golden("onnx_chain.txt", text)
    assert print_graph(parse(text)) == text


def test_captured_values_are_inputs_once_and_in_order() -> None:
    graph = import_graph(read(with_if()).model)
    branch = graph.op("branch")
    assert [t.name for t in branch.inputs if t is not None] == ["c", "a", "x", "late"]
    assert graph.tensor("a").consumers == (branch,)
    assert "k" not in graph
    assert "m" not in graph


def test_optional_inputs_are_none_and_do_not_hide_captures() -> None:
    graph = import_graph(read(with_loop()).model)
    loop = graph.op("loop")
    assert [t and t.name for t in loop.inputs] == ["n", None, "x", "outer"]
    assert loop.inputs[3] is graph.op("relu").outputs[0]


def test_a_captured_operand_is_not_listed_twice() -> None:
    branch = h.make_graph([h.make_node("Not", ["c"], ["b"])], "b", [], [value("b", [], 9)])
    node = h.make_node("If", ["c"], ["y"], then_branch=branch, else_branch=branch)
    graph = _graph([node], [value("c", [], 9)], [value("y", [], 9)])
    assert [t.name for t in graph.ops[0].operands] == ["c"]
    assert len(graph.ops[0].inputs) == 1


def test_an_inner_name_may_hide_an_outer_one() -> None:
    branch = h.make_graph(
        [h.make_node("Constant", [], ["a"], value_floats=[1.0]), h.make_node("Neg", ["a"], ["b"])],
        "b",
        [],
        [value("b", [1])],
    )
    nodes = [
        h.make_node("Relu", ["x"], ["a"]),
        h.make_node("If", ["c"], ["t"], then_branch=branch, else_branch=branch),
        h.make_node("Add", ["t", "a"], ["y"]),
    ]
    graph = _graph(nodes, [value("x", [1]), value("c", [], 9)], [value("y")])
    assert [t.name for t in graph.op("If_1").operands] == ["c"]


def test_function_calls_are_opaque_ops_with_known_shapes() -> None:
    graph = import_graph(read(same_function()).model)
    assert [op.qualified for op in graph.ops] == ["onnx.f.Act", "onnx.f.Act"]
    assert graph.tensor("y").shape == (2, 8)
    assert not any(op.traits.random for op in graph.ops)


def test_randomness_inside_a_function_counts() -> None:
    body = [h.make_node("RandomNormalLike", ["a"], ["t"]), h.make_node("Add", ["t", "b"], ["c"])]
    function = h.make_function("f", "Noise", ["a", "b"], ["c"], body, [h.make_opsetid("", 17)])
    nodes = [h.make_node("Noise", ["x", "x"], ["y"], domain="f")]
    model = model_of(nodes, [value("x", [2, 8])], [value("y")], functions=[function])
    assert import_graph(read(model).model).ops[0].traits.random


@pytest.mark.parametrize(
    ("node", "random"),
    [
        (h.make_node("RandomUniformLike", ["x"], ["y"]), True),
        (h.make_node("Bernoulli", ["x"], ["y"]), True),
        (h.make_node("Dropout", ["x"], ["y"]), False),
        (h.make_node("Dropout", ["x", "ratio", "train"], ["y"]), True),
        (h.make_node("Relu", ["x"], ["y"]), False),
    ],
)
def test_random_operators(node: onnx.NodeProto, random: bool) -> None:
    constants = [
        h.make_tensor("ratio", FLOAT, [], [0.5]),
        h.make_tensor("train", TensorProto.BOOL, [], [True]),
    ]
    assert _graph([node], [value("x", [4])], [value("y")], constants).ops[0].traits.random is random


def test_constant_nodes_are_constants_without_an_op() -> None:
    nodes = [
        h.make_node("Constant", [], ["c"], value=h.make_tensor("", FLOAT, [3], [1.0, 2.0, 3.0])),
        h.make_node("Constant", [], ["k"], value_ints=[3, 1]),
        h.make_node("Reshape", ["x", "k"], ["r"]),
        h.make_node("Add", ["r", "c"], ["y"]),
    ]
    graph = _graph(nodes, [value("x", [3])], [value("y")])
    assert [op.kind for op in graph.ops] == ["Reshape", "Add"]
    assert graph.tensor("c").role is Role.CONSTANT
    assert graph.tensor("k").shape == (2,)
    assert graph.tensor("y").shape == (3, 3)


def test_unused_outputs_get_no_tensor() -> None:
    nodes = [
        h.make_node("TopK", ["x", "k"], ["", "i"], name="top"),
        h.make_node("Cast", ["i"], ["y"], to=FLOAT),
    ]
    graph = _graph(nodes, [value("x", [2, 9])], [value("y")], [tensor("k", [3])])
    assert [(t.name, t.dtype, t.shape) for t in graph.op("top").outputs] == [("i", "int64", (2, 3))]


def test_a_view_shares_storage_unless_the_graph_returns_it() -> None:
    nodes = [
        h.make_node("Relu", ["x"], ["a"]),
        h.make_node("Reshape", ["a", "s"], ["b"], name="inner"),
        h.make_node("Reshape", ["b", "t"], ["c"], name="returned"),
        h.make_node("Neg", ["b"], ["y"]),
    ]
    constants = [tensor("s", [6]), tensor("t", [3, 2])]
    graph = _graph(nodes, [value("x", [2, 3])], [value("c"), value("y")], constants)
    assert graph.tensor("b").storage is graph.tensor("a")
    assert graph.op("inner").traits.view
    assert graph.tensor("c").alias is None
    assert not graph.op("returned").traits.view
    assert graph.tensor("c").role is Role.OUTPUT


def test_views_of_inputs_and_constants_cost_nothing() -> None:
    nodes = [
        h.make_node("Reshape", ["x", "s"], ["v"]),
        h.make_node("Reshape", ["w", "s"], ["u"]),
        h.make_node("Add", ["v", "u"], ["y"]),
    ]
    constants = [tensor("s", [6]), h.make_tensor("w", FLOAT, [2, 3], [0.0] * 6)]
    graph = _graph(nodes, [value("x", [2, 3])], [value("y")], constants)
    assert graph.tensor("v").storage is graph.tensor("x")
    assert graph.tensor("u").storage is graph.tensor("w")
    assert simulate(graph, Accounting()).peak_bytes == 24


@pytest.mark.parametrize(
    ("kind", "dtype", "nbytes"),
    [
        (TensorProto.INT4, "int4", 4),
        (TensorProto.UINT4, "uint4", 4),
        (TensorProto.FLOAT4E2M1, "float4e2m1", 4),
        (TensorProto.BFLOAT16, "bfloat16", 14),
        (TensorProto.FLOAT8E5M2, "float8e5m2", 7),
        (TensorProto.BOOL, "bool", 7),
        (TensorProto.DOUBLE, "float64", 56),
    ],
)
def test_sizes_of_element_types(kind: int, dtype: str, nbytes: int) -> None:
    model = model_of(
        [h.make_node("Cast", ["x"], ["a"], to=kind), h.make_node("Cast", ["a"], ["y"], to=FLOAT)],
        [value("x", [7])],
        [value("y")],
        opset=24,
        ir_version=11,
    )
    found = import_graph(read(model).model).tensor("a")
    assert (found.dtype, found.nbytes) == (dtype, nbytes)


def test_four_bit_initializers_are_packed() -> None:
    weights = h.make_tensor("w", TensorProto.INT4, [3, 3], [1, -2, 3, 4, 5, 6, 7, -8, 0])
    nodes = [h.make_node("Cast", ["w"], ["a"], to=FLOAT), h.make_node("Add", ["x", "a"], ["y"])]
    model = model_of(nodes, [value("x", [3])], [value("y")], [weights], opset=24, ir_version=11)
    assert import_graph(read(model).model).tensor("w").nbytes == 5


def test_sequences_and_strings_are_opaque() -> None:
    nodes = [
        h.make_node("SplitToSequence", ["x", "parts"], ["s"], axis=0),
        h.make_node("ConcatFromSequence", ["s"], ["z"], axis=0),
        h.make_node("Identity", ["t"], ["u"]),
        h.make_node("Reshape", ["z", "shape"], ["y"]),
    ]
    model = model_of(
        nodes,
        [value("x", [4, 3]), value("t", [2], TensorProto.STRING)],
        [value("y"), value("u", [2], TensorProto.STRING)],
        [tensor("parts", [2, 2]), tensor("shape", [12])],
        value_info=[value("z", [4, 3])],
    )
    graph = import_graph(read(model).model)
    assert (graph.tensor("s").dtype, graph.tensor("s").nbytes) == ("opaque", 0)
    assert (graph.tensor("t").dtype, graph.tensor("t").shape) == ("opaque", (2,))
    assert graph.tensor("y").nbytes == 48


def test_names_are_unique_and_deterministic() -> None:
    nodes = [
        h.make_node("Relu", ["x"], ["a"]),
        h.make_node("Relu", ["a"], ["b"], name="Relu_0"),
        h.make_node("Neg", ["b"], ["c"], name="same"),
        h.make_node("Neg", ["c"], ["d"], name="same"),
        h.make_node("Abs", ["d"], ["y"], name="good"),
    ]
    model = model_of(nodes, [value("x", [4])], [value("y")])
    names = [op.name for op in import_graph(read(model).model).ops]
    assert names == ["Relu_0_", "Relu_0", "Neg_2", "Neg_3", "good"]
    assert names == [op.name for op in import_graph(read(model).model).ops]


def test_sources_are_the_nodes_and_attributes_are_plain() -> None:
    source = read(chain())
    graph = import_graph(source.model)
    assert [op.source for op in graph.ops] == list(source.model.graph)
    assert graph.op("conv").attributes == {"pads": (1, 1, 1, 1)}
    assert graph.op("conv").flops == 2 * 256 * 27
    assert graph.op("fc").flops == 2 * 10 * 256
    assert graph.op("relu").flops == 256
    assert graph.op("view").flops == 0


def test_what_is_unknown_is_named() -> None:
    nodes = [
        h.make_node("NonZero", ["x"], ["i"], name="where"),
        h.make_node("Cast", ["i"], ["y"], to=FLOAT, name="convert"),
    ]
    with pytest.raises(ModelError) as caught:
        _graph(nodes, [value("x", [2, 3])], [value("y")])
    assert "the shapes of 2 values are unknown: `i` (made by NonZero `where`): [2, " in str(
        caught.value
    )
    assert "depend on the data" in str(caught.value)


def test_an_input_can_be_an_output() -> None:
    graph = _graph([h.make_node("Relu", ["x"], ["y"])], [value("x", [4])], [value("y"), value("x")])
    assert [t.name for t in graph.outputs] == ["y", "x"]
    assert graph.tensor("x").role is Role.INPUT


def test_zero_sized_tensors() -> None:
    nodes = [h.make_node("Concat", ["x", "e"], ["y"], axis=0)]
    graph = _graph(
        nodes, [value("x", [0, 4])], [value("y")], [h.make_tensor("e", FLOAT, [0, 4], [])]
    )
    assert graph.tensor("y").nbytes == 0
    verify(graph)


def test_in_place_positions_follow_the_outputs_that_exist() -> None:
    """Whatever the kernels say, candidates name existing inputs and outputs of one size or more."""
    for model in (chain(), with_if(), with_loop(), same_function()):
        graph = import_graph(read(model).model)
        for op in graph.ops:
            for candidate in op.in_place:
                assert op.inputs[candidate.input] is not None
                assert op.outputs[candidate.output].alias is None


def test_scan_shapes_and_captures() -> None:
    body = h.make_graph(
        [h.make_node("Add", ["s", "e"], ["n"]), h.make_node("Mul", ["n", "w"], ["o"])],
        "body",
        [value("s", [3]), value("e", [3])],
        [value("n", [3]), value("o", [3])],
    )
    nodes = [
        h.make_node("Neg", ["z"], ["w"]),
        h.make_node("Scan", ["z", "x"], ["last", "y"], body=body, num_scan_inputs=1),
    ]
    graph = _graph(
        nodes, [value("z", [3]), value("x", [5, 3])], [value("last"), value("y", None, FLOAT)]
    )
    scan = graph.op("Scan_1")
    assert [t.name for t in scan.operands] == ["z", "x", "w"]
    assert [t.shape for t in scan.outputs] == [(3,), (5, 3)]
    assert INT64 == 7
