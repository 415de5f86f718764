"""`python -m lowtide.bench.book`: see `bench/book/__init__.py`."""

from lowtide.bench.book.command import main
from lowtide.bench.protocol import end

__all__: list[str] = []

if __name__ == "__main__":
    end(main)
