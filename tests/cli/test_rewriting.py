"""Rewrites from the command line: emitted, executed, measured, applied again, or left alone."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import onnxruntime
import pytest

import lowtide
from lowtide import optimizer
from lowtide.bench.networks import darts
from lowtide.cli import main, optimize_main
from lowtide.errors import PlanError
from lowtide.onnxruntime import create_session
from tests.cli.commands import call

# A run's own bookkeeping.
NOISE_BYTES = 1 << 15


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Cells whose inputs are convolutions of concatenations."""
    path = tmp_path_factory.mktemp("rewrite") / "net.onnx"
    onnx.save(darts(0, cells=2, channels=16, side=64), path)
    return path


def optimized(
    model: Path, output: Path, *arguments: object, capsys: pytest.CaptureFixture[str]
) -> dict[str, Any]:
    """The report of a run that went well."""
    command = ("--peak-mem", model, "-o", output, "--json", *arguments)
    code, out, err = call(optimize_main, *command, capsys=capsys)
    assert code == 0, err
    found: dict[str, Any] = json.loads(out)
    return found


def test_rewritten(model: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Below the proven optimum of any order, as predicted; the plan makes the same file again."""
    before, target = model.read_bytes(), ("--target", "onnx")
    plain = optimized(model, tmp_path / "plain.onnx", *target, "--rewrite", "none", capsys=capsys)
    assert plain["status"] == "optimal"
    assert plain["rewriting"] is None
    output, plan = tmp_path / "out.onnx", tmp_path / "plan.json"
    found = optimized(
        model, output, *target, "--rewrite", "float", "--plan-out", plan, capsys=capsys
    )
    assert found["peak_bytes"]["after"] < plain["peak_bytes"]["lower_bound"]
    assert found["peak_bytes"]["before"] == plain["peak_bytes"]["before"]
    assert found["verification"]["numerics"] == "close"
    assert found["verification"]["order"] == "executed"
    assert found["measured"]["peak_after"] < plain["measured"]["peak_after"]
    assert abs(found["measured"]["peak_after"] - found["peak_bytes"]["after"]) < NOISE_BYTES
    rewriting = found["rewriting"]
    assert rewriting["peak_without"] == plain["peak_bytes"]["after"]
    assert any(name.startswith("sums@") for name in rewriting["applied"])
    assert optimizer.load_plan(plan).rewrites == tuple(rewriting["applied"])
    assert model.read_bytes() == before

    again = tmp_path / "again.onnx"
    code, _, err = call(main, "apply", plan, model, "-o", again, capsys=capsys)
    assert code == 0, err
    assert again.read_bytes() == output.read_bytes()

    image = np.random.default_rng(0).standard_normal((1, 3, 64, 64)).astype(np.float32)
    stock: Any = onnxruntime.InferenceSession(model)
    found, expected = (
        np.asarray(session.run(None, {"image": image})[0])
        for session in (create_session(output), stock)
    )
    assert np.allclose(found, expected, rtol=1e-4, atol=1e-5)


def test_exact_by_default(model: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Sums are not regrouped unless asked for."""
    found = optimized(model, tmp_path / "out.onnx", capsys=capsys)
    assert found["verification"]["numerics"] == "identical"
    assert not (found["rewriting"] or {"applied": []})["applied"]


def test_taken_back(model: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A rewritten model that gives other bits than promised gives way to the one as it was."""
    monkeypatch.setattr("lowtide.passes.rewrite.sums.Sums.exact", True)
    output = tmp_path / "out.onnx"
    result = lowtide.optimize(model, target="onnx", rewrite="float", output=output)
    assert result.report.verification["numerics"] == "identical"
    assert result.plan.rewrites == ()
    assert any("taken back" in note for note in result.report.notes)
    assert output.exists()


def test_a_budget_that_needs_no_rewriting(
    model: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """A model that fits stays as it is; one that does not is rewritten before ops run again."""
    plain = lowtide.analyze(model, target="onnx", rewrite="none")
    for budget, rewritten in ((plain.peak_bytes.after, False), (plain.peak_bytes.after - 1, True)):
        found = optimized(
            model,
            tmp_path / f"{budget}.onnx",
            *("--target", "onnx", "--rewrite", "float", "--budget", budget),
            capsys=capsys,
        )
        assert found["peak_bytes"]["after"] <= budget
        assert bool(found["rewriting"]) == rewritten
        assert found["recomputation"] is None


def test_errors(model: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Unknown rules, and plans whose rewrites do not apply."""
    code, _, err = call(optimize_main, "--peak-mem", model, "--rewrite", "fast", capsys=capsys)
    assert code == 2
    assert "fast" in err
    output, plan = tmp_path / "out.onnx", tmp_path / "plan.json"
    optimized(
        model,
        output,
        *("--target", "onnx", "--rewrite", "float", "--no-verify", "--plan-out", plan),
        capsys=capsys,
    )
    text = plan.read_text()
    for wrong in ("nothing@", "sums@missing_", "sums"):
        bad = tmp_path / "bad.json"
        bad.write_text(text.replace("sums@", wrong, 1))
        with pytest.raises(PlanError):
            optimizer.apply(bad, model, output=tmp_path / "bad.onnx")
    assert not (tmp_path / "bad.onnx").exists()
