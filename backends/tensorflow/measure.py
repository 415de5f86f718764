"""What a function really allocates: TensorFlow's own log of allocations, read in a child process.

    parent: export the function ─▶ child: TF_CPP_VMODULE=log_memory=2, run twice, read the log
                                           marker │ allocate 13: 524288 B │ free 13 │ ... │ marker

Every tensor that a kernel takes from the CPU allocator is in the log with an id and its bytes, and
so is its release: outputs, temporaries (oneDNN's scratchpads among them), and the bytes of
variables that an assignment replaces. The peak is the highest sum over what was live at the start:
arguments and variables are not in it. The first call, which compiles and fills caches, is not
measured.
"""

from __future__ import annotations

import os
import re
import sys
import tempfile
import time
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, cast

import numpy as np

from lowtide import child
from lowtide.backends.tensorflow.call import rewriting_off
from lowtide.backends.tensorflow.portable import export_function, import_call
from lowtide.tensorflow_types import load_tensorflow

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Sequence

    from lowtide.tensorflow_types import TfFunction

__all__ = [
    "Allocation",
    "Measurement",
    "measure_function",
    "measure_saved_model",
    "measure_seconds",
    "parse_log",
]

_START, _STOP = "@@lowtide start", "@@lowtide stop"
_ALLOCATION = re.compile(
    r'__LOG_MEMORY__ MemoryLogTensorAllocation .*?(?:kernel_name: "(?P<kernel>[^"]*)" )?tensor '
    r'.*?allocated_bytes: (?P<bytes>\d+) allocator_name: "(?P<pool>[^"]*)" '
    r"allocation_id: (?P<id>\d+)"
)
_RELEASE = re.compile(
    r"__LOG_MEMORY__ MemoryLogTensorDeallocation .*?allocation_id: (?P<id>\d+) "
    r'allocator_name: "(?P<pool>[^"]*)"'
)
_TIMEOUT_S = 600.0


@dataclass(frozen=True, slots=True)
class Allocation:
    """One event of the log: an allocation by an op, or (negative) a release."""

    op: str
    nbytes: int


@dataclass(frozen=True, slots=True)
class Measurement:
    """What one call allocated.

    Attributes:
        peak_bytes: the most that was live at once, over what was live before the call.
        peak_op: the op whose allocation reached it.
        kept_bytes: what is still live after the call, the results held.
        events: allocations and releases in order.
    """

    peak_bytes: int
    peak_op: str
    kept_bytes: int
    events: tuple[Allocation, ...]


def measure_function(
    function: TfFunction, arguments: Sequence[object] | None = None, *, as_is: bool = True
) -> Measurement:
    """Run a `ConcreteFunction` in a child process and count what it allocates.

    Args:
        function: its variables are replaced by others of the same shapes.
        arguments: flat values of its inputs; made up when None.
        as_is: with Grappler off, as planned functions are run; else as TensorFlow runs it.

    Raises:
        InputError: the function cannot be sent to another process.
        ChildError: it failed there.
    """
    with tempfile.TemporaryDirectory(prefix="lowtide-tf-") as folder:
        request = export_function(function, Path(folder), arguments)
        request["as_is"] = as_is
        reply = child.run(
            "lowtide.backends.tensorflow.measure:log_child", request, timeout_s=_TIMEOUT_S
        )
    return _measurement(reply)


def measure_saved_model(folder: Path, signature: str, values: Path) -> Measurement:
    """Load a SavedModel in a child process, call a signature, and count what it allocates.

    Args:
        folder: the SavedModel.
        signature: its name.
        values: an .npz of the arguments by name; they are cast to what the signature takes.

    Raises:
        ChildError: it failed there.
    """
    request = {"folder": str(folder), "signature": signature, "values": str(values)}
    reply = child.run(
        "lowtide.backends.tensorflow.measure:log_saved_child", request, timeout_s=_TIMEOUT_S
    )
    return _measurement(reply)


def _measurement(reply: dict[str, object]) -> Measurement:
    events = [Allocation(str(op), int(n)) for op, n in cast("list[tuple[str, int]]", reply["log"])]
    return Measurement(
        int(cast("int", reply["peak"])),
        str(reply["op"]),
        int(cast("int", reply["kept"])),
        tuple(events),
    )


