"""Verification finds what is wrong, and only that."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

import numpy as np
import onnx
import onnx_ir as ir
import pytest
from onnx import TensorProto, helper

from lowtide.backends.onnx.case import Case
from lowtide.backends.onnx.compare import compare
from lowtide.backends.onnx.emit import emit
from lowtide.backends.onnx.portable import portable
from lowtide.backends.onnx.verify import Verification, verify
from lowtide.errors import VerificationError
from tests.backends.models import everything, keys, random_dag, random_order

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

_IDENTICAL = Verification("identical", 0.0, "executed")


def _case(folder: Path, proto: onnx.ModelProto, seed: int = 0, **fields: object) -> Case:
    original, result = folder / "original.onnx", folder / "result.onnx"
    onnx.save_model(proto, str(original))
    model = ir.load(original)
    order = random_order(model.graph, seed)
    emit(model, order, result, provenance={}, source=original)
    case = Case(original, original, result, keys(order), level="none", threads=1)
    return replace(case, **fields)  # type: ignore[arg-type]


def _node_model(
    nodes: Sequence[onnx.NodeProto],
    inputs: Sequence[onnx.ValueInfoProto],
    outputs: Sequence[onnx.ValueInfoProto],
    initializers: Sequence[onnx.TensorProto] = (),
) -> onnx.ModelProto:
    graph = helper.make_graph(nodes, "g", inputs, outputs, initializers)
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8)


_value = helper.make_tensor_value_info


def test_a_reordered_model_is_identical_and_executed(tmp_path: Path) -> None:
    assert verify(_case(tmp_path, random_dag(40, 1), 1)) == _IDENTICAL


def test_the_portable_route(tmp_path: Path) -> None:
    case = _case(tmp_path, random_dag(40, 2), 2)
    model = ir.load(case.original)
    result = portable(model, random_order(model.graph, 3))
    emit(result.model, result.order, case.result, provenance={})
    found = verify(replace(case, planned=result.planned, route="portable", level="basic"))
    assert found == _IDENTICAL


def test_a_changed_weight_is_found(tmp_path: Path) -> None:
    case = _case(tmp_path, random_dag(40, 1), 1)
    proto = onnx.load_model(str(case.result))
    proto.graph.initializer[0].float_data[2] += 1.0
    onnx.save_model(proto, str(case.result))
    with pytest.raises(VerificationError, match=r"does not compute what .* differs by up to"):
        verify(case)


def test_a_slightly_changed_weight_is_reported(tmp_path: Path) -> None:
    nodes = [helper.make_node("Mul", ["x", "w"], ["y"])]
    float4 = [_value(name, TensorProto.FLOAT, [4]) for name in "xy"]
    weight = helper.make_tensor("w", TensorProto.FLOAT, [4], [1.0] * 4)
    case = _case(tmp_path, _node_model(nodes, float4[:1], float4[1:], [weight]))
    proto = onnx.load_model(str(case.result))
    proto.graph.initializer[0].float_data[2] = 1.00001
    onnx.save_model(proto, str(case.result))
    found = verify(case)
    assert found.numerics == "close"
    assert 0 < found.max_abs_error < 1e-4
    assert "y: differs by up to" in found.notes[0]


def test_a_swapped_operator_is_found(tmp_path: Path) -> None:
    case = _case(tmp_path, random_dag(40, 1), 1)
    proto = onnx.load_model(str(case.result))
    next(node for node in proto.graph.node if node.op_type == "Relu").op_type = "Neg"
    onnx.save_model(proto, str(case.result))
    with pytest.raises(VerificationError, match="does not compute"):
        verify(case)


def test_another_order_is_found(tmp_path: Path) -> None:
    case = _case(tmp_path, random_dag(40, 1), 1)
    planned = keys(random_order(ir.load(case.original).graph, 2))
    assert planned != case.planned
    with pytest.raises(VerificationError, match="did not follow the plan"):
        verify(replace(case, planned=planned))


def test_a_file_alone_does_not_make_an_order(tmp_path: Path) -> None:
    case = _case(tmp_path, random_dag(40, 1), 1)
    with pytest.raises(VerificationError, match="did not follow the plan"):
        verify(replace(case, route="portable", level="none"))


def test_other_inputs_or_outputs_are_found(tmp_path: Path) -> None:
    case = _case(tmp_path, random_dag(10, 1))
    proto = onnx.load_model(str(case.result))
    proto.graph.input.append(_value("w", TensorProto.FLOAT, [4]))
    del proto.graph.initializer[:]
    onnx.save_model(proto, str(case.result))
    with pytest.raises(VerificationError, match=r"the result's inputs are .*'w'"):
        verify(case)


def test_a_result_that_does_not_load_or_run_is_found(tmp_path: Path) -> None:
    case = _case(tmp_path, random_dag(10, 1))
    whole = case.result.read_bytes()
    case.result.write_bytes(whole[: len(whole) // 2])
    with pytest.raises(VerificationError, match="cannot load the result"):
        verify(case)
    with pytest.raises(VerificationError, match="cannot load the result"):
        verify(replace(case, result=tmp_path / "absent.onnx"))


def test_a_result_that_runs_out_of_time_is_found(tmp_path: Path) -> None:
    """An endless loop in the result, none in the original."""
    body = helper.make_graph(
        [helper.make_node("Identity", ["c"], ["d"]), helper.make_node("Identity", ["u"], ["v"])],
        "body",
        [_value("i", TensorProto.INT64, []), _value("c", TensorProto.BOOL, []),
         _value("u", TensorProto.FLOAT, [4])],
        [_value("d", TensorProto.BOOL, []), _value("v", TensorProto.FLOAT, [4])],
    )  # fmt: skip
    nodes = [helper.make_node("Loop", ["n", "go", "x"], ["y"], body=body)]
    float4 = [_value(name, TensorProto.FLOAT, [4]) for name in "xy"]
    go = helper.make_tensor("go", TensorProto.BOOL, [], [True])
    count = helper.make_tensor("n", TensorProto.INT64, [], [3])
    case = _case(tmp_path, _node_model(nodes, float4[:1], float4[1:], [count, go]))
    assert verify(case) == _IDENTICAL
    proto = onnx.load_model(str(case.result))
    proto.graph.initializer[0].int64_data[0] = 1 << 60
    onnx.save_model(proto, str(case.result))
    with pytest.raises(VerificationError, match="the result cannot be run: no answer within 6 s"):
        verify(case, timeout_s=6.0)


def test_what_onnxruntime_cannot_run_is_skipped(tmp_path: Path) -> None:
    float4 = [_value(name, TensorProto.FLOAT, [4]) for name in "xy"]
    unknown = _node_model(
        [helper.make_node("Relu", ["x"], ["y"], domain="no")], float4[:1], float4[1:]
    )
    unknown.opset_import.append(helper.make_opsetid("no", 1))
    found = verify(_case(tmp_path, unknown))
    assert (found.numerics, found.order) == ("skipped", "not_checked")
    assert "cannot load the original" in found.notes[0]
    shape = _value("s", TensorProto.INT64, [1])
    reshape = _node_model(
        [helper.make_node("Reshape", ["x", "s"], ["y"])],
        [_value("x", TensorProto.FLOAT, [5, 7]), shape],
        [_value("y", TensorProto.FLOAT, None)],
    )
    found = verify(_case(tmp_path, reshape))
    assert found.numerics == "skipped"
    assert "fails on random inputs" in found.notes[0]


def test_random_results_are_skipped(tmp_path: Path) -> None:
    """Generators are seeded by the node's number, so that swapped ones swap their values."""
    nodes = [
        helper.make_node("RandomNormalLike", ["x"], ["a"]),
        helper.make_node("RandomNormalLike", ["x"], ["b"]),
        helper.make_node("Sub", ["a", "b"], ["y"]),
    ]
    float4 = [_value(name, TensorProto.FLOAT, [4]) for name in "xy"]
    case = _case(tmp_path, _node_model(nodes, float4[:1], float4[1:]))
    model = ir.load(case.original)
    first, second, last = model.graph
    emit(model, [second, first, last], case.result, provenance={})
    found = verify(replace(case, planned=("b", "a", "y")))
    assert (found.numerics, found.order) == ("skipped", "executed")
    assert "change from run to run" in found.notes[0]


