"""Child processes end with their parents, whatever ends those."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pytest

from lowtide import child
from lowtide.child import ChildError

HERE = Path(__file__).parent
PARENT = """
import json, signal, sys
from lowtide import child
signal.signal(signal.SIGINT, signal.default_int_handler)
child.run("child_targets:" + sys.argv[1], json.loads(sys.argv[2]), timeout_s=float(sys.argv[3]))
"""
PATIENCE_S = 120.0


def gone(pid: int) -> bool:
    """Whether a process ended; one that nobody waited for has."""
    try:
        os.kill(pid, 0)
        state = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0]
    except ProcessLookupError:
        return True
    except OSError:  # no /proc: it is there
        return False
    return state in "ZX"


def until(folder: Path, *names: str) -> list[int]:
    """Process ids, as soon as they are noted."""
    end = time.monotonic() + PATIENCE_S
    while not all((folder / name).exists() for name in names):
        assert time.monotonic() < end, f"not started: {names}"
        time.sleep(0.05)
    return [int((folder / name).read_text()) for name in names]


def ends(pids: list[int]) -> bool:
    end = time.monotonic() + PATIENCE_S
    while not all(map(gone, pids)) and time.monotonic() < end:
        time.sleep(0.05)
    left = [pid for pid in pids if not gone(pid)]
    for pid in left:
        os.kill(pid, signal.SIGKILL)
    return not left


def start(target: str, folder: Path, **request: object) -> subprocess.Popen[bytes]:
    text = json.dumps({"folder": str(folder), **request})
    return subprocess.Popen(
        [sys.executable, "-c", PARENT, target, text, "600"],
        env={**os.environ, "PYTHONPATH": str(HERE)},
        stderr=subprocess.DEVNULL,
    )


def test_grandchildren_end_when_the_parent_is_killed(tmp_path: Path) -> None:
    with start("nested", tmp_path) as parent:
        outer, inner, plain = until(tmp_path, "outer", "inner", "plain")
        parent.kill()
    assert ends([outer, inner])
    os.kill(plain, signal.SIGKILL)  # started past this module, and nobody was left to end it


def test_all_below_end_when_the_parent_gives_up(tmp_path: Path) -> None:
    with start("nested", tmp_path) as parent:
        pids = until(tmp_path, "outer", "inner", "plain")
        parent.send_signal(signal.SIGINT)
    assert ends(pids)


def test_all_below_end_at_the_time_limit(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PYTHONPATH", str(HERE))
    original: Any = vars(subprocess.Popen)["communicate"]

    def communicate(self: object, *args: object, **kwargs: object) -> object:
        if kwargs.get("timeout") == 77.0:  # as soon as all are there, the time is over
            until(tmp_path, "outer", "inner", "plain")
            raise subprocess.TimeoutExpired("child", 77.0)
        return original(self, *args, **kwargs)

    monkeypatch.setattr(subprocess.Popen, "communicate", communicate)
    with pytest.raises(ChildError, match="no answer within 77 s"):
        child.run("child_targets:nested", {"folder": str(tmp_path)}, timeout_s=77.0)
    assert ends(until(tmp_path, "outer", "inner", "plain"))


def test_a_thread_looks_where_the_system_has_no_signal(tmp_path: Path) -> None:
    watcher = (
        "import sys, time; from lowtide import child; sys.platform = 'other'; "
        "child._die_with(int(sys.argv[1])); print('up', flush=True); time.sleep(600)"
    )
    starter = (
        "import os, subprocess, sys; p = subprocess.Popen([sys.executable, '-c', sys.argv[1], "
        "str(os.getpid())], stdout=subprocess.PIPE); p.stdout.readline(); "
        "print(p.pid, flush=True); sys.stdin.read()"
    )
    with subprocess.Popen(
        [sys.executable, "-c", starter, watcher],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
    ) as parent:
        assert parent.stdout is not None
        pid = int(parent.stdout.readline())
        assert not gone(pid)
        parent.kill()
    assert ends([pid])


def test_a_child_whose_parent_is_gone_does_not_start() -> None:
    code = "from lowtide import child; child._die_with(1 << 30); print('went on')"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, check=False)
    assert done.returncode == 1
    assert done.stdout == b""


def test_a_child_answers_its_parent(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PYTHONPATH", str(HERE))
    reply = child.run("child_targets:answer", {"given": [1, "two"]}, timeout_s=PATIENCE_S)
    assert reply == {"ppid": os.getpid(), "given": [1, "two"]}
