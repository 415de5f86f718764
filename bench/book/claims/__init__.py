"""What the pages say of results: templates, and functions that compute their numbers."""

from lowtide.bench.book.claims import chapters, docs, readme

__all__ = ["CLAIMS"]

CLAIMS = (*readme.CLAIMS, *docs.CLAIMS, *chapters.CLAIMS)
