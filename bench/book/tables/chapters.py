"""The tables of the book's chapters: published ones beside ours."""

from __future__ import annotations

import statistics
from typing import TYPE_CHECKING

from lowtide.bench.book.grid import Table, grid
from lowtide.bench.book.results import load
from lowtide.bench.protocol import geometric_mean
from lowtide.bench.remat_ratios import CHECKMATE
from lowtide.bench.remat_solvers import PUBLISHED
from lowtide.bench.rewriting import SERENITY
from lowtide.bench.suites import SUITES

if TYPE_CHECKING:
    from lowtide.bench.book.results import Record

__all__ = ["TABLES"]

_ORDERS = ("serenity", "file", "ort_default", "xla", "inductor", "kahn", "dfs", "list")
# In the order of Checkmate's table.
_STRATEGIES = {
    "ap-sqrt": "AP √n",
    "ap-greedy": "AP greedy",
    "griewank": "Griewank",
    "checkmate-lp-rounding": "LP rounding",
}
# Checkmate's largest batches over the usual ones: its text, and its Figure 6.
_CHECKMATE_BATCHES = {"MobileNet": "5.1", "U-Net": "3.8"}


def _peaks() -> str:
    rows: list[list[str]] = []
    for name, suite in SUITES.items():
        rows.append([f"`{name}`", suite.peak])
        own = [each for each in suite.experiments if each.peak]
        rows += [[f"`{name}`: `{each.name}`", each.peak] for each in own]
    return grid(["suite, or an experiment of it", "peak"], "ll", rows)


def _orders() -> str:
    header = ["family", "graphs", "proven", "CPU-s, all", *(_title(name) for name in _ORDERS)]
    header.append("SERENITY's: proven")
    found = load("schedules.json").records("rows")
    rows: list[list[str]] = []
    for family in (*dict.fromkeys(row.text("family") for row in found), "all"):
        of = [row.record("answers") for row in found if family in (row.text("family"), "all")]
        seconds = sum(row.number("exact", "median_cpu_seconds") for row in of)
        rows.append(
            [
                family,
                str(len(of)),
                str(sum(row.text("exact", "status") == "optimal" for row in of)),
                f"{seconds:.2f}",
                *(_mean_ratio(of, name) for name in _ORDERS),
                str(sum(row.text("serenity", "status") == "optimal" for row in of)),
            ]
        )
    return grid(header, "l" + "r" * (len(header) - 1), rows)


def _title(name: str) -> str:
    known = {"ort_default": "ONNX Runtime", "xla": "XLA, best of three", "serenity": "SERENITY"}
    return known.get(name, name)


def _mean_ratio(rows: list[Record], name: str) -> str:
    peaks = [
        (row.whole(name, "peak_bytes"), row.whole("exact", "peak_bytes"))
        for row in rows
        if row.get(name, "peak_bytes") is not None
    ]
    mean = geometric_mean(theirs / ours for theirs, ours in peaks)
    return f"{mean:.3f}" if len(peaks) == len(rows) else f"{mean:.3f} on {len(peaks)}"


def _serenity() -> str:
    """KB of the paper beside bytes of the float cells, an element as a byte."""
    header = ["cell", "SERENITY: TFLite", "its order", "rewritten", "gain"]
    header += [
        "Lowtide: file order",
        "best order",
        "rewritten",
        "with bands",
        "gain",
        "and with bands",
    ]
    found = load("rewriting.json")
    rows: list[list[str]] = []
    for cell, (lite, order, rewritten) in SERENITY.items():
        row = found.one("rows", network=cell, target="onnxruntime")
        file, peaks = row.number("source"), row.numbers("predicted")
        ours = [f"{value / 4000:.1f}" for value in (file, peaks[0], peaks[2], peaks[3])]
        theirs = [str(lite), str(order), str(rewritten), f"{order / rewritten:.2f}x"]
        gains = [f"{peaks[0] / peaks[2]:.2f}x", f"{peaks[0] / peaks[3]:.2f}x"]
        rows.append([cell, *theirs, *ours, *gains])
    return grid(header, "l" + "r" * (len(header) - 1), rows)


def _layouts() -> str:
    header = ["allocator", "arenas as high as the peak", "mean over it", "most"]
    header += ["instances within the capacity", "mean over it", "CPU-s, all"]
    found = load("allocations.json")
    parts = [found.records("arenas"), found.records("instances")]
    names = dict.fromkeys(name for rows in parts for row in rows for name in _answers(row))
    body: list[list[str]] = []
    for name in names:
        cells: list[str] = [name]
        seconds = 0.0
        for rows, most in zip(parts, (True, False), strict=True):
            of = [
                (row.whole("goal"), row.record("answers", name))
                for row in rows
                if name in _answers(row)
            ]
            seconds += sum(answer.number("median_cpu_seconds") for _, answer in of)
            ratios = [
                answer.whole("height") / goal
                for goal, answer in of
                if answer.get("height") is not None
            ]
            if not ratios:
                cells += ["-"] * (3 if most else 2)
                continue
            reached = sum(ratio <= 1 for ratio in ratios)
            cells += [
                f"{reached} of {len(rows)}",
                f"{geometric_mean(max(1.0, r) for r in ratios):.3f}",
            ]
            if most:
                cells.append(f"{max(ratios):.3f}")
        body.append([*cells, f"{seconds:.2f}"])
    return grid(header, "l" + "r" * (len(header) - 1), body)


