"""The hook that brings files outside docs/ into the site."""

from __future__ import annotations

import importlib.util
from types import ModuleType
from typing import TYPE_CHECKING

import pytest
from mkdocs.config import load_config  # pyright: ignore[reportUnknownVariableType]
from mkdocs.exceptions import PluginError
from mkdocs.structure.files import File, Files

from tests.docs.examples import ROOT

if TYPE_CHECKING:
    from mkdocs.config.defaults import MkDocsConfig


@pytest.fixture(scope="module")
def hook() -> ModuleType:
    spec = importlib.util.spec_from_file_location("pages", ROOT / ".ci" / "pages.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@pytest.mark.parametrize(
    ("path", "link", "wanted"),
    [
        ("docs/peak.md", "training.md#the-budget", "training.md#the-budget"),
        ("docs/peak.md", "../bench/results/tvm.md", "bench/results/tvm.md"),
        ("docs/start/edge.md", "../../bench/README.md#edge", "../bench/README.md#edge"),
        ("docs/start/edge.md", "../peak.md", "../peak.md"),
        ("docs/recomputation.md", "../solvers/remat/cover.py", "solvers/remat/cover.py.md"),
        ("docs/recomputation.md", "../bench/results/a.svg", "bench/results/a.svg"),
        ("solvers/README.md", "../docs/recomputation.md", "../recomputation.md"),
        ("bench/README.md", "results/tvm.md", "results/tvm.md"),
        ("CONTRIBUTING.md", "docs/architecture.md", "architecture.md"),
        ("docs/peak.md", "https://example.com/a.md", "https://example.com/a.md"),
        ("docs/peak.md", "#tvm", "#tvm"),
    ],
)
def test_links_are_rewritten(hook: ModuleType, path: str, link: str, wanted: str) -> None:
    assert hook.rewritten(f"see [it]({link}) there", path) == f"see [it]({wanted}) there"
    assert hook.rewritten(f'![p]({link} "t")', path) == f'![p]({wanted} "t")'


def test_code_is_left_as_it_is(hook: ModuleType) -> None:
    link = "[a](../bench/a.md)"
    text = f"`{link}`\n\n```text\n{link}\n```\n\n````\n```\n{link}\n````\n{link}\n"
    wanted = text[: text.rindex(link)] + "[a](bench/a.md)\n"
    assert hook.rewritten(text, "docs/page.md") == wanted


def test_a_source_file_becomes_a_page(hook: ModuleType) -> None:
    page = hook.shown("a/b.py", 'x = """```"""\n', "python")
    assert "\n# a/b.py\n" in page
    assert '\n````python\nx = """```"""\n````\n' in page


def files_with(markdown: str) -> tuple[Files, MkDocsConfig]:
    config = load_config(str(ROOT / "mkdocs.yml"))
    vars(config.plugins)["_current_plugin"] = "test"  # as while mkdocs calls a hook
    return Files([File.generated(config, "page.md", content=markdown)]), config


def test_files_that_are_linked_are_added(hook: ModuleType) -> None:
    files, config = files_with("[a](../action.yml) [b](../bench/results/remat.md) [c](peak.md)")
    added = {file.src_uri for file in hook.on_files(files, config)}
    assert {"page.md", "action.yml.md", "bench/results/remat.md", "CHANGELOG.md"} <= added
    assert "peak.md" not in added


@pytest.mark.parametrize(
    ("link", "message"),
    [("../solvers", "not a file"), ("../none.md", "not a file"), ("../page.md", "not a file")],
)
def test_what_cannot_be_a_page_is_refused(hook: ModuleType, link: str, message: str) -> None:
    files, config = files_with(f"[it]({link})")
    with pytest.raises(PluginError, match=message):
        hook.on_files(files, config)


def test_two_files_at_one_place_are_refused(hook: ModuleType) -> None:
    files, config = files_with("[it](../CHANGELOG.md)")
    files.append(File.generated(config, "CHANGELOG.md", content="another"))
    with pytest.raises(PluginError, match="the same page"):
        hook.on_files(files, config)
