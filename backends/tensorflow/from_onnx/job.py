"""The child's side of a conversion: TensorFlow is imported, and models are run, here only."""

from __future__ import annotations

import logging
import os
import time
import warnings
from collections import Counter
from collections.abc import Generator
from contextlib import contextmanager
from pathlib import Path
from typing import TypedDict

import onnx_ir

from lowtide.backends.tensorflow.from_onnx import layout
from lowtide.backends.tensorflow.from_onnx.conversion import Format, Quantize, Remaining
from lowtide.backends.tensorflow.from_onnx.graph import bind, build
from lowtide.errors import ModelError

__all__ = ["Comparison", "Request", "compare", "quietly", "run"]


class Request(TypedDict):
    """What the parent asks."""

    model: str
    staged: str
    format: Format
    dims: dict[str, int]
    quantize: Quantize
    representative: str
    verify: bool
    seed: int


def run(request: Request) -> dict[str, object]:
    """Emit, write and verify; replies the report.

    Raises:
        ModelError: the model cannot be emitted or written.
        VerificationError: the result computes something else.
    """
    with quietly():
        return _run(request)


class Comparison(TypedDict):
    """A file to compare with its model."""

    model: str
    staged: str
    format: Format
    quantize: Quantize
    representative: str
    seed: int


def compare(request: Comparison) -> dict[str, object]:
    """Run a written file beside ONNX Runtime; replies `verification` and `notes`.

    Raises:
        VerificationError: it computes something else.
    """
    from lowtide.backends.tensorflow.from_onnx import verify

    with quietly():
        found, notes = verify.against_ort(
            Path(request["model"]),
            Path(request["staged"]),
            request["format"],
            request["quantize"],
            {},
            request["seed"],
            request["representative"],
        )
    skipped = {"numerics": "skipped", "max_abs_error": 0.0, "max_rel_error": 0.0}
    limit = verify.tolerance(request["quantize"])
    return {"verification": {**skipped, "tolerance": limit, **found}, "notes": notes}


@contextmanager
def quietly() -> Generator[None]:
    """TensorFlow's messages off; errors in classes that the parent knows."""
    os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
    logging.getLogger("tensorflow").setLevel(logging.ERROR)
    warnings.simplefilter("ignore")
    try:
        yield
    except ModelError as error:
        # Its subclasses of this package are not known to the parent.
        raise ModelError(str(error)) from None


def _run(request: Request) -> dict[str, object]:
    from lowtide.backends.tensorflow.from_onnx import saved_model, tflite, verify

    seconds: dict[str, float] = {}
    clock = time.perf_counter()

    def lap(name: str) -> None:
        nonlocal clock
        now = time.perf_counter()
        seconds[name], clock = now - clock, now

    model = onnx_ir.load(request["model"])
    bind(model, request["dims"])
    kind, quantize = request["format"], request["quantize"]
    staged = Path(request["staged"])
    verify.warm()
    lap("load")
    built = build(
        model,
        variables=True,
        fake_quantized=quantize in ("qdq", "int8"),
        lite=kind == "tflite",
    )
    lap("emit")
    notes: list[str] = []
    remaining: list[Remaining]
    if kind == "savedmodel":
        saved_model.write(built, staged)
        remaining = list(layout.in_graph(built.function))
        operators = Counter(op.type for op in built.function.graph.get_operations())
    else:
        written = tflite.write(built, staged, quantize, request["representative"])
        remaining, operators = written.transposes, written.operators
        notes += written.notes
    lap("write")
    inside = [t for t in remaining if t.place == "inside"]
    if inside:
        own = sum(node.op_type == "Transpose" for node in model.graph)
        notes.append(
            f"{len(inside)} transposes are left inside, the first at `{inside[0].name}`; the "
            f"model's own are {own}"
        )
    report: dict[str, object] = {"numerics": "skipped", "max_abs_error": 0.0, "max_rel_error": 0.0}
    report["tolerance"] = verify.tolerance(quantize)
    if request["verify"]:
        found, more = verify.against_ort(
            Path(request["model"]),
            staged,
            kind,
            quantize,
            request["dims"],
            request["seed"],
            request["representative"],
        )
        report.update(found)
        notes += more
    lap("verify")
    return {
        "format": kind,
        "quantize": quantize,
        "inputs": list(built.inputs),
        "outputs": list(built.outputs),
        "operators": dict(sorted(operators.items())),
        "transposes": [
            {"name": t.name, "shape": list(t.shape), "place": t.place} for t in remaining
        ],
        "verification": report,
        "seconds": seconds,
        "notes": notes,
    }
