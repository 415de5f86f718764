"""Orders and recomputation (`bench/schedules.py`, `bench/remat.py`)."""

from __future__ import annotations

import statistics
from typing import TYPE_CHECKING

from lowtide.bench.book.grid import Table, grid
from lowtide.bench.book.results import load
from lowtide.bench.protocol import geometric_mean

if TYPE_CHECKING:
    from lowtide.bench.book.results import Record

__all__ = ["TABLES"]

_FAMILIES = {
    "RandWire": "RandWire",
    "NAS + SwiftNet": "NAS cells and networks, SwiftNet",
    "other inference": "other inference",
    "training": "training",
}
# Graph and budget; overhead in percent and seconds on their machines. Checkmate's and MOCCASIN's
# figures are those of MOCCASIN's paper, FastSA's of its own (as in `remat_solvers.PUBLISHED`).
_PUBLISHED = {
    ("FCN8", "0.8"): "0.1 in 5.6 s, 0.1 in 3.1 s, 0.1 in 9.6 s",
    ("ResNet50", "0.8"): "0.3 in 485 s, 0.3 in 69 s, 0.4 in 11 s",
    ("ResNet50", "0.5"): "",
    ("U-Net", "0.7"): "",
    ("SegNet", "0.5"): "",
    ("RL100", "0.8"): "2.3 in 23 s, 2.3 in 9.5 s, 0.3 in 12 s",
    ("RL250", "0.8"): "limit, 4.9 in 640 s, 0.0 in 15 s",
    ("RL500", "0.7"): "limit, none, 4.8 missed",
    ("RL1000", "0.7"): "limit, none, 7.4 in 36 s",
}


def _schedules() -> str:
    header = ["family", "graphs", "CPU-s, all", "file order", "best of XLA's three", "Inductor's"]
    header.append("SERENITY's method")
    found = load("schedules.json").records("rows")
    rows: list[list[str]] = []
    for family, title in _FAMILIES.items():
        of = [row.record("answers") for row in found if row.text("family") == family]
        seconds = sum(row.number("exact", "median_cpu_seconds") for row in of)
        proven = sum(row.text("serenity", "status") == "optimal" for row in of)
        means = [
            f"{geometric_mean(_peak(row, name) / _peak(row, 'exact') for row in of):.3f}"
            for name in ("file", "xla", "inductor", "serenity")
        ]
        means[-1] += f"; {proven} proven"
        rows.append([title, str(len(of)), _seconds(seconds, 1.0), *means])
    return grid(header, "lrrrrrr", rows)


def _peak(row: Record, solver: str) -> float:
    return row.number(solver, "peak_bytes")


def _seconds(value: float, fine: float) -> str:
    return f"{value:.1f}" if value >= fine else f"{value:.2f}"


def _remat() -> str:
    header = ["graph", "ops", "budget", "overhead", "proven, every order", "CPU-s"]
    header.append("published: Checkmate with Gurobi, MOCCASIN, FastSA")
    found = load("remat.json")
    rows: list[list[str]] = []
    for (name, ratio), theirs in _PUBLISHED.items():
        row = found.one("rows", name=name, ratio=ratio)
        overhead = statistics.median(row.numbers("overheads"))
        bound = row.number("bound_percent")
        # More digits only where plan and bound agree in them.
        digits = 3 if f"{overhead:.3f}" == f"{bound:.3f}" else 2
        cells = [f"{value:.{digits}f}" if value else "0" for value in (overhead, bound)]
        seconds = _seconds(statistics.median(row.numbers("cpu_seconds")), 0.1)
        rows.append([name, f"{row.whole('ops'):,}", ratio, *cells, seconds, theirs])
    return grid(header, "lrrrrrl", rows)


TABLES = {
    "schedules": Table(("schedules.json",), _schedules),
    "remat": Table(("remat.json",), _remat),
}
