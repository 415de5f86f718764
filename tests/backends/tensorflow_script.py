"""Cases that run in a process of their own, since they change what TensorFlow is set to."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

__all__ = ["run_cases"]


def run_cases(script: Path, names: Sequence[str], cache: Path) -> dict[str, Any]:
    """What a script prints of the named cases, as JSON in its last line."""
    done = subprocess.run(
        [sys.executable, str(script), *names],
        capture_output=True,
        text=True,
        env={**os.environ, "XDG_CACHE_HOME": str(cache), "TF_CPP_MIN_LOG_LEVEL": "2"},
        check=False,
        timeout=600,
    )
    assert done.returncode == 0, done.stderr[-3000:]
    found: dict[str, Any] = json.loads(done.stdout.splitlines()[-1])
    return found
