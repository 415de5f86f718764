"""The benchmark book: every figure of the documentation comes from a committed result.

Tables are made from `bench/results/*.json` (`tables/`) and written between markers of the pages;
figures in prose are templates whose numbers are computed from the same files (`claims/`); every
other number of a page is listed with what it is, if not a measurement (`definitions`).

    python -m lowtide.bench.book            # writes tables and docs/figures.md
    python -m lowtide.bench.book --check    # exit code 1, and what is wrong
"""

__all__: list[str] = []
