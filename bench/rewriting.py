"""What rewriting adds over the proven best order, in ONNX Runtime and TensorFlow Lite Micro.

    python -m lowtide.bench.rewriting --output bench/results/rewriting [--swiftnet FILE]

SERENITY's families: DARTS and RandWire from the generators of `networks` (with NASNet beside
them), SwiftNet as a float twin of its published file where `--swiftnet` names it, whole and cell by
cell. Every network goes through `optimize` four times: in the best order, with rewrites that keep
every bit, with those that regroup sums, and with regions in tiles besides. Peaks are predicted and
measured: what the target allocates when the written model runs. Results are written after each
network.
"""

from __future__ import annotations

import argparse
import sys
import tempfile
from dataclasses import asdict, dataclass
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

import onnx

import lowtide
from lowtide.bench.networks import darts, nasnet, randwire
from lowtide.bench.protocol import end, geometric_mean, markdown, write
from lowtide.bench.record import Measure, digest
from lowtide.bench.swiftnet_onnx import swiftnet_onnx
from lowtide.bench.swiftnet_twin import twin
from lowtide.errors import LowtideError

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence

    from lowtide.report import Report

__all__ = ["CELLS", "Row", "main", "measured", "measures", "text_of"]

SEEDS = 5  # of RandWire
# SwiftNet's cells with the join that follows them: operators of the published file.
CELLS = {"A": (5, 33), "B": (34, 57), "C": (58, 82)}
LEVELS = {
    "best order": "rewrite{rules=none}",
    "exact": "rewrite",
    "sums": "rewrite{rules=float,tiles=false}",
    "tiles": "rewrite{rules=float}",
}
_REST = "inplace,schedule,rematerialize,allocate"

# SERENITY's table: TFLite, its order, its order with rewriting, in KB (as quoted in the notes of
# this project; the geometric means are the abstract's).
SERENITY = {
    "DARTS": (1656, 903, 753),
    "SwiftNet A": (552, 251, 226),
    "SwiftNet B": (194, 82, 72),
    "SwiftNet C": (70, 33, 20),
}


@dataclass(frozen=True, slots=True)
class Row:
    """One network on one target; peaks in bytes.

    Attributes:
        network: its name.
        target: what runs it.
        source: the peak of the order of the file.
        predicted: by level of rewriting; the first is the best order's.
        bound: the lower bound of the best order, equal to its peak where that is proven.
        measured: what the runtime allocated, by level.
        rewrites: by level.
        more_flops_percent: by level.
        max_abs_error: of the outputs, by level.
        latency: in seconds, by level.
    """

    network: str
    target: str
    source: int
    predicted: tuple[int, ...]
    bound: int
    measured: tuple[int | None, ...]
    rewrites: tuple[int, ...]
    more_flops_percent: tuple[float, ...]
    max_abs_error: tuple[float, ...]
    latency: tuple[float | None, ...]


def measured(name: str, path: Path, target: str) -> Row:
    """Optimize a model at every level of rewriting, executed and measured."""
    reports: list[Report] = []
    with tempfile.TemporaryDirectory() as folder:
        for level, rewrite in LEVELS.items():
            output = Path(folder, f"{level}{path.suffix}")
            pipeline = f"{rewrite},{_REST}"
            result = lowtide.optimize(path, target=target, pipeline=pipeline, output=output)
            reports.append(result.report)
    rewritings = [report.rewriting or {} for report in reports]
    return Row(
        name,
        target,
        reports[0].peak_bytes.before,
        tuple(report.peak_bytes.after for report in reports),
        reports[0].peak_bytes.lower_bound,
        tuple(_whole(report.measured.get("peak_after")) for report in reports),
        tuple(_count(rewriting.get("applied")) for rewriting in rewritings),
        tuple(_number(rewriting.get("flops_percent")) for rewriting in rewritings),
        tuple(_number(report.verification.get("max_abs_error")) for report in reports),
        tuple(_number(report.measured.get("latency_after")) for report in reports),
    )


def _whole(value: object) -> int | None:
    return value if isinstance(value, int) else None


def _count(value: object) -> int:
    return len(value) if isinstance(value, list) else 0


def _number(value: object) -> float:
    return float(value) if isinstance(value, int | float) else 0.0


