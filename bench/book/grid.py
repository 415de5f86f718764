"""Markdown tables of the pages."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass

__all__ = ["Table", "bold_least", "grid"]


@dataclass(frozen=True, slots=True)
class Table:
    """A block of a page: the results it is made of, and what makes it."""

    sources: tuple[str, ...]
    make: Callable[[], str]


def grid(header: Sequence[str], align: str, rows: Iterable[Sequence[str]]) -> str:
    """A table; `align` has an `l` or an `r` for every column."""
    sides = {"l": "---", "r": "---:"}
    lines = ["| " + " | ".join(header) + " |", "|" + "|".join(sides[a] for a in align) + "|"]
    lines += ["| " + " | ".join(row) + " |" for row in rows]
    return "\n".join(lines)


def bold_least(counts: Sequence[int]) -> list[str]:
    """Bytes, the first of the least ones in bold."""
    least = counts.index(min(counts))
    return [f"**{count:,}**" if at == least else f"{count:,}" for at, count in enumerate(counts)]
