"""The command line: exit codes, JSON, files written and not written."""

from __future__ import annotations

import json
import re
import signal
import subprocess
import sys
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import onnx
import pytest
from onnx import helper, numpy_helper

import lowtide
import lowtide.optimizer
from lowtide import __version__
from lowtide.bench.networks import randwire
from lowtide.cli import main, optimize_main
from lowtide.live import Progress
from lowtide.targets.onnx_staged import StagedOnnx
from tests.cli.commands import call
from tests.frontends import hostile

if TYPE_CHECKING:
    from lowtide.emission import Outcome


@pytest.fixture(scope="session")
def model_path(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A small branching network."""
    path = tmp_path_factory.mktemp("model") / "net.onnx"
    onnx.save(randwire(5, nodes=16, channels=16, side=32), path)
    return path


def test_optimize_end_to_end(
    model_path: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    before = model_path.read_bytes()
    output, plan = tmp_path / "small.onnx", tmp_path / "plan.json"
    code, out, err = call(
        optimize_main,
        "--peak-mem",
        model_path,
        "-o",
        output,
        "--plan-out",
        plan,
        "--json",
        capsys=capsys,
    )
    assert (code, err) == (0, "")
    report = json.loads(out)
    assert report["schema"] == "lowtide.report/1"
    assert report["status"] == "optimal"
    peak = report["peak_bytes"]
    assert peak["lower_bound"] == peak["after"] < peak["before"]
    assert report["verification"]["numerics"] == "identical"
    assert report["verification"]["order"] == "executed"
    assert report["output"] == str(output)
    assert model_path.read_bytes() == before
    assert sorted(p.name for p in tmp_path.iterdir()) == ["plan.json", "small.onnx"]
    assert json.loads(plan.read_text())["schema"] == "lowtide.plan/1"

    again = tmp_path / "again.onnx"
    code, out, err = call(main, "apply", plan, model_path, "-o", again, capsys=capsys)
    assert (code, err) == (0, "")
    assert again.read_bytes() == output.read_bytes()


def test_same_input_same_bytes(
    model_path: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    for name in ("a.onnx", "b.onnx"):
        arguments = ("optimize", model_path, "-o", tmp_path / name, "--no-verify")
        assert call(main, *arguments, capsys=capsys)[0] == 0
    assert (tmp_path / "a.onnx").read_bytes() == (tmp_path / "b.onnx").read_bytes()


@pytest.mark.parametrize("extra", [("--target", "onnx"), ("--portable",)])
def test_other_routes(
    model_path: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str], extra: tuple[str, ...]
) -> None:
    output = tmp_path / "out.onnx"
    code, out, err = call(
        main, "optimize", model_path, "-o", output, "--json", *extra, capsys=capsys
    )
    assert (code, err) == (0, "")
    report = json.loads(out)
    assert report["verification"] == {
        **report["verification"],
        "numerics": "identical",
        "order": "executed",
    }
    assert report["peak_bytes"]["after"] <= report["peak_bytes"]["before"]
    onnx.checker.check_model(str(output), full_check=True)


def test_the_default_output_lies_beside_the_input(
    model_path: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    copy = tmp_path / "m.onnx"
    copy.write_bytes(model_path.read_bytes())
    assert call(main, "optimize", copy, "--no-verify", capsys=capsys)[0] == 0
    assert sorted(p.name for p in tmp_path.iterdir()) == ["m.lowtide.onnx", "m.onnx"]


def test_analyze_writes_nothing(
    model_path: Path,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.chdir(tmp_path)
    code, out, _ = call(main, "analyze", model_path, capsys=capsys)
    assert code == 0
    assert "live at the peak" in out
    assert list(tmp_path.iterdir()) == []
    code, out, _ = call(main, "analyze", model_path, "--json", capsys=capsys)
    report = json.loads(out)
    live = report["peak_ops_before"][0]["live"]
    assert sum(entry["bytes"] for entry in live) == report["peak_bytes"]["before"]
    assert max(report["timeline_bytes"]) == report["peak_bytes"]["before"]
    assert report["output"] is None


def test_an_interruption_is_said(
    model_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    def interrupt(*_: object, **__: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(lowtide.optimizer, "optimize", interrupt)
    code, out, err = call(optimize_main, model_path, capsys=capsys)
    assert (code, out, err.strip()) == (130, "", "interrupted")


def test_budgets(model_path: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    output = tmp_path / "out.onnx"
    code, out, err = call(
        main, "optimize", model_path, "-o", output, "--budget", "1K", "--json", capsys=capsys
    )
    assert code == 3
    assert "every order, with ops computed again too, needs at least" in err
    report = json.loads(out)
    budget = report["budget"]
    assert budget["available"] == 1024
    assert budget["needed"] == budget["fits_at"] == report["peak_bytes"]["after"]
    assert budget["excess"] == budget["needed"] - 1024
    assert not output.exists()
    code, _, err = call(
        main,
        "optimize",
        model_path,
        "-o",
        output,
        "--budget",
        "1K",
        "--pipeline",
        "schedule{solver=kahn}",
        capsys=capsys,
    )
    assert code in (3, 4)
    code, _, _ = call(
        main,
        "optimize",
        model_path,
        "-o",
        output,
        "--budget",
        str(budget["fits_at"]),
        "--no-verify",
        capsys=capsys,
    )
    assert code == 0
    assert output.exists()


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (("optimize",), ""),
        (("optimize", "absent.onnx"), "absent.onnx"),
        (("optimize", "{model}", "--target", "abacus"), "abacus"),
        (("optimize", "{model}", "--budget", "lots"), "not a size"),
        (("optimize", "{model}", "--time-limit", "soon"), "not a duration"),
        (("optimize", "{model}", "--dim", "batch"), "NAME=VALUE"),
        (("optimize", "{model}", "--dim", "nothing=3"), "nothing"),
        (("optimize", "{model}", "--pipeline", "guess"), "no pass `guess`"),
        (("optimize", "{model}", "--pipeline", "schedule{solver=guess}"), "guess"),
        (("optimize", "{model}", "--ort-level", "most"), "most"),
        (("optimize", "{model}", "-o", "{model}"), "source"),
        (("optimize", "{model}", "-o", "nowhere/x.onnx"), "nowhere"),
        (("optimize", "{model}", "--portable", "--target", "onnx"), "--portable"),
        (("apply", "{model}", "{model}"), "plan"),
        (("solve", "schedule", "{model}"), ""),
        (("solve", "allocate", "{model}"), ""),
        (("conjure",), "conjure"),
    ],
)
def test_usage_errors_are_exit_code_2(
    model_path: Path,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
    arguments: tuple[str, ...],
    message: str,
) -> None:
    monkeypatch.chdir(tmp_path)
    filled = [a.replace("{model}", str(model_path)) for a in arguments]
    code, out, err = call(main, *filled, capsys=capsys)
    assert code == 2
    assert message in out + err
    assert list(tmp_path.iterdir()) == []


def test_solve_schedule(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    instance = tmp_path / "i.json"
    instance.write_text(
        json.dumps(
            {
                "nodes": [{"name": str(i), "op": "x"} for i in range(4)],
                "tensors": [
                    {"size": 10, "producer": 0, "consumers": [2], "output": False},
                    {"size": 1, "producer": 2, "consumers": [3], "output": False},
                    {"size": 10, "producer": 1, "consumers": [3], "output": False},
                    {"size": 1, "producer": 3, "consumers": [], "output": True},
                ],
            }
        )
    )
    code, out, err = call(main, "solve", "schedule", instance, "--json", capsys=capsys)
    assert (code, err) == (0, "")
    answer = json.loads(out)
    assert answer["status"] == "optimal"
    assert answer["peak_bytes"] == answer["lower_bound_bytes"] == 12
    assert answer["order"] == [0, 2, 1, 3]
    code, out, _ = call(main, "solve", "schedule", instance, "--solver", "file", capsys=capsys)
    assert code == 0
    assert "21" in out


def test_certificates(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    tensors: list[dict[str, object]] = [
        {"size": 10, "producer": 0, "consumers": [2]},
        {"size": 1, "producer": 2, "consumers": [3]},
        {"size": 10, "producer": 1, "consumers": [3]},
        {"size": 1, "producer": 3, "consumers": [], "output": True},
    ]
    instance, other, proof = (tmp_path / name for name in ("i.json", "o.json", "c.json"))
    instance.write_text(json.dumps({"nodes": [{}] * 4, "tensors": tensors}))
    other.write_text(json.dumps({"nodes": [{}] * 4, "tensors": tensors[:3]}))
    code, _, err = call(main, "solve", "schedule", instance, "--certificate", proof, capsys=capsys)
    assert (code, err) == (0, "")
    assert sorted(p.name for p in tmp_path.iterdir()) == ["c.json", "i.json", "o.json"]
    code, out, err = call(main, "check", instance, proof, capsys=capsys)
    assert (code, err) == (0, "")
    assert "no order has a peak below 12 bytes" in out
    code, out, _ = call(main, "check", instance, proof, "--json", capsys=capsys)
    assert json.loads(out) == {
        "valid": True,
        "bound_bytes": 12,
        "inputs_in_arena": False,
        "outputs_live_to_end": True,
    }
    code, out, err = call(main, "check", other, proof, capsys=capsys)
    assert (code, out) == (5, "")
    assert "another problem" in err
    text = proof.read_text()
    proof.write_text(text.replace('"bound_bytes":12', '"bound_bytes":13'))
    code, _, err = call(main, "check", instance, proof, capsys=capsys)
    assert code == 5
    assert "proves 12 bytes, not 13" in err
    proof.write_text(text[:-20])
    for broken in (proof, tmp_path / "missing.json"):
        code, out, err = call(main, "check", instance, broken, capsys=capsys)
        assert (code, out) == (2, "")
        assert str(broken) in err
    before = instance.read_bytes()
    code, _, err = call(
        main, "solve", "schedule", instance, "--certificate", instance, capsys=capsys
    )
    assert code == 2
    assert "is the source, which is never written to" in err
    assert instance.read_bytes() == before


def test_solve_allocate(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    instance = tmp_path / "i.csv"
    instance.write_text("id,lower,upper,size\na,0,2,4\nb,1,3,3\nc,2,4,4\n")
    code, out, _ = call(main, "solve", "allocate", instance, "--json", capsys=capsys)
    answer = json.loads(out)
    assert code == 0
    assert answer["status"] == "optimal"
    assert answer["height"] == answer["lower_bound"] == 7
    assert set(answer["offsets"]) == {"a", "b", "c"}
    code, out, _ = call(main, "solve", "allocate", instance, "--capacity", "6", capsys=capsys)
    assert code == 3


def test_solve_allocate_options(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    instance, layout = tmp_path / "i.csv", tmp_path / "o.csv"
    instance.write_text("id,lower,upper,size\na,0,2,4\nb,1,3,3\nc,2,4,4\n")
    arguments = ("solve", "allocate", instance, "--alignment", "8", "--json", "-o", layout)
    for solver in ("pack", "tflm_greedy", "tflite_greedy_by_size", "first_fit", "best_fit"):
        code, out, _ = call(main, *arguments, "--solver", solver, capsys=capsys)
        answer = json.loads(out)
        assert code == 0
        assert 11 <= answer["height"] <= 12
        rows = [line.split(",") for line in layout.read_text().splitlines()]
        assert rows[0] == ["id", "lower", "upper", "size", "offset"]
        assert {row[0]: int(row[4]) for row in rows[1:]} == answer["offsets"]
        assert [path.name for path in sorted(tmp_path.iterdir())] == ["i.csv", "o.csv"]
    # What was written is an instance whose places are fixed.
    code, out, _ = call(main, "solve", "allocate", layout, "--alignment", "8", capsys=capsys)
    assert code == 0
    assert "status" in out
    for bad in (("--solver", "magic"), ("-o", instance), ("--alignment", "0")):
        code, _, err = call(main, "solve", "allocate", instance, *bad, capsys=capsys)
        assert code == 2
        assert err


def test_solve_allocate_exit_codes(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    instance, layout = tmp_path / "i.csv", tmp_path / "o.csv"
    instance.write_text("id,lower,upper,size,offset\na,0,2,4,0\nb,1,3,4,2\n")
    code, out, _ = call(main, "solve", "allocate", instance, "-o", layout, capsys=capsys)
    assert code == 3  # two fixed buffers overlap: no capacity helps
    assert "no layout" in out
    assert not layout.exists()
    # The load is 2, but `a` has no room at either of its two places below that.
    instance.write_text("id,lower,upper,size,offset\na,0,3,1,\nb,0,1,1,0\nc,2,3,1,1\n")
    arguments = ("solve", "allocate", instance, "--solver", "pack")
    assert call(main, *arguments, capsys=capsys)[0] == 0
    assert call(main, *arguments, "--capacity", "3", capsys=capsys)[0] == 0
    assert call(main, *arguments, "--capacity", "2", capsys=capsys)[0] == 4
    assert call(main, *arguments, "--capacity", "1", capsys=capsys)[0] == 3


def test_solve_allocate_pools(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    instance, layout = tmp_path / "i.csv", tmp_path / "o.csv"
    instance.write_text("id,lower,upper,size\na,0,2,4\nb,1,3,3\nc,2,4,4\n")
    arguments = ("solve", "allocate", instance, "--pool", "SRAM=4", "--pool")
    code, out, _ = call(main, *arguments, "PSRAM=1K", "--json", "-o", layout, capsys=capsys)
    answer = json.loads(out)
    assert (code, answer["status"], answer["cost"]) == (0, "optimal", 3)
    assert answer["pools"] == {"SRAM": 4, "PSRAM": 3}
    assert answer["pool"] == {"a": "SRAM", "b": "PSRAM", "c": "SRAM"}
    assert answer["offsets"] == {"a": 0, "b": 0, "c": 0}
    assert layout.read_text().splitlines()[:2] == [
        "id,lower,upper,size,offset,pool",
        "a,0,2,4,0,SRAM",
    ]
    code, out, _ = call(main, *arguments, "PSRAM", capsys=capsys)
    assert code == 0
    assert "PSRAM: 3 bytes" in out
    instance.write_text("id,lower,upper,size\na,0,2,4\nb,1,3,4\nc,1,4,4\n")
    code, out, _ = call(main, *arguments, "PSRAM=7", capsys=capsys)
    assert code == 3
    assert "no layout" in out
    for bad in (("PSRAM=",), ("=4",), ("PSRAM=x",), ("SRAM=9",), ("B=9", "--capacity", "9")):
        code, _, err = call(main, *arguments, *bad, capsys=capsys)
        assert (code, bool(err)) == (2, True)


def test_information(capsys: pytest.CaptureFixture[str]) -> None:
    code, out, _ = call(main, "--version", capsys=capsys)
    assert (code, out) == (0, f"lowtide {__version__}\n")
    code, out, _ = call(main, "doctor", capsys=capsys)
    assert code == 0
    assert "native core" in out
    code, out, _ = call(main, "passes", capsys=capsys)
    assert code == 0
    assert "schedule" in out
    assert "exact" in out
    code, out, _ = call(main, "cite", capsys=capsys)
    assert code == 0
    keys = re.findall(r"^@\w+\{(\w+),$", out, re.MULTILINE)
    assert {"ahn2020serenity", "jain2020checkmate", "griewank2000revolve"} <= set(keys)
    assert len(keys) == len(set(keys)) == out.count("@")


def test_never_worse_than_the_runtimes_own_order(
    model_path: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Where measurement contradicts the prediction, ONNX Runtime's own order is kept."""
    real = StagedOnnx.verify
    measured: list[object] = []

    def contradicted(staged: StagedOnnx) -> Outcome:
        outcome = real(staged)
        if measured:
            return outcome
        measured.append(outcome.measured["peak_after"])
        return replace(outcome, is_worse=True)

    monkeypatch.setattr(StagedOnnx, "verify", contradicted)
    output = tmp_path / "out.onnx"
    result = lowtide.optimize(model_path, output=output)
    assert measured
    assert any("measured to need more" in note for note in result.report.notes)
    assert result.plan.certificate is not None
    assert result.plan.certificate.method == "ort_default"
    assert result.report.status == "feasible"
    peaks = (result.report.measured[f"tensor_peak_{which}"] for which in ("before", "after"))
    assert len(set(peaks)) == 1
    assert output.exists()


@pytest.mark.usefixtures("plugin")
def test_a_third_partys_format(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    model = tmp_path / "net.toy"
    model.write_text(
        'graph "g" {\n%x = input uint8[1]\na: (%a uint8[99]) = t.A(%x)\nreturn %a\n}\n'
    )
    code, out, _ = call(main, "analyze", model, "--json", capsys=capsys)
    assert code == 0
    report = json.loads(out)
    assert report["model"]["format"] == "toy"
    assert report["peak_bytes"] == {"before": 128, "after": 128, "lower_bound": 128}
    code, _, err = call(main, "optimize", model, capsys=capsys)
    assert code == 2
    assert "no backend writes `.toy` models" in err
    model.write_text("nonsense")
    code, _, err = call(main, "analyze", model, capsys=capsys)
    assert code == 2
    assert "expected graph" in err
    code, out, _ = call(main, "passes", capsys=capsys)
    assert "toy" in out
    assert "last_first" in out


def test_import_is_cheap() -> None:
    """`import lowtide` pulls in neither a framework nor numpy, onnx or a solver."""
    code = (
        "import sys, lowtide; "
        "print([m for m in ('numpy', 'onnx', 'onnxruntime', 'ortools', 'networkx', 'tensorflow', "
        "'tvm', 'typer', 'rich') if m in sys.modules])"
    )
    result = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=True
    )
    assert result.stdout.strip() == "[]"


def tangle(count: int) -> onnx.ModelProto:
    """Random 1x1 convolutions and sums: a graph whose optimum is hard to prove."""
    random = np.random.default_rng(0)
    nodes: list[onnx.NodeProto] = []
    weights = [numpy_helper.from_array(random.standard_normal((8, 8, 1, 1)).astype("f"), "w")]
    values = ["x"]
    for index in range(count):
        first, second = (values[-int(k) % len(values)] for k in random.integers(1, 40, size=2))
        nodes.append(helper.make_node("Conv", [first, "w"], [f"c{index}"], kernel_shape=[1, 1]))
        nodes.append(helper.make_node("Add", [f"c{index}", second], [f"v{index}"]))
        values.append(f"v{index}")
    unread = sorted(set(values).difference(name for node in nodes for name in node.input))
    nodes.append(helper.make_node("Sum", unread, ["y"]))
    kind, shape = onnx.TensorProto.FLOAT, [1, 8, 16, 16]
    graph = helper.make_graph(
        nodes,
        "tangle",
        [helper.make_tensor_value_info("x", kind, shape)],
        [helper.make_tensor_value_info("y", kind, shape)],
        weights,
    )
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=9)


