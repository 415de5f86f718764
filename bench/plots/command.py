"""Draw the pictures, or check that the committed ones are what the results say."""

from __future__ import annotations

import argparse
import sys
from typing import TYPE_CHECKING

from lowtide.bench.book.results import RESULTS, ROOT
from lowtide.bench.plots.pictures import PICTURES
from lowtide.errors import InputError

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

__all__ = ["main", "stale"]

_FOLDER = ROOT / "docs" / "book"


def stale(folder: Path = _FOLDER, results: Path = ROOT / RESULTS) -> dict[Path, str]:
    """The pictures that are not what they are to be, with what they are to be."""
    wanted = {folder / f"{name}.svg": draw(results) for name, draw in PICTURES.items()}
    return {
        path: text
        for path, text in wanted.items()
        if not path.is_file() or path.read_text(encoding="utf-8") != text
    }


def main(arguments: Sequence[str] | None = None) -> int:
    """The command."""
    parser = argparse.ArgumentParser(prog="python -m lowtide.bench.plots", description=__doc__)
    parser.add_argument("--check", action="store_true", help="write nothing; 1 where one is stale")
    options = parser.parse_args(arguments)
    if not (ROOT / "pyproject.toml").is_file():
        raise InputError("the pictures belong to a checkout of the repository; this is none")
    found = stale()
    for path, text in found.items():
        print(f"{path.name}: {'stale' if options.check else 'drawn'}", file=sys.stderr)
        if not options.check:
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(text, encoding="utf-8")
    return int(bool(found) and options.check)
