"""`lowtide bench`: real runs of what is quick, and their comparison with the baseline."""

from __future__ import annotations

import json
import signal
import subprocess
import sys
from importlib.util import find_spec
from pathlib import Path

import pytest

from lowtide.bench import command, suites
from lowtide.bench.record import Record, load
from lowtide.bench.suites import SUITES, Experiment, peak_of, require
from lowtide.cli import main
from lowtide.errors import InputError, MissingExtraError

EXPERIMENTS = [each for suite in SUITES.values() for each in suite.experiments]


def run(*arguments: str) -> int:
    with pytest.raises(SystemExit) as caught:
        main(["bench", *arguments])
    code = caught.value.code
    assert isinstance(code, int)
    return code


def test_the_suites_are_those_that_are_promised() -> None:
    promised = ("schedule", "allocation", "remat", "onnxruntime", "tflm", "tensorflow", "tvm")
    assert tuple(SUITES) == promised
    assert all(any(e.quick is not None for e in s.experiments) for s in SUITES.values())
    assert len({e.name for e in EXPERIMENTS}) == len(EXPERIMENTS)


@pytest.mark.parametrize("experiment", EXPERIMENTS, ids=lambda e: e.name)
def test_experiments_are_runners_with_committed_results(experiment: Experiment) -> None:
    assert find_spec(experiment.module) is not None
    result = load(command.RESULTS / f"{experiment.name}.json")
    assert result.manifest.command[2] == experiment.module
    assert result.manifest.peak == peak_of(experiment.name) != ""


@pytest.mark.parametrize(
    "experiment", [e for e in EXPERIMENTS if e.quick is not None], ids=lambda e: e.name
)
def test_the_baseline_is_of_the_quick_run_as_it_is(experiment: Experiment) -> None:
    baseline = load(command.BASELINE / f"{experiment.name}.json")
    assert baseline.manifest.command[2] == experiment.module
    assert baseline.manifest.command[3:-2] == experiment.quick
    assert baseline.manifest.machine["calibration_cpu_s"]


