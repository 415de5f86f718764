"""The children for SavedModels: where TensorFlow loads, runs, measures and writes them."""

from __future__ import annotations

import itertools
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypedDict

import numpy as np

from lowtide.backends.tensorflow.from_onnx.job import quietly
from lowtide.errors import VerificationError
from lowtide.ir import print_graph
from lowtide.targets.saved_model_signature import choose, inlined, load, write
from lowtide.tensorflow_types import load_tensorflow

if TYPE_CHECKING:
    from collections.abc import Mapping

    Arrays = dict[str, Any]

__all__ = ["Emission", "emit", "trace"]

_RUNS = 5
# The largest error relative to an output's largest element, by its type; TensorFlow rewrites the
# original (fusions of its own), so that bits are compared with the original as it is written.
_TOLERANCE = {"float64": 1e-4, "float32": 1e-4, "float16": 2e-2, "bfloat16": 1e-1}


class Emission(TypedDict):
    """What is to be written: `sequence` in this order, or None for a copy of the original.

    `stock` is any text where the result is to be tried and measured; empty to write it only.
    """

    model: str
    staged: str
    sequence: list[str] | None
    stock: str
    seed: int
    dims: dict[str, int]


def trace(request: dict[str, Any]) -> dict[str, object]:
    """Load a SavedModel; replies the graph of its signature with the kernels' scratch, and notes.

    Raises:
        InputError: dimensions are open.
        ModelError: the model cannot be loaded or planned.
    """
    from lowtide.backends.tensorflow.profile import default_cache, profile_ops
    from lowtide.frontends.tensorflow import import_function

    with quietly():
        loaded = load(Path(request["model"]))
        name = choose(loaded)
        graph = import_function(inlined(loaded, name, request["dims"]))
        profile_ops(graph, cache=default_cache())
    notes = [f"the signature `{name}` is planned"]
    if len(loaded.signatures) > 1:
        notes[0] += "; the others are kept as they are"
    return {"graph": print_graph(graph), "notes": notes}


def emit(request: Emission) -> dict[str, object]:
    """Write the SavedModel; with `stock`, compare it with the original and measure both.

    Raises:
        VerificationError: it computes something else, or runs in another order.
    """
    import shutil

    source, staged, sequence = Path(request["model"]), Path(request["staged"]), request["sequence"]
    with quietly():
        if sequence is None:
            shutil.copytree(source, staged)
        else:
            loaded = load(source)
            write(loaded, choose(loaded), sequence, staged)
        return _tried(request) if request["stock"] else {}


def _tried(request: Emission) -> dict[str, object]:
    source, staged, sequence = Path(request["model"]), Path(request["staged"]), request["sequence"]
    loaded = load(source)
    name = choose(loaded)
    feeds, expected = _run_made_up(source, loaded.signatures[name], name, request)
    verification, notes = _compared(source, staged, name, feeds, expected, request["dims"])
    values = staged.with_name("feeds.npz")
    np.savez(values, **feeds)
    *after, in_order = _measured(staged, name, values, sequence)
    stock = after
    if sequence is not None:
        *stock, _ = _measured(source, name, values, None)
    measured: dict[str, object] = {"runtime": "TensorFlow"}
    for which, (peak, seconds) in {"before": stock, "stock": stock, "after": after}.items():
        measured[f"peak_{which}"], measured[f"latency_{which}"] = peak, seconds
    verification["order"] = "executed" if in_order else "not_checked"
    return {"verification": verification, "notes": notes, "measured": measured}


def _run_made_up(
    source: Path, function: Any, name: str, request: Emission
) -> tuple[Arrays, Arrays]:
    """Inputs that the original takes, and what it answers."""
    problem = ""
    for below in (2, 1):  # indices may have to be small
        feeds = _made_up(function, request["dims"], request["seed"], below)
        try:
            return feeds, _run(source, name, feeds)
        except Exception as error:
            problem = " ".join(str(error).split())[:300]
    raise VerificationError(
        f"the SavedModel cannot be run on made-up inputs ({problem}): take --no-verify"
    )


def _made_up(function: Any, dims: Mapping[str, int], seed: int, below: int) -> Arrays:
    generator = np.random.default_rng(seed)
    feeds: Arrays = {}
    for name, spec in function.structured_input_signature[1].items():
        size = dims.get(name, dims.get("*", 1))
        shape = [size if n is None else n for n in spec.shape.as_list()]
        if spec.dtype.is_floating or spec.dtype.is_complex:
            feeds[name] = generator.normal(size=shape).astype(np.float32)
        elif spec.dtype.name == "string":
            feeds[name] = np.full(shape, "a")
        else:
            feeds[name] = generator.integers(0, below, shape).astype(np.int64)
    return feeds


