"""Names of files, tensors and operators as C takes them."""

from __future__ import annotations

import re

__all__ = ["comment", "identifier", "literal"]

_MOST = 48


def identifier(name: str, fallback: str) -> str:
    """Lower-case, of letters, digits and single underscores, beginning and ending with neither.

    Names with two underscores or a leading one belong to the compiler. Keywords are not avoided:
    the result is the beginning of longer names.
    """
    plain = re.sub(r"[^a-z0-9]+", "_", name.lower())[:_MOST].strip("_")
    if not plain:
        return fallback
    return plain if plain[0].isalpha() else f"{fallback}_{plain}"


def comment(text: str) -> str:
    """Text for a comment of one line: it neither ends nor continues the comment."""
    return re.sub(r"[^A-Za-z0-9_.:;()\[\]{}<>=+,@ -]", "_", text)[:120]


def literal(text: str) -> str:
    """A C string literal of the text's UTF-8 bytes."""
    plain = re.compile(rb"[A-Za-z0-9_.: -]")
    return (
        '"'
        + "".join(chr(b) if plain.match(bytes([b])) else f"\\{b:03o}" for b in text.encode())
        + '"'
    )