def test_functions_that_are_inlined_are_not_checked(tmp_path: Path) -> None:
    found = verify(_case(tmp_path, everything()))
    assert (found.numerics, found.order) == ("identical", "not_checked")
    assert "nodes of its own making" in found.notes[0]


def test_inputs_of_many_types(tmp_path: Path) -> None:
    """Indices within a table of two rows, open dimensions, strings, halves, bytes, sequences."""
    inputs = [
        _value("index", TensorProto.INT64, ["n"]),
        _value("flag", TensorProto.BOOL, [2]),
        _value("text", TensorProto.STRING, [3]),
        _value("half", TensorProto.FLOAT16, ["n", "m"]),
        _value("byte", TensorProto.UINT8, [2, 2]),
        _value("scalar", TensorProto.DOUBLE, []),
    ]
    nodes = [
        helper.make_node("Gather", ["table", "index"], ["rows"]),
        helper.make_node("Not", ["flag"], ["no"]),
        helper.make_node("Identity", ["text"], ["words"]),
        helper.make_node("Transpose", ["half"], ["turned"]),
        helper.make_node("Cast", ["byte"], ["wide"], to=TensorProto.INT32),
        helper.make_node("Sqrt", ["scalar"], ["root"]),
        helper.make_node("SequenceConstruct", ["rows", "rows"], ["several"]),
    ]
    outputs = [
        helper.make_tensor_sequence_value_info("several", TensorProto.FLOAT, None),
        _value("no", TensorProto.BOOL, [2]),
        _value("words", TensorProto.STRING, [3]),
        _value("turned", TensorProto.FLOAT16, ["m", "n"]),
        _value("wide", TensorProto.INT32, [2, 2]),
        _value("root", TensorProto.DOUBLE, []),
    ]
    table = helper.make_tensor("table", TensorProto.FLOAT, [2, 2], [1.0, 2.0, 3.0, 4.0])
    case = _case(tmp_path, _node_model(nodes, inputs, outputs, [table]))
    assert verify(replace(case, dims={"n": 5, "*": 3})) == _IDENTICAL


