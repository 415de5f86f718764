"""What a process really allocates: the Python side of the meter in `backends/native/meter.cpp`.

parent:  child.run("module:function", request, preload=meter.library(), ...)
child:   with Meter().window() as window:
             session.run(...)
         window.tensor_peak_bytes    aligned blocks, requested bytes: ORT's tensors and scratch
         window.peak_bytes           everything that went through malloc, usable bytes
"""

from __future__ import annotations

import ctypes
import sys
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from lowtide.errors import LowtideError

if TYPE_CHECKING:
    from collections.abc import Callable, Generator

__all__ = ["Event", "Meter", "Window", "library"]

_ALL, _ALIGNED = 0, 1


def library() -> Path | None:
    """The library to preload into a child process, or None where there is no meter (not Linux)."""
    if not sys.platform.startswith("linux"):
        return None
    import lowtide.backends

    for folder in lowtide.backends.__path__:
        path = Path(folder, "_meter.so")
        if path.exists():
            return path
    return None


@dataclass(slots=True)
class Window:
    """What happened between the entry to a `with meter.window()` block and its end.

    Attributes:
        peak_bytes: the highest level of all blocks above that at entry, in usable bytes.
        tensor_peak_bytes: the same for blocks with an alignment of 32 or more, in requested bytes.
        kept_bytes: what was still held at the end, above the level at entry, of all blocks.
        tensor_kept_bytes: the same for aligned blocks.
        tensor_allocations: how many aligned blocks were allocated.
    """

    peak_bytes: int = 0
    tensor_peak_bytes: int = 0
    kept_bytes: int = 0
    tensor_kept_bytes: int = 0
    tensor_allocations: int = 0


@dataclass(frozen=True, slots=True)
class Event:
    """A block was allocated (`nbytes` > 0) or released (`nbytes` < 0).

    Attributes:
        address: where it is.
        nbytes: requested bytes of an aligned block, usable bytes of any other.
        aligned: whether it was asked for with an alignment of 32 or more.
    """

    address: int
    nbytes: int
    aligned: bool = True


class Meter:
    """The meter of this process, which must have been started with `library()` preloaded.

    All threads are counted. Windows may nest; they must not overlap otherwise.

    Raises:
        LowtideError: the meter is not preloaded.
    """

    def __init__(self) -> None:
        if not self.available():
            raise LowtideError(
                "no allocation meter in this process: start it with LD_PRELOAD set to "
                f"{library() or 'the library, which exists on Linux only'}"
            )
        process = ctypes.CDLL(None)
        self._live = _function(process, "live", 1)
        self._peak = _function(process, "peak", 1)
        self._count = _function(process, "count", 1)
        self._missed = _function(process, "missed", 0)
        self._reset = _procedure(process, "reset", 1)
        self._raise = _procedure(process, "raise", 2)
        self._log = _procedure(process, "log", 1)
        self._log_count = _function(process, "log_count", 0)
        self._log_room = _function(process, "log_room", 0)
        self._log_address = _function(process, "log_address", 1)
        self._log_kind = _function(process, "log_kind", 1)
        self._log_bytes = _function(process, "log_bytes", 1)

    @staticmethod
    def available() -> bool:
        """Whether the meter is preloaded into this process."""
        return sys.platform.startswith("linux") and hasattr(ctypes.CDLL(None), "lowtide_meter_live")

    @property
    def live(self) -> int:
        """Bytes of all live blocks (usable sizes)."""
        return self._live(_ALL)

    @property
    def peak(self) -> int:
        """The highest `live` since the last `reset`."""
        return self._peak(_ALL)

    @property
    def tensor_live(self) -> int:
        """Requested bytes of the live blocks with an alignment of 32 or more."""
        return self._live(_ALIGNED)

    @property
    def tensor_peak(self) -> int:
        """The highest `tensor_live` since the last `reset`."""
        return self._peak(_ALIGNED)

    def reset(self) -> None:
        """Let both peaks start again from what is live now."""
        self._reset(_ALL)
        self._reset(_ALIGNED)

    @contextmanager
    def window(self) -> Generator[Window]:
        """Measure a block of code; the figures are there when it ends.

        Raises:
            LowtideError: more aligned blocks were live than the meter can keep apart.
        """
        kinds = (_ALL, _ALIGNED)
        window = Window()
        missed = self._missed()
        outer = [self._peak(kind) for kind in kinds]
        count = self._count(_ALIGNED)
        entry = [self._live(kind) for kind in kinds]
        self.reset()
        try:
            yield window
        finally:
            window.peak_bytes, window.tensor_peak_bytes = (
                self._peak(kind) - entry[kind] for kind in kinds
            )
            window.kept_bytes, window.tensor_kept_bytes = (
                self._live(kind) - entry[kind] for kind in kinds
            )
            window.tensor_allocations = self._count(_ALIGNED) - count
            for kind in kinds:
                self._raise(kind, outer[kind])
        if self._missed() != missed:
            raise LowtideError(
                f"{self._missed() - missed} aligned blocks were not counted: more than 65536 were "
                "live at once"
            )

    @contextmanager
    def log(self, *, everything: bool = False) -> Generator[list[Event]]:
        """Record the aligned blocks (or all) that come and go; the list is filled at the end.

        Raises:
            LowtideError: there were more events than the log has room for.
        """
        events: list[Event] = []
        self._log(2 if everything else 1)
        try:
            yield events
        finally:
            self._log(0)
        count, room = self._log_count(), self._log_room()
        if count > room:
            raise LowtideError(f"the allocation log has room for {room} events, there were {count}")
        events.extend(
            Event(self._log_address(i), self._log_bytes(i), self._log_kind(i) == _ALIGNED)
            for i in range(count)
        )


def _function(process: ctypes.CDLL, name: str, arguments: int) -> Callable[..., int]:
    """A function of the meter."""
    types: list[type[ctypes.c_int64]] = [ctypes.c_int64] * arguments
    prototype = ctypes.CFUNCTYPE(ctypes.c_int64, *types)
    return prototype((f"lowtide_meter_{name}", process))


def _procedure(process: ctypes.CDLL, name: str, arguments: int) -> Callable[..., None]:
    """A function of the meter that returns nothing."""
    types: list[type[ctypes.c_int64]] = [ctypes.c_int64] * arguments
    prototype = ctypes.CFUNCTYPE(None, *types)
    return prototype((f"lowtide_meter_{name}", process))
