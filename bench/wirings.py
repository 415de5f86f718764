"""The example and RandWire networks of eight wirings in ONNX Runtime: orders, arenas, sessions.

    python -m lowtide.bench.wirings --output bench/results/wirings

Every network is optimized without rewriting, executed and measured. `stock` is an ordinary session:
what its first run allocates, and what its second allocates besides. `default` is the peak of the
order that ONNX Runtime takes by itself, predicted. The example is optimized again within a budget
that no order meets.
"""

from __future__ import annotations

import argparse
import statistics
import sys
import tempfile
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING, cast

import onnx

import lowtide
from lowtide.bench.networks import randwire
from lowtide.bench.protocol import end, markdown, write
from lowtide.bench.record import Measure

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from lowtide.report import Report

__all__ = ["Budgeted", "Row", "main", "measures", "run", "table"]

EXAMPLE = "examples/randwire.onnx"
SEEDS = 8


@dataclass(frozen=True, slots=True)
class Row:
    """One network; bytes.

    Attributes:
        network: its name.
        ops: of the graph that runs.
        before: the peak of the file's order.
        after: of ours.
        bound: no order needs less.
        default: of ONNX Runtime's order.
        arena: the height of our layout in `create_session`.
        measured: what a run in our order allocated.
        stock: what an ordinary session allocated in its first run.
        stock_second: what its second run allocated.
        latency_ratio: our latency over the stock session's, medians; runs alternate.
    """

    network: str
    ops: int
    before: int
    after: int
    bound: int
    default: int
    arena: int
    measured: int
    stock: int
    stock_second: int
    latency_ratio: float


@dataclass(frozen=True, slots=True)
class Budgeted:
    """A network within a budget: its peak, and what runs again."""

    network: str
    budget_bytes: int
    peak_bytes: int
    best_order_bytes: int
    runs: int
    cost_percent: float


def run(name: str, path: Path, folder: Path, *, repeats: int) -> Row:
    """Optimize and measure a network."""
    reports = [
        lowtide.optimize(path, output=folder / "out.onnx", rewrite="none", threads=1).report
        for _ in range(repeats)
    ]
    report = reports[0]
    measured = {key: cast("int", value) for key, value in report.measured.items() if key != "notes"}
    peak = report.peak_bytes
    return Row(
        name,
        cast("int", report.model["ops"]),
        peak.before,
        peak.after,
        peak.lower_bound,
        cast("int", report.order["default_order_peak_bytes"]),
        measured["arena_after"],
        measured["peak_after"],
        measured["peak_stock"],
        measured["second_peak_stock"],
        statistics.median(map(_latency_ratio, reports)),
    )


def _latency_ratio(report: Report) -> float:
    measured = cast("dict[str, float]", report.measured)
    return measured["latency_after"] / measured["latency_stock"]


def _budgeted(name: str, path: Path, folder: Path, budget: str, best: int) -> Budgeted:
    result = lowtide.optimize(
        path, output=folder / "out.onnx", rewrite="none", budget=budget, threads=1
    )
    report = result.report
    again = report.recomputation or {}
    return Budgeted(
        name,
        cast("int", report.budget_bytes),
        report.peak_bytes.after,
        best,
        cast("int", again["runs"]),
        again["cost_percent"],
    )


def measures(rows: Sequence[Row]) -> Iterator[Measure]:
    """Peaks of the orders, arenas, and what is allocated."""
    for row in rows:
        yield Measure(row.network, "lowtide", "peak", "bytes", row.after)
        yield Measure(row.network, "lowtide", "arena", "bytes", row.arena)
        yield Measure(row.network, "lowtide", "measured peak", "bytes", row.measured)
        yield Measure(row.network, "file", "peak", "bytes", row.before, peer=True)
        yield Measure(row.network, "onnxruntime", "peak", "bytes", row.default, peer=True)
        yield Measure(row.network, "stock session", "measured peak", "bytes", row.stock, peer=True)


def table(rows: Sequence[Row], budgeted: Sequence[Budgeted]) -> str:
    """As Markdown."""
    lines = [
        [
            row.network,
            str(row.ops),
            *(f"{count:,}" for count in (row.before, row.default, row.after, row.bound)),
            f"{row.before / row.after:.3f}",
            f"{row.default / row.after:.3f}",
            *(f"{count:,}" for count in (row.arena, row.measured, row.stock, row.stock_second)),
            f"{row.latency_ratio:.2f}",
        ]
        for row in rows
    ]
    header = ["network", "ops", "file order", "default order", "ours", "bound", "file/ours"]
    header += ["default/ours", "arena", "measured", "stock", "stock, second run", "latency"]
    again = [
        [
            each.network,
            *(f"{b:,}" for b in (each.best_order_bytes, each.budget_bytes, each.peak_bytes)),
            str(each.runs),
            f"{each.cost_percent:.1f}",
        ]
        for each in budgeted
    ]
    names = ["network", "best order", "budget", "peak", "runs repeated", "cost %"]
    return f"{markdown(header, lines)}\n\n{markdown(names, again)}\n"


def main(arguments: Sequence[str] | None = None) -> int:
    """The command; see the module."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--seeds", type=int, default=SEEDS)
    parser.add_argument("--repeats", type=int, default=3, help="of everything, for latencies")
    parser.add_argument("--budget", default="4.5MiB", help="for the example")
    parser.add_argument("--output", type=Path, help="without suffix; .md and .json are written")
    options = parser.parse_args(arguments)
    rows: list[Row] = []
    example = Path(__file__).resolve().parents[1] / EXAMPLE
    with tempfile.TemporaryDirectory(prefix="lowtide-") as name:
        folder = Path(name)
        rows.append(run(EXAMPLE, example, folder, repeats=options.repeats))
        for seed in range(options.seeds):
            path = folder / "randwire.onnx"
            onnx.save(randwire(seed), path)
            rows.append(run(f"RandWire {seed}", path, folder, repeats=options.repeats))
            print(rows[-1], file=sys.stderr, flush=True)
        budgeted = [_budgeted(EXAMPLE, example, folder, options.budget, rows[0].after)]
    text = table(rows, budgeted)
    print(text)
    if options.output is not None:
        document = {
            "rows": [asdict(row) for row in rows],
            "budgeted": [asdict(each) for each in budgeted],
        }
        settings = {"repeats": options.repeats, "threads": 1, "seed": 0}
        write(options.output, text, document, settings, measures=measures(rows))
    return 0


if __name__ == "__main__":
    end(main)
