"""Runs the blocks of several pages that need TensorFlow or TVM, in one process of their own.

python -m tests.docs.framework FAMILY PAGE=FOLDER ...
"""

from __future__ import annotations

import sys
from pathlib import Path

from tests.docs.examples import blocks_of, run_python
from tests.docs.world import FRAMEWORK_SETUP

__all__ = ["main"]


def main() -> None:
    """End with 1, and say on stdout what failed, if something did."""
    family, *pages = sys.argv[1:]
    failed: list[str] = []
    for pair in pages:
        page, _, folder = pair.partition("=")
        blocks = [b for b in blocks_of(page) if b.language == "python" and b.family == family]
        wanted = [block for block in blocks if not block.skipped]
        failed += run_python(wanted, Path(folder), FRAMEWORK_SETUP.get(f"{page}:{family}", ""))
    print("\n".join(failed))
    sys.exit(1 if failed else 0)


if __name__ == "__main__":
    main()
