"""Every example of the documentation is run, or says why it is not."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
from typing import TYPE_CHECKING

import pytest

from tests.docs.examples import ROOT, blocks_of, pages, run_python
from tests.docs.shell import Shell, check_pip
from tests.docs.world import SETUP, make_world

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence
    from pathlib import Path

    from tests.docs.examples import Block

# What is not run: the page, and the first words of the block.
NOT_RUN = [
    ("CONTRIBUTING.md", "git clone"),
    ("README.md", 'pip install -e ".[test]" &&'),
    ("README.md", "optimize --peak-mem model.onnx "),
    ("README.md", "python -m lowtide.bench.models"),
    ("docs/guides/benchmark.md", "lowtide bench schedule --instances"),
    ("docs/guides/benchmark.md", "lowtide bench schedule --quick --check"),
    ("docs/guides/tflite-micro.md", "optimize --peak-mem model.onnx --target tflite"),
    ("docs/guides/xla.md", "step = lowtide.tensorflow.rematerialize"),
    ("docs/report.md", "import lowtide.tensorflow"),
    ("docs/report.md", "chromium --headless"),
    ("docs/rewriting.md", "python -m lowtide.bench.rewriting"),
    ("docs/training.md", "step = lowtide.tensorflow.rematerialize"),
    ("docs/training.md", "TF_NUM_INTRAOP_THREADS=1 python"),
    ("docs/training.md", "optimize --peak-mem saved_model_dir"),
]


def runnable(page: str) -> list[Block]:
    return [
        b for b in blocks_of(page) if b.language in ("bash", "python") and (b.part or not b.skipped)
    ]


def run(page: str, folder: Path, shell: Shell) -> list[str]:
    """Run the blocks of a page in their order, but for those that need a framework."""
    group: list[Block] = []
    for block in runnable(page):
        if block.language == "bash":
            failed = shell.run(block, folder)
            if failed:
                return failed
        elif not block.family:
            group.append(block)
    return run_python(group, folder, SETUP.get(page, ""))


@pytest.mark.tensorflow
@pytest.mark.tvm
def test_every_example_runs(tmp_path: Path) -> None:
    """In one test, so that a command that several pages show is run once."""
    world, shell = tmp_path / "world", Shell(tmp_path / "store")
    world.mkdir()
    make_world(world)
    folders: dict[str, Path] = {}
    failed: list[str] = []
    for number, page in enumerate(page for page in pages() if runnable(page)):
        folders[page] = tmp_path / str(number)
        shutil.copytree(world, folders[page])
        failed += run(page, folders[page], shell)
    for family in ("tensorflow", "tvm"):
        done = subprocess.run(
            [sys.executable, "-m", "tests.docs.framework", family]
            + [f"{page}={folder}" for page, folder in folders.items()],
            cwd=ROOT,
            env={**os.environ, "XDG_CACHE_HOME": str(tmp_path / "cache")},
            capture_output=True,
            text=True,
            check=False,
            timeout=600,
        )
        if done.returncode:
            failed.append(done.stdout + done.stderr[-2000:])
    assert not failed, "\n".join(failed)


def test_what_is_not_run_is_known() -> None:
    skipped = [(page, block) for page in pages() for block in blocks_of(page) if block.skipped]
    assert len(skipped) == len(NOT_RUN)
    for (page, block), (known, start) in zip(skipped, NOT_RUN, strict=True):
        assert page == known
        assert block.text.startswith(start)
        for path in re.findall(r"(?:tests|docs)/[\w/.]+\w", block.skipped):
            assert (ROOT / path).is_file(), path


def test_commands_are_in_fences() -> None:
    """A command in an indented block, or in a fence without a language, would not be seen."""
    command = re.compile(r"\s*(optimize|lowtide|pip install|python|import) ")
    for page in pages():
        fenced = {
            number
            for block in blocks_of(page)
            for number in range(block.line, block.line + block.text.count("\n"))
        }
        lines = (ROOT / page).read_text(encoding="utf-8").split("\n")
        loose = [
            (page, line)
            for number, line in enumerate(lines, 1)
            if line.startswith("    ") and number not in fenced and command.match(line)
        ]
        assert not loose
        for block in blocks_of(page):
            assert block.language or not command.match(block.text), (page, block.line)


def block_of(text: str, write: Callable[[str], str]) -> Sequence[Block]:
    return blocks_of(write(text))


@pytest.fixture
def write(tmp_path: Path) -> Callable[[str], str]:
    def page(text: str) -> str:
        path = tmp_path / "page.md"
        path.write_text(text)
        return str(path)

    return page


def test_a_wrong_example_is_seen(write: Callable[[str], str], tmp_path: Path) -> None:
    shell = Shell(tmp_path / "store")

    def found(text: str) -> list[str]:
        (block,) = block_of(text, write)
        if block.language == "bash":
            return shell.run(block, tmp_path)
        return run_python([block], tmp_path)

    assert not found("```bash\nlowtide solve schedule none.json  # exit code 2\n```\n")
    assert "ended with 2, not 0" in found("```bash\nlowtide solve schedule none.json\n```\n")[0]
    assert "ended with 1, not 0" in found("```bash\ncat nothing\n```\n")[0]
    assert not found("```bash\necho one\necho two\n```\n\n```text\none\ntw...\n```\n")
    assert "Expected" in found("```bash\necho one\n```\n```text\ntwo\n```\n")[0]
    assert not found("```python\nprint(1 + 1)\n```\n```text\n2\n```\n")
    assert "Expected" in found("```python\nprint(1 + 1)\n```\n```text\n3\n```\n")[0]
    assert "ZeroDivisionError" in found("```python\n1 / 0\n```\n")[0]
    assert "Expected" in found("```python\n>>> 1 + 1\n3\n\n```\n")[0]
    (skipped,) = block_of("<!-- not run: it is long -->\n\n```bash\nfalse\n```\n", write)
    assert skipped.skipped == "it is long"


def test_what_pip_would_install_is_checked() -> None:
    assert not check_pip(["pip", "install", "lowtide[edge,tvm]"])
    assert not check_pip(["pip", "install", "./examples/plugin"])
    assert "no extra gpu" in check_pip(["pip", "install", "lowtide[gpu]"])
    assert "no folder" in check_pip(["pip", "install", "./examples"])


def test_the_same_command_is_run_once(tmp_path: Path, write: Callable[[str], str]) -> None:
    shell = Shell(tmp_path / "store")
    (block,) = block_of("```bash\ncat data > copy && date +%N >> copy\n```\n", write)
    results: list[str] = []
    for name, text in (("a", "one"), ("b", "one"), ("c", "two")):
        folder = tmp_path / name
        folder.mkdir()
        (folder / "data").write_text(text)
        assert not shell.run(block, folder)
        results.append((folder / "copy").read_text())
    assert results[0] == results[1]
    assert results[2].startswith("two")
