"""Run one function of ours in a child process, under limits.

A runtime that crashes, hangs or exhausts memory on a hostile model takes only the child with it,
and a child is the one place where an allocation meter can be preloaded.

    parent: run("package.module:function", request)  ->  JSON request in a file
    child:  function(request) -> JSON-able result    ->  JSON reply in a file

No child outlives its parent: it asks the system for a signal when the parent ends, however that
happens (elsewhere than on Linux a thread of it looks). What a child started without this module is
in its process group, which is killed with it where the parent gives it up.
"""

from __future__ import annotations

import ctypes
import importlib
import json
import os
import signal
import subprocess
import sys
import tempfile
import threading
import time
from pathlib import Path
from typing import TYPE_CHECKING, cast

from lowtide import errors
from lowtide.errors import LowtideError

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

__all__ = ["ChildError", "run", "serve"]

_PR_SET_PDEATHSIG = 1
_WATCH_S = 0.5


class ChildError(LowtideError):
    """The child died (crash, limit, timeout) instead of answering."""


def run(
    target: str,
    request: Mapping[str, object],
    *,
    timeout_s: float,
    memory_limit_bytes: int | None = None,
    preload: Path | None = None,
) -> dict[str, object]:
    """Call `target` (`module:function`) with `request` in a child process and return its reply.

    Args:
        target: where the function is; it takes and returns a JSON-able dictionary.
        request: the argument; large arrays travel through files whose paths it names.
        timeout_s: wall time after which the child is killed.
        memory_limit_bytes: address space beyond what the child's imports take; None for no limit.
        preload: a shared library for LD_PRELOAD.

    Raises:
        ChildError: the child crashed, ran out of time or memory, or gave no reply.
        LowtideError: whatever error of ours the function raised, of the same class.
    """
    with tempfile.TemporaryDirectory(prefix="lowtide-") as folder:
        request_path, reply_path = Path(folder, "request.json"), Path(folder, "reply.json")
        request_path.write_text(json.dumps(dict(request)))
        # What a library leaves in the temporary folder (ORT's telemetry does) goes with ours.
        environment = {**os.environ, "TMPDIR": folder}
        if preload is not None:
            environment["LD_PRELOAD"] = str(preload)
        command = [sys.executable, "-c", "from lowtide.child import serve; serve()"]
        command += [target, str(request_path), str(reply_path), str(memory_limit_bytes or 0)]
        command += [str(os.getpid())]
        with subprocess.Popen(
            command,
            env=environment,
            cwd=folder,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.PIPE,
            process_group=0,
        ) as process:
            try:
                _, noise = process.communicate(timeout=timeout_s)
            except subprocess.TimeoutExpired:
                _kill(process)
                raise ChildError(f"no answer within {timeout_s:g} s from {target}") from None
            except BaseException:
                _kill(process)
                process.wait()  # after Ctrl-C, Popen itself does not
                raise
        if not reply_path.exists():
            tail = noise.decode(errors="replace").strip().splitlines()[-1:]
            how = f"signal {-process.returncode}" if process.returncode < 0 else "no reply"
            raise ChildError(f"{target} died ({how}): {' '.join(tail)[:300]}")
        reply = cast("dict[str, object]", json.loads(reply_path.read_text()))
    if "error" in reply:
        kind = getattr(errors, str(reply["error"]), ChildError)
        raise kind(str(reply["message"]))
    return cast("dict[str, object]", reply["result"])


def serve() -> None:
    """The child's side."""
    target, request_path, reply_path, limit, parent = sys.argv[1:6]
    _die_with(int(parent))
    module, _, name = target.partition(":")
    reply: dict[str, object]
    try:
        function = cast(
            "Callable[[object], object]", getattr(importlib.import_module(module), name)
        )
        if int(limit):
            _limit_memory(int(limit))
        reply = {"result": function(json.loads(Path(request_path).read_text()))}
    except (Exception, KeyboardInterrupt) as error:
        kind = type(error).__name__ if isinstance(error, LowtideError) else "ChildError"
        text = str(error) if isinstance(error, LowtideError) else f"{type(error).__name__}: {error}"
        reply = {"error": kind, "message": text}
    partial = Path(reply_path + ".partial")
    partial.write_text(json.dumps(reply))
    partial.replace(reply_path)
    sys.stdout.flush()
    os._exit(0)  # a runtime's atexit handlers have no say in whether the reply counts


def _kill(process: subprocess.Popen[bytes]) -> None:
    """Kill a child that was not waited for, and its process group."""
    try:
        os.killpg(process.pid, signal.SIGKILL)
    except (AttributeError, OSError):  # Windows; a group that is gone, or has others' processes
        process.kill()


def _die_with(parent: int) -> None:
    """End this process when its parent, of that id, ends."""
    asked = False
    if sys.platform == "linux":
        try:
            libc = ctypes.CDLL(None, use_errno=True)
            asked = libc.prctl(_PR_SET_PDEATHSIG, int(signal.SIGKILL), 0, 0, 0) == 0
        except (OSError, AttributeError):  # a C library without it
            asked = False
    if os.getppid() != parent:  # it ended before
        os._exit(1)
    if not asked:
        threading.Thread(target=_watch, args=(parent,), daemon=True).start()


def _watch(parent: int) -> None:
    while os.getppid() == parent:
        time.sleep(_WATCH_S)
    os._exit(1)


def _limit_memory(extra: int) -> None:
    """Allow `extra` bytes of address space beyond what is mapped now (Linux only)."""
    try:
        import resource

        mapped = int(Path("/proc/self/statm").read_text().split()[0]) * resource.getpagesize()
        resource.setrlimit(resource.RLIMIT_AS, (mapped + extra, mapped + extra))
    except (ImportError, OSError, ValueError):
        return
