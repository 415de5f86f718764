from __future__ import annotations

import json
import math
import os
import time
from pathlib import Path

import pytest

from lowtide.bench import protocol
from lowtide.bench.protocol import (
    commit,
    geometric_mean,
    machine,
    markdown,
    measure,
    one_core,
    write,
)


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
    write(tmp_path / "new" / "table", text, {"rows": [1]}, {"runs": 5})
    document = json.loads((tmp_path / "new" / "table.json").read_text())
    assert document["rows"] == [1]
    assert document["settings"] == {"runs": 5}
    assert document["machine"]["cpu"]
    first, *_, last = (tmp_path / "new" / "table.md").read_text().splitlines()
    assert "runs 5" in first
    assert last == "| x | 1 |"
