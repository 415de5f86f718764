"""Budgets below the best order: ops run again in the emitted model, executed and measured."""

from __future__ import annotations

import json
from itertools import pairwise
from pathlib import Path

import numpy as np
import onnx
import pytest

import lowtide
from lowtide.bench.networks import randwire
from lowtide.cli import main, optimize_main
from lowtide.onnxruntime import create_session
from tests.cli.commands import call

# A run's own bookkeeping.
NOISE_BYTES = 1 << 15


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A branching network whose best order is proven."""
    path = tmp_path_factory.mktemp("remat") / "net.onnx"
    onnx.save(randwire(3, nodes=16, channels=16, side=40), path)
    return path


def test_costs_that_are_measured_or_given(
    model: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """The price is in their terms: in a file, what was repeated may cost a second."""
    budget = lowtide.analyze(model).peak_bytes.after * 9 // 10
    plan, costs = tmp_path / "plan.json", tmp_path / "costs.json"
    common = (model, "--budget", budget, "--plan-out", plan, "--json", "--no-verify")
    output = tmp_path / "out.onnx"
    code, out, _ = call(optimize_main, *common, "-o", output, "--costs", "measure", capsys=capsys)
    assert code == 0
    assert 0 < json.loads(out)["recomputation"]["cost_percent"] < 50
    sequence: list[str] = json.loads(plan.read_text())["sequence"]
    dear = {name: 1.0 for name in sequence if sequence.count(name) > 1}
    rates = {"flops_per_s": 1e12, "bytes_per_s": 1e12}
    costs.write_text(json.dumps({"schema": "lowtide.costs/1", "ops": dear, "default": rates}))
    code, out, _ = call(optimize_main, *common, "-o", output, "--costs", costs, capsys=capsys)
    assert code == 0
    sequence = json.loads(plan.read_text())["sequence"]
    seconds = sum(sequence.count(name) - 1 for name in dear)
    percent = json.loads(out)["recomputation"]["cost_percent"]
    assert percent == pytest.approx(100 * seconds / len(dear), abs=0.1)
    costs.write_text(json.dumps({"schema": "lowtide.costs/1", "ops": {"no such op": 1}}))
    code, out, err = call(optimize_main, *common, "-o", output, "--costs", costs, capsys=capsys)
    assert (code, out) == (2, "")
    assert "`no such op`, which the graph that is planned does not have" in err


def test_the_price_of_budgets(model: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """A front from the best order down; each of its budgets is met at its price."""
    pipeline = "inplace,schedule,rematerialize{pareto=4},allocate"
    code, out, _ = call(main, "analyze", model, "--json", "--pipeline", pipeline, capsys=capsys)
    assert code == 0
    report = json.loads(out)
    points = report["trade_off"]["points"]
    assert 2 <= len(points) <= 4
    assert points[0]["budget_bytes"] == report["peak_bytes"]["after"]
    assert points[0]["repeats"] == points[0]["cost_percent"] == 0
    for larger, smaller in pairwise(points):
        assert larger["budget_bytes"] > smaller["budget_bytes"]
        assert larger["cost_percent"] < smaller["cost_percent"]
    assert report["trade_off"]["least_bound_bytes"] <= points[-1]["peak_bytes"]
    met = lowtide.analyze(model, budget=points[1]["budget_bytes"])
    assert met.budget is not None
    assert met.budget["excess"] <= 0
    code, out, _ = call(main, "analyze", model, "--pipeline", pipeline, capsys=capsys)
    assert code == 0
    assert f"{points[1]['budget_bytes']:,}" in out
    assert "(proven)" in out


def test_what_makes_a_budget_impossible(model: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """The op and the tensors that need more at once are named."""
    code, out, err = call(main, "analyze", model, "--budget", 5000, "--json", capsys=capsys)
    assert code == 3
    obstacle = json.loads(out)["obstacle"]
    assert obstacle["needed"] > 5000
    assert sum(t["bytes"] for t in obstacle["live"]) + obstacle["workspace"] >= obstacle["needed"]
    assert f"while `{obstacle['op']}` runs (proven)" in err
    code, out, _ = call(main, "analyze", model, "--budget", 5000, capsys=capsys)
    assert code == 3
    assert "needed at once in every plan" in out
    assert all(t["tensor"] in out for t in obstacle["live"])


def test_a_budget_below_every_order(
    model: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """Met by recomputation: the price is stated, the file does it, and a plan repeats it."""
    least = lowtide.analyze(model).peak_bytes
    assert least.after == least.lower_bound
    budget = least.after * 9 // 10
    output, plan = tmp_path / "out.onnx", tmp_path / "plan.json"
    arguments = (model, "-o", output, "--budget", budget, "--plan-out", plan, "--json")
    code, out, err = call(optimize_main, *arguments, capsys=capsys)
    assert (code, err) == (0, "")
    report = json.loads(out)
    again = report["recomputation"]
    assert again["runs"] > 0
    assert again["cost_percent"] > 0
    assert report["status"] == "feasible"
    assert max(report["peak_bytes"]["after"], report["arena_bytes"]["after"]) <= budget
    assert report["verification"] == {
        "numerics": "identical",
        "max_abs_error": 0.0,
        "order": "executed",
        "notes": [],
    }
    measured = report["measured"]
    assert measured["tensor_peak_after"] <= budget
    assert measured["peak_after"] <= budget + NOISE_BYTES
    assert measured["arena_after"] <= budget
    sequence = json.loads(plan.read_text())["sequence"]
    assert len(sequence) == len(set(sequence)) + again["runs"]

    second = tmp_path / "second.onnx"
    code, _, err = call(main, "apply", plan, model, "-o", second, "--no-verify", capsys=capsys)
    assert (code, err) == (0, "")
    assert second.read_bytes() == output.read_bytes()

    feed = {"image": np.random.default_rng(0).standard_normal((1, 3, 40, 40), np.float32)}
    session = create_session(output)
    first, second_run = (np.asarray(session.run(None, feed)[0]) for _ in range(2))
    assert first.tobytes() == second_run.tobytes()


def test_what_recomputation_cannot_do(
    model: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """A budget below a floor is proven to be impossible; another one shows how far it went."""
    output = tmp_path / "out.onnx"
    code, _, err = call(optimize_main, model, "-o", output, "--budget", "1KiB", capsys=capsys)
    assert code == 3
    assert "with ops computed again too, needs at least" in err
    report = lowtide.analyze(model, budget="1KiB")
    assert report.budget is not None
    assert 1024 < report.budget["floor"] <= report.budget["fits_at"]
    code, _, _ = call(
        optimize_main, model, "-o", output, "--budget", report.budget["fits_at"], capsys=capsys
    )
    assert code == 0
    assert output.exists()


def test_portable_files_do_not_repeat(
    model: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """A session at basic optimisation would merge the copies."""
    budget = lowtide.analyze(model).peak_bytes.after * 3 // 4
    arguments = (model, "-o", tmp_path / "out.onnx", "--portable", "--budget", budget)
    code, _, _ = call(optimize_main, *arguments, capsys=capsys)
    assert code in (3, 4)
