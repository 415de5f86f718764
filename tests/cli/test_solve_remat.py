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
SOLVERS = {"solver", "bound_solver", "bounds", "notes", "infeasibility", "cpu_seconds"}


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
    options = ["--order", order, "--time-limit", "2", "--seed", "1"]
    code, answer, _ = call(training, "--budget-ratio", "0.8", *options, capsys=capsys)
    assert code == 0
    assert set(answer) >= KEYS | SOLVERS
    assert answer["infeasibility"] is None
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
    cases: list[tuple[list[object], str]] = [
        ([], "one of --budget"),
        (["--budget", "1", "--budget-ratio", "0.5"], "one of --budget"),
        (["--budget-ratio", "half"], "not a number"),
        (["--budget-ratio", "1.5"], "give a part of the peak, from 0 to 1"),
        (["--budget", "9", "--solver", "x"], "there is no remat solver"),
        (["--pareto", "--budget", "9"], "drop --budget"),
        (["--budget", "9", "--points", "3"], "belong to --pareto"),
        (["--budget", "9", "-o", "front.csv"], "belong to --pareto"),
        (["--budget", "9", "--threads", "2", "--solver", "search"], "drop --threads"),
        (["--pareto", "--solver", "x"], "there is no remat solver"),
        (["--pareto", "-o", training], "choose another output"),
        (["--pareto", "-o", training.with_suffix(".txt")], "name it .csv or .json"),
    ]
    for options, message in cases:
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


def test_the_portfolio_states_a_bound_for_each_order(
    training: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    code, answer, _ = call(training, "--budget-ratio", "0.8", "--time-limit", "20", capsys=capsys)
    assert code == 0
    assert answer["bound_scope"] == "free_order"
    bounds = {b["scope"]: b for b in cast("list[dict[str, object]]", answer["bounds"])}
    assert answer["cost"] == 140
    assert answer["status"] in ("optimal", "time_limit")
    # A bound of the free order holds for the fixed one too, which is then not asked about.
    held = bounds["free_order" if answer["status"] == "optimal" else "fixed_order"]
    assert held["cost"] == 140
    assert held["solver"] in ("cover", "checkmate-milp")


def test_another_solver_is_named_with_its_bound(
    training: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    options = ["--order", "fixed", "--solver", "checkmate-milp"]
    code, answer, _ = call(training, "--budget-ratio", "0.8", *options, capsys=capsys)
    assert (code, answer["status"], answer["cost"]) == (0, "optimal", 140)
    assert (answer["solver"], answer["bound_solver"]) == ("checkmate-milp", "checkmate-milp")


def test_an_infeasible_budget_says_what_forces_it(
    training: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    code, answer, _ = call(training, "--budget", "299", capsys=capsys)
    reason = cast("dict[str, object]", answer["infeasibility"])
    assert code == 3
    assert (reason["needed_bytes"], reason["excess_bytes"]) == (300, 1)
    tensors = cast("list[dict[str, object]]", reason["tensors"])
    assert sum(cast("int", t["bytes"]) for t in tensors) == 300
    node = cast("int", reason["node"])
    assert reason["node_name"] == str(node)
    made = [t for t in tensors if t["why"] == "made"]
    assert [(t["buffer"], t["name"]) for t in made] == [(node, str(node))]
    with pytest.raises(SystemExit):
        main(["solve", "remat", str(training), "--budget", "299"])
    out = capsys.readouterr().out
    assert f"op {node} `{node}` needs 300 bytes at once, 1 over the budget" in out
    assert out.count("(read)") == 2


def test_a_budget_that_no_single_op_forbids(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """Two results that both have to stay: nothing to repeat, and no op needs both."""
    sizes = (2, 2, 1, 1)
    nodes = [{"id": v, "cost_cpu": 1, "cost_ram": size} for v, size in enumerate(sizes)]
    links = [{"source": 0, "target": 2}, {"source": 1, "target": 3}]
    path = tmp_path / "pairs.json"
    path.write_text(json.dumps({"directed": True, "graph": {}, "nodes": nodes, "links": links}))
    code, answer, _ = call(path, "--budget", "3", capsys=capsys)
    assert (code, answer["status"], answer["infeasibility"]) == (3, "infeasible", None)
    with pytest.raises(SystemExit):
        main(["solve", "remat", str(path), "--budget", "3"])
    out = capsys.readouterr().out
    assert "no single op: no sequence within the budget (no useful repeat)" in out


def test_the_front(training: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    table, document = tmp_path / "front.csv", tmp_path / "front.json"
    options = ["--pareto", "--points", "3", "--time-limit", "3", "--threads", "1"]
    code, answer, _ = call(training, *options, "-o", document, capsys=capsys)
    assert code == 0
    assert json.loads(document.read_text()) == answer
    assert (answer["base_peak_bytes"], answer["base_cost"]) == (700, 120)
    assert (answer["least_budget_bytes"], answer["least_budget_proven"]) == (300, True)
    points = cast("list[dict[str, object]]", answer["points"])
    assert [p["budget_bytes"] for p in points] == [700, 500, 300]
    assert [p["budget_ratio"] for p in points] == [1.0, 500 / 700, 300 / 700]
    assert set(points[0]) >= (KEYS | {"solver", "bound_solver", "bounds"}) - {"seconds"}
    costs = [cast("int", p["cost"]) for p in points]
    assert costs == sorted(set(costs))
    with pytest.raises(SystemExit):
        main(["solve", "remat", str(training), *options, "-o", str(table)])
    out = capsys.readouterr().out
    assert out.splitlines()[0].split()[:3] == ["budget", "ratio", "peak"]
    assert "least budget 300 bytes: proven" in out
    rows = table.read_text().splitlines()
    assert rows[0].startswith("budget_bytes,budget_ratio,peak_bytes,cost,")
    assert [row.split(",")[0] for row in rows[1:]] == ["700", "500", "300"]


def test_processes_and_the_fixed_order(training: Path, capsys: pytest.CaptureFixture[str]) -> None:
    options = ["--order", "fixed", "--time-limit", "30", "--threads", "2"]
    code, answer, _ = call(training, "--budget-ratio", "0.8", *options, capsys=capsys)
    assert (code, answer["status"], answer["cost"], answer["notes"]) == (0, "optimal", 140, [])
    options += ["--pareto", "--points", "3"]
    code, answer, _ = call(training, *options, capsys=capsys)
    assert code == 0
    assert answer["notes"] == []
    points = cast("list[dict[str, object]]", answer["points"])
    assert all(p["bound_scope"] == "fixed_order" for p in points[1:])
