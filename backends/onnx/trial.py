"""The child process's side of verification and measurement: sessions are made and run here only."""

# ONNX Runtime's extension module has no stubs:
# pyright: reportUnknownParameterType=false, reportUnknownVariableType=false
# pyright: reportUnknownArgumentType=false

from __future__ import annotations

import ctypes
import gc
import statistics
import time
from pathlib import Path
from typing import TYPE_CHECKING, TypedDict, cast

import numpy as np

from lowtide.backends.onnx import feeds as random_inputs
from lowtide.backends.onnx.arena import ArenaSession
from lowtide.backends.onnx.compare import Difference, compare
from lowtide.backends.onnx.profile import durations, executed
from lowtide.backends.onnx.session import options

if TYPE_CHECKING:
    from collections.abc import Mapping

    import numpy.typing as npt
    import onnxruntime

    from lowtide.backends.onnx.case import SessionRequest

__all__ = ["latencies", "numerics", "op_times", "peaks"]

_COLUMNS = ("stock", "default", "planned")
_TIMED_RUNS = 7
_LEAST_NS = 500


class _Request(TypedDict):
    sessions: dict[str, SessionRequest]
    planned: list[str]
    dims: dict[str, int]
    threads: int
    seed: int
    latency_s: float


def numerics(request: _Request) -> dict[str, object]:
    """Run the original, its graph in the default order and the result on the same inputs.

    Replies `skipped` (why the original cannot be run), or `failure` (what is wrong with the
    result), or the differences and the executed order (with `skipped` where the differences mean
    nothing), and with `latency_s` the latencies.
    """
    try:
        original = _session(request, "original")
    except Exception as error:
        return {"skipped": f"ONNX Runtime cannot load the original: {_line(error)}"}
    try:
        planned = _session(request, "planned", profile=True)
        default = _session(request, "default")
    except Exception as error:
        return {"failure": f"ONNX Runtime cannot load the result: {_line(error)}"}
    wrong = _signature(original, planned)
    if wrong:
        return {"failure": wrong}
    try:
        _, values, expected = _first_that_runs(original, request)
    except Exception as error:
        return {"skipped": f"the original fails on random inputs: {_line(error)}"}
    try:
        actual = _run(planned, values)
        profile = Path(planned.end_profiling())
        reference = _run(default, values)
    except Exception as error:
        return {"failure": f"the result fails on inputs that the original takes: {_line(error)}"}
    names = [output.name for output in original.get_outputs()]
    difference = Difference()
    for want in (reference, expected):
        for name, one, other in zip(names, want, actual, strict=True):
            difference = difference.and_then(compare(one, other, name))
    del reference
    reply: dict[str, object] = {
        "identical": difference.identical,
        "within": difference.within,
        "max_abs_error": difference.max_abs_error,
        "where": difference.where,
    }
    ran = executed(profile, Path(request["sessions"]["planned"]["path"]))
    reply["executed"], reply["added"] = list(ran.keys), ran.added
    if not difference.within:
        again = _run(original, values)
        if not all(
            compare(a, b, name).identical for name, a, b in zip(names, expected, again, strict=True)
        ):
            reply["skipped"] = "the original's outputs change from run to run"
        return reply
    if request["latency_s"] > 0:
        same = request["sessions"]["original"] == request["sessions"]["stock"]
        try:
            stock = original if same else _session(request, "stock")
            del original, planned
            ours = _recommended(request)
            again = [_run(ours, values) for _ in range(3)][-1]
            if not all(
                compare(a, b, name).identical
                for name, a, b in zip(names, actual, again, strict=True)
            ):
                return {"failure": "outputs change when the tensors lie in the planned arena"}
            del again
            sessions = {"stock": stock, "default": default, "planned": ours}
            reply["latency"] = _latencies(sessions, values, request["latency_s"])
            if isinstance(ours, ArenaSession) and ours.arena_bytes:
                reply["arena"] = ours.arena_bytes
        except Exception as error:
            reply["latency_failure"] = _line(error)
    return reply


def latencies(request: _Request) -> dict[str, object]:
    """The median seconds of a run in each column, and how many runs that is of."""
    stock = _session(request, "stock")
    ours = _recommended(request)
    sessions = {"stock": stock, "default": _session(request, "default"), "planned": ours}
    _, values, _ = _first_that_runs(stock, request)
    reply: dict[str, object] = {"latency": _latencies(sessions, values, request["latency_s"])}
    if isinstance(ours, ArenaSession) and ours.arena_bytes:
        reply["arena"] = ours.arena_bytes
    return reply


def peaks(request: _Request) -> dict[str, object]:
    """Bytes that the first and second run allocate above what was live before, all and tensors."""
    from lowtide.backends.meter import Meter

    meter = Meter()
    reply: dict[str, object] = {}
    warm = _session(request, "default")  # makes what the first session of a process makes once
    below = _first_that_runs(warm, request)[0]
    for column in _COLUMNS:
        session = _session(request, column)
        values = random_inputs.feeds(session, request["seed"], below, request["dims"])
        gc.collect()
        found: list[int] = []
        for _ in range(2):
            with meter.window() as window:
                outputs = _run(session, values)
            found += [window.peak_bytes, window.tensor_peak_bytes]
            del outputs
        reply[column] = found
        del session
    del warm
    return reply


