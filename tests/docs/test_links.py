"""Links between files of the repository lead to files and headings, as GitHub follows them."""

from __future__ import annotations

import posixpath

import pytest

from tests.docs.examples import ROOT, links_of, pages

PAGES = sorted(
    {
        *pages(),
        "CHANGELOG.md",
        *(path.relative_to(ROOT).as_posix() for path in (ROOT / "bench").rglob("*.md")),
    }
)


@pytest.mark.parametrize("page", PAGES)
def test_links_lead_somewhere(page: str) -> None:
    wrong: list[str] = []
    for link in links_of(page)[0]:
        if "://" in link:
            continue
        name, _, anchor = link.partition("#")
        target = posixpath.normpath(posixpath.join(posixpath.dirname(page), name)) if name else page
        if not (ROOT / target).exists() or (
            anchor and (not target.endswith(".md") or anchor not in links_of(target)[1])
        ):
            wrong.append(link)
    assert not wrong


def test_a_wrong_link_is_seen() -> None:
    links, anchors = links_of("docs/tvm.md")
    assert "../bench/results/tvm.md" in links
    assert "freestanding-c" in anchors
    assert "docs/tvm.md#freestanding-c" in links_of("README.md")[0]
