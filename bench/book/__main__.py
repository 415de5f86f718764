"""`python -m lowtide.bench.book`: see `bench/book/__init__.py`."""

import sys

from lowtide.bench.book.command import main

__all__: list[str] = []

if __name__ == "__main__":
    sys.exit(main())
