"""Verification: the written file and ONNX Runtime compute the same, on the same inputs."""

# ONNX Runtime's extension module has no stubs:
# pyright: reportUnknownParameterType=false, reportUnknownVariableType=false
# pyright: reportUnknownArgumentType=false

from __future__ import annotations

import importlib
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import onnx_ir

from lowtide.backends.onnx.feeds import INTEGER_RANGES, feeds
from lowtide.backends.tensorflow.from_onnx.conversion import Format, Quantize
from lowtide.backends.tensorflow.from_onnx.lazy import tf
from lowtide.backends.tensorflow.from_onnx.tflite import samples
from lowtide.errors import LowtideError, VerificationError

__all__ = ["against_ort", "run_lite", "tolerance", "warm"]

# The largest error relative to the largest element of an output (at least 1e-3 of it counts), by
# the narrowest type on the way. For int8 it is the mean error that counts.
_TOLERANCE = {"float64": 1e-4, "float32": 1e-4, "float16": 2e-2, "bfloat16": 1e-1}
_QUANTIZED = {"none": 0.0, "float16": 2e-2, "int8": 5e-2, "qdq": 5e-2}
# Sizes that are tried for dimensions that are open.
_OPEN = (2, 1, 64)

_RANDOM = frozenset(
    {"Bernoulli", "Multinomial", "RandomNormal", "RandomNormalLike", "RandomUniform"}
    | {"RandomUniformLike"}
)

_Outputs = dict[str, "np.ndarray[tuple[int, ...], np.dtype[np.generic]]"]


def warm() -> None:
    """Import TensorFlow, so that its time is not counted as ours."""
    _ = tf.float32


def tolerance(quantize: Quantize) -> float:
    """What the relative error of float32 outputs must stay below."""
    return _QUANTIZED[quantize] or _TOLERANCE["float32"]


def against_ort(
    model: Path,
    staged: Path,
    kind: Format,
    quantize: Quantize,
    dims: Mapping[str, int],
    seed: int,
    representative: str,
) -> tuple[dict[str, object], list[str]]:
    """Run both; the verification's part of the report, and notes.

    Raises:
        VerificationError: the outputs differ by more than the tolerance.
    """
    import onnxruntime as ort

    drawn = _random_node(model)
    if drawn:
        return {}, [f"not verified: {drawn} draws at random"]
    options = ort.SessionOptions()
    options.log_severity_level = 4
    options.graph_optimization_level = ort.GraphOptimizationLevel.ORT_ENABLE_BASIC
    try:
        session = ort.InferenceSession(str(model), options, providers=["CPUExecutionProvider"])
    except Exception as error:
        return {}, [f"not verified: ONNX Runtime cannot load the model: {_line(error)}"]
    names = [one.name for one in session.get_outputs()]
    problem = "no inputs could be generated"
    for inputs in _inputs(session, dims, seed, representative):
        try:
            expected = dict(zip(names, session.run(None, inputs), strict=True))
        except Exception as error:
            problem = _line(error)
            continue
        try:
            actual = (
                _run_saved(staged, inputs) if kind == "savedmodel" else run_lite(staged, inputs)
            )
        except LowtideError:
            raise
        except Exception as error:
            raise VerificationError(f"the result cannot be run: {_line(error)}") from None
        return _compared(expected, actual, quantize)
    return {}, [f"not verified: ONNX Runtime cannot run the model on random inputs: {problem}"]


def _random_node(model: Path) -> str:
    """The first node that draws random numbers, if there is one."""
    for node in onnx_ir.load(model).graph.all_nodes():
        if node.op_type in _RANDOM and node.domain in ("", "ai.onnx"):
            return f"{node.op_type} `{node.name or ''}`"
    return ""


def _inputs(
    session: Any,
    dims: Mapping[str, int],
    seed: int,
    representative: str,
) -> Iterator[dict[str, Any]]:
    if representative:
        asked = {one.name: one for one in session.get_inputs()}
        sample = next(iter(samples(tuple(asked), representative)))
        shaped: dict[str, Any] = {}
        for name, value in sample.items():
            rank = len(asked[name].shape)
            shaped[name] = value[None] if value.ndim == rank - 1 else value
        yield shaped
        return
    for size in _OPEN:
        for below in INTEGER_RANGES:
            try:
                yield feeds(session, seed, below, {"*": size, **dims})
            except LowtideError:
                return


