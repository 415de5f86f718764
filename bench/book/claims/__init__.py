"""What the pages say of results: templates, and functions that compute their numbers."""

from lowtide.bench.book.claims import chapters, docs, first_screen, readme

__all__ = ["CLAIMS"]

CLAIMS = (*first_screen.CLAIMS, *readme.CLAIMS, *docs.CLAIMS, *chapters.CLAIMS)
