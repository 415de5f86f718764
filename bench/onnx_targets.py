"""ONNX models through `optimize --target tensorflow` and `tflite`: errors, peaks, arenas, seconds.

    python -m lowtide.bench.onnx_targets [NAME...] [--output bench/results/onnx_targets]

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
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import cast

import onnx

from lowtide.bench.onnx_networks import EVERY
from lowtide.bench.protocol import end, markdown, write
from lowtide.bench.record import Measure
from lowtide.errors import LowtideError
from lowtide.optimizer import optimize

__all__ = ["Row", "main", "measures", "row", "table"]

_SAVED = (
    *("model", "nodes", "ops", "error", "predicted before", "planned", "lower bound"),
    *("measured: TensorFlow's order", "planned", "ms: TensorFlow's order", "planned", "CPU s"),
)
_LITE = (
    *("model", "nodes", "ops", "error", "load before", "planned", "lower bound", "TFLM arena"),
    *("planned", "LiteRT", "planned", "with XNNPACK", "planned", "CPU s"),
)


@dataclass(frozen=True, slots=True)
class Row:
    """A model on a target.

    Attributes:
        model: its name.
        target: `tensorflow` or `tflite`.
        nodes: of the ONNX model.
        failure: why there is no result; all that follows is None or empty then.
        ops: of what the target runs.
        max_rel_error: of outputs; None where they were not compared.
        peak_before: in bytes, predicted, of the target's own order.
        peak_after: of ours.
        lower_bound: no order has less.
        measured: bytes, by what was measured: `stock`, `after`; or a kind of `_LITE_KINDS` with
            `_before` and `_after`; None where it does not run.
        latency: in seconds, `stock` and `after`; of TensorFlow only.
        cpu_seconds: of the whole command.
    """

    model: str
    target: str
    nodes: int
    failure: str = ""
    ops: int | None = None
    max_rel_error: float | None = None
    peak_before: int | None = None
    peak_after: int | None = None
    lower_bound: int | None = None
    measured: Mapping[str, int | None] = field(default_factory=dict[str, "int | None"])
    latency: Mapping[str, float] = field(default_factory=dict[str, float])
    cpu_seconds: float | None = None


_LITE_KINDS = ("required", "litert", "litert_xnnpack")


def row(name: str, target: str) -> Row:
    """Optimize a model for a target, and keep what its report says."""
    model = EVERY[name]()
    nodes = len(model.graph.node)
    before = _cpu_seconds()
    with tempfile.TemporaryDirectory(prefix="lowtide-") as folder:
        path = Path(folder, f"{name}.onnx")
        onnx.save(model, path)
        try:
            result = optimize(
                path, target=target, dims={"*": 1}, rewrite="none", output=Path(folder, "out")
            )
        except LowtideError as error:
            return Row(name, target, nodes, f"{type(error).__name__}: {str(error)[:120]}")
    report = result.report
    found = cast("Mapping[str, int | None]", report.measured)
    latency: dict[str, float] = {}
    if target == "tensorflow":
        measured = {which: found[f"peak_{which}"] for which in ("stock", "after")}
        seconds = cast("Mapping[str, float]", report.measured)
        latency = {which: seconds[f"latency_{which}"] for which in ("stock", "after")}
    else:
        keys = [f"{kind}_{which}" for kind in _LITE_KINDS for which in ("before", "after")]
        measured = {key: found.get(key) for key in keys}
    close = report.verification["numerics"] == "close"
    return Row(
        name,
        target,
        nodes,
        "",
        cast("int", report.model["ops"]),
        cast("float", report.verification["max_rel_error"]) if close else None,
        report.peak_bytes.before,
        report.peak_bytes.after,
        report.peak_bytes.lower_bound,
        measured,
        latency,
        round(_cpu_seconds() - before, 1),
    )


def _cells(of: Row) -> list[str]:
    """A line of the table of its target."""
    cells = [of.model, str(of.nodes)]
    if of.failure:
        width = len(_SAVED if of.target == "tensorflow" else _LITE)
        return [*cells, of.failure, *["-"] * (width - len(cells) - 1)]
    return [
        *cells,
        str(of.ops),
        "not verified" if of.max_rel_error is None else f"{of.max_rel_error:.1e}",
        *_bytes([of.peak_before, of.peak_after, of.lower_bound, *of.measured.values()]),
        *(f"{1e3 * seconds:.1f}" for seconds in of.latency.values()),
        f"{of.cpu_seconds:.1f}",
    ]


def _bytes(values: Sequence[int | None]) -> list[str]:
    return ["-" if value is None else f"{value:,}" for value in values]


def _cpu_seconds() -> float:
    total = 0.0
    for who in (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN):
        usage = resource.getrusage(who)
        total += usage.ru_utime + usage.ru_stime
    return total


def measures(rows: Sequence[Row]) -> Iterator[Measure]:
    """Predicted and measured peaks, and arenas."""
    for of in rows:
        if of.peak_after is not None:
            case = f"{of.model}, {of.target}"
            yield Measure(case, "lowtide", "peak", "bytes", of.peak_after)
            for key, count in of.measured.items():
                who, what = ("lowtide", key) if key.endswith("after") else ("as it was", key)
                if count is not None:
                    yield Measure(case, who, what, "bytes", count, peer=who != "lowtide")


def table(rows: Sequence[Row]) -> str:
    """Both tables as Markdown."""
    parts = [
        "# ONNX models in TensorFlow and TFLite, planned",
        (__doc__ or "").partition("\n\n")[2].partition("\n\n")[2],
    ]
    for title, target, header in (
        ("SavedModel", "tensorflow", _SAVED),
        (".tflite", "tflite", _LITE),
    ):
        lines = [_cells(each) for each in rows if each.target == target]
        parts += [f"## {title}", markdown(header, lines)]
    return "\n\n".join(part.strip() for part in parts) + "\n"


def main(arguments: Sequence[str] | None = None) -> int:
    """Optimize the models for both targets; print, or write the tables."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("names", nargs="*", help="models; all where none is named")
    parser.add_argument("--output", type=Path, help="without suffix; .md and .json are written")
    options = parser.parse_args(arguments)
    rows: list[Row] = []
    for name in options.names or EVERY:
        for target in ("tensorflow", "tflite"):
            rows.append(row(name, target))
            print("  ".join(_cells(rows[-1])), file=sys.stderr, flush=True)
            if options.output:
                document = {"rows": [asdict(each) for each in rows]}
                write(options.output, table(rows), document, {"seed": 0}, measures=measures(rows))
    return 0


if __name__ == "__main__":
    end(main)
