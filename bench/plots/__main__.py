"""`python -m lowtide.bench.plots`."""

import sys

from lowtide.bench.plots.command import main

__all__: list[str] = []

if __name__ == "__main__":
    sys.exit(main())