def test_a_suite_runs_and_is_compared(tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    arguments = ("schedule", "--quick", "--only", "growth", "--output", str(tmp_path), "--check")
    assert run(*arguments, "--tolerance", "100") == 0
    shown = capfd.readouterr()
    assert "growth: now over the baseline" in shown.out
    assert "[1 of 1] growth" in shown.err
    assert "peak is most bytes of the instance's buffers live at once" in shown.err
    result = load(tmp_path / "growth.json")
    assert result.manifest.settings["sizes"] == [1000, 3000]
    assert (tmp_path / "growth.md").read_text().startswith("<!-- python -m lowtide.bench.growth")
    baseline = load(command.BASELINE / "growth.json")
    exact = {m.key: m.value for m in baseline.measures if m.unit == "bytes"}
    assert {m.key: m.value for m in result.measures if m.unit == "bytes"} == exact


def test_results_are_compared(tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    before = command.BASELINE / "schedules.json"
    document = json.loads(before.read_text())
    ours = [m for m in document["measures"] if m["unit"] == "bytes" and not m.get("peer")]
    ours[0]["value"] += 1
    now = tmp_path / "schedules.json"
    now.write_text(json.dumps(document))
    assert run("compare", str(before), str(before)) == 0
    assert run("compare", str(now), str(before)) == 1
    assert "**worse**" in capfd.readouterr().out
    assert run("compare", str(before), str(now)) == 0
    assert run("compare", str(tmp_path / "none.json")) == 2
    shown = capfd.readouterr().err
    assert shown == f"error: {tmp_path / 'none.json'} cannot be read: No such file or directory\n"


def test_the_committed_result_is_that_of_the_experiment(
    tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    document = json.loads((command.BASELINE / "growth.json").read_text())
    now = tmp_path / "mine.json"
    now.write_text(json.dumps(document))
    assert run("compare", str(now)) == 0  # with the quick one: what takes a time is there as it is
    shown = capfd.readouterr().out
    assert "| 6 | 1.000 |" in shown
    assert "settings" not in shown
    assert "only in the baseline" not in shown

    document["manifest"]["settings"]["sizes"] = [7]
    now.write_text(json.dumps(document))
    run("compare", str(now), "--tolerance", "1000")
    shown = capfd.readouterr().out
    assert "sizes [7], not [1000, 3000, 10000, 30000, 100000]" in shown
    assert "only in the baseline: branching 10000" in shown  # the whole one

    document["manifest"]["experiment"] = "../results/growth"
    now.write_text(json.dumps(document))
    assert run("compare", str(now)) == 2
    shown = capfd.readouterr().err
    assert "there is no committed result of ../results/growth: name an earlier one" in shown


def test_each_result_is_read_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    read: list[Path] = []

    def reads(path: Path) -> Record:
        read.append(path)
        return load(path)

    monkeypatch.setattr(command, "load", reads)
    monkeypatch.setattr(command, "BASELINE", tmp_path)
    growth = command.RESULTS / "growth.json"
    assert run("compare", str(growth)) == 0
    assert read == [growth, growth]  # the one that is given, the committed one
    read.clear()
    assert run("compare", str(growth), str(growth)) == 0
    assert read == [growth, growth]


def test_the_list_has_every_experiment(capfd: pytest.CaptureFixture[str]) -> None:
    assert run("list") == 0
    words = capfd.readouterr().out.split()
    assert all(e.name in words or f"{e.name}*" in words for e in EXPERIMENTS)


def test_an_experiment_that_fails_fails_the_suite(tmp_path: Path) -> None:
    (tmp_path / "empty").mkdir()
    arguments = ("allocation", "--quick", "--instances", str(tmp_path / "empty"))
    assert run(*arguments, "--output", str(tmp_path / "out")) == 1
    assert not list((tmp_path / "out").iterdir())


def test_an_interrupted_experiment_is_named(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    def interrupted(called: list[str]) -> int:
        if "lowtide.bench.growth" in called:
            raise KeyboardInterrupt
        return 0

    monkeypatch.setattr(command, "_call", interrupted)
    monkeypatch.setattr(command, "BASELINE", tmp_path / "none")
    assert run("schedule", "--quick", "--output", str(tmp_path)) == 130
    shown = capfd.readouterr().err
    assert f"growth: interrupted; results so far (1 of 2) are in {tmp_path}\n" in shown


@pytest.mark.parametrize(
    ("program", "grace_s", "code"),
    [("pass", 600.0, 0), ("import time; time.sleep(600)", 0.01, -signal.SIGKILL)],
)
def test_an_interrupted_experiment_has_time_to_end(
    monkeypatch: pytest.MonkeyPatch, program: str, grace_s: float, code: int
) -> None:
    class Interrupted(subprocess.Popen[bytes]):
        def wait(self, timeout: float | None = None) -> int:
            if not started:
                started.append(self)
                raise KeyboardInterrupt
            return super().wait(timeout)

    started: list[subprocess.Popen[bytes]] = []
    monkeypatch.setattr(subprocess, "Popen", Interrupted)
    monkeypatch.setattr(command, "_GRACE_S", grace_s)
    with pytest.raises(KeyboardInterrupt):
        command._call([sys.executable, "-c", program])  # pyright: ignore[reportPrivateUsage]
    assert [each.returncode for each in started] == [code]


def test_wrong_words_are_named(capfd: pytest.CaptureFixture[str]) -> None:
    assert run("schedule", "--only", "none") == 2
    assert "schedules, growth" in capfd.readouterr().err
    assert run("schedule", "--only", "growth", "--only", "none") == 2
    assert "no experiment none; it has: schedules, growth, tigris" in capfd.readouterr().err
    assert run("schedule", "--quick", "--only", "tigris") == 2
    assert "no quick experiment tigris; it has: schedules, growth" in capfd.readouterr().err
    assert run("schedule", "--instances", "no-such-folder") == 2
    assert "no-such-folder" in capfd.readouterr().err
    assert run("schedule", "--only", "growth", "--instances", ".") == 2
    assert "none is read by growth; drop the option" in capfd.readouterr().err
    assert run("schedule", "--tolerance", "0.9") == 2
    assert "--tolerance" in capfd.readouterr().err
    assert run("none") == 2
    with pytest.raises(InputError, match="no suite `none`; there are: schedule, "):
        require("none", EXPERIMENTS[0])


def test_where_nothing_can_be_written(tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "file").touch()
    assert run("schedule", "--quick", "--only", "growth", "-o", str(tmp_path / "file")) == 2
    assert "file cannot be written: File exists\n" in capfd.readouterr().err


def test_the_module_is_the_command(tmp_path: Path) -> None:
    command = [sys.executable, "-m", "lowtide.bench", "compare", str(tmp_path / "none.json")]
    ended = subprocess.run(command, capture_output=True, text=True, check=False)
    assert ended.returncode == 2
    assert ended.stderr.startswith("error: ")
    assert ended.stderr.count("\n") == 1


def test_a_peer_that_is_not_installed_is_left_out(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    def find_nothing(name: str) -> None:
        del name

    def ran(called: list[str]) -> int:
        names.append(called[2])
        return 0

    names: list[str] = []
    monkeypatch.setattr(suites, "find_spec", find_nothing)
    monkeypatch.setattr(command, "_call", ran)
    monkeypatch.setattr(command, "RESULTS", tmp_path / "none")
    assert run("schedule", "--output", str(tmp_path)) == 0
    assert names == ["lowtide.bench.schedules", "lowtide.bench.growth"]
    assert 'left out: suite schedule: tigris needs tigris: pip install "lowtide[peers]"' in (
        capfd.readouterr().err
    )
    assert run("schedule", "--only", "tigris", "--output", str(tmp_path)) == 2
    capfd.readouterr()
    assert run("schedule", "--only", "growth", "--check", "--output", str(tmp_path)) == 1
    assert "growth: there is no committed result of it here" in capfd.readouterr().err


def test_a_missing_extra_is_named_before_anything_runs(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    def find_nothing(name: str) -> None:
        del name

    monkeypatch.setattr(suites, "find_spec", find_nothing)
    with pytest.raises(MissingExtraError, match=r'pip install "lowtide\[tensorflow,edge\]"'):
        require("tflm", SUITES["tflm"].experiments[0])
    assert run("tvm", "--output", str(tmp_path / "out")) == 2
    assert 'pip install "lowtide[tvm]"' in capfd.readouterr().err
    assert not (tmp_path / "out").exists()
