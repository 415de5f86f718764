"""Tables on stdout: names come from files, and must not command the terminal."""

from __future__ import annotations

import os
import sys
from typing import TYPE_CHECKING

from rich.console import Console

from lowtide.pictures.names import plain

if TYPE_CHECKING:
    from rich.text import Text

__all__ = ["console"]


class _Plain(Console):
    """Shows control characters as U+FFFD, and `:name:` as it is."""

    def render_str(self, text: str, **options: object) -> Text:
        """Text with markup, of a line or of a table's cell."""
        return super().render_str(plain(text), **options)  # type: ignore[arg-type]


def console() -> Console:
    """Of stdout; where that is no terminal nothing is wrapped to 80 columns."""
    known = "COLUMNS" in os.environ or sys.stdout.isatty()
    return _Plain(highlight=False, emoji=False, width=None if known else 120)
