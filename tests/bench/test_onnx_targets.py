"""The tables of ONNX models in TensorFlow and TFLite, from reports that are made up."""

from __future__ import annotations

import json
from pathlib import Path
from types import SimpleNamespace

import pytest

from lowtide.bench import onnx_targets
from lowtide.errors import ModelError
from lowtide.report import Figures

_MEASURED = {
    "tensorflow": {
        "peak_stock": 3000,
        "peak_after": 2000,
        "latency_stock": 0.001,
        "latency_after": 0.0015,
    },
    "tflite": {"required_before": 5000, "required_after": 4000, "litert_before": 6000},
}


def _made_up(path: Path, *, target: str, **_: object) -> object:
    if path.stem == "lstm":
        raise ModelError("it has what is not emitted")
    report = SimpleNamespace(
        model={"ops": 12},
        verification={"numerics": "close", "max_rel_error": 2e-6},
        measured=_MEASURED[target],
        peak_bytes=Figures(2500, 2000, 1900),
    )
    return SimpleNamespace(report=report)


def test_tables(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(onnx_targets, "optimize", _made_up)
    output = tmp_path / "table"
    assert onnx_targets.main(["unet", "lstm", "--output", str(output)]) == 0
    document = json.loads(output.with_suffix(".json").read_text())
    assert [(row["model"], row["target"]) for row in document["rows"]] == [
        (model, target) for model in ("unet", "lstm") for target in ("tensorflow", "tflite")
    ]
    assert document["rows"][0]["measured"] == {"stock": 3000, "after": 2000}
    assert document["rows"][2]["failure"].startswith("ModelError: it has what is not emitted")
    lines = output.with_suffix(".md").read_text().splitlines()
    rows = [line for line in lines if line.startswith(("| unet", "| lstm"))]
    saved, refused, lite, too = rows
    assert saved.startswith("| unet | 31 | 12 | 2.0e-06 | 2,500 | 2,000 | 1,900 | 3,000 | 2,000 |")
    assert " | 1.0 | 1.5 | " in saved
    assert lite.startswith("| unet | 31 | 12 | 2.0e-06 | 2,500 | 2,000 | 1,900 | 5,000 | 4,000 |")
    assert " | 6,000 | - | - | - | " in lite
    assert "ModelError: it has what is not emitted" in refused
    header = [line for line in lines if line.startswith("| model")]
    assert [line.count("|") for line in header] == [saved.count("|"), lite.count("|")]
    assert [line.count("|") for line in (refused, too)] == [saved.count("|"), lite.count("|")]
