"""`lowtide solve remat`: exit codes and JSON as DESIGN.md has them, on small instances."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, cast

import pytest

from lowtide.cli import main

if TYPE_CHECKING:
    from pathlib import Path

KEYS = {
    "status",
    "budget_bytes",
    "base_cost",
    "cost",
    "overhead_percent",
    "overhead_lower_bound_percent",
    "bound_scope",
    "peak_bytes",
    "sequence",
    "seconds",
}


@pytest.fixture
def training(tmp_path: Path) -> Path:
    """Six forward ops and six backward ones, each of which reads its activation."""
    nodes = [{"id": v, "cost_cpu": 10, "cost_ram": 100} for v in range(12)]
    links = [{"source": v, "target": v + 1} for v in range(11)]
    links += [{"source": v, "target": 11 - v} for v in range(5)]
    path = tmp_path / "train.json"
    path.write_text(json.dumps({"directed": True, "graph": {}, "nodes": nodes, "links": links}))
    return path


def call(
    *arguments: object, capsys: pytest.CaptureFixture[str]
) -> tuple[int, dict[str, object], str]:
    """Exit code, the JSON answer (empty if there is none) and stderr."""
    with pytest.raises(SystemExit) as exited:
        main(["solve", "remat", *map(str, arguments), "--json"])
    out, err = capsys.readouterr()
    return cast("int", exited.value.code), json.loads(out) if out else {}, err


@pytest.mark.parametrize("order", ["free", "fixed"])
def test_a_budget_that_is_met(
    order: str, training: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    options = ["--order", order, "--time-limit", "0.3", "--seed", "1"]
    code, answer, _ = call(training, "--budget-ratio", "0.8", *options, capsys=capsys)
    assert code == 0
    assert set(answer) >= KEYS
    assert (answer["base_cost"], answer["budget_bytes"]) == (120, 560)
    assert cast("int", answer["peak_bytes"]) <= 560
    assert answer["bound_scope"] in ("free_order", "fixed_order")
    cost, sequence = cast("int", answer["cost"]), cast("list[int]", answer["sequence"])
    assert cost == 10 * len(sequence)
    assert answer["overhead_percent"] == pytest.approx(100 * (cost / 120 - 1))


def test_the_whole_peak_needs_no_repeat(training: Path, capsys: pytest.CaptureFixture[str]) -> None:
    code, answer, _ = call(training, "--budget", "700", capsys=capsys)
    assert (code, answer["status"], answer["overhead_percent"]) == (0, "optimal", 0.0)
    assert (answer["overhead_lower_bound_percent"], answer["bound_scope"]) == (0.0, "free_order")


def test_an_infeasible_budget_is_exit_code_3(
    training: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    code, answer, _ = call(training, "--budget", "299", capsys=capsys)
    assert (code, answer["status"], answer["sequence"]) == (3, "infeasible", None)
    assert answer["peak_lower_bound_bytes"] == 300


def test_a_budget_that_is_not_met_is_exit_code_4(
    training: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    code, answer, _ = call(
        training, "--budget", "300", "--order", "fixed", "--time-limit", "0", capsys=capsys
    )
    assert (code, answer["status"], answer["cost"]) == (4, "time_limit", None)


def test_wrong_options_are_exit_code_2(training: Path, capsys: pytest.CaptureFixture[str]) -> None:
    for options, message in [
        ([], "one of --budget"),
        (["--budget", "1", "--budget-ratio", "0.5"], "one of --budget"),
        (["--budget-ratio", "half"], "not a number"),
        (["--budget", "9", "--solver", "x"], "there is no remat solver"),
    ]:
        code, answer, err = call(training, *options, capsys=capsys)
        assert (code, answer) == (2, {})
        assert message in err


def test_the_text_report(training: Path, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit):
        main(["solve", "remat", str(training), "--budget-ratio", "0.8", "--time-limit", "0.2"])
    out = capsys.readouterr().out
    assert "budget       560 bytes" in out
    assert "overhead" in out
    assert "free order" in out
    with pytest.raises(SystemExit):
        main(["solve", "remat", str(training), "--budget", "1"])
    assert "no sequence" in capsys.readouterr().out
