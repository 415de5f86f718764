"""How far long work has come: a live line on stderr, nothing off a terminal."""

from __future__ import annotations

import sys
from contextlib import contextmanager
from typing import TYPE_CHECKING

from lowtide.units import format_bytes

if TYPE_CHECKING:
    from collections.abc import Callable, Generator

    from lowtide.planning import Progress as Listener

__all__ = ["Progress", "heard", "show"]


class Progress:
    """What long work calls: `stage` when it turns to something else, `bounds` while it solves."""

    def __init__(self, write: Callable[[str], None] | None) -> None:
        self._write = write
        self._stage = ""

    def stage(self, text: str) -> None:
        """Say what is being done now."""
        self._stage = text
        if self._write is not None:
            self._write(text)

    def bounds(self, incumbent: int | None, bound: int) -> None:
        """Say how far the solver has come."""
        if self._write is not None:
            best = "-" if incumbent is None else format_bytes(incumbent)
            text = f"{self._stage}: best {best}, lower bound {format_bytes(bound)}"
            if incumbent:
                text += f", gap {100 * max(incumbent - bound, 0) / incumbent:.1f} %"
            self._write(text)

    def costs(self, incumbent: float | None, bound: float, base: float) -> None:
        """Say how far a rematerialization solver has come, in percent over `base`."""
        if self._write is not None and base:
            best = "-" if incumbent is None else f"{100 * (incumbent / base - 1):.3f} %"
            text = f"{self._stage}: best overhead {best}"
            text += f", lower bound {100 * (bound / base - 1):.3f} %"
            if incumbent is not None:
                text += f", gap {100 * max(incumbent - bound, 0) / base:.3f} points"
            self._write(text)


@contextmanager
def show() -> Generator[Progress]:
    """A live line on stderr while the block runs; nothing where stderr is not a terminal."""
    if not sys.stderr.isatty():
        yield Progress(None)
        return
    from rich.console import Console

    with Console(stderr=True).status("") as status:
        yield Progress(status.update)


@contextmanager
def heard(progress: Listener | bool) -> Generator[Listener | None]:
    """Who hears of work: the one who asked, for True the live line, for False nobody."""
    if progress is True:
        with show() as line:
            yield line
    else:
        yield progress or None
