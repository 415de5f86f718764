"""The runners behind figures of the pages, with what they call replaced; no time is asserted."""

from __future__ import annotations

import json
from types import SimpleNamespace
from typing import TYPE_CHECKING

import pytest

from lowtide.bench import onnx_conversions, onnx_networks, wirings, xla_steps
from lowtide.bench.xla_steps import Row
from lowtide.errors import BudgetNotMetError, ModelError
from lowtide.report import Figures

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

_MEASURED: dict[str, object] = {
    "arena_after": 60,
    "peak_after": 61,
    "peak_stock": 90,
    "second_peak_stock": 5,
    "latency_after": 0.5,
    "latency_stock": 1.0,
    "notes": [],
}


def _optimized(_path: Path, *, budget: str | None = None, **_: object) -> object:
    report = SimpleNamespace(
        model={"ops": 12},
        peak_bytes=Figures(80, 60 if budget is None else 40, 60),
        order={"default_order_peak_bytes": 70},
        measured=_MEASURED,
        recomputation=None if budget is None else {"runs": 3, "cost_percent": 1.5},
        budget_bytes=None if budget is None else 45,
    )
    return SimpleNamespace(report=report)


def test_wirings(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(wirings.lowtide, "optimize", _optimized)
    output = tmp_path / "wirings"
    assert wirings.main(["--seeds", "1", "--repeats", "1", "--output", str(output)]) == 0
    document = json.loads(output.with_suffix(".json").read_text())
    assert [row["network"] for row in document["rows"]] == [wirings.EXAMPLE, "RandWire 0"]
    assert document["rows"][0]["stock_second"] == 5
    assert document["rows"][0]["latency_ratio"] == 0.5
    assert document["budgeted"][0] == {
        "network": wirings.EXAMPLE,
        "budget_bytes": 45,
        "peak_bytes": 40,
        "best_order_bytes": 60,
        "runs": 3,
        "cost_percent": 1.5,
    }
    line = "| RandWire 0 | 12 | 80 | 70 | 60 | 60 | 1.333 | 1.167 | 60 | 61 | 90 | 5 | 0.50 |"
    assert line in output.with_suffix(".md").read_text().splitlines()


def test_xla_steps_stop_at_what_is_not_met(monkeypatch: pytest.MonkeyPatch) -> None:
    def planned(_step: object, *, budget: float | None, **_: object) -> object:
        if budget is not None and budget < 0.6:
            raise BudgetNotMetError("too little")
        after = None if budget is None else int(100 * budget)
        return SimpleNamespace(
            plan=SimpleNamespace(
                measured_before_bytes=100,
                measured_peak_bytes=after,
                recomputed=4,
                overhead_percent=2.0,
            )
        )

    def module(_: str) -> object:
        return SimpleNamespace(rematerialize=planned)

    def step(_: str) -> object:
        return None, ()

    monkeypatch.setattr(xla_steps, "_module", module)
    monkeypatch.setattr(xla_steps, "_step", step)
    rows = list(xla_steps.rows_of("small VGG", (0.8, 0.6, 0.5, 0.4)))
    assert rows == [
        Row("small VGG", 0.8, 100, 80, 4, 2.0),
        Row("small VGG", 0.6, 100, 60, 4, 2.0),
        Row("small VGG", 0.5, 100, None, None, None),
    ]
    lines = xla_steps.table(rows).splitlines()
    assert lines[3] == "| small VGG | 0.6 | 100 | 60 | 0.60 | 4 | 2.0 |"
    assert lines[4] == "| small VGG | 0.5 | 100 | not met |  |  |  |"


def test_xla_steps_are_written(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def rows_of(name: str, **_: object) -> Iterator[Row]:
        yield Row(name, 0.5, 100, 50, 4, 2.0)

    def module(_: str) -> object:
        return SimpleNamespace(__version__="2")

    monkeypatch.setattr(xla_steps, "one_core", lambda: None)
    monkeypatch.setattr(xla_steps, "rows_of", rows_of)
    monkeypatch.setattr(xla_steps, "_module", module)
    output = tmp_path / "steps"
    assert xla_steps.main(["--only", "small VGG", "--output", str(output)]) == 0
    (row,) = json.loads(output.with_suffix(".json").read_text())["rows"]
    assert (row["network"], row["after_bytes"]) == ("small VGG", 50)


def test_conversions(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def convert(_model: object, path: Path) -> object:
        if path.suffix == ".tflite":
            raise ModelError("it has what TFLite has not")
        return SimpleNamespace(
            transposes=[SimpleNamespace(place="inside"), SimpleNamespace(place="end")],
            seconds={"load": 1.0, "emit": 2.0, "write": 3.0, "verify": 4.0},
            numerics="close",
            max_rel_error=2e-6,
        )

    monkeypatch.setattr(onnx_conversions, "convert", convert)
    assert "unet" in onnx_networks.NETWORKS
    output = tmp_path / "conversions"
    assert onnx_conversions.main(["unet", "--output", str(output)]) == 0
    saved, lite = json.loads(output.with_suffix(".json").read_text())["rows"]
    assert (saved["max_rel_error"], saved["transposes_inside"]) == (2e-6, 1)
    assert lite["failure"] == "it has what TFLite has not"
    lines = output.with_suffix(".md").read_text().splitlines()
    assert any(
        line.startswith("| unet | 31 | savedmodel | 2.0e-06 | 1 | 1 | 0 |") for line in lines
    )
    widths = {line.count("|") for line in lines if line.startswith("|")}
    assert len(widths) == 1
