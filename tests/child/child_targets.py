"""What the tests run in child processes; each notes its process id in a folder."""

from __future__ import annotations

import os
import subprocess
import sys
import time
from pathlib import Path

from lowtide import child

_SLEEP = "import time; time.sleep(600)"


def note(folder: object, name: str, pid: int) -> None:
    partial = Path(str(folder), f"{name}.partial")
    partial.write_text(str(pid))
    partial.replace(Path(str(folder), name))


def nested(request: dict[str, object]) -> dict[str, object]:
    """A child with a process of its own, and with a child."""
    note(request["folder"], "outer", os.getpid())
    with subprocess.Popen([sys.executable, "-c", _SLEEP]) as process:
        note(request["folder"], "plain", process.pid)
        return child.run("child_targets:leaf", request, timeout_s=600.0)


def leaf(request: dict[str, object]) -> dict[str, object]:
    note(request["folder"], "inner", os.getpid())
    time.sleep(600)
    return {}


def answer(request: dict[str, object]) -> dict[str, object]:
    return {"ppid": os.getppid(), "given": request["given"]}
