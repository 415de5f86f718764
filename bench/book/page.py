"""A page: its generated blocks, and the numbers that are to be explained.

<!-- table: NAME -->

what `tables.TABLES[NAME]` makes

<!-- end -->
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import TYPE_CHECKING

from lowtide.bench.book.results import BookError

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

__all__ = ["Number", "blocks", "fill", "find", "line_of", "numbers"]

_BLOCK = re.compile(r"^<!-- table: (?P<name>\S+) -->\n(?P<body>.*?)^<!-- end -->$", re.M | re.S)
_MARK = re.compile(r"^<!-- (?:table: \S+|end) -->$", re.M)

# Digits, with what is attached to them (`15KB`, `1.38x`), that no letter, digit, point or `letter-`
# comes before: not those of `int8`, `ResNet-50`, `v1.2`; nor those of `96x96`. Or a word.
_NUMBER = re.compile(
    r"(?<![A-Za-z0-9_.])(?<![A-Za-z]-)"
    r"(?:\d+(?:,\d{3})*(?:\.\d+)?(?:e-?\d+)?(?!x\d)[A-Za-z%]*"
    r"|three|four|five|six|seven|eight|nine|ten|eleven|twelve)(?![A-Za-z0-9_])",
    re.I,
)
# What is no prose: fenced, indented and inline code, and names of modules to be documented;
# comments; where links lead; characters by number; numbers of items and sections.
_CODE = re.compile(
    r"^ *```[^\n]*\n(?:[^\n]*\n)*? *```[ ]*$"
    r"|(?<=\n\n)(?: {4}[^\n]*\n+)+"
    r"|^::: [^\n]*\n(?: {4}[^\n]*\n?)*"
    r"|``(?:[^`\n]|\n(?!\n))*``|`(?:[^`\n]|\n(?!\n))*`|<code>[^<\n]*</code>"
    r"|<!--(?:[^-]|-(?!->))*-->"
    r"|\]\([^)\n]*\)"
    r"|&#\d+;"
    r"|^ *(?:#+ )?\d+\. ",
    re.M,
)


@dataclass(frozen=True, slots=True)
class Number:
    """A number in the prose or in a table written by hand: its text, and where it is."""

    text: str
    begin: int
    end: int


def blocks(text: str) -> Iterator[tuple[str, int, int]]:
    """Names of the generated blocks, with where their bodies begin and end.

    Raises:
        BookError: a marker has no partner.
    """
    found = list(_BLOCK.finditer(text))
    marks = len(_MARK.findall(text))
    if marks != 2 * len(found):
        raise BookError(f"{marks} markers make {len(found)} blocks: each `table` needs its `end`")
    for match in found:
        yield match["name"], match.start("body"), match.end("body")


def fill(text: str, made: Callable[[str], str]) -> str:
    """The page with all blocks made anew, by their names."""
    parts: list[str] = []
    done = 0
    for name, begin, end in blocks(text):
        parts += [text[done:begin], "\n", made(name).strip("\n"), "\n\n"]
        done = end
    return "".join([*parts, text[done:]])


def numbers(text: str) -> list[Number]:
    """All numbers outside code and generated blocks."""
    for _, begin, end in blocks(text):
        text = text[:begin] + re.sub(r"[^\n]", " ", text[begin:end]) + text[end:]
    prose = _CODE.sub(lambda match: re.sub(r"[^\n]", " ", match.group()), text)
    return [Number(m.group(), m.start(), m.end()) for m in _NUMBER.finditer(prose)]


def find(text: str, fragment: str) -> tuple[int, int]:
    """Where a fragment is, whose lines may be broken elsewhere; it has to be there once.

    Raises:
        BookError: it is not, or more than once.
    """
    words = r"\s+".join(map(re.escape, fragment.split()))
    found = [match.span() for match in re.finditer(words, text)]
    if len(found) != 1:
        raise BookError(f"`{fragment}` is there {len(found)} times, not once")
    return found[0]


def line_of(text: str, at: int) -> int:
    """The number of a line, from 1."""
    return text.count("\n", 0, at) + 1
