"""`python -m lowtide.bench`."""

from lowtide.bench.command import main

main()
