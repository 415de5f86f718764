"""The tutorial's script, on a tiny model."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

pytestmark = pytest.mark.tensorflow
pytest.importorskip("tensorflow", exc_type=ImportError)

SCRIPT = Path(__file__).parents[2] / "examples" / "train_within_budget.py"


def test_the_example_trains_within_its_budget(tmp_path: Path) -> None:
    done = subprocess.run(
        [sys.executable, str(SCRIPT), "--size", "32", "--batch", "4", "--filters", "8"],
        capture_output=True,
        text=True,
        env={**os.environ, "XDG_CACHE_HOME": str(tmp_path), "TF_CPP_MIN_LOG_LEVEL": "2"},
        check=False,
        timeout=300,
    )
    assert done.returncode == 0, done.stderr[-3000:]
    measured, planned = (
        int(re.findall(pattern, done.stdout)[0])
        for pattern in (r"measured peak .*\((\d+) bytes\)", r"planned peak +(\d+) bytes")
    )
    assert measured == pytest.approx(planned, rel=0.01)
    assert "accuracy" in done.stdout
    assert "% less" in done.stdout
