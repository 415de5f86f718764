"""Whole ONNX models to SavedModel and .tflite: errors against ONNX Runtime, transposes, seconds.

    python -m lowtide.bench.onnx_conversions [NAME...] [--write bench/results/onnx_conversions.md]

Weights are random (`onnx_networks`). The error is the largest difference from ONNX Runtime's
output, relative to the output's largest element; each conversion runs in a process of its own,
whose imports of TensorFlow (`load`) are part of the total.
"""

from __future__ import annotations

import argparse
import sys
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from lowtide.backends.tensorflow import convert
from lowtide.bench.networks import NETWORKS as BRANCHING
from lowtide.bench.onnx_networks import LIGHT, NETWORKS, light
from lowtide.bench.protocol import markdown
from lowtide.errors import LowtideError
from lowtide.frontends.onnx import read

if TYPE_CHECKING:
    import onnx

__all__ = ["main", "row"]

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


def _model(name: str) -> onnx.ModelProto:
    if name in LIGHT:
        return light(name)
    return NETWORKS[name]() if name in NETWORKS else BRANCHING[name](0)


def row(name: str, kind: str, folder: Path) -> list[str]:
    """One line of the table."""
    model = read(_model(name)).model
    own = sum(node.op_type == "Transpose" for node in model.graph)
    started = time.perf_counter()
    try:
        suffix = "tflite" if kind == "tflite" else "savedmodel"
        result = convert(model, folder / f"model.{suffix}")
    except LowtideError as error:
        return [name, str(len(model.graph)), kind, str(error)[:80], *["-"] * 8]
    total = time.perf_counter() - started
    inside = sum(t.place == "inside" for t in result.transposes)
    seconds = [f"{result.seconds[part]:.1f}" for part in ("load", "emit", "write", "verify")]
    gap = f"{result.max_rel_error:.1e}" if result.numerics == "close" else "not verified"
    ends = str(len(result.transposes) - inside)
    return [
        name,
        str(len(model.graph)),
        kind,
        gap,
        ends,
        str(inside),
        str(own),
        *seconds,
        f"{total:.1f}",
    ]


def main(arguments: Sequence[str] | None = None) -> int:
    """Convert the models; print or write the table."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("names", nargs="*", help="models; all where none is named")
    parser.add_argument("--write", type=Path, help="the Markdown file to write")
    options = parser.parse_args(arguments)
    rows: list[list[str]] = []
    for name in options.names or [*NETWORKS, *BRANCHING, *LIGHT]:
        for kind in ("savedmodel", "tflite"):
            with tempfile.TemporaryDirectory(prefix="lowtide-") as folder:
                rows.append(row(name, kind, Path(folder)))
            print("  ".join(rows[-1]), file=sys.stderr, flush=True)
            if options.write:
                text = markdown(_HEADER, rows)
                options.write.write_text(f"# ONNX to TensorFlow and TFLite\n\n{text}\n")
    return 0


if __name__ == "__main__":
    sys.exit(main())
