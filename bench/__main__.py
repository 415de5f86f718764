"""`python -m lowtide.bench`, which is `lowtide bench`."""

from lowtide.cli import bench_main

__all__: list[str] = []

if __name__ == "__main__":
    bench_main()