def text_of(rows: Sequence[Row]) -> str:
    """The tables as Markdown."""
    names = [*LEVELS]
    header = ["network", "target", "file order", *names, "sums gain", "tiles gain"]
    header += [f"measured: {names[0]}", *names[1:], "rewrites", "more operations", "error"]
    lines = [
        [
            row.network,
            row.target,
            f"{row.source:,}",
            f"{row.predicted[0]:,}" + ("" if row.bound == row.predicted[0] else " (not proven)"),
            *(f"{peak:,}" for peak in row.predicted[1:]),
            *(f"{row.predicted[0] / row.predicted[level]:.3f}x" for level in (2, 3)),
            *("-" if peak is None else f"{peak:,}" for peak in row.measured),
            ", ".join(map(str, row.rewrites[1:])),
            ", ".join(f"{percent:+.1f} %" for percent in row.more_flops_percent[2:]),
            f"{max(row.max_abs_error):.1e}",
        ]
        for row in rows
    ]
    parts = [markdown(header, lines)]
    means: list[str] = []
    for target in dict.fromkeys(row.target for row in rows):
        of = [row for row in rows if row.target == target]
        order = geometric_mean(row.source / row.predicted[0] for row in of)
        gains = [
            f"{name} {geometric_mean(row.predicted[0] / row.predicted[level] for row in of):.3f}x"
            for level, name in enumerate(names)
            if level
        ]
        means.append(
            f"{target}, geometric means of {len(of)}: file order over best order {order:.3f}x; "
            f"best order over rewriting: {', '.join(gains)}."
        )
    parts.append("\n".join(f"- {mean}" for mean in means))
    theirs = [
        [name, *(f"{kb} KB" for kb in peaks), f"{peaks[1] / peaks[2]:.3f}x"]
        for name, peaks in SERENITY.items()
    ]
    parts.append(
        "SERENITY's own table (its networks, TFLite's accounting; RandWire: no gain by rewriting; "
        "geometric means over all of its networks 1.68x and 1.86x, rewriting adds 1.11x):"
    )
    parts.append(markdown(["cell", "TFLite", "its order", "with rewriting", "gain"], theirs))
    return "\n\n".join(parts) + "\n"


def _networks(folder: Path, swiftnet: Path | None) -> dict[str, Callable[[], list[Path]]]:
    """What is measured, by name: each makes its files."""

    def saved(name: str, make: Callable[[], onnx.ModelProto]) -> list[Path]:
        path = folder / f"{name.replace(' ', '-')}.onnx"
        onnx.save(make(), path)
        return [path]

    found: dict[str, Callable[[], list[Path]]] = {
        "DARTS": partial(saved, "DARTS", darts),
        "NASNet": partial(saved, "NASNet", nasnet),
    }
    for seed in range(SEEDS):
        name = f"RandWire {seed}"
        found[name] = partial(saved, name, partial(randwire, seed))
    if swiftnet is not None:
        whole = {"SwiftNet": (0, None), **{f"SwiftNet {k}": v for k, v in CELLS.items()}}
        for name, (first, last) in whole.items():
            make = partial(swiftnet_onnx, swiftnet, first=first, last=last)
            found[name] = partial(saved, name, make)
            for floats in (True, False):
                kind = f"{name}, {'float32' if floats else 'int8'}"
                cut = partial(twin, swiftnet.read_bytes(), floats=floats, first=first, last=last)
                found[kind] = partial(_stored, folder / f"{kind.replace(' ', '-')}.tflite", cut)
    return found


def _stored(path: Path, make: Callable[[], bytes]) -> list[Path]:
    path.write_bytes(make())
    return [path]


def measures(rows: Sequence[Row]) -> Iterator[Measure]:
    """Peaks by level of rewriting, predicted and allocated, and operations that were added."""
    for row in rows:
        case = f"{row.network}, {row.target}"
        yield Measure(case, "file order", "peak", "bytes", row.source, peer=True)
        for level, predicted, measured, more in zip(
            LEVELS, row.predicted, row.measured, row.more_flops_percent, strict=True
        ):
            yield Measure(case, level, "peak", "bytes", predicted)
            if measured is not None:
                yield Measure(case, level, "measured peak", "bytes", measured)
            yield Measure(case, level, "more operations", "%", more)


def main(arguments: Sequence[str] | None = None) -> int:
    """The command."""
    parser = argparse.ArgumentParser(prog="rewriting", description=__doc__)
    parser.add_argument("--swiftnet", type=Path, metavar="FILE.tflite")
    parser.add_argument("--targets", nargs="*", default=["onnx", "onnxruntime"])
    parser.add_argument("--only", nargs="*", metavar="NAME")
    parser.add_argument("--output", type=Path, help="without suffix; .md and .json are written")
    options = parser.parse_args(arguments)
    rows: list[Row] = []
    digests: dict[str, str] = {}
    with tempfile.TemporaryDirectory() as folder:
        for name, make in _networks(Path(folder), options.swiftnet).items():
            if options.only and name not in options.only:
                continue
            for path in make():
                digests[name] = digest(path.read_bytes())
                for target in ["tflite"] if path.suffix == ".tflite" else options.targets:
                    try:
                        rows.append(measured(name, path, target))
                    except LowtideError as error:
                        print(f"{name} {target}: {error}", file=sys.stderr, flush=True)
            text = text_of(rows)
            if options.output is None:
                print(text, flush=True)
            else:
                write(
                    options.output,
                    text,
                    {"rows": [asdict(row) for row in rows]},
                    {"targets": options.targets, "seed": 0},
                    measures=measures(rows),
                    models=digests,
                )
    return 0


if __name__ == "__main__":
    end(main)
