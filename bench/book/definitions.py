"""Numbers of the pages that are no measurement of ours, each with what it is."""

from lowtide.bench.book.claim import Definition

__all__ = ["DEFINITIONS"]

DEFINITIONS: tuple[Definition, ...] = ()
