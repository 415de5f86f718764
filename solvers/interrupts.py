"""Ctrl-C while solvers work: raised where it strikes, and remembered by all that wait for them."""

from __future__ import annotations

import math
import signal
import threading
import time
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable
    from types import FrameType

__all__ = ["Interrupts"]

_AGAIN_S = 2.0
_active: list[Interrupts] = []  # of the main thread, the innermost last


class Interrupts:
    """While the block runs, Ctrl-C raises `KeyboardInterrupt` and sets `struck`.

    Solvers that end with the best so far swallow the exception, so who runs several of them has to
    ask.  Blocks nest: each of them notices.  Outside the main thread nothing is changed.

    Args:
        once: after the first, ignore those of the next two seconds (the first may be swallowed by
            code that must not raise); and interrupt even where Ctrl-C is ignored outside.

    Attributes:
        struck: whether it has struck.
        quiet: do not raise; for code that must not be left half-way, and asks `struck` instead.
    """

    def __init__(self, *, once: bool = False) -> None:
        self.struck = self.quiet = False
        self._once, self._since = once, -math.inf
        self._outside: Callable[[int, FrameType | None], object] | signal.Handlers | None = None
        self._set = False

    def __enter__(self) -> Interrupts:
        if threading.current_thread() is not threading.main_thread():
            return self
        outside = signal.getsignal(signal.SIGINT)
        if not callable(outside):
            if not self._once and not _active:
                return self
            outside = signal.SIG_DFL if outside is None else signal.Handlers(outside)
        self._outside, self._set = outside, True
        _active.append(self)
        signal.signal(signal.SIGINT, self._strike)
        return self

    def __exit__(self, *_: object) -> None:
        if self._set:
            signal.signal(signal.SIGINT, self._outside)
            _active.remove(self)
            self._set = False

    def _strike(self, number: int, frame: FrameType | None) -> None:
        now, once = time.monotonic(), any(block._once for block in _active)
        again = now - self._since < _AGAIN_S
        for block in _active:
            block.struck = True
        outermost = _active[0]._outside if _active else None
        if self.quiet or (again and once):
            return
        self._since = now
        if callable(outermost) and not once:
            outermost(number, frame)
        else:
            raise KeyboardInterrupt