def _called(function: Any, feeds: Arrays) -> Arrays:
    tensorflow = load_tensorflow()
    specs = function.structured_input_signature[1]
    arguments = {
        name: tensorflow.constant(value)
        if specs[name].dtype.name == "string"
        else tensorflow.cast(value, specs[name].dtype)
        for name, value in feeds.items()
    }
    return {name: np.asarray(value.numpy()) for name, value in function(**arguments).items()}


def _run(folder: Path, name: str, feeds: Arrays) -> Arrays:
    """One call of a freshly loaded model: what it keeps in variables is as it was saved."""
    loaded = load(folder)  # its variables live as long as it does
    return _called(loaded.signatures[name], feeds)


def _compared(
    source: Path, staged: Path, name: str, feeds: Arrays, expected: Arrays, dims: Mapping[str, int]
) -> tuple[dict[str, object], list[str]]:
    from lowtide.backends.tensorflow.call import grappler_off

    actual = _run(staged, name, feeds)
    if sorted(actual) != sorted(expected):
        raise VerificationError(
            f"the result has the outputs {sorted(actual)}, not {sorted(expected)}"
        )
    if not _identical(expected, _run(source, name, feeds)):
        note = "not verified: the model itself does not answer the same twice"
        return {"numerics": "skipped", "max_abs_error": 0.0}, [note]
    if _identical(expected, actual):
        return {"numerics": "identical", "max_abs_error": 0.0, "max_rel_error": 0.0}, []
    worst = [_distance(output, expected[output], actual[output]) for output in expected]
    loaded = load(source)
    with grappler_off():
        written = _called(inlined(loaded, name, dims), feeds)
    notes: list[str] = []
    if _identical(written, actual):
        notes.append("bit for bit what the model computes as written; TensorFlow rewrites it")
    found: dict[str, object] = {
        "numerics": "close",
        "max_abs_error": max(w[0] for w in worst),
        "max_rel_error": max(w[1] for w in worst),
        "tolerance": _TOLERANCE["float32"],
    }
    return found, notes


def _identical(one: Arrays, other: Arrays) -> bool:
    return all(
        one[name].dtype == other[name].dtype
        and one[name].shape == other[name].shape
        and one[name].tobytes() == other[name].tobytes()
        if one[name].dtype.kind != "O"
        else one[name].tolist() == other[name].tolist()
        for name in one
    )


def _distance(name: str, one: Any, other: Any) -> tuple[float, float]:
    if one.shape != other.shape or one.dtype != other.dtype:
        raise VerificationError(
            f"output `{name}` is {other.dtype}{list(other.shape)}, not {one.dtype}{list(one.shape)}"
        )
    limit = _TOLERANCE.get(str(one.dtype))
    if limit is None:
        if one.tolist() != other.tolist():
            raise VerificationError(f"output `{name}` differs from the original's")
        return 0.0, 0.0
    a, b = one.astype(np.float64), other.astype(np.float64)
    finite = np.isfinite(a)
    same = np.array_equal(a[~finite], b[~finite], equal_nan=True)
    gap = float(np.abs(a - b)[finite].max(initial=0.0)) if same else float("inf")
    largest = float(np.abs(a[finite]).max(initial=0.0))
    relative = gap / largest if largest else gap
    if not relative <= limit:
        raise VerificationError(
            f"output `{name}` differs from the original's by {gap:.3g}, which is {relative:.3g} of "
            f"its largest element; at most {limit:g} is allowed"
        )
    return gap, relative


def _measured(
    folder: Path, name: str, values: Path, sequence: list[str] | None
) -> tuple[int, float, bool]:
    """Peak and seconds of a call of a SavedModel, loaded and run as anybody does.

    Last is whether the order was seen.

    Raises:
        VerificationError: its ops do not run in the order of `sequence`.
    """
    from lowtide.backends.tensorflow.measure import measure_saved_model

    found = measure_saved_model(folder, name, values)
    in_order = False
    if sequence is not None:
        place = {op: index for index, op in enumerate(sequence)}
        ran = [e.op for e in found.events if e.nbytes > 0 and e.op in place]
        in_order = bool(ran)
        for one, other in itertools.pairwise(ran):
            if place[other] < place[one]:
                raise VerificationError(
                    f"TensorFlow runs `{other}` after `{one}`, which is not the planned order"
                )
    loaded = load(folder)
    function = loaded.signatures[name]
    with np.load(values) as archive:
        feeds = {key: archive[key] for key in archive.files}
    seconds: list[float] = []
    for _ in range(_RUNS + 1):  # the first compiles
        started = time.perf_counter()
        _called(function, feeds)
        seconds.append(time.perf_counter() - started)
    return found.peak_bytes, min(seconds[1:]), in_order
