"""Stamps and session options: the order is obeyed, and files from elsewhere are refused."""

# pyright: reportUnknownVariableType=false, reportUnknownArgumentType=false
# ONNX Runtime's extension module has no stubs.

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import onnx
import onnx_ir as ir
import onnxruntime as ort
import pytest

import lowtide.onnxruntime
from lowtide.backends.onnx.emit import emit
from lowtide.backends.onnx.stamp import Level, Route, Stamp, cpu_features, read_metadata, read_stamp
from lowtide.errors import ModelError
from tests.backends.models import random_dag, random_order

HERE = Stamp.here("onnxruntime", "exact", "all", "a hash")


def _emitted(folder: Path, stamp: Stamp) -> Path:
    model = ir.from_proto(random_dag(12, 5))
    path = folder / "model.lowtide.onnx"
    emit(model, random_order(model.graph, 6), path, provenance=stamp.metadata())
    return path


def test_options_of_both_routes(tmp_path: Path) -> None:
    exact = lowtide.onnxruntime.session_options(_emitted(tmp_path, HERE), threads=1)
    assert exact.graph_optimization_level == ort.GraphOptimizationLevel.ORT_DISABLE_ALL
    assert exact.execution_order == ort.ExecutionOrder.PRIORITY_BASED
    assert exact.intra_op_num_threads == 1
    portable = lowtide.onnxruntime.session_options(
        str(_emitted(tmp_path, replace(HERE, route="portable", level="basic")))
    )
    assert portable.graph_optimization_level == ort.GraphOptimizationLevel.ORT_ENABLE_BASIC
    assert portable.execution_order == ort.ExecutionOrder.DEFAULT
    for options in (exact, portable):
        assert not options.enable_cpu_mem_arena
        assert not options.enable_mem_pattern
        assert not options.enable_mem_reuse


def test_a_session_runs(tmp_path: Path) -> None:
    path = _emitted(tmp_path, HERE)
    x = np.linspace(-1, 1, 4, dtype=np.float32)
    ours = lowtide.onnxruntime.create_session(path).run(None, {"x": x})
    reference = ort.InferenceSession(random_dag(12, 5).SerializeToString()).run(None, {"x": x})
    for one, other in zip(ours, reference, strict=True):
        np.testing.assert_allclose(np.asarray(one), np.asarray(other), rtol=1e-6)


@pytest.mark.parametrize(
    ("level", "change", "complaint"),
    [
        ("all", {"cpu": "riscv64"}, r"written for the CPU \[riscv64\].*--portable"),
        ("all", {"onnxruntime": "1.2.3"}, "written for ONNX Runtime 1.2.3, this is .*--portable"),
        ("extended", {"onnxruntime": "1.2.3"}, "written for ONNX Runtime 1.2.3"),
        ("extended", {"cpu": "riscv64"}, ""),
        ("none", {"cpu": "riscv64", "onnxruntime": "1.2.3"}, ""),
    ],
)
def test_files_for_other_machines(
    tmp_path: Path, level: Level, change: dict[str, str], complaint: str
) -> None:
    path = _emitted(tmp_path, replace(HERE, level=level, **change))  # type: ignore[arg-type]
    if complaint:
        with pytest.raises(ModelError, match=complaint):
            lowtide.onnxruntime.session_options(path)
    else:
        lowtide.onnxruntime.session_options(path)


@pytest.mark.parametrize("field", ["route", "level"])
def test_stamps_of_later_versions(tmp_path: Path, field: str) -> None:
    model = ir.from_proto(random_dag(3, 1))
    stamp = {**HERE.metadata(), f"lowtide.{field}": "telepathic"}
    emit(model, list(model.graph), tmp_path / "m.onnx", provenance=stamp)
    with pytest.raises(ModelError, match=f"{field} is 'telepathic'.*update lowtide"):
        read_stamp(tmp_path / "m.onnx")


def test_files_without_a_stamp_or_sense(tmp_path: Path) -> None:
    onnx.save_model(random_dag(3, 1), str(tmp_path / "plain.onnx"))
    with pytest.raises(ModelError, match="carries no Lowtide stamp"):
        lowtide.onnxruntime.session_options(tmp_path / "plain.onnx")
    with pytest.raises(ModelError, match="cannot read"):
        lowtide.onnxruntime.session_options(tmp_path / "absent.onnx")
    whole = _emitted(tmp_path, HERE).read_bytes()
    for damaged in (whole[:-1], whole[: len(whole) // 2], b"\xff" * 40, b"\x0b\x0c"):
        (tmp_path / "damaged.onnx").write_bytes(damaged)
        with pytest.raises(ModelError, match="cannot read"):
            read_stamp(tmp_path / "damaged.onnx")


@pytest.mark.parametrize("route", ["exact", "portable"])
def test_stamps_round_trip(tmp_path: Path, route: Route) -> None:
    stamp = replace(HERE, route=route)
    path = _emitted(tmp_path, stamp)
    assert read_stamp(path) == stamp
    assert "enable_cpu_mem_arena=False" in read_metadata(path)["lowtide.session"]
    assert stamp.cpu == cpu_features()
