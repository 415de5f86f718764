from __future__ import annotations

import json
import math
import os
import time
from pathlib import Path

import pytest

from lowtide.bench import protocol
from lowtide.bench.protocol import (
    calibrate,
    command_line,
    commit,
    end,
    geometric_mean,
    machine,
    markdown,
    measure,
    one_core,
    write,
)
from lowtide.bench.record import Measure, load
from lowtide.errors import InputError


def test_measure_repeats_while_it_is_told_to() -> None:
    answers = iter(range(10))
    measured = measure(lambda: next(answers), 5)
    assert measured.answers == (0, 1, 2, 3, 4)
    assert len(measured.cpu_seconds) == 5
    assert measured.median == sorted(measured.cpu_seconds)[2]
    assert measure(lambda: next(answers), 5, repeat=lambda a: a < 6).answers == (5, 6)


def test_measure_counts_cpu_time(monkeypatch: pytest.MonkeyPatch) -> None:
    clock = iter([0.0, 3.0, 3.0, 4.0, 10.0, 12.0])
    monkeypatch.setattr(time, "process_time", lambda: next(clock))
    measured = measure(lambda: None, 3)
    assert measured.cpu_seconds == (3.0, 1.0, 2.0)
    assert measured.median == 2.0


def test_geometric_mean() -> None:
    assert geometric_mean([1.0, 4.0]) == pytest.approx(2.0)
    assert math.isnan(geometric_mean([]))


def test_the_machine_is_recorded() -> None:
    record = machine()
    assert record["cpu"]
    assert record["lowtide"] != "-"
    assert {"python", "numpy", "system", "cores"} <= record.keys()
    assert record.get("commit") == commit()


def test_outside_git_there_is_no_commit(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr(protocol, "__file__", str(tmp_path / "protocol.py"))
    monkeypatch.setenv("GIT_CEILING_DIRECTORIES", str(tmp_path.parent))
    assert commit() is None
    monkeypatch.setenv("PATH", str(tmp_path))
    assert commit() is None
    assert "commit" not in machine()


def test_one_core(monkeypatch: pytest.MonkeyPatch) -> None:
    kept: list[object] = []

    def usable(process: int) -> set[int]:
        return {2, 5, 3}

    def keep(process: int, cores: set[int]) -> None:
        kept.append((process, cores))

    monkeypatch.setattr(os, "sched_getaffinity", usable, raising=False)
    monkeypatch.setattr(os, "sched_setaffinity", keep, raising=False)
    monkeypatch.setenv("OMP_NUM_THREADS", "7")
    monkeypatch.delenv("OPENBLAS_NUM_THREADS", raising=False)
    monkeypatch.setattr(os, "environ", dict(os.environ))
    one_core()
    assert kept == [(0, {5})]
    assert os.environ["OPENBLAS_NUM_THREADS"] == "1"
    assert os.environ["OMP_NUM_THREADS"] == "7"  # what the user set stays


def test_tables_and_files(tmp_path: Path) -> None:
    text = markdown(["a", "b"], [["x", "1"]])
    assert text == "| a | b |\n|---|---:|\n| x | 1 |"
    assert markdown(["a"], [["x|y"]]).endswith("\n| x\\|y |")
    measured = [Measure("a", "us", "peak", "bytes", 1)]
    write(tmp_path / "new" / "table", text, {"rows": [1]}, {"runs": 5}, measures=measured)
    document = json.loads((tmp_path / "new" / "table.json").read_text())
    assert document["rows"] == [1]
    record = load(tmp_path / "new" / "table.json")
    assert record.rows == {"rows": [1]}
    assert record.manifest.experiment == "table"
    assert record.manifest.settings == {"runs": 5}
    assert record.manifest.machine["cpu"]
    assert record.manifest.machine["calibration_cpu_s"]
    assert record.manifest.versions["lowtide"]
    assert record.manifest.command[0] == "python"
    assert record.measures == (Measure("a", "us", "peak", "bytes", 1),)
    first, *_, last = (tmp_path / "new" / "table.md").read_text().splitlines()
    assert "runs 5" in first
    assert last == "| x | 1 |"


def test_a_result_that_cannot_be_written_is_named(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("kept")
    with pytest.raises(InputError, match=r"cannot write .*x: "):
        write(tmp_path / "file" / "x", "", {}, {})
    (tmp_path / "y.json").mkdir()
    with pytest.raises(InputError, match=r"cannot write .*y.json: "):
        write(tmp_path / "y", "", {}, {})
    assert (tmp_path / "file").read_text() == "kept"
    assert sorted(path.name for path in tmp_path.iterdir()) == ["file", "y.json"]


def test_the_definition_of_peak_is_in_the_manifest(tmp_path: Path) -> None:
    write(tmp_path / "schedules", "", {}, {})
    assert "live at once" in load(tmp_path / "schedules.json").manifest.peak


def test_commands_name_no_folder_of_this_machine(tmp_path: Path) -> None:
    called = ["/usr/bin/python3", "-m", "lowtide.bench.remat", "--instances", str(tmp_path / "x")]
    assert command_line([*called, "--output", "out/remat"]) == (
        *("python", "-m", "lowtide.bench.remat", "--instances", "x"),
        *("--output", "out/remat"),
    )


def test_calibration_is_the_least_of_its_rounds(monkeypatch: pytest.MonkeyPatch) -> None:
    clock = iter([0.0, 3.0, 3.0, 4.0])
    monkeypatch.setattr(time, "process_time", lambda: next(clock))
    assert calibrate(2) == 1.0


@pytest.mark.parametrize(("raised", "code"), [(InputError("no"), 2), (KeyboardInterrupt(), 130)])
def test_runners_end_with_a_line_and_a_code(
    raised: BaseException, code: int, capsys: pytest.CaptureFixture[str]
) -> None:
    def fail() -> int:
        raise raised

    with pytest.raises(SystemExit) as caught:
        end(fail)
    assert caught.value.code == code
    assert len(capsys.readouterr().err.splitlines()) == 1
    with pytest.raises(SystemExit) as caught:
        end(lambda: 1)
    assert caught.value.code == 1
