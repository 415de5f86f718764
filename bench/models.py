"""The table of real models: predicted and measured peaks, latencies, proofs, in ONNX Runtime.

    python -m lowtide.bench.models --output bench/results/models --threads 1

Runs `lowtide.optimize` on the nine architectures that the onnx package ships for its tests (weights
are constants, shapes are real) and on three generated branching networks, and writes the table as
Markdown and the reports as JSON. Latencies of the three columns come from one process, interleaved.
"""

from __future__ import annotations

import argparse
import math
import sys
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING, cast

import onnx

import lowtide
from lowtide.bench.networks import NETWORKS
from lowtide.bench.protocol import end, geometric_mean, write
from lowtide.bench.record import Measure, digest

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence

    from lowtide.report import Report

__all__ = ["main", "measures", "models", "table"]

_COLUMNS = (
    "model",
    "ops",
    "before",
    "after",
    "bound",
    "status",
    "measured",
    "off by",
    "arena",
    "default order",
    "stock",
    "ms stock",
    "ms ours",
    "latency",
    "outputs",
)


def models(folder: Path) -> Iterator[tuple[str, Path]]:
    """Names and files; the generated networks are written to `folder`."""
    light = Path(onnx.__file__).parent / "backend" / "test" / "data" / "light"
    for path in sorted(light.glob("*.onnx")):
        yield path.stem.removeprefix("light_"), path
    for name, build in NETWORKS.items():
        path = folder / f"{name}.onnx"
        onnx.save(build(0), path)
        yield name, path


def table(reports: dict[str, Report]) -> str:
    """The reports as a Markdown table; bytes as MiB, latencies in milliseconds."""
    lines = ["| " + " | ".join(_COLUMNS) + " |", "|" + "|".join(["---"] * len(_COLUMNS)) + "|"]
    ratios: list[float] = []
    for name, report in reports.items():
        measured = cast("dict[str, float | None]", report.measured)
        stock, ours = measured["latency_stock"], measured["latency_after"]
        peak = measured["peak_after"]
        ratio = ours / stock if ours and stock else math.nan
        ratios.append(ratio)
        error = (peak - report.peak_bytes.after) / report.peak_bytes.after if peak else math.nan
        cells = (
            name,
            str(report.model["ops"]),
            *(_mib(v) for v in (report.peak_bytes.before, report.peak_bytes.after)),
            _mib(report.peak_bytes.lower_bound),
            report.status,
            _mib(peak),
            f"{100 * error:+.2f} %",
            _mib(measured["arena_after"]),
            *(_mib(measured[f"peak_{key}"]) for key in ("before", "stock")),
            *(f"{1000 * v:.2f}" if v else "-" for v in (stock, ours)),
            f"{ratio:.3f}",
            str(report.verification["numerics"]),
        )
        lines.append("| " + " | ".join(cells) + " |")
    mean = geometric_mean(ratios)
    lines += ["", f"Geometric mean of the latency ratios: {mean:.3f}."]
    return "\n".join(lines) + "\n"


def _mib(count: float | None) -> str:
    return "-" if count is None else f"{count / 2**20:.3f}"


def measures(reports: Mapping[str, Report]) -> Iterator[Measure]:
    """Peaks predicted and allocated, ours and ONNX Runtime's, and latencies over a stock session's.

    All peaks are of activations and kernel scratch in one run, without weights and inputs.
    """
    for name, report in reports.items():
        peak = report.peak_bytes
        yield Measure(name, "lowtide", "peak", "bytes", peak.after)
        yield Measure(name, "lowtide", "gap", "bytes", peak.after - peak.lower_bound)
        yield Measure(name, "file order", "peak", "bytes", peak.before, peer=True)
        measured = cast("dict[str, float | None]", report.measured)
        for who, what, key in (
            ("lowtide", "measured peak", "peak_after"),
            ("lowtide", "arena", "arena_after"),
            ("ONNX Runtime's order", "measured peak", "peak_before"),
            ("ONNX Runtime", "measured peak", "peak_stock"),
        ):
            value = measured.get(key)
            if value is not None:
                yield Measure(name, who, what, "bytes", int(value), peer=who != "lowtide")
        stock, ours = measured.get("latency_stock"), measured.get("latency_after")
        if stock and ours:
            yield Measure(name, "lowtide", "latency over stock", "s/s", ours / stock)


def main(arguments: Sequence[str] | None = None) -> int:
    """Optimize every model, print and write the table."""
    parser = argparse.ArgumentParser(description="Peaks and latencies of real models.")
    parser.add_argument("--output", type=Path, help="without suffix; .md and .json are written")
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--only", nargs="*", help="names of models")
    options = parser.parse_args(arguments)
    digests: dict[str, str] = {}
    reports: dict[str, Report] = {}
    with tempfile.TemporaryDirectory() as folder:
        for name, path in models(Path(folder)):
            if options.only and name not in options.only:
                continue
            digests[name] = digest(path.read_bytes())
            output = Path(folder, f"{name}.lowtide.onnx")
            result = lowtide.optimize(path, output=output, rewrite="none", threads=options.threads)
            reports[name] = result.report
            output.unlink()
            print(f"{name}: {result.report.status}", file=sys.stderr, flush=True)
    text = table(reports)
    print(text)
    if options.output is not None:
        content = {name: report.to_dict() for name, report in reports.items()}
        for entry in content.values():
            for bulky in ("peak_ops", "peak_ops_before", "timeline_bytes"):
                entry.pop(bulky)
            cast("dict[str, object]", entry["model"])["path"] = ""
            entry["output"] = None
        write(
            options.output,
            text,
            {"models": content},
            {"threads": options.threads, "seed": 0},
            measures=measures(reports),
            models=digests,
        )
    return 0


if __name__ == "__main__":
    end(main)
