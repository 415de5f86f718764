"""docs/figures.md: where each figure of each page comes from."""

from __future__ import annotations

from posixpath import relpath
from typing import TYPE_CHECKING

from lowtide.bench.book.claims import CLAIMS
from lowtide.bench.book.definitions import DEFINITIONS
from lowtide.bench.book.page import blocks
from lowtide.bench.book.results import RESULTS
from lowtide.bench.book.tables import TABLES

if TYPE_CHECKING:
    from collections.abc import Mapping

__all__ = ["LEDGER", "ledger"]

LEDGER = "ledger"  # the name of its block


def ledger(texts: Mapping[str, str]) -> str:
    """By page: its tables, its claims, and its numbers that are no measurement."""
    parts: list[str] = []
    for page, text in texts.items():
        names = [name for name, _, _ in blocks(text) if name != LEDGER]
        claims = [claim for claim in CLAIMS if claim.page == page]
        defined = [each for each in DEFINITIONS if each.page == page]
        if not names and not claims and not defined:
            continue
        parts += ["", f"## [{page}]({relpath(page, 'docs')})", ""]
        parts += [f"- table `{name}`: {_sources(*TABLES[name].sources)}" for name in names]
        parts += [f"- “{_quoted(claim.text())}”: {_links(claim.source)}" for claim in claims]
        parts += [f"- “{_quoted(each.says)}”: no measurement: {each.why}" for each in defined]
    return "\n".join(parts)


def _sources(*sources: str) -> str:
    return _links(*sources) if sources else "not measured; made from the code"


def _links(*sources: str) -> str:
    stems = [source.removesuffix(".json") for source in sources]
    return ", ".join(f"[{stem}](../{RESULTS}/{stem}.md)" for stem in stems)


def _quoted(text: str) -> str:
    """Without what Markdown would read."""
    flat = " ".join(text.split())
    return "".join(f"\\{c}" if c in "\\`*_[]<>|" else c for c in flat)
