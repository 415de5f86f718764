"""Every damaged or hostile file is refused: one clear message, exit code 2, nothing written."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import TypedDict

import pytest

from tests.frontends.hostile import CASES

ROOT = Path(__file__).resolve().parents[2]
GIBIBYTE_IN_KIB = 1 << 20


class Outcome(TypedDict):
    case: str
    error: str
    message: str
    exit_code: int
    seconds: float
    unchanged: bool
    peak_kib: int
    child_peak_kib: int


@pytest.fixture(scope="module")
def outcomes(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Outcome]:
    folder = tmp_path_factory.mktemp("hostile")
    temporary = tmp_path_factory.mktemp("temporary")
    run = subprocess.run(
        [sys.executable, str(Path(__file__).with_name("refusal.py")), str(folder)],
        env={**os.environ, "PYTHONPATH": str(ROOT), "TMPDIR": str(temporary)},
        cwd=folder,
        capture_output=True,
        text=True,
        check=False,
    )
    found: dict[str, Outcome] = {}
    for line in run.stdout.splitlines():
        outcome: Outcome = json.loads(line)
        found[outcome["case"]] = outcome
    assert list(temporary.iterdir()) == [], "temporary files were left behind"
    assert {p.name for p in folder.iterdir()} <= set(CASES), "a file was written beside the cases"
    if run.returncode:
        found["crash"] = Outcome(
            case="crash",
            error=f"exit {run.returncode}",
            message=run.stderr[-2000:],
            exit_code=1,
            seconds=0,
            unchanged=False,
            peak_kib=0,
            child_peak_kib=0,
        )
    return found


@pytest.mark.parametrize("case", CASES)
def test_is_refused(case: str, outcomes: dict[str, Outcome]) -> None:
    assert case in outcomes, f"the process died: {outcomes.get('crash')}"
    outcome = outcomes[case]
    assert outcome["exit_code"] == 2, outcome
    assert outcome["error"] in ("ModelError", "InputError")
    assert outcome["message"].strip()
    assert outcome["message"].isprintable()
    assert len(outcome["message"]) < 2000
    assert outcome["unchanged"]


def test_memory_stays_below_a_gibibyte(outcomes: dict[str, Outcome]) -> None:
    assert max(o["peak_kib"] for o in outcomes.values()) < GIBIBYTE_IN_KIB
    assert max(o["child_peak_kib"] for o in outcomes.values()) < GIBIBYTE_IN_KIB
