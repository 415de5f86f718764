"""Lines for people: names come from files, and must not command the terminal."""

from __future__ import annotations

import sys

from lowtide.pictures.names import plain

__all__ = ["say", "warn"]


def say(text: str) -> None:
    """A line on stdout."""
    print(plain(text), flush=True)


def warn(text: str) -> None:
    """A line on stderr."""
    print(plain(text), file=sys.stderr)
