"""`lowtide fits`, the action's script around it, and the hook: on models that run today."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any, cast

import onnx
import pytest
import yaml

from lowtide.bench.networks import randwire
from lowtide.cli import main

ROOT = Path(__file__).parents[2]


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A small branching network."""
    path = tmp_path_factory.mktemp("fits") / "net.onnx"
    onnx.save(randwire(5, nodes=8, channels=8, side=16), path)
    return path


@pytest.fixture(scope="module")
def needed(model: Path, tmp_path_factory: pytest.TempPathFactory) -> int:
    """The least budget."""
    report = tmp_path_factory.mktemp("report") / "report.jsonl"
    with pytest.raises(SystemExit):
        main(["fits", str(model), "--budget", "1", "--report", str(report)])
    return int(json.loads(report.read_text())["budget"]["fits_at"])


def call(capsys: pytest.CaptureFixture[str], *arguments: str | Path) -> tuple[int, str]:
    with pytest.raises(SystemExit) as stop:
        main(["fits", *map(str, arguments)])
    assert isinstance(stop.value.code, int)
    return stop.value.code, capsys.readouterr().out


def test_the_least_budget(model: Path, needed: int, capsys: pytest.CaptureFixture[str]) -> None:
    before = sorted(model.parent.iterdir())
    code, out = call(capsys, model, "--budget", str(needed))
    assert (code, out) == (0, f"{model}: fits: needs {needed:,} of {needed:,} bytes, 0 to spare\n")
    code, out = call(capsys, model, "--budget", str(needed - 1))
    assert code == 3
    first, *table = out.splitlines()
    assert f"best plan needs {needed:,}, 1 too many" in first
    assert f"raise --budget to {needed:,}" in first
    assert table[0].startswith("what forces the peak of the best plan, while ")
    assert sum(int(line.split()[-1].replace(",", "")) for line in table[2:]) == needed
    assert sorted(model.parent.iterdir()) == before


def test_several(
    model: Path, needed: int, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    bad = tmp_path / "bad.onnx"
    bad.write_bytes(b"no model")
    code, out = call(capsys, model, bad, model, "--budget", str(needed), "--json")
    rows = [json.loads(line) for line in out.splitlines()]
    assert code == 2
    assert [row["error"] is None for row in rows] == [True, False, True]
    assert rows[0]["budget"] == {
        "needed": needed,
        "available": needed,
        "excess": 0,
        "fits_at": needed,
    }
    assert rows[1]["budget"] is None
    code, out = call(capsys, bad, "--budget", "64K")
    assert code == 2
    assert out.startswith(f"{bad}: cannot be checked: ")


def test_a_budget_that_is_none(model: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert call(capsys, model, "--budget", "plenty")[0] == 2


def test_optimize_says_what_forces_the_peak(
    model: Path, needed: int, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    output = tmp_path / "out.onnx"
    arguments = ["optimize", "--peak-mem", str(model), "-o", str(output)]
    with pytest.raises(SystemExit) as stop:
        main([*arguments, "--budget", str(needed - 1)])
    out, err = capsys.readouterr()
    assert stop.value.code == 3
    assert f"budget: not met: needed {needed:,}, available {needed - 1:,}, excess 1" in out
    assert f"fits at {needed:,}" in out
    assert "what forces the peak of the best plan, while " in out
    assert err.startswith(f"error: the budget of {needed - 1:,} bytes is not met")
    assert not output.exists()


def script(folder: Path, models: str, budget: int) -> tuple[int, str, str, str]:
    """The action's last step: its exit code, log, summary and output."""
    bin_folder = Path(sys.executable).parent
    environment = {
        **os.environ,
        "PATH": f"{bin_folder}{os.pathsep}{os.environ['PATH']}",
        "RUNNER_TEMP": str(folder / "temp"),
        "GITHUB_STEP_SUMMARY": str(folder / "temp" / "summary"),
        "GITHUB_OUTPUT": str(folder / "temp" / "output"),
        "LOWTIDE_MODELS": models,
        "LOWTIDE_BUDGET": str(budget),
        "LOWTIDE_TARGET": "onnx",
        "LOWTIDE_TIME_LIMIT": "",
    }
    (folder / "temp").mkdir(exist_ok=True)
    for name in ("summary", "output"):
        (folder / "temp" / name).write_text("")
    command = ["bash", str(ROOT / ".github" / "fits.sh")]
    done = subprocess.run(
        command, cwd=folder, env=environment, capture_output=True, text=True, check=False
    )
    summary, output = ((folder / "temp" / name).read_text() for name in ("summary", "output"))
    return done.returncode, done.stdout, summary, output


def test_the_action(model: Path, needed: int, tmp_path: Path) -> None:
    (tmp_path / "a").mkdir()
    (tmp_path / "a" / "one two.onnx").write_bytes(model.read_bytes())
    (tmp_path / "three.onnx").write_bytes(model.read_bytes())
    code, log, summary, output = script(tmp_path, "three.onnx\n  a/**/*.onnx\n", 8 * needed)
    assert code == 0
    assert [line.split(": fits: ")[0] for line in log.splitlines()] == [
        "three.onnx",
        "a/one two.onnx",
    ]
    assert summary.startswith(f"### Memory budget {8 * needed}: met\n```\nthree.onnx: fits")
    lines = output.splitlines()
    assert (lines[0], lines[-1]) == ("report<<LOWTIDE_END", "LOWTIDE_END")
    assert [json.loads(line)["model"] for line in lines[1:-1]] == ["three.onnx", "a/one two.onnx"]


def test_the_action_fails(model: Path, tmp_path: Path) -> None:
    (tmp_path / "net.onnx").write_bytes(model.read_bytes())
    code, log, summary, _ = script(tmp_path, "net.onnx", 16)
    assert code == 3
    assert "what forces the peak" in log
    assert log.splitlines()[-1].startswith("::error title=Memory budget 16::")
    assert summary.startswith("### Memory budget 16: not met\n")
    code, log, _, _ = script(tmp_path, "$(touch${IFS}x);touch *.tflite", 16)
    assert code == 2
    assert log == "::error::no file matches the pattern *.tflite\n"
    assert script(tmp_path, " \n", 16)[0] == 2
    assert sorted(path.name for path in tmp_path.iterdir()) == ["net.onnx", "temp"]


def test_the_action_passes_inputs_in_variables_only() -> None:
    action = cast("dict[str, Any]", yaml.safe_load((ROOT / "action.yml").read_text()))
    steps = action["runs"]["steps"]
    assert all("${{" not in step.get("run", "") for step in steps)
    used = json.dumps(steps)
    assert [name for name in action["inputs"] if f"inputs.{name}" not in used] == []
    assert steps[-1]["run"] == 'bash "$GITHUB_ACTION_PATH/.github/fits.sh"'


def test_the_hook() -> None:
    (hook,) = yaml.safe_load((ROOT / ".pre-commit-hooks.yaml").read_text())
    assert hook["entry"] == "lowtide fits"
    assert hook["files"] == r"\.(onnx|tflite)$"
