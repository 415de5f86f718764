"""Text of untrusted models inside error messages: one printable line of bounded length."""

from __future__ import annotations

__all__ = ["one_line"]

_LONGEST = 1500


def one_line(text: str) -> str:
    """`text` without control characters (names may hold terminal codes), clipped."""
    plain = "".join(c if c.isprintable() else " " for c in text[: _LONGEST + 1])
    return plain if len(plain) <= _LONGEST else plain[: _LONGEST - 3] + "..."