def _run_saved(folder: Path, inputs: Mapping[str, Any]) -> _Outputs:
    loaded = tf.saved_model.load(str(folder))
    function = loaded.signatures["serving_default"]
    results = function(**{name: tf.constant(value) for name, value in inputs.items()})
    return {name: np.asarray(value.numpy()) for name, value in results.items()}


def run_lite(path: Path, inputs: Mapping[str, Any]) -> _Outputs:
    """The outputs of a .tflite in LiteRT, in float32 where it is quantized, by their names."""
    try:
        lite = importlib.import_module("ai_edge_litert.interpreter")
    except ModuleNotFoundError:
        lite = tf.lite
    interpreter = lite.Interpreter(str(path), num_threads=1)
    signature = interpreter.get_signature_list()["serving_default"]
    runner = interpreter.get_signature_runner("serving_default")
    details = runner.get_input_details()
    fed: dict[str, Any] = {}
    for name in signature["inputs"]:
        detail, value = details[name], inputs[name]
        fed[name] = _quantized(value, detail)
    results = runner(**fed)
    outputs = runner.get_output_details()
    return {name: _real(value, outputs[name]) for name, value in results.items()}


def _quantized(value: Any, detail: Mapping[str, Any]) -> Any:
    if detail["dtype"] == value.dtype:
        return value
    scale, zero = detail["quantization"]
    if not scale:
        return value.astype(detail["dtype"])
    limits = np.iinfo(detail["dtype"])
    return np.clip(np.round(value / scale) + zero, limits.min, limits.max).astype(detail["dtype"])


def _real(value: Any, detail: Mapping[str, Any]) -> Any:
    scale, zero = detail["quantization"]
    if not scale or value.dtype.kind == "f":
        return value
    return ((value.astype(np.float32) - zero) * scale).astype(np.float32)


def _compared(
    expected: Mapping[str, Any], actual: Mapping[str, Any], quantize: Quantize
) -> tuple[dict[str, object], list[str]]:
    worst_absolute, worst_relative = 0.0, 0.0
    for name, want in expected.items():
        have = actual.get(name)
        if have is None:
            raise VerificationError(f"the result has no output `{name}`, it has {sorted(actual)}")
        one, other = np.asarray(want), np.asarray(have)
        if one.shape != other.shape:
            raise VerificationError(
                f"output `{name}` has the shape {list(other.shape)}, not {list(one.shape)}"
            )
        if one.dtype.kind in "OSU" or (one.dtype.kind in "biu" and quantize == "none"):
            if not _equal(one, other):
                raise VerificationError(f"output `{name}` differs from ONNX Runtime's")
            continue
        absolute, relative = _distance(one, other, mean=quantize in ("int8", "qdq"))
        limit = max(_QUANTIZED[quantize], _TOLERANCE.get(str(one.dtype), 1e-4))
        if not relative <= limit:
            raise VerificationError(
                f"output `{name}` differs from ONNX Runtime's by {absolute:.3g}, which is "
                f"{relative:.3g} of its largest element; at most {limit:g} is allowed"
            )
        worst_absolute = max(worst_absolute, absolute)
        worst_relative = max(worst_relative, relative)
    found: dict[str, object] = {
        "numerics": "close",
        "max_abs_error": worst_absolute,
        "max_rel_error": worst_relative,
    }
    return found, []


def _equal(one: Any, other: Any) -> bool:
    def texts(array: Any) -> Sequence[object]:
        return [t.decode() if isinstance(t, bytes) else t for t in array.reshape(-1).tolist()]

    return list(texts(one)) == list(texts(other))


def _distance(one: Any, other: Any, *, mean: bool) -> tuple[float, float]:
    """The largest (or mean) difference, and that over the largest finite element."""
    a, b = one.astype(np.float64), other.astype(np.float64)
    finite = np.isfinite(a)
    if not np.array_equal(finite, np.isfinite(b)):
        return float("inf"), float("inf")
    if not np.array_equal(a[~finite], b[~finite], equal_nan=True):
        return float("inf"), float("inf")
    gaps = np.abs(a - b)[finite]
    if gaps.size == 0:
        return 0.0, 0.0
    gap = float(gaps.mean() if mean else gaps.max())
    largest = float(np.abs(a[finite]).max())
    return gap, gap / largest if largest else gap


def _line(error: Exception) -> str:
    return " ".join(str(error).split())[:300] or type(error).__name__
