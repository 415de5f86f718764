"""What every benchmark does alike: one core, CPU-seconds, medians, a record of the machine.

bench/README.md says why.
"""

from __future__ import annotations

import json
import math
import os
import platform
import statistics
import subprocess
import time
from dataclasses import dataclass
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import TYPE_CHECKING, Generic, TypeVar

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Mapping, Sequence

__all__ = [
    "Measured",
    "commit",
    "geometric_mean",
    "machine",
    "markdown",
    "measure",
    "one_core",
    "write",
]

T = TypeVar("T")

# Threads of the libraries that numpy may call; they are read when these are first loaded.
_THREADS = ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS")


@dataclass(frozen=True, slots=True)
class Measured(Generic[T]):
    """The answer and the CPU-seconds of every run."""

    answers: tuple[T, ...]
    cpu_seconds: tuple[float, ...]

    @property
    def median(self) -> float:
        """Of the CPU-seconds."""
        return statistics.median(self.cpu_seconds)


def one_core() -> None:
    """Keep this process, and what it starts, on one of the cores that it may use."""
    for name in _THREADS:
        os.environ.setdefault(name, "1")
    if hasattr(os, "sched_setaffinity"):
        os.sched_setaffinity(0, {max(os.sched_getaffinity(0))})


def measure(
    call: Callable[[], T], runs: int, *, repeat: Callable[[T], bool] = lambda _: True
) -> Measured[T]:
    """Call up to `runs` times; `repeat` says of an answer whether to measure it again.

    CPU-seconds are user and system time of this process, so that a busy machine counts for less
    than it does in wall time.
    """
    answers: list[T] = []
    seconds: list[float] = []
    while True:
        begin = time.process_time()
        answers.append(call())
        seconds.append(time.process_time() - begin)
        if len(seconds) >= runs or not repeat(answers[-1]):
            return Measured(tuple(answers), tuple(seconds))


def geometric_mean(ratios: Iterable[float]) -> float:
    """Of positive numbers; not a number if there are none."""
    logs = [math.log(ratio) for ratio in ratios]
    return math.exp(sum(logs) / len(logs)) if logs else math.nan


def machine() -> dict[str, str]:
    """CPU, system, and the versions of everything that takes part."""
    record = {
        "cpu": _cpu_model(),
        "cores": str(os.cpu_count()),
        "system": f"{platform.system()} {platform.machine()}",
        "python": platform.python_version(),
    }
    for package in ("lowtide", "numpy", "networkx", "onnx", "onnxruntime"):
        try:
            record[package] = version(package)
        except PackageNotFoundError:
            record[package] = "-"
    found = commit()
    if found is not None:
        record["commit"] = found
    return record


def commit() -> str | None:
    """The commit of the sources, with `+` if they were changed since; None outside git."""
    folder = Path(__file__).resolve().parent

    def git(*arguments: str) -> str:
        command = ["git", "-C", str(folder), *arguments]
        return subprocess.run(command, capture_output=True, text=True, check=True).stdout.strip()

    try:
        changed = git("status", "--porcelain", "--untracked-files=no")
        return git("rev-parse", "--short=12", "HEAD") + ("+" if changed else "")
    except (OSError, subprocess.CalledProcessError):
        return None


def markdown(header: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    """A table; the first column is left-aligned, the others right."""
    lines = ["| " + " | ".join(header) + " |", "|---|" + "---:|" * (len(header) - 1)]
    lines += ["| " + " | ".join(row) + " |" for row in rows]
    return "\n".join(lines)


def write(
    output: Path, text: str, document: Mapping[str, object], command: Mapping[str, object]
) -> None:
    """`output`.md and `output`.json, each with the machine and the settings of the run."""
    record = machine()
    settings = ", ".join(f"{k} {v}" for k, v in {**record, **command}.items())
    output.parent.mkdir(parents=True, exist_ok=True)
    output.with_suffix(".md").write_text(f"<!-- {settings} -->\n\n{text}")
    content = {"machine": record, "settings": dict(command), **document}
    output.with_suffix(".json").write_text(json.dumps(content, indent=1) + "\n")


def _cpu_model() -> str:
    try:
        lines = Path("/proc/cpuinfo").read_text().splitlines()
    except OSError:
        lines = []
    models = [line.partition(":")[2].strip() for line in lines if line.startswith("model name")]
    return models[0] if models else platform.processor() or "unknown"
