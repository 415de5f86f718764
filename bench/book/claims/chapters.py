"""What the chapters of the benchmark book, and the page of limits, say of results."""

from __future__ import annotations

from typing import TYPE_CHECKING

from lowtide.bench.book.claim import Claim, spelled
from lowtide.bench.book.claims.measured import conformance, seeds

if TYPE_CHECKING:
    from collections.abc import Sequence

    from lowtide.bench.book.claim import Value
    from lowtide.bench.book.results import Record

__all__ = ["CLAIMS"]


def _orders(found: Record) -> Sequence[Value]:
    (count,) = {len(row.record("answers").fields) for row in found.records("rows")}
    return [spelled(count - 1)]


def _networks(found: Record) -> Sequence[Value]:
    return [spelled(len({row.text("network") for row in found.records("budgets")}))]


def _operators(found: Record) -> Sequence[Value]:
    return [conformance(found)[2]]


CLAIMS = (
    Claim("docs/limits.md", "Of ONNX, [{} operators]", "onnx_conformance.json", _operators),
    Claim("docs/book/orders.md", "peaks of {} other orders", "schedules.json", _orders),
    Claim("docs/book/recomputation.md", "Medians of {} seeds", "remat.json", seeds),
    Claim("docs/book/tensorflow.md", "for {} networks", "tensorflow.json", _networks),
)
