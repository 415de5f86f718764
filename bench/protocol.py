"""What every benchmark does alike: one core, CPU-seconds, medians, a record of the machine.

bench/README.md says why.
"""

from __future__ import annotations

import hashlib
import math
import os
import platform
import statistics
import subprocess
import sys
import time
from contextlib import suppress
from dataclasses import dataclass
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import TYPE_CHECKING, Generic, NoReturn, TypeVar

from lowtide.bench.record import Manifest, Measure, Record
from lowtide.bench.suites import peak_of
from lowtide.errors import InputError, LowtideError
from lowtide.outputs import Pending

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Mapping, Sequence

__all__ = [
    "Measured",
    "calibrate",
    "command_line",
    "commit",
    "end",
    "geometric_mean",
    "header",
    "machine",
    "markdown",
    "measure",
    "one_core",
    "write",
]

T = TypeVar("T")

_PACKAGES = (
    *("lowtide", "numpy", "networkx", "onnx", "onnx-ir", "onnxruntime", "ortools"),
    *("tensorflow-cpu", "keras", "apache-tvm", "tflite-micro", "ai-edge-litert"),
    *("ethos-u-vela", "tigris-ml"),
)
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
    for package in _PACKAGES:
        with suppress(PackageNotFoundError):
            record[package] = version(package)
    found = commit()
    if found is not None:
        record["commit"] = found
    return record


def calibrate(rounds: int = 3) -> float:
    """CPU-seconds of a fixed piece of work, the least of some rounds: how fast this machine is."""
    block = bytes(1 << 20)

    def work() -> int:
        hashed = hashlib.sha256()
        for _ in range(16):
            hashed.update(block)
        return sum(k * k % 7 for k in range(300_000)) + hashed.digest()[0]

    return round(min(measure(work, rounds).cpu_seconds), 4)


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
    """A table; the first column is left-aligned, the others right; a bar in a cell is escaped."""
    lines = [_line(header), "|---|" + "---:|" * (len(header) - 1)]
    lines += [_line(row) for row in rows]
    return "\n".join(lines)


def _line(cells: Sequence[str]) -> str:
    return "| " + " | ".join(cell.replace("|", r"\|") for cell in cells) + " |"


def write(
    output: Path,
    text: str,
    document: Mapping[str, object],
    settings: Mapping[str, object],
    *,
    measures: Iterable[Measure] = (),
    models: Mapping[str, str] | None = None,
    note: str = "",
) -> None:
    """`output`.md and `output`.json, each with the manifest of the run; see `record`.

    The experiment is named after the file, and its command is this process's.

    Raises:
        InputError: they cannot be written; they appear together or not at all.
    """
    known = machine()
    here: dict[str, object] = {key: known.pop(key) for key in ("cpu", "cores", "system")}
    here["calibration_cpu_s"] = calibrate()
    manifest = Manifest(
        experiment=output.name,
        command=command_line(sys.orig_argv),
        settings=settings,
        machine=here,
        commit=known.pop("commit", ""),
        versions=known,
        models=models or {},
        peak=peak_of(output.name),
        note=note,
    )
    try:
        output.parent.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise InputError(f"cannot write {output}: {error.strerror or error}") from None
    page = f"<!-- {header(manifest)} -->\n\n{text}"
    record = Record(manifest, tuple(measures), document)
    with Pending() as files:
        files.add(output.with_name(f"{output.name}.md"), page.encode())
        files.add(output.with_name(f"{output.name}.json"), record.to_json().encode())
        files.commit()


def header(manifest: Manifest) -> str:
    """A manifest in a line, without the models."""
    told = {**manifest.machine, **manifest.versions, "commit": manifest.commit or "-"}
    told |= manifest.settings
    facts = ", ".join(f"{key} {value}" for key, value in told.items())
    return f"{' '.join(manifest.command)}: {facts}"


def command_line(arguments: Sequence[str]) -> tuple[str, ...]:
    """What was called, as anyone would: no folders of this machine."""
    called = ["python", *arguments[1:]]
    return tuple(Path(part).name if Path(part).is_absolute() else part for part in called)


def end(main: Callable[[], int]) -> NoReturn:
    """Run a runner's command and leave with its exit code; an error is one line on stderr."""
    try:
        code = main()
    except LowtideError as error:
        print(f"error: {error}", file=sys.stderr)
        code = error.exit_code
    except KeyboardInterrupt:
        print("interrupted", file=sys.stderr)
        code = 130
    sys.exit(code)


def _cpu_model() -> str:
    try:
        lines = Path("/proc/cpuinfo").read_text().splitlines()
    except OSError:
        lines = []
    models = [line.partition(":")[2].strip() for line in lines if line.startswith("model name")]
    return models[0] if models else platform.processor() or "unknown"