def test_comparison() -> None:
    nan, inf = np.float32(np.nan), np.float32(np.inf)
    one = np.array([1.0, nan, inf], np.float32)
    assert compare(one, one.copy(), "t").identical
    assert compare(one, np.array([1.0, -nan, inf], np.float32), "t").identical
    zero = np.zeros(2, np.float32)
    assert not compare(zero, -zero, "t").identical
    assert compare(zero, -zero, "t").within
    for other in ([1.0, nan, -inf], [1.0, 0.0, inf], [nan, nan, inf], [1.001, nan, inf]):
        assert not compare(one, np.array(other, np.float32), "t").within
    near = compare(one, np.array([1.00001, nan, inf], np.float32), "t")
    assert near.within
    assert near.max_abs_error == pytest.approx(1e-5, rel=0.01)
    assert not compare(one, one.astype(np.float64), "t").within
    assert not compare(one, one[:2], "t").within
    assert not compare(np.arange(3), np.array([0, 1, 3]), "t").within
    words = np.array(["a", "b"], dtype=object)
    assert compare(words, words.copy(), "t").identical
    assert not compare(words, words[::-1], "t").within


def test_comparison_is_recursive() -> None:
    one, other = np.ones(2, np.float32), np.zeros(2, np.float32)
    nested = [{"a": 1.0, "b": 2.0}, [one, None]]
    assert compare(nested, [{"a": 1.0, "b": 2.0}, [one.copy(), None]], "t").identical
    for wrong, where in (
        ([{"a": 1.0, "b": 3.0}, [one, None]], r"t[0]['b']"),
        ([{"a": 1.0}, [one, None]], "t[0]: keys"),
        ([{"a": 1.0, "b": 2.0}, [other, None]], "t[1][0]"),
        ([{"a": 1.0, "b": 2.0}, [one, one]], "t[1][1]: values of different kinds"),
        ([{"a": 1.0, "b": 2.0}], "t: 1 elements"),
        ([[one], [one, None]], "t[0]: values of different kinds"),
    ):
        found = compare(nested, wrong, "t")
        assert not found.within
        assert found.where.startswith(where)
