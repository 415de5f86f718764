"""Run two models on the same inputs, in a child: are the outputs the same bits?

Each model keeps its interpreter for all inputs, so that state evolves alike and the arena is full
of what the runs before left there.
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any, cast

import numpy as np

from lowtide.backends.tflite.tflm.interpreter import captured, feeds, load, open_interpreter
from lowtide.errors import MissingExtraError, ModelError

if TYPE_CHECKING:
    from collections.abc import Callable

    from numpy.typing import NDArray

    Arrays = list[NDArray[np.generic]]

__all__ = ["compare_litert", "compare_tflm", "tflm_runner"]


def tflm_runner(data: bytes, outputs: int, arena_bytes: int) -> Callable[[Arrays], Arrays]:
    """A model in an arena of that size, as a function from its inputs to its outputs.

    Raises:
        ModelError: TFLite Micro refuses it.
    """
    with captured() as text:
        try:
            interpreter = open_interpreter(data, arena_bytes)
        except RuntimeError as error:
            raise ModelError(f"TFLite Micro refused: {text()[-300:]} {error}") from None

    def run(arrays: Arrays) -> Arrays:
        for index, array in enumerate(arrays):
            interpreter.set_input(array, index)
        interpreter.invoke()
        return [np.array(interpreter.get_output(k)) for k in range(outputs)]

    return run


def compare_tflm(request: dict[str, object]) -> dict[str, object]:
    """Request: `models` (two paths), `arenas` (their sizes), `inputs` (.npz paths), `outputs`.

    `outputs` is how many there are. Reply: `difference`, None where all are the same.
    """
    count = int(cast("int", request["outputs"]))

    models = cast("list[str]", request["models"])
    arenas = cast("list[int]", request["arenas"])
    runs = [
        tflm_runner(load(path), count, int(arena))
        for path, arena in zip(models, arenas, strict=True)
    ]
    return {"difference": _difference(runs, cast("list[str]", request["inputs"]))}


def compare_litert(request: dict[str, object]) -> dict[str, object]:
    """The same in LiteRT, with its own kernels only (no XNNPACK), on one thread."""
    try:
        module: Any = importlib.import_module("ai_edge_litert.interpreter")
    except ImportError as error:
        raise MissingExtraError(
            'running a model in LiteRT needs ai-edge-litert: pip install "lowtide[edge]"'
        ) from error

    def runner(path: str) -> Callable[[Arrays], Arrays]:
        with captured():
            try:
                interpreter = module.Interpreter(
                    model_content=load(path),
                    num_threads=1,
                    experimental_op_resolver_type=(
                        module.OpResolverType.BUILTIN_WITHOUT_DEFAULT_DELEGATES
                    ),
                )
                interpreter.allocate_tensors()
            except (RuntimeError, ValueError) as error:
                raise ModelError(f"LiteRT refused the model: {error}") from None

        def run(arrays: Arrays) -> Arrays:
            for detail, array in zip(interpreter.get_input_details(), arrays, strict=True):
                interpreter.set_tensor(detail["index"], array)
            interpreter.invoke()
            return [
                np.array(interpreter.get_tensor(d["index"]))
                for d in interpreter.get_output_details()
            ]

        return run

    runs = [runner(path) for path in cast("list[str]", request["models"])]
    return {"difference": _difference(runs, cast("list[str]", request["inputs"]))}


def _difference(runs: list[Callable[[Arrays], Arrays]], inputs: list[str]) -> str | None:
    for number, path in enumerate(inputs):
        arrays = feeds(path)
        results: list[Arrays] = []
        for run in runs:
            try:
                results.append(run(arrays))
            except RuntimeError as error:
                raise ModelError(f"execution {number} failed: {error}") from None
        for output, (one, other) in enumerate(zip(results[0], results[1], strict=True)):
            if one.dtype != other.dtype or one.shape != other.shape:
                return f"output {output} has another type or shape in execution {number}"
            if one.tobytes() != other.tobytes():
                wrong = int(np.count_nonzero(one != other))
                return (
                    f"output {output} differs in {wrong} of {one.size} elements in execution "
                    f"{number}"
                )
    return None
