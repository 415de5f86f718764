"""The runners of rematerialization, on tiny graphs; no time is asserted."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING
from xml.etree import ElementTree as Xml

import pytest

from lowtide.bench import remat, remat_fronts, remat_ratios, remat_solvers
from lowtide.bench.op_costs import rows_of
from lowtide.bench.op_costs import table as cost_table
from lowtide.bench.remat import RematCase, training_graph
from lowtide.errors import InstanceError
from lowtide.ir import Graph, Role
from lowtide.passes.costs import CostModel
from lowtide.solvers.remat.check import peak_of
from lowtide.solvers.remat.problem import OrderScope

if TYPE_CHECKING:
    from pathlib import Path

    from lowtide.ir import Op
    from lowtide.solvers.remat.problem import RematProblem


@pytest.fixture(autouse=True)
def _every_core(monkeypatch: pytest.MonkeyPatch) -> None:
    """The runners do not keep the tests' process on one core."""
    for module in (remat, remat_fronts, remat_ratios, remat_solvers):
        monkeypatch.setattr(module, "one_core", lambda: None)


def test_training_graphs() -> None:
    """One sink, two ops for a layer, the same ones for the same seed."""
    problem = training_graph(6)
    assert problem == training_graph(6)
    assert problem != training_graph(6, seed=1)
    assert problem.num_nodes == 12
    assert [b.producer for b in problem.buffers if b.output] == [11]
    assert peak_of(problem, problem.order) > max(b.size for b in problem.buffers)


def test_rows_and_targets() -> None:
    """Targets are met or missed by the median; in the fixed order there are none."""
    problem = training_graph(5).with_budget_ratio("0.8")
    easy = RematCase("train", "0.8", problem, target_percent=1000.0, limit_s=2.0)
    row = remat.run(easy, "search", seeds=2, scope=OrderScope.FREE)
    assert row.met is True
    assert len(row.overheads) == len(row.cpu_seconds) == 2
    assert row.median is not None
    assert row.bound_percent is not None
    assert row.bound_percent <= row.median
    hard = RematCase("train", "0.8", problem, target_percent=-1.0, limit_s=2.0)
    assert remat.run(hard, "search", seeds=1, scope=OrderScope.FREE).met is False
    fixed = remat.run(hard, "ap-sqrt", seeds=1, scope=OrderScope.FIXED)
    assert fixed.met is None
    text = remat.table([row, fixed])
    assert "| train | 10 | 0.8 |" in text
    assert "| yes |" in text


def test_the_command(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Generated graphs by name and budget; 1 where a target is missed is for files only."""
    output = tmp_path / "remat"
    code = remat.main(["--only", "train_50:0.8", "--seeds", "1", "--output", str(output)])
    assert code == 0
    rows = json.loads(output.with_suffix(".json").read_text())["rows"]
    assert [row["name"] for row in rows] == ["train_50"]
    assert output.with_suffix(".md").read_text().endswith(capsys.readouterr().out.rstrip() + "\n")
    with pytest.raises(InstanceError, match="no instance files"):
        remat.main(["--instances", str(tmp_path / "none")])


def test_ratios() -> None:
    """No strategy is below the least cost; the table counts the budgets that each meets."""
    found = list(remat_ratios.cells("train", training_graph(6), ("0.9", "0.8", "0.01"), 5.0))
    assert {cell.ratio for cell in found} == {"0.9", "0.8"}
    ratios = [cell.cost_ratio for cell in found if cell.cost_ratio is not None]
    assert min(ratios) == 1.0
    auto = [cell for cell in found if cell.strategy == "auto"]
    assert all(cell.cost_ratio == 1.0 and cell.least_proven for cell in auto)
    text = remat_ratios.table(found)
    assert "| train | 12 | 2/2 | 1.000 (2/2) |" in text


def test_solvers_side_by_side(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """A row for each solver and scope; what is proven bears a star."""
    output = tmp_path / "solvers"
    arguments = ["--solvers", "search", "ap-sqrt", "checkmate-milp", "--time-limit", "4"]
    remat_solvers.main([*arguments, "--output", str(output)])
    cells = json.loads(output.with_suffix(".json").read_text())["cells"]
    keys = [(cell["solver"], cell["scope"]) for cell in cells]
    fixed, free = OrderScope.FIXED.value, OrderScope.FREE.value
    assert keys == [
        ("search", fixed),
        ("search", free),
        ("ap-sqrt", fixed),
        ("checkmate-milp", fixed),
    ]
    text = capsys.readouterr().out
    assert "| checkmate-milp | fixed |" in text
    assert "| FastSA (published) | free |" in text
    for cell in cells:
        shown = text.split(f"| {cell['solver']} | {cell['scope'].removesuffix('_order')} |")[1]
        assert ("*" in shown.split("|")[0]) == (cell["status"] == "optimal")


def test_fronts(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A table, data and a picture with a step line for each scope."""

    def smaller(layers: int) -> RematProblem:
        return training_graph(layers // 5)

    monkeypatch.setattr(remat_fronts, "training_graph", smaller)
    output = tmp_path / "fronts"
    arguments = ["--only", "train_50", "--points", "3", "--time-limit", "4"]
    remat_fronts.main([*arguments, "--output", str(output)])
    fronts = json.loads(output.with_suffix(".json").read_text())["fronts"]
    assert [front["order"] for front in fronts] == [scope.value for scope in OrderScope]
    for front in fronts:
        peaks = [peak for peak, _, _ in front["points"]]
        assert peaks == sorted(peaks, reverse=True)
        assert peaks[-1] >= front["least_bound"]
    picture = Xml.parse(output.with_suffix(".svg")).getroot()
    assert len(picture.findall("{http://www.w3.org/2000/svg}path")) == 2


def test_costs_by_kind() -> None:
    """What was measured, beside what the model says."""
    graph = Graph("two")
    x = graph.add_tensor("x", "float32", (100,), nbytes=400, role=Role.INPUT)
    found: list[tuple[Op, int]] = []
    for name, kind in (("a", "Relu"), ("b", "Relu"), ("c", "Sum")):
        y = graph.add_tensor(name, "float32", (100,), nbytes=400)
        found.append((graph.add_op(f"f{name}", "onnx", kind, [x], [y]), 10_000))
    rows = rows_of(found)
    assert [(row.kind, row.ops, row.measured_ns) for row in rows] == [
        ("onnx.Relu", 2, 20_000),
        ("onnx.Sum", 1, 10_000),
    ]
    assert rows[0].modelled_ns == 2 * CostModel().of(graph.op("fa"))
    assert "| onnx.Relu | 2 |" in cost_table(rows)
