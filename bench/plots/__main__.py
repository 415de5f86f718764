"""`python -m lowtide.bench.plots`."""

from lowtide.bench.plots.command import main
from lowtide.bench.protocol import end

__all__: list[str] = []

if __name__ == "__main__":
    end(main)
