"""Whole ONNX models to SavedModel and .tflite: errors against ONNX Runtime, transposes, seconds.

    python -m lowtide.bench.onnx_conversions [NAME...] [--output bench/results/onnx_conversions]

Weights are random (`onnx_networks`). The error is the largest difference from ONNX Runtime's
output, relative to the output's largest element; each conversion runs in a process of its own,
whose imports of TensorFlow (`load`) are part of the total.
"""

from __future__ import annotations

import argparse
import sys
import tempfile
import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path

from lowtide.backends.tensorflow import convert
from lowtide.bench.onnx_networks import EVERY
from lowtide.bench.protocol import end, markdown, write
from lowtide.bench.record import Measure
from lowtide.errors import LowtideError
from lowtide.frontends.onnx import read

__all__ = ["Row", "main", "measures", "row", "table"]

_HEADER = (
    "model",
    "nodes",
    "format",
    "error",
    "transposes: ends",
    "inside",
    "the model's own",
    "load s",
    "emit s",
    "write s",
    "verify s",
    "total s",
)


@dataclass(frozen=True, slots=True)
class Row:
    """A conversion.

    Attributes:
        model: its name.
        nodes: of the ONNX model.
        format: `savedmodel` or `tflite`.
        failure: why there is no result.
        max_rel_error: of outputs; None where they were not compared.
        transposes_at_ends: that the layout of images needs at inputs and outputs.
        transposes_inside: that remain between operators.
        own_transposes: of the ONNX model.
        seconds: wall time, by step, and in total.
    """

    model: str
    nodes: int
    format: str
    failure: str = ""
    max_rel_error: float | None = None
    transposes_at_ends: int | None = None
    transposes_inside: int | None = None
    own_transposes: int | None = None
    seconds: Mapping[str, float] = field(default_factory=dict[str, float])


_STEPS = ("load", "emit", "write", "verify")


def row(name: str, kind: str, folder: Path) -> Row:
    """Convert a model."""
    model = read(EVERY[name]()).model
    own = sum(node.op_type == "Transpose" for node in model.graph)
    started = time.perf_counter()
    try:
        suffix = "tflite" if kind == "tflite" else "savedmodel"
        result = convert(model, folder / f"model.{suffix}")
    except LowtideError as error:
        return Row(name, len(model.graph), kind, str(error)[:80])
    total = time.perf_counter() - started
    inside = sum(t.place == "inside" for t in result.transposes)
    seconds = {step: round(result.seconds[step], 1) for step in _STEPS}
    return Row(
        name,
        len(model.graph),
        kind,
        "",
        result.max_rel_error if result.numerics == "close" else None,
        len(result.transposes) - inside,
        inside,
        own,
        {**seconds, "total": round(total, 1)},
    )


def _cells(of: Row) -> list[str]:
    cells = [of.model, str(of.nodes), of.format]
    if of.failure:
        return [*cells, of.failure, *["-"] * (len(_HEADER) - len(cells) - 1)]
    error = "not verified" if of.max_rel_error is None else f"{of.max_rel_error:.1e}"
    counts = (of.transposes_at_ends, of.transposes_inside, of.own_transposes)
    return [*cells, error, *map(str, counts), *(f"{s:.1f}" for s in of.seconds.values())]


def measures(rows: Sequence[Row]) -> Iterator[Measure]:
    """Seconds of conversions, and how many transposes are inside, as a part of the nodes."""
    for of in rows:
        if of.transposes_inside is not None:
            case = f"{of.model}, {of.format}"
            inside = 100 * of.transposes_inside / max(of.nodes, 1)
            yield Measure(case, "lowtide", "transposes inside", "count", inside)
            yield Measure(case, "lowtide", "total", "s", of.seconds["total"])


def table(rows: Sequence[Row]) -> str:
    """As Markdown."""
    text = markdown(_HEADER, [_cells(each) for each in rows])
    return f"# ONNX to TensorFlow and TFLite\n\n{text}\n"


def main(arguments: Sequence[str] | None = None) -> int:
    """Convert the models; print or write the table."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("names", nargs="*", help="models; all where none is named")
    parser.add_argument("--output", type=Path, help="without suffix; .md and .json are written")
    options = parser.parse_args(arguments)
    rows: list[Row] = []
    for name in options.names or EVERY:
        for kind in ("savedmodel", "tflite"):
            with tempfile.TemporaryDirectory(prefix="lowtide-") as folder:
                rows.append(row(name, kind, Path(folder)))
            print("  ".join(_cells(rows[-1])), file=sys.stderr, flush=True)
            if options.output:
                document = {"rows": [asdict(each) for each in rows]}
                write(options.output, table(rows), document, {"seed": 0}, measures=measures(rows))
    return 0


if __name__ == "__main__":
    end(main)
