"""Models in TensorFlow Lite Micro (`bench/edge.py`)."""

from __future__ import annotations

from typing import TYPE_CHECKING

from lowtide.bench.book.grid import Table, grid
from lowtide.bench.book.results import load

if TYPE_CHECKING:
    from lowtide.bench.book.results import Record

__all__ = ["TABLES"]

# What README shows of the table, and what it calls it.
_SHOWN = {
    "randwire_96_s0": "RandWire, 96x96, seed 0",
    "randwire_32_s3": "RandWire, 32x32, seed 3",
    "nasnet_96": "NASNet-like, 96x96",
    "darts_96": "DARTS-like, 96x96",
    "skynet_96": "SkyNet, 96x96",
    "swiftnet_int8_twin": "SwiftNet, int8 twin",
    "hand_recrop": "hand_recrop (MediaPipe)",
    "iris_landmark": "iris_landmark (MediaPipe)",
}


def _edge() -> str:
    header = ["model", "ops", "TFLM, file as it was", "result", "ratio", "arena needed", "proven"]
    found = load("edge.json")
    rows = [_row(title, found.one("rows", name=name)) for name, title in _SHOWN.items()]
    return grid(header, "lrrrrrl", rows)


def _row(title: str, row: Record) -> list[str]:
    before, after = row.whole("arena", "head_before"), row.whole("arena", "head_after")
    return [
        title,
        str(row.whole("ops")),
        f"{before:,}",
        f"**{after:,}**",
        f"{before / after:.2f}",
        f"{row.whole('arena', 'required_after'):,}",
        "yes" if row.flag("head_proven") else "no",
    ]


TABLES = {"edge": Table(("edge.json",), _edge)}
