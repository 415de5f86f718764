"""Ctrl-C, some time after a solver has begun."""

from __future__ import annotations

import os
import signal
from threading import Timer
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable

__all__ = ["interrupt_after"]


def interrupt_after(seconds: float) -> Callable[..., None]:
    """A progress function whose first call sets a timer that interrupts this process."""
    timer = Timer(seconds, os.kill, [os.getpid(), signal.SIGINT])

    def progress(*_: object) -> None:
        if timer.ident is None:
            timer.start()

    return progress
