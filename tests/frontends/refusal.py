"""Run every hostile case in this process and print what became of it, one JSON object a line.

    python refusal.py FOLDER

A process of its own, so that a crash shows as a case without a line, and so that its peak memory is
that of the cases and of nothing else.
"""

from __future__ import annotations

import json
import resource
import sys
import time
from pathlib import Path

from lowtide.errors import LowtideError
from lowtide.frontends.onnx import import_graph, read
from tests.frontends.hostile import CASES


def _snapshot(folder: Path) -> dict[str, int]:
    return {str(p.relative_to(folder)): p.lstat().st_mtime_ns for p in folder.rglob("*")}


def _own_peak_kib() -> int:
    """Of this program alone: getrusage remembers the process from which this one was forked."""
    status = Path("/proc/self/status").read_text()
    return int(status.split("VmHWM:")[1].split()[0])


def main() -> None:
    for name, build in CASES.items():
        folder = Path(sys.argv[1], name)
        folder.mkdir()
        path = build(folder)
        before = _snapshot(folder)
        start = time.perf_counter()
        error, message, code = "", "", 0
        try:
            import_graph(read(path).model)
        except LowtideError as caught:
            error, message, code = type(caught).__name__, str(caught), caught.exit_code
        except Exception as caught:
            error, message, code = type(caught).__name__, str(caught), 1
        outcome = {
            "case": name,
            "error": error,
            "message": message,
            "exit_code": code,
            "seconds": time.perf_counter() - start,
            "unchanged": _snapshot(folder) == before,
            "peak_kib": _own_peak_kib(),
            "child_peak_kib": resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss,
        }
        print(json.dumps(outcome), flush=True)


if __name__ == "__main__":
    main()
