"""The children of the target `tensorflow`: where TensorFlow is imported and models are run."""

# TensorFlow has no type stubs:
# pyright: reportUnknownVariableType=false, reportUnknownArgumentType=false

from __future__ import annotations

import itertools
import time
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypedDict, cast

import onnx_ir

from lowtide.backends.tensorflow.from_onnx import layout
from lowtide.backends.tensorflow.from_onnx.graph import build
from lowtide.backends.tensorflow.from_onnx.job import compare, quietly
from lowtide.errors import ModelError, VerificationError
from lowtide.ir import print_graph

if TYPE_CHECKING:
    from collections.abc import Mapping

    from lowtide.backends.tensorflow.from_onnx.graph import Built
    from lowtide.tensorflow_types import TfFunction

__all__ = ["CHILD_BYTES", "TIMEOUT_S", "Emission", "emit", "trace"]

_RUNS = 5
TIMEOUT_S = 900.0
CHILD_BYTES = 24 << 30  # of address space: TensorFlow alone maps some 4 GiB


class Emission(TypedDict):
    """What is to be written: `sequence` in this order, or None for TensorFlow's own.

    `stock` is a folder for the function as it is, to be measured beside the result; empty to write
    the result only.
    """

    model: str
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
            "model": request["model"],
            "staged": str(staged),
            "format": "savedmodel",
            "quantize": "none",
            "representative": "",
            "seed": request["seed"],
        }
    )
    after = stock = _measured(staged, sequence)
    if sequence is not None:
        saved_model.write(built, Path(request["stock"]))
        stock = _measured(Path(request["stock"]), None)
    measured: dict[str, object] = {"runtime": "TensorFlow"}
    for which, (peak, seconds) in {"before": stock, "stock": stock, "after": after}.items():
        measured[f"peak_{which}"], measured[f"latency_{which}"] = peak, seconds
    verification = cast("dict[str, object]", reply["verification"])
    verification["order"] = "not_checked" if sequence is None else "executed"
    return {**reply, "measured": measured}


def _measured(folder: Path, sequence: list[str] | None) -> tuple[int, float]:
    """Peak and seconds of a call of a SavedModel, loaded and run as anybody does.

    Raises:
        VerificationError: its ops do not run in the order of `sequence`.
    """
    from lowtide.backends.tensorflow.from_onnx.lazy import tf
    from lowtide.backends.tensorflow.measure import measure_function

    loaded = tf.saved_model.load(str(folder))
    function = cast("TfFunction", loaded.signatures["serving_default"])
    found = measure_function(function, as_is=False)
    if sequence is not None:
        place = {name: index for index, name in enumerate(sequence)}
        ran = [e.op for e in found.events if e.nbytes > 0 and e.op in place]
        for one, other in itertools.pairwise(ran):
            if place[other] < place[one]:
                raise VerificationError(
                    f"TensorFlow runs `{other}` after `{one}`, which is not the planned order"
                )
    specs: Mapping[str, Any] = loaded.signatures["serving_default"].structured_input_signature[1]
    inputs = {
        name: tf.cast(tf.random.stateless_uniform(spec.shape, (0, 0)), spec.dtype)
        for name, spec in specs.items()
    }
    seconds: list[float] = []
    for _ in range(_RUNS + 1):  # the first compiles
        started = time.perf_counter()
        function(**inputs)
        seconds.append(time.perf_counter() - started)
    return found.peak_bytes, min(seconds[1:])
