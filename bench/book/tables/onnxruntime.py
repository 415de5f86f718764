"""Whole models in ONNX Runtime (`bench/models.py`)."""

from __future__ import annotations

from typing import TYPE_CHECKING

from lowtide.bench.book.grid import Table, grid
from lowtide.bench.book.results import load

if TYPE_CHECKING:
    from lowtide.bench.book.results import Record

__all__ = ["TABLES"]


def _models() -> str:
    header = ["model", "ops", "before", "after", "proven", "measured", "arena", "default order"]
    header += ["stock", "latency", "outputs"]
    found = load("models.json").record("models")
    rows = [_row(name, found.record(name)) for name in found.fields]
    return grid(header, "lrrrlrrrrrl", rows)


def _row(name: str, report: Record) -> list[str]:
    measured = report.record("measured")

    def mib(of: Record, *path: str) -> str:
        return f"{of.number(*path) / 2**20:.2f}"

    return [
        name,
        f"{report.whole('model', 'ops'):,}",
        mib(report, "peak_bytes", "before"),
        f"**{mib(report, 'peak_bytes', 'after')}**",
        "yes" if report.text("status") == "optimal" else "no",
        *(mib(measured, key) for key in ("peak_after", "arena_after", "peak_before", "peak_stock")),
        f"{measured.number('latency_after') / measured.number('latency_stock'):.2f}",
        report.text("verification", "numerics"),
    ]


TABLES = {"onnxruntime": Table(("models.json",), _models)}
