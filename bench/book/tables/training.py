"""Training steps within budgets (`bench/tensorflow.py`, `bench/xla_steps.py`)."""

from __future__ import annotations

from typing import TYPE_CHECKING

from lowtide.bench.book.grid import Table, grid
from lowtide.bench.book.results import load

if TYPE_CHECKING:
    from collections.abc import Sequence

    from lowtide.bench.book.results import Record

__all__ = ["TABLES"]

_PARTS = (0.7, 0.5, 0.4)
_ORDER = ("VGG16", "FCN8", "U-Net", "SegNet", "ResNet50", "MobileNet", "VGG19")
_LAST_TRIED = {"SegNet"}  # networks whose least budget is the least that was asked for


def _budgets() -> str:
    parts = [f"{part:g}".lstrip("0") for part in _PARTS]
    header = ["step", "peak", *parts, "least budget met", "no plan below"]
    found = load("tensorflow.json").records("budgets")
    rows = [_row(name, [row for row in found if row.text("network") == name]) for name in _ORDER]
    return grid(header, "lrrrrrr", rows)


def _row(name: str, cells: Sequence[Record]) -> list[str]:
    by = {cell.number("budget"): cell for cell in cells}
    whole, least = by[1.0], by[min(by)]
    peak = whole.number("measured_peak")
    shown: list[str] = []
    for part in _PARTS:
        if part in by:
            shown.append(_extra(by[part], whole))
        else:
            shown.append("not found" if part < min(by) else "")
    last = f"{min(by):.3g}: {_extra(least, whole)}".lstrip("0")
    last += ", lower not tried" if name in _LAST_TRIED else ""
    bound = f"{whole.number('bound_bytes') / peak:.3f}".lstrip("0")
    return [name, f"{peak / 2**20:.0f} MiB", *shown, last, bound]


def _extra(cell: Record, whole: Record) -> str:
    measured, predicted = (
        100 * (cell.number(name) / whole.number(name) - 1)
        for name in ("measured_seconds", "predicted_seconds")
    )
    return f"{measured:.1f} ({predicted:.1f})".replace("(0.0)", "(0)")


def _compiled() -> str:
    """Of each network, the least that was found."""
    header = ["step (Adam)", "XLA's buffers", "least found", "part"]
    every = load("xla_steps.json").records("rows")
    found = [row for row in every if row.get("after_bytes") is not None]
    stopped = {row.text("network") for row in every if row.get("after_bytes") is None}
    rows: list[list[str]] = []
    for network in dict.fromkeys(row.text("network") for row in found):
        of = [row for row in found if row.text("network") == network]
        before, after = of[0].whole("before_bytes"), min(r.whole("after_bytes") for r in of)
        sizes = [f"{count / 2**20:.1f} MiB" for count in (before, after)]
        last = "" if network in stopped else ", lower not tried"
        rows.append([network, *sizes, f"{after / before:.2f}{last}"])
    return grid(header, "lrrr", rows)


TABLES = {
    "training_budgets": Table(("tensorflow.json",), _budgets),
    "training_xla": Table(("xla_steps.json",), _compiled),
}
