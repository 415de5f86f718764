"""The examples of the documentation: blocks of Bash and Python in its pages.

A block in a fence marked `bash` or `python` is run, after those before it on its page, unless the
line above says why not:

    <!-- not run: needs a board -->
    <!-- not run, lines with "--device": needs a board -->

A block in a fence marked `text` right below it is what it prints, compared as doctest compares:
`...` stands for anything, and white space counts as white space. In Bash, `# exit code 3` after a
command is what it ends with, and `# ...` alone on a line is a comment.
"""

from __future__ import annotations

import contextlib
import doctest
import io
import re
import traceback
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

__all__ = [
    "ROOT",
    "Block",
    "Command",
    "blocks_of",
    "commands_of",
    "difference",
    "links_of",
    "pages",
    "run_python",
]

ROOT = Path(__file__).parents[2]
_FENCE = re.compile(r"(?P<indent> *)(?P<mark>```+|~~~+)(?P<language>[\w+-]*)\s*$")
_SKIPPED = re.compile(
    r"\s*<!-- not run(, lines with \"(?P<part>[^\"]+)\")?: (?P<reason>.+) -->\s*$"
)
_CODE = re.compile(r"\s+# exit code (?P<code>\d)$")
_FLAGS = doctest.ELLIPSIS | doctest.NORMALIZE_WHITESPACE


@dataclass(frozen=True)
class Block:
    """A fenced block.

    Attributes:
        page: its path in the repository.
        line: of the first line of its text, from 1.
        language: as the fence has it.
        text: without the fence and its indentation.
        skipped: why it is not run; empty if it is.
        part: of Bash, only commands with this text are not run.
        output: what it prints, if the page shows that.
    """

    page: str
    line: int
    language: str
    text: str
    skipped: str = ""
    part: str = ""
    output: str | None = None

    @property
    def family(self) -> str:
        """What a block of Python needs: `tensorflow`, `tvm` or `` (neither)."""
        if re.search(r"\b(tensorflow|keras|tf)\b", self.text):
            return "tensorflow"
        return "tvm" if re.search(r"\b(tvm|relax)\b", self.text) else ""


@dataclass(frozen=True)
class Command:
    """A command of a block of Bash, and the exit code that it is to have."""

    line: int
    text: str
    code: int = 0


def pages() -> list[str]:
    """The pages with examples, as paths in the repository."""
    found = [path.relative_to(ROOT).as_posix() for path in (ROOT / "docs").rglob("*.md")]
    return sorted([*found, "CONTRIBUTING.md", "README.md", "solvers/README.md"])


def blocks_of(page: str) -> list[Block]:
    """All fenced blocks of a page, in order."""
    blocks: list[Block] = []
    lines = (ROOT / page).read_text(encoding="utf-8").split("\n")
    number, skipped, part, adjacent = 0, "", "", False
    while number < len(lines):
        line = lines[number]
        number += 1
        fence = _FENCE.match(line)
        if fence is None:
            mark = _SKIPPED.match(line)
            if mark is not None or line.strip():
                skipped, adjacent = mark["reason"] if mark else "", False
                part = (mark["part"] or "") if mark else ""
            continue
        start, indent = number, len(fence["indent"])
        while lines[number].strip() != fence["mark"]:
            number += 1
        text = "".join(f"{inner[indent:]}\n" for inner in lines[start:number])
        number += 1
        if fence["language"] == "text" and adjacent:
            last = blocks.pop()
            blocks.append(replace(last, output=text))
        else:
            blocks.append(Block(page, start + 1, fence["language"], text, skipped, part))
        adjacent = fence["language"] in ("bash", "python") and not skipped
        skipped = part = ""
    return blocks


def commands_of(block: Block) -> Iterator[Command]:
    """The commands of a block of Bash: one a line, or joined by `&&` or a backslash."""
    text, start = "", block.line
    for offset, line in enumerate(block.text.split("\n")):
        if not text:
            start = block.line + offset
        if line.endswith("\\"):
            text += line[:-1]
            continue
        text += line
        code = _CODE.search(text)
        bare = re.sub(r"(^|\s+)#.*$", "", text).strip()
        parts = [part.strip() for part in bare.split("&&") if part.strip()]
        for position, part in enumerate(parts, 1):
            last = position == len(parts)
            if block.part and block.part in part:
                continue
            yield Command(start, part, int(code["code"]) if code and last else 0)
        text = ""


def difference(wanted: str, got: str) -> str:
    """How an output differs from what a page shows; empty if it does not."""
    checker = doctest.OutputChecker()
    if checker.check_output(wanted, got, _FLAGS):
        return ""
    return checker.output_difference(doctest.Example("", wanted), got, _FLAGS)


def run_python(blocks: Sequence[Block], folder: Path, setup: str = "") -> list[str]:
    """Run blocks of one page one after the other in a folder, in one namespace; what failed."""
    space: dict[str, object] = {"__name__": "__main__"}
    with contextlib.chdir(folder):
        exec(compile(setup, "setup", "exec"), space)
        for block in blocks:
            where, printed = f"{block.page}:{block.line}", io.StringIO()
            try:
                if ">>> " in block.text:
                    _run_doctest(block, space)
                    continue
                # As many empty lines as the page has before the block: tracebacks have its lines.
                code = compile("\n" * (block.line - 1) + block.text, block.page, "exec")
                with contextlib.redirect_stdout(printed):
                    exec(code, space)
            except Exception:
                return [f"{where}: {traceback.format_exc()}"]
            if block.output is not None and difference(block.output, printed.getvalue()):
                return [f"{where}: {difference(block.output, printed.getvalue())}"]
    return []


def _run_doctest(block: Block, space: dict[str, object]) -> None:
    examples = doctest.DocTestParser().get_doctest(
        block.text, space, block.page, block.page, block.line
    )
    report: list[str] = []
    runner = doctest.DocTestRunner(optionflags=_FLAGS, verbose=False)
    runner.run(examples, out=report.append, clear_globs=False)
    assert not report, "".join(report)
    space.update(examples.globs)


_HEADING = re.compile(r"#{1,6} (?P<text>.+?)\s*#*$")
_LINK = re.compile(r"(`+).*?\1|!?\[[^\]]*\]\((?P<target>[^)\s]+)[^)]*\)", re.DOTALL)


def links_of(page: str) -> tuple[list[str], set[str]]:
    """What a page links to, and the anchors that GitHub gives its headings."""
    text: list[str] = []
    anchors: set[str] = set()
    fence = ""
    for line in (ROOT / page).read_text(encoding="utf-8").split("\n"):
        mark = _FENCE.match(line)
        if mark is not None and (not fence or mark["mark"] == fence):
            fence = "" if fence else mark["mark"]
        elif not fence:
            text.append(line)
            heading = _HEADING.match(line)
            if heading is not None:
                bare = re.sub(r"\[([^\]]*)\]\([^)]*\)", r"\1", heading["text"]).lower()
                anchors.add(re.sub(r"[^\w\- ]", "", bare).replace(" ", "-"))
    found = [match["target"] for match in _LINK.finditer("\n".join(text)) if match["target"]]
    return found, anchors
