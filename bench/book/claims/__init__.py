"""What the pages say of results; one module for each page."""

from lowtide.bench.book.claim import Claim

__all__ = ["CLAIMS"]

CLAIMS: tuple[Claim, ...] = ()
