"""The stock TFLite Micro interpreter, in the process that imports this (a child of ours).

The package `tflite-micro` prints its recording to the C level's stderr, and a hostile model or a
small arena may crash it: everything here is called through `lowtide.child`, and what may crash that
process as well is run in a fork of it.
"""

from __future__ import annotations

import contextlib
import faulthandler
import importlib
import os
import re
import signal
import sys
import tempfile
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Protocol, cast

import numpy as np

from lowtide.errors import MissingExtraError, ModelError

if TYPE_CHECKING:
    from collections.abc import Callable, Generator

    from numpy.typing import NDArray

__all__ = [
    "Interpreter",
    "captured",
    "enough",
    "feeds",
    "load",
    "measure",
    "measure_head",
    "open_interpreter",
]

_STEP = 16
_FIRST_ARENA = 1 << 16
_LINE = re.compile(
    r"\[RecordingMicroAllocator\] (?:Arena allocation (?P<part>\w+) (?P<bytes>\d+) bytes"
    r"|'(?P<name>[^']*)' used (?P<used>\d+) bytes)"
)
_MEMORY = re.compile(r"ailed to (allocate|resize)|Too many buffers|exceeds", re.IGNORECASE)


class Interpreter(Protocol):
    """What of `tflite_micro`'s interpreter is used."""

    def invoke(self) -> object:
        """Run an inference; RuntimeError where it fails."""
        ...

    def print_allocations(self) -> None:
        """Print the recording to the C level's stderr."""
        ...

    def set_input(self, input_data: NDArray[np.generic], index: int) -> None:
        """Copy an input into the arena."""
        ...

    def get_output(self, index: int) -> NDArray[np.generic]:
        """Copy an output out of the arena."""
        ...


def load(path: object) -> bytes:
    """The bytes of the file that a request names."""
    return Path(str(path)).read_bytes()


@contextlib.contextmanager
def captured() -> Generator[Callable[[], str]]:
    """What is written to file descriptor 2 meanwhile, by C code too."""
    sys.stderr.flush()
    with tempfile.TemporaryFile() as stream:
        saved = os.dup(2)
        os.dup2(stream.fileno(), 2)

        def text() -> str:
            sys.stderr.flush()
            stream.seek(0)
            return stream.read().decode(errors="replace")

        try:
            yield text
        finally:
            os.dup2(saved, 2)
            os.close(saved)


def open_interpreter(data: bytes, arena_bytes: int) -> Interpreter:
    """An interpreter with its tensors allocated.

    Raises:
        MissingExtraError: `tflite-micro` is not installed.
        RuntimeError: it refused the model or the arena.
    """
    try:
        runtime = importlib.import_module("tflite_micro.python.tflite_micro.runtime")
    except ImportError as error:
        raise MissingExtraError(
            "running a model in TFLite Micro needs the package tflite-micro: "
            'pip install "lowtide[edge]"'
        ) from error
    return cast("Interpreter", runtime.Interpreter.from_bytes(data, [], arena_bytes))


def _survives(task: Callable[[], object]) -> bool:
    """Whether a fork of this process gets through `task`: neither an error nor a crash."""
    return _forked(task) == 0


def _crashes(task: Callable[[], object]) -> bool:
    """Whether `task` kills a fork of this process, as an arena that is too small may."""
    status = _forked(task)
    return os.WIFSIGNALED(status) and os.WTERMSIG(status) != signal.SIGALRM


def _forked(task: Callable[[], object]) -> int:
    """How a fork of this process that runs `task` ends."""
    process = os.fork()
    if process == 0:
        code = 1
        try:
            signal.alarm(300)
            faulthandler.disable()  # a crash is an answer
            with captured():
                task()
            code = 0
        finally:
            os._exit(code)
    return os.waitpid(process, 0)[1]


def measure(request: dict[str, object]) -> dict[str, object]:
    """What the interpreter records, and the least arena in which it works.

    Request: `model` (a path), `limit` (the largest arena to try), `inputs` (a .npz of arrays `0`,
    `1`, ... to invoke it with). Reply: `head`, `tail`, `total`, `categories`, `required`,
    `fails_below`.
    """
    data = load(request["model"])
    limit = int(cast("int", request["limit"]))
    arrays = feeds(request.get("inputs"))

    def run(arena_bytes: int) -> Interpreter:
        interpreter = open_interpreter(data, arena_bytes)
        for index, array in enumerate(arrays):
            interpreter.set_input(array, index)
        interpreter.invoke()
        return interpreter

    arena = enough(run, limit)
    with captured() as text:
        run(arena).print_allocations()
        recorded = text()
    parts, categories = _recorded(recorded)
    if set(parts) != {"total", "head", "tail"}:
        raise ModelError(f"tflite-micro printed no recording, but: {recorded[-300:]!r}")
    total = parts["total"]

    def works(size: int) -> bool:
        return _survives(lambda: run(size))

    # Below what is allocated in the end it cannot work, with `arena` it does.
    low, high = total - _STEP, -(-arena // _STEP) * _STEP
    if works(total):
        high = total
    else:
        low = total
        step = _STEP
        while low + step < high and not works(low + step):
            low, step = low + step, 2 * step
        high = min(high, low + step)
        while high - low > _STEP:
            middle = low + (high - low) // (2 * _STEP) * _STEP
            low, high = (low, middle) if works(middle) else (middle, high)
    return {
        **parts,
        "categories": categories,
        "required": high,
        "fails_below": not works(high - _STEP),
    }


def enough(attempt: Callable[[int], object], limit: int) -> int:
    """A size of the arena that is enough, found by doubling.

    Raises:
        ModelError: the interpreter refuses the model, or wants more than `limit` bytes.
    """
    size = min(_FIRST_ARENA, limit)
    while True:
        if size < limit and _crashes(partial(attempt, size)):
            size = min(2 * size, limit)
            continue
        with captured() as text:
            try:
                attempt(size)
            except RuntimeError as error:
                said = text()
                lines = [x for x in said.splitlines() if x.strip()]
                reason = "; ".join(dict.fromkeys([*lines[-3:], str(error)]))[:400]
                if not _MEMORY.search(said):
                    raise ModelError(f"TFLite Micro does not run the model: {reason}") from None
                if size >= limit:
                    raise ModelError(
                        f"TFLite Micro wants an arena of over {limit} bytes: {reason}"
                    ) from None
            else:
                return size
        size = min(2 * size, limit)


def measure_head(data: bytes, arena_bytes: int) -> int:
    """The bytes of the arena's head once a model's tensors are allocated."""
    with captured() as text:
        open_interpreter(data, arena_bytes).print_allocations()
        return _recorded(text())[0].get("head", 0)


def feeds(path: object) -> list[NDArray[np.generic]]:
    """The arrays `0`, `1`, ... of a .npz; none without a path."""
    if path is None:
        return []
    with np.load(str(path)) as stored:
        return [stored[str(i)] for i in range(len(stored.files))]


def _recorded(text: str) -> tuple[dict[str, int], dict[str, int]]:
    parts: dict[str, int] = {}
    categories: dict[str, int] = {}
    for found in _LINE.finditer(text):
        if found["part"]:
            parts[found["part"]] = int(found["bytes"])
        else:
            categories[found["name"]] = int(found["used"])
    return parts, categories
