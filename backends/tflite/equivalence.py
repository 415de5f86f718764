"""Does a rewritten model compute what the original does? Both run on the same inputs, in a child.

    runtime     kernels
    tflm        TFLite Micro's reference kernels
    litert      LiteRT's reference kernels; where they lack an operator those that it takes by
                itself, XNNPACK's and its own

A rewrite that keeps every term of every result gives the same bits wherever a kernel treats all
elements alike, as reference kernels do (and XNNPACK's, by execution). LiteRT's older optimised
kernels do not: they round otherwise in the last elements of a vector, and those of an op on fewer
channels are others.
"""

from __future__ import annotations

import importlib
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, cast

import numpy as np

from lowtide import child
from lowtide.backends.onnx.compare import Difference, compare
from lowtide.backends.tflite.tflm.compare import tflm_runner
from lowtide.backends.tflite.tflm.interpreter import captured, feeds, load
from lowtide.backends.tflite.tflm.scratch import ARENA_LIMIT, MEMORY_LIMIT
from lowtide.errors import MissingExtraError, ModelError

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from numpy.typing import NDArray

    from lowtide.frontends.tflite import TfliteSource

    Arrays = list[NDArray[np.generic]]
    Runner = Callable[[Arrays], Arrays]

__all__ = ["Runtime", "equivalence", "run_here"]

Runtime = Literal["tflm", "litert"]


def equivalence(
    original: TfliteSource,
    result: bytes | memoryview,
    inputs: Sequence[Sequence[NDArray[np.generic]]],
    runtime: Runtime,
    *,
    arenas: tuple[int, int] = (ARENA_LIMIT, ARENA_LIMIT),
    timeout_s: float = 300.0,
) -> Difference:
    """How far the outputs of two models are apart on these inputs; `arenas` are for TFLM.

    Raises:
        ModelError: the runtime refuses one of them.
        ChildError: it crashed or took too long.
        MissingExtraError: the runtime is not installed.
    """
    with tempfile.TemporaryDirectory(prefix="lowtide-") as folder:
        paths: list[str] = []
        for number, data in enumerate((original.data, result)):
            path = Path(folder, f"{number}.tflite")
            path.write_bytes(data)
            paths.append(str(path))
        stored: list[str] = []
        for number, arrays in enumerate(inputs):
            path = Path(folder, f"{number}.npz")
            np.savez(path, allow_pickle=False, **{str(i): a for i, a in enumerate(arrays)})
            stored.append(str(path))
        reply = child.run(
            "lowtide.backends.tflite.equivalence:run_here",
            {
                "models": paths,
                "inputs": stored,
                "runtime": runtime,
                "arenas": list(arenas),
                "outputs": len(original.model.subgraphs[0].outputs),
            },
            timeout_s=timeout_s,
            memory_limit_bytes=MEMORY_LIMIT,
        )
    return Difference(
        identical=bool(reply["identical"]),
        within=bool(reply["within"]),
        max_abs_error=float(cast("float", reply["max_abs_error"])),
        where=str(reply["where"]),
    )


def run_here(request: dict[str, object]) -> dict[str, object]:
    """The child's side.

    Request: `models` (two paths), `inputs` (.npz paths), `runtime`, `arenas` (their sizes),
    `outputs` (how many). Reply: as `Difference`.
    """
    count = int(cast("int", request["outputs"]))
    models = [load(path) for path in cast("list[str]", request["models"])]
    if request["runtime"] == "tflm":
        arenas = cast("list[int]", request["arenas"])
        first, second = (tflm_runner(m, count, a) for m, a in zip(models, arenas, strict=True))
    else:
        first, second = _in_litert(models)
    found = Difference()
    for number, path in enumerate(cast("list[str]", request["inputs"])):
        arrays = feeds(path)
        try:
            results = first(arrays), second(arrays)
        except RuntimeError as error:
            raise ModelError(f"execution {number} failed: {error}") from None
        for index, (one, other) in enumerate(zip(*results, strict=True)):
            found = found.and_then(compare(one, other, f"output {index} in execution {number}"))
    return {
        "identical": found.identical,
        "within": found.within,
        "max_abs_error": found.max_abs_error,
        "where": found.where,
    }


def _in_litert(models: Sequence[bytes]) -> list[Runner]:
    """All of them with the same kernels."""
    try:
        module: Any = importlib.import_module("ai_edge_litert.interpreter")
    except ImportError as error:
        raise MissingExtraError(
            'running a model in LiteRT needs ai-edge-litert: pip install "lowtide[edge]"'
        ) from error
    kinds = module.OpResolverType
    try:
        return [_litert_runner(module, data, kinds.BUILTIN_REF) for data in models]
    except ModelError:
        return [_litert_runner(module, data, kinds.AUTO) for data in models]


def _litert_runner(module: Any, data: bytes, kernels: object) -> Runner:
    with captured():
        try:
            interpreter = module.Interpreter(
                model_content=data, num_threads=1, experimental_op_resolver_type=kernels
            )
            interpreter.allocate_tensors()
        except (RuntimeError, ValueError) as error:
            raise ModelError(f"LiteRT refused the model: {error}") from None

    def run(arrays: Arrays) -> Arrays:
        for detail, array in zip(interpreter.get_input_details(), arrays, strict=True):
            interpreter.set_tensor(detail["index"], array)
        interpreter.invoke()
        return [
            np.array(interpreter.get_tensor(d["index"])) for d in interpreter.get_output_details()
        ]

    return run
