"""What ONNX Runtime makes of a model on random inputs, in a process of its own."""

# pyright: reportUnknownVariableType=false, reportUnknownArgumentType=false
# ORT's native module has no stubs.

from __future__ import annotations

from typing import TYPE_CHECKING, cast

from lowtide import child
from lowtide.backends.onnx.feeds import INTEGER_RANGES, feeds
from lowtide.errors import ModelError

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping
    from pathlib import Path

__all__ = ["reference", "serve"]


def reference(
    model: Path,
    arguments: Path,
    outputs: Path,
    *,
    dims: Mapping[str, int],
    seed: int,
    timeout_s: float,
    memory_limit_bytes: int | None = None,
) -> None:
    """Write random inputs as `arg0`, ... and ONNX Runtime's outputs as `out0`, ... (.npz).

    Raises:
        ModelError: ONNX Runtime rejects the model, or it fails on every random input tried.
        ChildError: the process died or took too long.
    """
    child.run(
        "lowtide.backends.tvm.reference:serve",
        {
            "model": str(model.absolute()),
            "arguments": str(arguments.absolute()),
            "outputs": str(outputs.absolute()),
            "dims": dict(dims),
            "seed": seed,
        },
        timeout_s=timeout_s,
        memory_limit_bytes=memory_limit_bytes,
    )


def serve(request: Mapping[str, object]) -> dict[str, object]:
    """The child's side of `reference`."""
    import numpy as np
    import onnxruntime as ort

    options = ort.SessionOptions()
    options.log_severity_level = 4
    dims = cast("dict[str, int]", request["dims"])
    seed = cast("int", request["seed"])
    error: Exception | None = None
    try:
        session = ort.InferenceSession(
            str(request["model"]), options, providers=["CPUExecutionProvider"]
        )
        for below in INTEGER_RANGES:
            given = feeds(session, seed, below, dims)
            try:
                results = session.run(None, given)
            except Exception as failure:
                error = failure
                continue
            ordered = [given[value.name] for value in session.get_inputs()]
            for key, prefix, arrays in (("arguments", "arg", ordered), ("outputs", "out", results)):
                named = {f"{prefix}{index}": array for index, array in enumerate(arrays)}
                save = cast("Callable[..., None]", np.savez)
                save(str(request[key]), **named)
            return {}
    except ModelError:
        raise
    except Exception as failure:
        error = failure
    raise ModelError(f"ONNX Runtime cannot run the model on random inputs: {str(error)[:300]}")
