"""The children of the target `tensorflow`: where TensorFlow is imported and models are run."""

# TensorFlow has no type stubs:
# pyright: reportUnknownVariableType=false, reportUnknownArgumentType=false

from __future__ import annotations

import itertools
import math
import time
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, NotRequired, TypedDict, cast

import onnx_ir

from lowtide.backends.tensorflow.from_onnx import layout
from lowtide.backends.tensorflow.from_onnx.graph import build
from lowtide.backends.tensorflow.from_onnx.job import compare, quietly
from lowtide.errors import ModelError, VerificationError
from lowtide.ir import print_graph

if TYPE_CHECKING:
    from collections.abc import Mapping

    from lowtide.backends.tensorflow.from_onnx.graph import Built
    from lowtide.backends.tensorflow.measure import Measurement
    from lowtide.tensorflow_types import TfFunction

__all__ = ["CHILD_BYTES", "TIMEOUT_S", "Emission", "emit", "trace"]

_RUNS = 7
TIMEOUT_S = 900.0
CHILD_BYTES = 24 << 30  # of address space: TensorFlow alone maps some 4 GiB


class Emission(TypedDict):
    """What is to be written: `sequence` in this order, or None for TensorFlow's own.

    `stock` is a folder for the function as it is, to be measured beside the result; empty to write
    the result only. `original` is the model before rewrites, where there were any.
    """

    model: str
    original: NotRequired[str]
    staged: str
    sequence: list[str] | None
    stock: str
    seed: int


def trace(request: dict[str, str]) -> dict[str, object]:
    """Emit the function of a model; replies its graph with the kernels' scratch, and notes.

    Raises:
        ModelError: the model cannot be emitted, or sizes are not known.
    """
    from lowtide.backends.tensorflow.profile import default_cache, profile_ops
    from lowtide.frontends.tensorflow import import_function

    with quietly():
        model = onnx_ir.load(request["model"])
        _refuse_text(model)
        built = build(model, variables=True)
        graph = import_function(built.function)
        profile_ops(graph, cache=default_cache())
    inside = [t for t in layout.in_graph(built.function) if t.place == "inside"]
    own = sum(node.op_type == "Transpose" for node in model.graph)
    notes = [f"{len(inside)} transposes inside; the model's own are {own}"] if inside else []
    return {"graph": print_graph(graph), "notes": notes}


def _refuse_text(model: onnx_ir.Model) -> None:
    for value in model.graph.inputs:
        if value.dtype is onnx_ir.DataType.STRING:
            raise ModelError(
                f"input `{value.name}` is text, whose size depends on the data: nothing can be "
                f"planned; lowtide.tensorflow.convert writes the SavedModel without a plan"
            )


def emit(request: Emission) -> dict[str, object]:
    """Write the SavedModel; with `stock`, compare it with ONNX Runtime and measure both.

    Raises:
        VerificationError: it computes something else, or runs in another order.
    """
    from lowtide.backends.tensorflow.call import grappler_off
    from lowtide.backends.tensorflow.from_onnx import saved_model
    from lowtide.backends.tensorflow.reemit import reemit

    staged, sequence = Path(request["staged"]), request["sequence"]
    with quietly():
        built = build(onnx_ir.load(request["model"]), variables=True)
        if sequence is None:
            saved_model.write(built, staged)
        else:
            planned = replace(built, function=reemit(built.function, sequence))
            # The options of this moment are stored with the call of the function.
            with grappler_off():
                saved_model.write(planned, staged)
        return _tried(request, built) if request["stock"] else {}


def _tried(request: Emission, built: Built) -> dict[str, object]:
    from lowtide.backends.tensorflow.from_onnx import saved_model

    staged, sequence = Path(request["staged"]), request["sequence"]
    reply = compare(
        {
            "model": request.get("original", request["model"]),
            "staged": str(staged),
            "format": "savedmodel",
            "quantize": "none",
            "representative": "",
            "seed": request["seed"],
        }
    )
    folders = {"after": staged}
    if sequence is not None:
        folders["stock"] = Path(request["stock"])
        if "original" in request:
            built = build(onnx_ir.load(request["original"]), variables=True)
        saved_model.write(built, folders["stock"])
    runs = {which: _Run(folder) for which, folder in folders.items()}
    for _ in range(_RUNS):  # in turn, so that what else the machine does meets all
        for run in runs.values():
            run.timed()
    if sequence is not None:
        _check_order(runs["after"].log, sequence)
    measured: dict[str, object] = {"runtime": "TensorFlow"}
    for which in ("before", "stock", "after"):
        run = runs["after"] if which == "after" else runs.get("stock", runs["after"])
        measured[f"peak_{which}"] = run.log.peak_bytes
        measured[f"latency_{which}"] = run.seconds
    verification = cast("dict[str, object]", reply["verification"])
    verification["order"] = "not_checked" if sequence is None else "executed"
    return {**reply, "measured": measured}


class _Run:
    """A SavedModel, loaded and run as anybody does; with its log of allocations."""

    def __init__(self, folder: Path) -> None:
        from lowtide.backends.tensorflow.from_onnx.lazy import tf
        from lowtide.backends.tensorflow.measure import measure_function

        self._loaded = tf.saved_model.load(str(folder))
        self._function: Any = self._loaded.signatures["serving_default"]
        specs: Mapping[str, Any] = self._function.structured_input_signature[1]
        self._inputs = {
            name: tf.cast(tf.random.stateless_uniform(spec.shape, (0, 0)), spec.dtype)
            for name, spec in specs.items()
        }
        self.log = measure_function(cast("TfFunction", self._function), as_is=False)
        self.seconds = math.inf
        self._function(**self._inputs)  # the first call compiles

    def timed(self) -> None:
        """Run it once; `seconds` is the least of all runs."""
        started = time.perf_counter()
        self._function(**self._inputs)
        self.seconds = min(self.seconds, time.perf_counter() - started)


def _check_order(log: Measurement, sequence: list[str]) -> None:
    """Raise unless the ops that allocated did so in the order of `sequence`."""
    place = {name: index for index, name in enumerate(sequence)}
    ran = [event.op for event in log.events if event.nbytes > 0 and event.op in place]
    for one, other in itertools.pairwise(ran):
        if place[other] < place[one]:
            raise VerificationError(
                f"TensorFlow runs `{other}` after `{one}`, which is not the planned order"
            )