def op_times(request: _Request) -> dict[str, object]:
    """The median nanoseconds of each node of the session `default`, by its first output's name."""
    session = _session(request, "default", profile=True)
    _, values, _ = _first_that_runs(session, request)
    for _ in range(_TIMED_RUNS - 1):
        _run(session, values)
    found = durations(Path(session.end_profiling()), Path(request["sessions"]["default"]["path"]))
    # The profile's clock counts microseconds: what took none of them took some part of one.
    return {
        key: max(_LEAST_NS, round(1000 * statistics.median(times))) for key, times in found.items()
    }


def _options(request: _Request, role: str) -> onnxruntime.SessionOptions:
    wanted = request["sessions"][role]
    chosen = options(
        wanted["level"], order=wanted["order"], arena=wanted["arena"], threads=request["threads"]
    )
    chosen.log_severity_level = 4
    return chosen


def _recommended(request: _Request) -> onnxruntime.InferenceSession | ArenaSession:
    """The result as `lowtide.onnxruntime.create_session` runs it: in an arena if exact."""
    wanted = request["sessions"]["planned"]
    if wanted["order"] != "file":
        return _session(request, "planned")
    return ArenaSession(wanted["path"], _options(request, "planned"))


def _session(
    request: _Request, role: str, *, profile: bool = False
) -> onnxruntime.InferenceSession:
    import onnxruntime as ort

    wanted = request["sessions"][role]
    chosen = _options(request, role)
    if profile:
        chosen.enable_profiling = True
        chosen.profile_file_prefix = str(Path.cwd() / "profile")
    return ort.InferenceSession(wanted["path"], chosen, providers=["CPUExecutionProvider"])


def _first_that_runs(
    session: onnxruntime.InferenceSession, request: _Request
) -> tuple[int, dict[str, object], list[object]]:
    """The widest integer range that the model takes, the inputs, and its outputs."""
    integers = any(
        value.type.startswith(("tensor(int", "tensor(uint")) for value in session.get_inputs()
    )
    ranges = random_inputs.INTEGER_RANGES if integers else random_inputs.INTEGER_RANGES[:1]
    for below in ranges:
        values = random_inputs.feeds(session, request["seed"], below, request["dims"])
        try:
            return below, values, _run(session, values)
        except Exception:
            if below == ranges[-1]:
                raise
    raise AssertionError("there is at least one range")


def _run(
    session: onnxruntime.InferenceSession | ArenaSession, values: Mapping[str, object]
) -> list[object]:
    try:
        tensors = cast("Mapping[str, npt.NDArray[np.generic]]", values)
        return cast("list[object]", session.run(None, tensors))
    except RuntimeError as error:
        if "No corresponding Numpy type" not in str(error):
            raise
    import onnxruntime as ort

    if isinstance(session, ArenaSession):
        session = session.session
    wrapped = {
        name: value
        if isinstance(value, ort.OrtValue)
        else ort.OrtValue.ortvalue_from_numpy(cast("npt.NDArray[np.generic]", value))
        for name, value in values.items()
    }
    return [_plain(value) for value in session.run_with_ort_values(None, wrapped)]


def _plain(value: onnxruntime.OrtValue) -> object:
    """A tensor as numpy; bits alone where numpy has no such type."""
    try:
        return value.numpy()
    except RuntimeError:
        size = value.tensor_size_in_bytes()
        return np.frombuffer(ctypes.string_at(value.data_ptr(), size), np.uint8)


def _signature(
    original: onnxruntime.InferenceSession, planned: onnxruntime.InferenceSession
) -> str:
    """What the result's required inputs or outputs differ in, empty if in nothing."""
    for what in ("inputs", "outputs"):
        want, have = (
            [(v.name, v.type) for v in getattr(session, f"get_{what}")()]
            for session in (original, planned)
        )
        if want != have:
            return f"the result's {what} are {have}, the original's {want}"
    return ""


def _latencies(
    sessions: Mapping[str, onnxruntime.InferenceSession | ArenaSession],
    values: Mapping[str, object],
    budget_s: float,
) -> dict[str, object]:
    """Median seconds per session; the sessions take turns, so that noise hits all alike."""
    for session in sessions.values():
        _run(session, values)
    times: dict[str, list[float]] = {name: [] for name in sessions}
    end = time.perf_counter() + budget_s
    rounds = 0
    while rounds < 3 or (rounds < 200 and time.perf_counter() < end):
        for name, session in sessions.items():
            start = time.perf_counter()
            _run(session, values)
            times[name].append(time.perf_counter() - start)
        rounds += 1
    reply: dict[str, object] = {name: statistics.median(found) for name, found in times.items()}
    reply["runs"] = rounds
    return reply


def _line(error: Exception) -> str:
    return (str(error).strip().splitlines() or [type(error).__name__])[0][:300]
