"""ONNX models through `optimize --target tensorflow` and `tflite`: errors, peaks, arenas, seconds.

    python -m lowtide.bench.onnx_targets [NAME...] [--write bench/results/onnx_targets.md]

Weights are random (`onnx_networks`), open dimensions 1. `error`: the largest difference of an
output from ONNX Runtime's on the original, relative to the output's largest element. TensorFlow:
what a call of the loaded SavedModel allocates, in TensorFlow's own order and in the planned one.
TFLite: the load of the converter's order and of the planned one, in TensorFlow Lite Micro the least
arena that works (`-`: it does not run), and what LiteRT allocates. CPU-seconds are those of the
whole command, of all its processes; latencies are the least of seven runs, in turn.
"""

from __future__ import annotations

import argparse
import resource
import sys
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING, cast

import onnx

from lowtide.bench.networks import NETWORKS as BRANCHING
from lowtide.bench.onnx_networks import LIGHT, NETWORKS, light
from lowtide.bench.protocol import markdown
from lowtide.errors import LowtideError
from lowtide.optimizer import optimize

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from lowtide.report import Report

__all__ = ["main", "saved_model_row", "tflite_row"]

_SAVED = (
    *("model", "nodes", "ops", "error", "predicted before", "planned", "lower bound"),
    *("measured: TensorFlow's order", "planned", "ms: TensorFlow's order", "planned", "CPU s"),
)
_LITE = (
    *("model", "nodes", "ops", "error", "load before", "planned", "lower bound", "TFLM arena"),
    *("planned", "LiteRT", "planned", "with XNNPACK", "planned", "CPU s"),
)


def _model(name: str) -> onnx.ModelProto:
    if name in LIGHT:
        return light(name)
    return NETWORKS[name]() if name in NETWORKS else BRANCHING[name](0)


def _optimized(name: str, target: str) -> tuple[list[str], Report, float] | list[str]:
    """The first cells, the report and CPU-seconds; or the cells that say why there are none."""
    model = _model(name)
    cells = [name, str(len(model.graph.node))]
    before = _cpu_seconds()
    with tempfile.TemporaryDirectory(prefix="lowtide-") as folder:
        path = Path(folder, f"{name}.onnx")
        onnx.save(model, path)
        try:
            result = optimize(
                path, target=target, dims={"*": 1}, rewrite="none", output=Path(folder, "out")
            )
        except LowtideError as error:
            return [*cells, f"{type(error).__name__}: {str(error)[:120]}"]
    verification = result.report.verification
    error_text = "not verified"
    if verification["numerics"] == "close":
        error_text = f"{cast('float', verification['max_rel_error']):.1e}"
    cells += [str(result.report.model["ops"]), error_text]
    return cells, result.report, _cpu_seconds() - before


def saved_model_row(name: str) -> list[str]:
    """A line of the first table."""
    found = _optimized(name, "tensorflow")
    if isinstance(found, list):
        return found + ["-"] * (len(_SAVED) - len(found))
    cells, report, seconds = found
    measured = report.measured
    latencies = [1e3 * cast("float", measured[f"latency_{w}"]) for w in ("stock", "after")]
    return [
        *cells,
        *_bytes(_peaks(report)),
        *_bytes([measured["peak_stock"], measured["peak_after"]]),
        *(f"{latency:.1f}" for latency in latencies),
        f"{seconds:.1f}",
    ]


def tflite_row(name: str) -> list[str]:
    """A line of the second table."""
    found = _optimized(name, "tflite")
    if isinstance(found, list):
        return found + ["-"] * (len(_LITE) - len(found))
    cells, report, seconds = found
    measured = report.measured
    keys = [f"{what}_{which}" for what in _MEASURED for which in ("before", "after")]
    return [
        *cells,
        *_bytes(_peaks(report)),
        *_bytes([measured.get(key) for key in keys]),
        f"{seconds:.1f}",
    ]


_MEASURED = ("required", "litert", "litert_xnnpack")


def _peaks(report: Report) -> list[object]:
    peak = report.peak_bytes
    return [peak.before, peak.after, peak.lower_bound]


def _bytes(values: Sequence[object]) -> list[str]:
    return ["-" if value is None else f"{value:,}" for value in values]


def _cpu_seconds() -> float:
    total = 0.0
    for who in (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN):
        usage = resource.getrusage(who)
        total += usage.ru_utime + usage.ru_stime
    return total


def _text(tables: Mapping[str, tuple[Sequence[str], list[list[str]]]]) -> str:
    parts = [
        "# ONNX models in TensorFlow and TFLite, planned",
        (__doc__ or "").partition("\n\n")[2],
    ]
    for title, (header, rows) in tables.items():
        parts += [f"## {title}", markdown(header, rows)]
    return "\n\n".join(part.strip() for part in parts) + "\n"


def main(arguments: Sequence[str] | None = None) -> int:
    """Optimize the models for both targets; print, or write the tables."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("names", nargs="*", help="models; all where none is named")
    parser.add_argument("--write", type=Path, help="the Markdown file to write")
    options = parser.parse_args(arguments)
    saved: list[list[str]] = []
    lite: list[list[str]] = []
    for name in options.names or [*NETWORKS, *BRANCHING, *LIGHT]:
        for rows, made in ((saved, saved_model_row), (lite, tflite_row)):
            rows.append(made(name))
            print("  ".join(rows[-1]), file=sys.stderr, flush=True)
            if options.write:
                tables = {"SavedModel": (_SAVED, saved), ".tflite": (_LITE, lite)}
                options.write.write_text(_text(tables))
    return 0


if __name__ == "__main__":
    sys.exit(main())