def test_interrupt_keeps_the_best_plan(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Ctrl-C during the search: the best plan so far is written and the report says so."""
    sent: list[int] = []

    def interrupt(self: Progress, incumbent: int | None, bound: int) -> None:
        del self, incumbent
        if not sent:
            sent.append(bound)
            signal.raise_signal(signal.SIGINT)

    monkeypatch.setattr(Progress, "bounds", interrupt)
    model, output = tmp_path / "tangle.onnx", tmp_path / "out.onnx"
    onnx.save(tangle(400), model)
    arguments = ("optimize", model, "-o", output, "--target", "onnx", "--no-verify", "--json")
    code, out, err = call(main, *arguments, "--time-limit", "10m", capsys=capsys)
    assert (code, err) == (0, "")
    report = json.loads(out)
    assert sent
    assert report["status"] == "time_limit"
    assert report["peak_bytes"]["lower_bound"] < report["peak_bytes"]["after"]
    assert report["peak_bytes"]["after"] <= report["peak_bytes"]["before"]
    assert output.exists()


def test_default_effort_is_repeatable(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Without a time limit the search ends by its own measure, and twice in the same plan."""
    model = tmp_path / "tangle.onnx"
    onnx.save(tangle(400), model)
    for name in ("a.onnx", "b.onnx"):
        arguments = ("optimize", model, "-o", tmp_path / name, "--target", "onnx", "--no-verify")
        assert call(main, *arguments, capsys=capsys)[0] == 0
    assert (tmp_path / "a.onnx").read_bytes() == (tmp_path / "b.onnx").read_bytes()


@pytest.mark.parametrize("name", sorted(hostile.CASES))
def test_hostile_files_are_refused(
    name: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """Exit code 2, one line on stderr, nothing on stdout, nothing written."""
    model = hostile.CASES[name](tmp_path)
    before = {path: path.lstat().st_mtime_ns for path in tmp_path.rglob("*")}
    output = tmp_path / "out.onnx"
    code, out, err = call(main, "optimize", model, "-o", output, capsys=capsys)
    assert code == 2
    assert out == ""
    assert err.startswith("error: ")
    assert err.count("\n") == 1
    assert {path: path.lstat().st_mtime_ns for path in tmp_path.rglob("*")} == before
