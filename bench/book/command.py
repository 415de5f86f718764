"""Writing and checking the pages."""

from __future__ import annotations

import argparse
import difflib
import sys
from pathlib import Path
from typing import TYPE_CHECKING

from lowtide.bench.book.claims import CLAIMS
from lowtide.bench.book.definitions import DEFINITIONS
from lowtide.bench.book.ledger import LEDGER, ledger
from lowtide.bench.book.page import blocks, fill, find, line_of, numbers
from lowtide.bench.book.results import ROOT, BookError
from lowtide.bench.book.tables import TABLES

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence

    from lowtide.bench.book.claim import Claim, Definition

__all__ = ["MADE", "main", "pages", "problems", "rendered"]

# Pages made from the code as a whole, by others: their numbers are options and defaults.
MADE = ("docs/command-line.md",)  # tests/docs/test_command_line.py


def pages(root: Path = ROOT) -> dict[str, str]:
    """The texts of all pages whose numbers are checked, by their paths from the root.

    Raises:
        BookError: `root` is no checkout of the repository.
    """
    found = [root / "README.md", root / "bench/README.md", root / "solvers/README.md"]
    found += sorted((root / "docs").rglob("*.md"))
    missing = [path for path in found if not path.is_file()]
    if missing:
        raise BookError(f"{missing[0]}: no such page; run this in a checkout of the repository")
    return {path.relative_to(root).as_posix(): path.read_text() for path in found}


def rendered(texts: Mapping[str, str]) -> dict[str, str]:
    """The pages with all tables made anew; the ledger last, since it tells where tables are."""

    def made(name: str) -> str:
        if name == LEDGER:
            return ledger(texts)
        if name not in TABLES:
            raise BookError(f"there is no table `{name}`, but {', '.join(TABLES)}")
        return TABLES[name].make()

    return {page: fill(text, made) for page, text in texts.items()}


def problems(
    texts: Mapping[str, str],
    claims: Iterable[Claim] = CLAIMS,
    definitions: Iterable[Definition] = DEFINITIONS,
) -> list[str]:
    """What is wrong with the prose: claims that are not there, and numbers that nothing explains.

    Every number outside code and generated tables has to lie in a claim or a definition, and each
    of these has to be on its page, once.
    """
    found: list[str] = []
    explained: dict[str, list[tuple[int, int]]] = {page: [] for page in texts}
    of = {page: [] if page in MADE else numbers(text) for page, text in texts.items()}
    entries: list[Claim | Definition] = [*claims, *definitions]
    for entry in entries:
        if entry.page not in texts:
            found.append(f"{entry.page}: no such page, says `{entry.says}`")
            continue
        try:
            begin, end = find(texts[entry.page], entry.text())
        except BookError as error:
            found.append(f"{entry.page}: {error}")
            continue
        if not any(begin <= number.begin and number.end <= end for number in of[entry.page]):
            found.append(f"{entry.page}: `{entry.says}` has no number to explain")
        explained[entry.page].append((begin, end))
    for page, text in texts.items():
        for number in of[page]:
            if not any(b <= number.begin and number.end <= e for b, e in explained[page]):
                line = line_of(text, number.begin)
                around = " ".join(text[max(number.begin - 40, 0) : number.end + 30].split())
                found.append(f"{page}:{line}: `{number.text}` comes from nowhere: ...{around}...")
    shown = {name for text in texts.values() for name, _, _ in blocks(text)}
    found += [f"table `{name}` is on no page" for name in TABLES if name not in shown]
    return found


def main(arguments: Sequence[str] | None = None) -> int:
    """Write the tables into the pages, or check them; 1 where something is wrong.

    Raises:
        BookError: there are no pages.
    """
    parser = argparse.ArgumentParser(prog="python -m lowtide.bench.book", description=__doc__)
    parser.add_argument("--check", action="store_true", help="write nothing; exit code 1, and why")
    parser.add_argument("--root", type=Path, default=ROOT, help="of the pages; results are ours")
    options = parser.parse_args(arguments)
    before = pages(options.root)
    try:
        after = rendered(before)
        wrong = problems(after)
    except BookError as error:
        print(error, file=sys.stderr)
        return 1
    for page, text in after.items():
        if text == before[page]:
            continue
        if options.check:
            lines = (before[page].splitlines(), text.splitlines())
            wrong += difflib.unified_diff(*lines, page, f"{page}, from the results", lineterm="")
        else:
            (options.root / page).write_text(text)
            print(f"{page}: written")
    print(*wrong, sep="\n", end="\n" if wrong else "", file=sys.stderr)
    return 1 if wrong else 0