def _answers(row: Record) -> list[str]:
    return list(row.record("answers").fields)


def _remat() -> str:
    header = ["graph", "ops", "budget", "Lowtide: overhead %", "proven least %", "CPU-s"]
    header += ["Checkmate, Gurobi: % / s", "MOCCASIN: % / s", "FastSA: % / s"]
    found = load("remat.json")
    rows: list[list[str]] = []
    for (name, ratio), theirs in PUBLISHED.items():
        row = found.one("rows", name=name, ratio=ratio)
        overhead = statistics.median(row.numbers("overheads"))
        seconds = statistics.median(row.numbers("cpu_seconds"))
        ours = [f"{overhead:.3f}", f"{row.number('bound_percent'):.3f}", f"{seconds:.2f}"]
        known = [theirs.get(system, "") for system in ("Checkmate", "MOCCASIN", "FastSA")]
        rows.append([name, f"{row.whole('ops'):,}", ratio, *ours, *known])
    return grid(header, "l" + "r" * (len(header) - 1), rows)


def _checkmate() -> str:
    header = ["network"]
    for title in _STRATEGIES.values():
        header += [f"{title}, paper", "ours"]
    header.append("`auto`")
    cells = load("remat_ratios.json").records("cells")
    rows: list[list[str]] = []
    for network, published in CHECKMATE.items():
        row = [network]
        for strategy, theirs in zip(_STRATEGIES, published, strict=True):
            row += [theirs, _ratio(cells, network, strategy)]
        rows.append([*row, _ratio(cells, network, "auto")])
    return grid(header, "l" + "r" * (len(header) - 1), rows)


def _ratio(cells: tuple[Record, ...], network: str, strategy: str) -> str:
    ratios = [
        cell.number("cost_ratio")
        for cell in cells
        if cell.text("network") == network
        and cell.text("strategy") == strategy
        and cell.get("cost_ratio") is not None
    ]
    return f"{geometric_mean(ratios):.2f}" if ratios else ""


def _batches() -> str:
    header = ["network", "usual batch", "largest", "ratio", "extra forward passes", "peak measured"]
    header.append("Checkmate: ratio")
    found = load("tensorflow.json").records("batches")
    ours = {row.text("network"): row for row in found}
    rows: list[list[str]] = []
    for name in dict.fromkeys([*ours, *_CHECKMATE_BATCHES]):
        theirs = _CHECKMATE_BATCHES.get(name, "")
        if name not in ours:
            rows.append([name, *[""] * 5, theirs])
            continue
        row = ours[name]
        usual, largest = row.whole("batch"), row.whole("largest")
        confirmed = "simulated" if row.get("measured_peak") is None else "yes"
        extra = f"{row.number('extra_forward_passes'):.2f}"
        cells = [str(usual), str(largest), f"{largest / usual:.2f}", extra, confirmed]
        rows.append([name, *cells, theirs])
    return grid(header, "lrrrrlr", rows)


def _tigris() -> str:
    header = ["model", "ops", "TiGrIS's order", "best order", "ratio"]
    header += ["TiGrIS's tiles: both memories", "Lowtide, rewritten", "more operations"]
    rows: list[list[str]] = []
    for row in load("tigris.json").records("rows"):
        peak, best = row.whole("peak"), row.whole("best", "peak")
        sums = [plan.whole("fast") + plan.whole("slow") for plan in row.records("plans")]
        ours = row.get("rewritten")
        cells = [row.text("model"), f"{row.whole('ops'):,}", f"{peak:,}", f"{best:,}"]
        cells += [f"{peak / best:.3f}", f"{min(sums):,}"]
        if ours is None:
            rows.append([*cells, "-", "-"])
            continue
        more = f"{100 * row.number('more_operations'):+.1f} %"
        rows.append([*cells, f"{row.whole('rewritten'):,}", more])
    return grid(header, "l" + "r" * (len(header) - 1), rows)


TABLES = {
    "definitions_of_peak": Table((), _peaks),
    "book_orders": Table(("schedules.json",), _orders),
    "book_serenity": Table(("rewriting.json",), _serenity),
    "book_layouts": Table(("allocations.json",), _layouts),
    "book_remat": Table(("remat.json",), _remat),
    "book_tigris": Table(("tigris.json",), _tigris),
    "book_checkmate": Table(("remat_ratios.json",), _checkmate),
    "book_batches": Table(("tensorflow.json",), _batches),
}
