"""Many emitted steps in one child process: what each allocates, and how long each takes.

Importing TensorFlow takes longer than a step, so that all functions of a network share a process:
one for the allocator's log, another, without it, for times.  There the functions take turns (A, B,
.., A, B, ..) and the least CPU-seconds of each count: a busy machine then harms all alike.
"""

# TensorFlow has no stubs: its modules are loaded as values of any type.

from __future__ import annotations

import importlib
import os
import tempfile
import time
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, cast

import numpy as np

from lowtide import child
from lowtide.backends.tensorflow.call import rewriting_off
from lowtide.backends.tensorflow.measure import log_child
from lowtide.backends.tensorflow.portable import export_function, import_call
from lowtide.backends.tensorflow.reemit import reemit
from lowtide.frontends.tensorflow import import_function
from lowtide.frontends.tensorflow.inline import inline, is_nested
from lowtide.training.step import PlannedFunction

if TYPE_CHECKING:
    from collections.abc import Sequence

    from lowtide.bench.keras_steps import Step
    from lowtide.training.plan import TrainingPlan

__all__ = ["Run", "identical", "log_runs", "measured", "three_steps", "time_runs", "with_gradients"]

_ROUNDS = 3
_STEPS = 3
_TIMEOUT_S = 1800.0
_HERE = "lowtide.bench.tensorflow_runs"


@dataclass(frozen=True, slots=True)
class Run:
    """What one call of a function allocated at most, and its least CPU-seconds."""

    peak_bytes: int
    cpu_seconds: float | None


def measured(functions: Sequence[PlannedFunction], *, rounds: int = _ROUNDS) -> list[Run]:
    """Peaks and times of functions; no times with no rounds.

    Raises:
        ChildError: the process died.
    """
    if not functions:
        return []
    with tempfile.TemporaryDirectory(prefix="lowtide-bench-") as folder:
        requests: list[dict[str, object]] = []
        for number, planned in enumerate(functions):
            path = Path(folder, str(number))
            path.mkdir()
            requests.append({**export_function(planned.concrete_function, path), "as_is": True})
        every: dict[str, object] = {"requests": requests, "rounds": rounds}
        peaks = child.run(f"{_HERE}:log_runs", every, timeout_s=_TIMEOUT_S)["peaks"]
        if not rounds:
            return [Run(peak, None) for peak in cast("list[int]", peaks)]
        times = child.run(f"{_HERE}:time_runs", every, timeout_s=_TIMEOUT_S)["seconds"]
    pairs = zip(cast("list[int]", peaks), cast("list[float]", times), strict=True)
    return [Run(peak, seconds) for peak, seconds in pairs]


def log_runs(request: dict[str, object]) -> dict[str, object]:
    """The child's side: the peak of each function."""
    requests = cast("list[dict[str, object]]", request["requests"])
    return {"peaks": [log_child(one)["peak"] for one in requests]}


def time_runs(request: dict[str, object]) -> dict[str, object]:
    """The child's side: the least CPU-seconds of each function, in turns."""
    os.environ["CUDA_VISIBLE_DEVICES"] = ""
    requests = cast("list[dict[str, object]]", request["requests"])
    config = cast("bytes", rewriting_off().SerializeToString(deterministic=True))
    calls = [import_call(one, config) for one in requests]
    least = [float("inf")] * len(calls)
    for turn in range(int(str(request["rounds"])) + 1):
        for number, call in enumerate(calls):
            start = time.process_time()
            call()
            if turn:  # the first call compiles and fills caches
                least[number] = min(least[number], time.process_time() - start)
    return {"seconds": least}


def with_gradients(step: Step, plan: TrainingPlan) -> PlannedFunction:
    """The same sequence for a trace of the same step that also hands its gradients out."""
    function = inline(step.function) if is_nested(step.function) else step.function
    names = [op.name for op in import_function(function).ops]
    known = set(names)
    kept = [name for name in plan.sequence if name in known]
    rest = set(kept)
    return PlannedFunction(reemit(function, [*kept, *(n for n in names if n not in rest)]), plan)


def three_steps(step: Step, planned: PlannedFunction, initial: list[Any]) -> list[Any]:
    """The results of three steps from the same start, and all variables and slots after them."""
    tf: Any = importlib.import_module("tensorflow")
    step.reset(initial)
    found: list[Any] = []
    for number in range(_STEPS):
        x = tf.random.stateless_normal(step.images, (number, 1))
        y = tf.random.stateless_uniform(step.labels, (number, 2), 0, 10, tf.int32)
        found += [t.numpy() for t in tf.nest.flatten(planned(x, y))]
    found += step.values()
    step.reset(initial)
    return found


def identical(found: Sequence[Any], expected: Sequence[Any]) -> bool:
    """Whether all arrays are the same, bit for bit."""
    return len(found) == len(expected) and all(
        np.asarray(a).dtype == np.asarray(b).dtype
        and np.asarray(a).tobytes() == np.asarray(b).tobytes()
        for a, b in zip(found, expected, strict=True)
    )