def measure_seconds(
    function: TfFunction,
    arguments: Sequence[object] | None = None,
    *,
    calls: int = 5,
    cpu: bool = False,
) -> float:
    """The least time of one call among `calls`, in a child process, without the log.

    Args:
        function: as in `measure_function`.
        arguments: as in `measure_function`.
        calls: how many; one more goes before.
        cpu: CPU-seconds of all threads, on which a busy machine tells less; else wall time.
    """
    with tempfile.TemporaryDirectory(prefix="lowtide-tf-") as folder:
        request = export_function(function, Path(folder), arguments)
        request["calls"] = calls
        reply = child.run(
            "lowtide.backends.tensorflow.measure:time_child", request, timeout_s=_TIMEOUT_S
        )
    return float(cast("float", reply["cpu_seconds" if cpu else "seconds"]))


def parse_log(lines: Iterable[str]) -> Measurement:
    """The measurement between the two markers of a log."""
    sizes: dict[tuple[str, str], int] = {}
    events: list[Allocation] = []
    inside, live, peak, op = False, 0, 0, ""
    for line in lines:
        if line.startswith("@@lowtide"):
            inside = line.startswith(_START)
            continue
        made = _ALLOCATION.search(line) if "__LOG_MEMORY__" in line else None
        freed = _RELEASE.search(line) if made is None and "__LOG_MEMORY__" in line else None
        change, who = 0, ""
        if made is not None:
            key = made["pool"], made["id"]
            if key not in sizes:
                change = sizes[key] = int(made["bytes"])
                who = made["kernel"] or ""
        elif freed is not None:
            change = -sizes.pop((freed["pool"], freed["id"]), 0)
        if inside and change:
            live += change
            events.append(Allocation(who, change))
            if live > peak:
                peak, op = live, who
    return Measurement(peak, op, live, tuple(events))


def _config(as_is: bool) -> bytes:
    return cast("bytes", rewriting_off().SerializeToString(deterministic=True)) if as_is else b""


def _logged(make: Callable[[], Callable[[], object]]) -> dict[str, object]:
    """Make a call and run it twice; what the second one allocates."""
    os.environ.update(TF_CPP_VMODULE="log_memory=2", TF_CPP_MIN_LOG_LEVEL="0")
    os.environ.update(TF_CPP_MAX_VLOG_LEVEL="2", CUDA_VISIBLE_DEVICES="")
    with tempfile.TemporaryFile() as log:
        sys.stderr.flush()
        before = os.dup(2)
        os.dup2(log.fileno(), 2)
        try:
            call = make()
            call()
            os.write(2, f"\n{_START}\n".encode())
            results = call()
            os.write(2, f"\n{_STOP}\n".encode())
            del results
        finally:
            os.dup2(before, 2)
            os.close(before)
        log.seek(0)
        found = parse_log(raw.decode(errors="replace") for raw in log)
    return {
        "peak": found.peak_bytes,
        "op": found.peak_op,
        "kept": found.kept_bytes,
        "log": [(event.op, event.nbytes) for event in found.events],
    }


def log_child(request: dict[str, object]) -> dict[str, object]:
    """The child's side of `measure_function`."""
    return _logged(lambda: import_call(request, _config(bool(request["as_is"]))))


def log_saved_child(request: dict[str, object]) -> dict[str, object]:
    """The child's side of `measure_saved_model`."""

    def make() -> Callable[[], object]:
        tensorflow = load_tensorflow()
        loaded = tensorflow.saved_model.load(str(request["folder"]))
        function = loaded.signatures[str(request["signature"])]
        arguments: dict[str, object] = {}
        with np.load(str(request["values"])) as archive:
            for name, spec in function.structured_input_signature[1].items():
                value = tensorflow.constant(archive[name])
                arguments[name] = (
                    value if spec.dtype == value.dtype else tensorflow.cast(value, spec.dtype)
                )
        return lambda: (loaded, function(**arguments))

    return _logged(make)


def time_child(request: dict[str, object]) -> dict[str, object]:
    """The child's side of `measure_seconds`."""
    os.environ["CUDA_VISIBLE_DEVICES"] = ""
    call = import_call(request, _config(True))
    call()
    seconds: list[float] = []
    cpu: list[float] = []
    for _ in range(int(str(request["calls"]))):
        start, used = time.perf_counter(), time.process_time()
        call()
        seconds.append(time.perf_counter() - start)
        cpu.append(time.process_time() - used)
    return {"seconds": min(seconds), "cpu_seconds": min(cpu)}
