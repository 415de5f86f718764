"""The site builds with every link checked, and its pages load nothing from a network."""

from __future__ import annotations

import importlib
import os
import subprocess
import sys
from html.parser import HTMLParser
from pathlib import Path
from typing import cast
from urllib.parse import unquote, urlsplit

import pytest

ROOT = Path(__file__).parents[2]
# Constants that say all themselves.
_NO_DOCSTRING = ("__version__", "KERNEL_LIBRARIES", "MEMORY_KINDS")


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("site")
    done = subprocess.run(
        [sys.executable, "-m", "mkdocs", "build", "--strict", "--quiet", "--site-dir", str(folder)],
        cwd=ROOT,
        env={**os.environ, "NO_MKDOCS_2_WARNING": "1"},
        capture_output=True,
        text=True,
        check=False,
        timeout=300,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    return folder


class Page(HTMLParser):
    """What a page loads, where it leads, and the places in it."""

    def __init__(self) -> None:
        super().__init__()
        self.loads: list[str] = []
        self.leads: list[str] = []
        self.places: set[str] = set()

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        found = {name: value or "" for name, value in attrs}
        self.places |= {found[name] for name in ("id", "name") if name in found}
        if tag == "a":
            self.leads += [found["href"]] if "href" in found else []
        else:
            self.loads += [found[name] for name in ("src", "href", "data") if name in found]


def read(path: Path) -> Page:
    page = Page()
    page.feed(path.read_text(encoding="utf-8"))
    return page


def test_nothing_is_loaded_from_a_network(site: Path) -> None:
    pages = sorted(site.rglob("*.html"))
    assert len(pages) > 20
    for path in pages:
        outside = [link for link in read(path).loads if urlsplit(link).netloc]
        assert not outside, (path.name, outside)
    for style in site.rglob("*.css"):
        text = style.read_text(encoding="utf-8")
        assert "@import" not in text, style
        assert "url(http" not in text, style
        assert "url(//" not in text, style


def test_every_link_in_the_site_leads_somewhere(site: Path) -> None:
    pages = {path: read(path) for path in site.rglob("*.html")}
    broken: list[tuple[str, str]] = []
    for path, page in pages.items():
        if path.name == "404.html":  # its links are absolute: it is shown at any address
            continue
        for link in page.leads + page.loads:
            parts = urlsplit(link)
            if parts.scheme or parts.netloc:
                continue
            target = (path.parent / unquote(parts.path)).resolve() if parts.path else path
            target = target / "index.html" if target.is_dir() else target
            anchor = unquote(parts.fragment)
            there = target.is_file() and (
                not anchor or target not in pages or anchor in pages[target].places
            )
            if not there:
                broken.append((str(path.relative_to(site)), link))
    assert not broken


def test_files_outside_the_documentation_are_pages(site: Path) -> None:
    text = (site / "recomputation.html").read_text(encoding="utf-8")
    assert 'href="bench/results/remat_solvers.html"' in text
    assert (site / "bench" / "results" / "remat_solvers.html").is_file()
    assert "covering" in (site / "solvers" / "remat" / "cover.py.html").read_text(encoding="utf-8")


@pytest.mark.parametrize(
    "module", ["", ".errors", ".onnxruntime", ".solvers", ".ir", ".passes", ".devices"]
)
def test_every_public_name_is_documented(site: Path, module: str) -> None:
    names = cast("list[str]", importlib.import_module(f"lowtide{module}").__all__)
    places = {place for path in (site / "api").glob("*.html") for place in read(path).places}
    # A function in a module of its own name stands there under its full one.
    missing = [
        name
        for name in names
        if name not in _NO_DOCSTRING
        and not {f"lowtide{module}.{name}", f"lowtide{module}.{name}.{name}"} & places
    ]
    assert not missing
