"""Measurement: peaks of models whose liveness is known, and answers where there are none."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

import onnx
import onnx_ir as ir
import pytest

from lowtide.backends import meter
from lowtide.backends.onnx.case import Case
from lowtide.backends.onnx.emit import emit
from lowtide.backends.onnx.measure import Measurement, examine, measure
from lowtide.backends.onnx.verify import verify
from lowtide.errors import VerificationError
from tests.backends.models import MIB, branching, keys, random_dag, random_order

if TYPE_CHECKING:
    from pathlib import Path

BRANCHES = 4


@pytest.fixture
def wide(tmp_path: Path) -> Case:
    """Four branches of 4 MiB, planned in the worst order: all at once."""
    original, result = tmp_path / "original.onnx", tmp_path / "result.onnx"
    onnx.save_model(branching(BRANCHES, MIB), str(original))
    model = ir.load(original)
    emit(model, list(model.graph), result, provenance={}, source=original)
    return Case(original, original, result, keys(list(model.graph)), level="none", threads=1)


def test_peaks_are_those_of_liveness(wide: Case) -> None:
    verification, found = examine(wide, latency_s=0.05)
    assert (verification.numerics, verification.order) == ("identical", "executed")
    assert found.notes == ()
    assert meter.library() is not None
    for column, expected in ((found.planned, BRANCHES * 4 * MIB), (found.default, 4 * MIB)):
        for peak in (column.peak_bytes, column.tensor_peak_bytes, column.second_peak_bytes):
            assert peak == pytest.approx(expected, rel=0.01)
    assert found.stock.peak_bytes is not None
    assert found.stock.peak_bytes >= 4 * MIB
    for column in (found.stock, found.default, found.planned):
        assert column.latency_s is not None
        assert column.latency_s > 0
    assert found.runs >= 3


def test_depth_first_plans_peak_lower(wide: Case) -> None:
    model = ir.load(wide.original)
    *nodes, last = model.graph
    order = [n for i in range(BRANCHES) for n in (nodes[i], nodes[BRANCHES + i])]
    emit(model, [*order, last], wide.result, provenance={})
    found = measure(replace(wide, planned=keys([*order, last])), latency_s=0.05)
    assert found.planned.peak_bytes == pytest.approx(4 * MIB, rel=0.01)
    assert found.to_json()["peak_after"] == found.planned.peak_bytes


def test_a_buffer_dies_with_its_last_reader(tmp_path: Path) -> None:
    """4 MiB with a view and an in-place operator, then 8 MiB, then 4 MiB: never more than 8.

    ONNX Runtime's static reuse would keep the first buffer for the last tensor, and need 12.
    """
    make = onnx.helper.make_node
    nodes = [
        make("Expand", ["x", "small"], ["a"]),
        make("Reshape", ["a", "flat"], ["view"]),
        make("Relu", ["view"], ["b"]),
        make("ReduceMax", ["b"], ["r1"], axes=[0]),
        make("Expand", ["r1", "large"], ["c"]),
        make("ReduceMax", ["c"], ["r2"], axes=[0, 1]),
        make("Expand", ["r2", "small"], ["d"]),
        make("ReduceMax", ["d"], ["y"], axes=[0, 1]),
    ]
    shapes = {"small": [1024, 1024], "large": [1024, 2048], "flat": [-1]}
    graph = onnx.helper.make_graph(
        nodes,
        "reuse",
        [onnx.helper.make_tensor_value_info("x", onnx.TensorProto.FLOAT, [1, 1])],
        [onnx.helper.make_tensor_value_info("y", onnx.TensorProto.FLOAT, [1, 1])],
        [
            onnx.helper.make_tensor(name, onnx.TensorProto.INT64, [len(shape)], shape)
            for name, shape in shapes.items()
        ],
    )
    opset = [onnx.helper.make_opsetid("", 13)]
    proto = onnx.helper.make_model(graph, opset_imports=opset, ir_version=8)
    path, result = tmp_path / "m.onnx", tmp_path / "r.onnx"
    onnx.save_model(proto, str(path))
    model = ir.load(path)
    emit(model, list(model.graph), result, provenance={})
    case = Case(path, path, result, keys(list(model.graph)), level="none", threads=1)
    found = measure(case, latency_s=0.01)
    assert found.planned.peak_bytes == pytest.approx(8 * MIB, rel=0.01)


def test_crashes_and_timeouts_give_reasons(wide: Case) -> None:
    found = measure(replace(wide, result=wide.result.with_name("absent.onnx")))
    assert found.planned.peak_bytes is None
    assert found.planned.latency_s is None
    assert len(found.notes) == 2
    assert all("absent.onnx" in note for note in found.notes)
    late = measure(wide, timeout_s=0.01)
    assert [note.partition(":")[0] for note in late.notes] == [
        "latency not measured",
        "peaks not measured",
    ]
    assert all("no answer within 0.01 s" in note for note in late.notes)
    assert late.to_json()["peak_stock"] is None
    tight = measure(wide, memory_limit_bytes=1 << 20)
    assert tight.stock.peak_bytes is None
    assert len(tight.notes) == 2


def test_examine_refuses_what_verify_refuses(tmp_path: Path) -> None:
    original, result = tmp_path / "original.onnx", tmp_path / "result.onnx"
    onnx.save_model(random_dag(20, 1), str(original))
    model = ir.load(original)
    order = random_order(model.graph, 1)
    emit(model, order, result, provenance={})
    case = Case(original, original, result, keys(order)[::-1], level="none")
    for function in (verify, examine):
        with pytest.raises(VerificationError, match="did not follow the plan"):
            function(case)


def test_an_empty_measurement_is_json() -> None:
    empty = Measurement(notes=("no reason",)).to_json()
    assert empty["peak_after"] is None
    assert empty["notes"] == ["no reason"]
