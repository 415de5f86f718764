"""Names from a model on a page: shortened, and with nothing in them that markup could be."""

from __future__ import annotations

import json
from dataclasses import dataclass
from html import escape
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterable

__all__ = ["Clipper", "clipped", "plain", "safe"]

_LONGEST = 400
_SHORTEST = 12


def clipped(text: str, most: int) -> str:
    """The text, or its two ends if it has more than `most` characters."""
    if len(text) <= most:
        return text
    half = (most - 1) // 2
    return f"{text[:half]}…{text[len(text) - (most - 1 - half) :]}"


def safe(text: str) -> str:
    """Plain text, escaped for elements and attributes."""
    return escape(plain(text))


def plain(text: str) -> str:
    """Without characters that XML and UTF-8 cannot hold, or that reorder the text after them."""
    return "".join(c if _allowed(c) else "\N{REPLACEMENT CHARACTER}" for c in text)


def _allowed(character: str) -> bool:
    code = ord(character)
    if code < 32:
        return character in "\t\n"
    # Controls, surrogates, marks of direction, non-characters.
    return not (
        0x7F <= code < 0xA0
        or 0xD800 <= code < 0xE000
        or 0x202A <= code < 0x202F
        or 0x2066 <= code < 0x206A
        or code & 0xFFFE == 0xFFFE
    )


@dataclass(frozen=True, slots=True)
class Clipper:
    """Shortens names in the middle, so that all of them together are not too long."""

    most: int

    @classmethod
    def fitting(cls, names: Iterable[str], total: int) -> Clipper:
        """The one that shortens least for the names to take about `total` bytes as JSON."""
        sizes = [min(len(json.dumps(name)), 6 * _LONGEST) for name in set(names)]
        low, high = _SHORTEST, _LONGEST
        while low < high:
            middle = (low + high + 1) // 2
            if sum(min(size, middle + 8) for size in sizes) <= total:
                low = middle
            else:
                high = middle - 1
        return cls(low)

    def __call__(self, name: str) -> str:
        """The name, or its two ends."""
        return clipped(name, self.most)
