"""What LiteRT on a desktop allocates for a model, with XNNPACK and without."""

from __future__ import annotations

import gc
import importlib
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING, Any, cast

import numpy as np

from lowtide import child
from lowtide.backends import meter
from lowtide.errors import LowtideError, MissingExtraError, ModelError

if TYPE_CHECKING:
    from lowtide.frontends.tflite import TfliteSource

__all__ = ["allocated", "litert_bytes"]

_MEMORY_LIMIT = 8 << 30


def litert_bytes(source: TfliteSource, *, xnnpack: bool, timeout_s: float = 120.0) -> int | None:
    """Bytes that LiteRT allocates at most, from making the interpreter to the end of the first run.

    The file itself is not among them. None where it does not run the model, or nothing can be
    metered on this system. XNNPACK keeps packed copies of weights, which count.

    Raises:
        MissingExtraError: ai-edge-litert is not installed.
    """
    library = meter.library()
    if library is None:
        return None
    with tempfile.TemporaryDirectory(prefix="lowtide-") as folder:
        path = Path(folder, "model.tflite")
        path.write_bytes(source.data)
        try:
            reply = child.run(
                "lowtide.backends.tflite.litert:allocated",
                {"model": str(path), "xnnpack": xnnpack},
                timeout_s=timeout_s,
                memory_limit_bytes=_MEMORY_LIMIT,
                preload=library,
            )
        except MissingExtraError:
            raise
        except LowtideError:
            return None
    return int(cast("int", reply["bytes"]))


def allocated(request: dict[str, object]) -> dict[str, object]:
    """In a child with the meter: run the model once on zeros. Reply: `bytes`."""
    try:
        module: Any = importlib.import_module("ai_edge_litert.interpreter")
    except ImportError as error:
        raise MissingExtraError(
            'running a model in LiteRT needs ai-edge-litert: pip install "lowtide[edge]"'
        ) from error
    path = str(request["model"])
    kinds = module.OpResolverType
    kind = kinds.AUTO if request["xnnpack"] else kinds.BUILTIN_WITHOUT_DEFAULT_DELEGATES

    def run() -> None:
        try:
            interpreter = module.Interpreter(
                model_path=path, num_threads=1, experimental_op_resolver_type=kind
            )
            interpreter.allocate_tensors()
            for detail in interpreter.get_input_details():
                interpreter.set_tensor(detail["index"], np.zeros(detail["shape"], detail["dtype"]))
            interpreter.invoke()
        except (RuntimeError, ValueError) as error:
            raise ModelError(f"LiteRT refuses the model: {error}") from None

    run()  # what a process makes once is not the model's
    gc.collect()
    with meter.Meter().window() as window:
        run()
    return {"bytes": window.peak_bytes}
