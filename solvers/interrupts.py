"""Ctrl-C while solvers work: raised where it strikes, and remembered by all that wait for them."""

from __future__ import annotations

import signal
import threading
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable
    from types import FrameType

__all__ = ["Interrupts"]


class Interrupts:
    """While the block runs, Ctrl-C raises `KeyboardInterrupt` and sets `struck`.

    Solvers that end with the best so far swallow the exception, so who runs several of them has to
    ask.  Blocks nest: each of them notices.  Outside the main thread nothing is changed.

    Args:
        once: ignore all but the first; and interrupt even where Ctrl-C is ignored outside.
    """

    def __init__(self, *, once: bool = False) -> None:
        self.struck = False
        self._once = once
        self._outside = signal.SIG_DFL
        self._previous: Callable[[int, FrameType | None], object] | None = None
        self._set = False

    def __enter__(self) -> Interrupts:
        if threading.current_thread() is not threading.main_thread():
            return self
        outside = signal.getsignal(signal.SIGINT)
        if callable(outside):
            self._previous = outside
        elif not self._once:
            return self
        elif outside is not None:
            self._outside = signal.Handlers(outside)
        self._set = True
        signal.signal(signal.SIGINT, self._strike)
        return self

    def __exit__(self, *_: object) -> None:
        if self._set:
            signal.signal(signal.SIGINT, self._previous or self._outside)

    def _strike(self, number: int, frame: FrameType | None) -> None:
        first, self.struck = not self.struck, True
        if self._once and not first:
            return
        if self._previous is not None:
            self._previous(number, frame)
        elif first:
            raise KeyboardInterrupt
