"""What rewriting adds (`bench/rewriting.py`, `bench/tiling.py`)."""

from __future__ import annotations

from typing import TYPE_CHECKING

from lowtide.bench.book.grid import Table, bold_least, grid
from lowtide.bench.book.results import load
from lowtide.bench.protocol import geometric_mean

if TYPE_CHECKING:
    from collections.abc import Sequence

    from lowtide.bench.book.results import Record

__all__ = ["BEST", "SUMS", "TABLES", "TILES", "gains"]

BEST, SUMS, TILES = 0, 2, 3  # places of `rewriting.LEVELS` in the lists of a row
# Network, target and what README calls them; bits are those of the file in TFLite Micro.
_SHOWN = (
    ("SwiftNet", "onnxruntime", "SwiftNet, float"),
    ("NASNet", "onnxruntime", "NASNet-like"),
    ("RandWire 2", "onnxruntime", "RandWire, seed 2"),
    ("SwiftNet, int8", "tflite", "SwiftNet, int8"),
)
_SIDES = (144, 96)
# The optima of SwiftNet's cells rewritten by SERENITY's two rules: with stock kernels, as computed
# once for shared notes of this project; with accumulating ones, the rows of `schedules.json`.
_CELLS = {"A": "swiftnet_cellAr_rw", "B": "swiftnet_cellBr_rw", "C": "swiftnet_cellCr_rw"}


def _below() -> str:
    header = ["peak, bytes", "runtime", "best order, proven", "rewritten", "with bands", "measured"]
    found = load("rewriting.json")
    rows: list[list[str]] = []
    for name, target, title in _SHOWN:
        row = found.one("rows", network=name, target=target)
        peaks = [_count(row, "predicted", level) for level in (BEST, SUMS, TILES)]
        measured = f"{_count(row, 'measured', TILES):,}"
        runtime = "ONNX Runtime"
        if target == "tflite":
            runtime, measured = "TFLite Micro", measured + _same(row)
        rows.append([title, runtime, f"{peaks[0]:,}", *bold_least(peaks[1:]), measured])
    tiling = load("tiling.json")
    for side in _SIDES:
        name = f"MobileNetV2 0.35, {side}x{side}"
        order = tiling.one("rows", network=name, way="planned").whole("head_bytes")
        # As `optimize` chooses: the least arena, not the least head.
        head = tiling.one("rows", network=name, way="arena").whole("head_bytes")
        title = f"MobileNetV2 0.35, int8, {side} px"
        cells = [f"{order:,}", f"{order:,}", f"**{head:,}**", f"{head:,}, same bits"]
        rows.append([title, "TFLite Micro", *cells])
    return grid(header, "llrrrr", rows)


def _count(row: Record, name: str, level: int) -> int:
    return int(row.numbers(name)[level])


def _same(row: Record) -> str:
    return ", same bits" if row.numbers("max_abs_error")[TILES] == 0 else ""


def gains(rows: Sequence[Record]) -> tuple[float, float, float]:
    """Geometric means: file over best order, best order over rewritten, the same with bands."""
    best = [row.numbers("predicted")[BEST] for row in rows]
    sums = [row.numbers("predicted")[SUMS] for row in rows]
    tiles = [row.numbers("predicted")[TILES] for row in rows]
    return (
        geometric_mean(row.number("source") / b for row, b in zip(rows, best, strict=True)),
        geometric_mean(b / s for b, s in zip(best, sums, strict=True)),
        geometric_mean(b / t for b, t in zip(best, tiles, strict=True)),
    )


def _means() -> str:
    header = ["target", "file order over best order", "rewriting", "rewriting with bands"]
    header.append("SERENITY's order, its rewriting")
    theirs = {"onnx": "1.68x, 1.11x on its own networks"}
    found = load("rewriting.json").records("rows")
    rows = [
        [
            f"`{target}`",
            *(f"{mean:.3f}x" for mean in gains([r for r in found if r.text("target") == target])),
            theirs.get(target, ""),
        ]
        for target in ("onnx", "onnxruntime")
    ]
    return grid(header, "lrrrl", rows)


def _cells() -> str:
    header = ["", "best order", "rewritten", "SERENITY's rewriting, with accumulating kernels"]
    cells, whole = load("rewriting_cells.json"), load("rewriting.json")
    schedules = load("schedules.json")
    rows: list[list[str]] = []
    for cell, instance in _CELLS.items():
        row = cells.one("rows", network=f"SwiftNet {cell}, float32")
        theirs = schedules.one("rows", name=instance).whole("answers", "exact", "peak_bytes")
        rows.append([f"cell {cell}", *_elements(row), f"{theirs:,}"])
    row = whole.one("rows", network="SwiftNet, float32")
    return grid(header, "lrrr", [*rows, ["whole", *_elements(row), ""]])


def _elements(row: Record) -> list[str]:
    """Peaks of the best order and of the rewritten network without bands, in elements."""
    best, sums = (_count(row, "predicted", level) // 4 for level in (BEST, SUMS))
    return [f"{best:,}", f"**{sums:,}**"]


TABLES = {
    "below_the_optimum": Table(("rewriting.json", "tiling.json"), _below),
    "rewriting_means": Table(("rewriting.json",), _means),
    "swiftnet_cells": Table(("rewriting_cells.json", "rewriting.json", "schedules.json"), _cells),
}
