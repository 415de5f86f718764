"""Names from a model on a page: shortened, and with nothing in them that markup could be."""

from __future__ import annotations

import functools
import json
import re
from dataclasses import dataclass
from html import escape
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Collection

__all__ = ["Clipper", "clipped", "isolated", "plain", "safe", "script_json"]

_LONGEST = 400  # characters of any name
_SHORTEST = 12
_AROUND = 5  # bytes of a name in a list: quotes, a comma, two digits of front coding
_REFUSED = re.compile(
    "[\x00-\x08\x0b-\x1f\x7f-\x9f"  # controls, but for tabs and ends of lines
    "\ud800-\udfff"  # surrogates
    "\u061c\u200e\u200f\u202a-\u202e\u2066-\u2069"  # marks of direction
    + "".join(chr(plane << 16 | last) for plane in range(17) for last in (0xFFFE, 0xFFFF))
    + "]"
)
_CUT = "…"
_ENCODER = json.JSONEncoder(ensure_ascii=False, separators=(",", ":"))
_ESCAPED = "<>&\N{LINE SEPARATOR}\N{PARAGRAPH SEPARATOR}"


def clipped(text: str, most: int) -> str:
    """The text, or its two ends if it has more than `most` characters."""
    if len(text) <= most:
        return text
    half = (most - 1) // 2
    return f"{text[:half]}{_CUT}{text[len(text) - (most - 1 - half) :]}"


def safe(text: str) -> str:
    """Plain text, escaped for elements and attributes."""
    return escape(plain(text))


def isolated(text: str) -> str:
    """Safe text inside a sentence that has no elements; written from right to left or not.

    The first mark begins an isolate from left to right, the second ends it.
    """
    return f"\u2066{safe(text)}\u2069"


def plain(text: str) -> str:
    """Without characters that XML and UTF-8 cannot hold, or that reorder the text after them."""
    return _REFUSED.sub("\N{REPLACEMENT CHARACTER}", text)


def script_json(content: object) -> str:
    """As JSON that is safe inside a script element: no `<`, no `>`, no `&`, and no line ends."""
    text = _ENCODER.encode(content)
    for character in _ESCAPED:
        text = text.replace(character, f"\\u{ord(character):04x}")
    return text


@dataclass(frozen=True, slots=True)
class Clipper:
    """Makes names plain, and shortens them in the middle to at most `most` bytes as JSON.

    What counts is what is written: a character may be one byte, four, or an escape of six.
    """

    most: int

    @classmethod
    def fitting(cls, names: Collection[str], total: int) -> Clipper:
        """The one that shortens least for the names to take `total` bytes in a list, if any can."""
        room = total - _AROUND * len(names)
        sizes = sorted(_size(_readable(name)) for name in names)
        most = max(sizes, default=_SHORTEST)
        whole = 0  # bytes of the names that stay as they are
        for index, size in enumerate(sizes):
            if whole + size * (len(sizes) - index) > room:
                most = (room - whole) // (len(sizes) - index)
                break
            whole += size
        return cls(max(most, _SHORTEST))

    def __call__(self, name: str) -> str:
        """The name, or its two ends."""
        text = _readable(name)
        if _size(text) <= self.most:
            return text
        room = self.most - _size(_CUT)
        head = _fitting(text, room // 2)
        tail = _fitting(text[::-1], room - room // 2)
        return f"{text[:head]}{_CUT}{text[len(text) - tail :]}"


def _readable(name: str) -> str:
    return plain(clipped(name, _LONGEST))


def _size(text: str) -> int:
    """Bytes as JSON, without the quotes."""
    return len(script_json(text).encode()) - 2


@functools.cache
def _size_of(character: str) -> int:
    return _size(character)


def _fitting(text: str, room: int) -> int:
    """How many characters of the beginning take at most `room` bytes."""
    for count, character in enumerate(text):
        room -= _size_of(character)
        if room < 0:
            return count
    return len(text)
