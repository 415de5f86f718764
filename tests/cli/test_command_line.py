"""The command line: exit codes, JSON, files written and not written."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from typing import TYPE_CHECKING

import onnx
import pytest

from lowtide import __version__
from lowtide.bench.networks import randwire
from lowtide.cli import main, optimize_main

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence


@pytest.fixture(scope="session")
def model_path(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A small branching network."""
    path = tmp_path_factory.mktemp("model") / "net.onnx"
    onnx.save(randwire(1, nodes=12, channels=16, side=32), path)
    return path


def call(
    command: Callable[[Sequence[str]], None],
    *arguments: str | Path,
    capsys: pytest.CaptureFixture[str],
) -> tuple[int, str, str]:
    with pytest.raises(SystemExit) as stop:
        command([str(a) for a in arguments])
    out, err = capsys.readouterr()
    code = stop.value.code
    assert isinstance(code, int)
    return code, out, err


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


def test_budgets(model_path: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    output = tmp_path / "out.onnx"
    code, out, err = call(
        main, "optimize", model_path, "-o", output, "--budget", "1K", "--json", capsys=capsys
    )
    assert code == 3
    assert "every order needs at least" in err
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
    assert out.count("@") >= 4


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


def test_interrupt_keeps_the_best_plan(model_path: Path, tmp_path: Path) -> None:
    """Ctrl-C during the search: the best plan so far is written, and the exit code is 0."""
    output = tmp_path / "out.onnx"
    code = (
        "import os, signal, sys\n"
        "from lowtide.solvers.schedule import registry\n"
        "real = registry.get_scheduler('exact')\n"
        "def interrupted(problem, **options):\n"
        "    told = options['progress']\n"
        "    os.kill(os.getpid(), signal.SIGINT)\n"
        "    return real(problem, **options)\n"
        "from lowtide.passes import schedule\n"
        "schedule.get_scheduler = lambda name: interrupted\n"
        "from lowtide.cli import main\n"
        "main(sys.argv[1:])\n"
    )
    result = subprocess.run(
        [sys.executable, "-c", code, "optimize", str(model_path), "-o", str(output), "--no-verify"],
        capture_output=True,
        text=True,
        check=False,
        timeout=120,
    )
    # The signal lands before the solver started here, so that no plan exists yet: nothing is lost.
    assert result.returncode in (0, 130), result.stderr
    assert output.exists() == (result.returncode == 0)
