"""Names and values across scopes: local functions, branches, loops, and folded constants."""

from __future__ import annotations

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper

from lowtide.errors import ModelError
from tests.backends.onnx_cases import agrees, emitted, model_of

pytestmark = [pytest.mark.tensorflow, pytest.mark.filterwarnings("ignore")]

_X = np.random.default_rng(0).standard_normal((1, 4, 5, 5)).astype(np.float32)
_W = np.random.default_rng(1).standard_normal((4, 4, 3, 3)).astype(np.float32)


def _with_function() -> onnx.ModelProto:
    """y = f(f(x, slope=0.1), slope=0.5, shift given): an attribute and an optional operand."""
    body = [
        helper.make_node("LeakyRelu", ["a"], ["r"]),
        helper.make_node("Neg", ["r"], ["n"]),
        helper.make_node("Clip", ["n", "low"], ["b"]),
    ]
    reference = body[0].attribute.add(name="alpha", type=onnx.AttributeProto.FLOAT)
    reference.ref_attr_name = "slope"
    function = helper.make_function(
        "own", "f", ["a", "low"], ["b"], body, [helper.make_opsetid("", 17)], ["slope"]
    )
    nodes = [
        helper.make_node("f", ["x"], ["m"], domain="own", slope=0.1),
        helper.make_node("f", ["m", "zero"], ["y"], domain="own", slope=0.5),
    ]
    model = model_of(nodes, {"x": _X}, ["y"], {"zero": np.array(0.0, np.float32)})
    model.opset_import.append(helper.make_opsetid("own", 1))
    model.functions.append(function)
    return model


def test_local_functions_with_attributes_and_operands_left_out() -> None:
    model = _with_function()
    middle = -np.where(_X < 0, np.float32(0.1) * _X, _X)
    wanted = np.maximum(-np.where(middle < 0, np.float32(0.5) * middle, middle), 0)
    _, found = emitted(model, {"x": _X})
    np.testing.assert_allclose(found[0], wanted, atol=1e-6)


def test_functions_that_call_themselves_end() -> None:
    model = _with_function()
    model.functions[0].node[1].CopyFrom(
        helper.make_node("f", ["r"], ["n"], domain="own", slope=0.1)
    )
    model.functions[0].opset_import.append(helper.make_opsetid("own", 1))
    with pytest.raises(ModelError, match="more than 32 deep"):
        emitted(model, {"x": _X})


@pytest.mark.parametrize("positive", [True, False])
def test_branches_read_values_of_any_order_from_outside(positive: bool) -> None:
    branches = []
    for name, kind in (("then_branch", "Relu"), ("else_branch", "Neg")):
        output = helper.make_tensor_value_info("z", TensorProto.FLOAT, None)
        inner = [
            helper.make_node("Conv", ["c", "w"], ["i"], pads=[1, 1, 1, 1]),
            helper.make_node(kind, ["i"], ["z"]),
        ]
        branches.append((name, helper.make_graph(inner, name, [], [output])))
    nodes = [
        helper.make_node("Conv", ["x", "w"], ["c"], pads=[1, 1, 1, 1]),
        helper.make_node("If", ["flag"], ["t"], **dict(branches)),  # type: ignore[arg-type]
        helper.make_node("Add", ["t", "c"], ["y"]),
    ]
    inputs = {"x": _X, "flag": np.array(positive)}
    agrees(model_of(nodes, inputs, ["y"], {"w": _W}), inputs)


@pytest.mark.parametrize("trips", [0, 1, 4])
def test_loop_carries_and_scans(trips: int) -> None:
    infos = [
        helper.make_tensor_value_info(name, kind, shape)
        for name, kind, shape in (
            ("i", TensorProto.INT64, []),
            ("go", TensorProto.BOOL, []),
            ("v", TensorProto.FLOAT, [3]),
        )
    ]
    outs = [
        helper.make_tensor_value_info("still", TensorProto.BOOL, []),
        helper.make_tensor_value_info("next", TensorProto.FLOAT, [3]),
        helper.make_tensor_value_info("seen", TensorProto.FLOAT, [3]),
    ]
    body = helper.make_graph(
        [
            helper.make_node("Identity", ["go"], ["still"]),
            helper.make_node("Mul", ["v", "outside"], ["next"]),
            helper.make_node("Add", ["next", "one"], ["seen"]),
        ],
        "body",
        infos,
        outs,
    )
    inputs = {
        "count": np.array(trips, np.int64),
        "start": np.array([1, 2, 3], np.float32),
        "outside": np.array([2, 0.5, -1], np.float32),
    }
    node = helper.make_node("Loop", ["count", "", "start"], ["last", "all"], body=body)
    model = model_of([node], inputs, ["last", "all"], {"one": np.array(1.0, np.float32)})
    agrees(model, inputs)


def test_constants_are_folded() -> None:
    nodes = [
        helper.make_node("Shape", ["x"], ["s"]),
        helper.make_node("Slice", ["s", "zero", "two"], ["head"]),
        helper.make_node("Concat", ["head", "rest"], ["shape"], axis=0),
        helper.make_node("Reshape", ["x", "shape"], ["y"]),
    ]
    constants = {
        "zero": np.array([0], np.int64),
        "two": np.array([2], np.int64),
        "rest": np.array([-1], np.int64),
    }
    built = agrees(model_of(nodes, {"x": _X}, ["y"], constants), {"x": _X})
    kinds = {op.type for op in built.function.graph.get_operations()}
    assert kinds <= {"Placeholder", "Const", "Reshape", "Identity", "NoOp"}
