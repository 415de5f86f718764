"""An ONNX model to a SavedModel or a .tflite: emitted, written and verified in a child process.

model ──▶ temporary file ──▶ child: emit ▸ write beside the destination ▸ run beside ORT
                               │ report
destination ◀── renamed ◀──────┘
"""

from __future__ import annotations

import tempfile
from collections.abc import Mapping
from pathlib import Path

import onnx_ir

from lowtide import child
from lowtide.backends.tensorflow.from_onnx.conversion import (
    Conversion,
    Format,
    Quantize,
    from_reply,
)
from lowtide.backends.tensorflow.from_onnx.destination import install, refuse_foreign, staging
from lowtide.backends.tensorflow.from_onnx.emitter import check
from lowtide.errors import InputError, ModelError

__all__ = ["convert", "save_source"]

# Protobuf ends at 2 GiB.
_INLINE_BYTES = 1 << 30


def convert(
    model: onnx_ir.Model,
    destination: str | Path,
    *,
    format: Format | None = None,
    dims: Mapping[str, int] | None = None,
    quantize: Quantize = "none",
    representative: str | Path | None = None,
    verify: bool = True,
    seed: int = 0,
    timeout_s: float = 1800.0,
    memory_limit_bytes: int | None = None,
) -> Conversion:
    """Write a model for TensorFlow or TFLite.

    Args:
        model: as `lowtide.frontends.onnx.read` gives it.
        destination: the .tflite to write, or the folder of the SavedModel; replaced if it is one.
        format: `savedmodel` or `tflite`; by the destination's suffix where it is not given.
        dims: values for open dimensions, by name, by `tensor[axis]`, `*` for all others; those that
            stay open are open in the result.
        quantize: for .tflite: `float16` (weights), `int8` (with `representative`), `qdq` (the
            model's own QuantizeLinear and DequantizeLinear), or `none`.
        representative: an .npz with an array [samples, ...] for each input, by its name; each
            sample is one set of inputs.
        verify: run the result beside ONNX Runtime on random inputs.
        seed: of the random inputs.
        timeout_s: wall time after which the conversion is given up.
        memory_limit_bytes: what the conversion may take beyond its imports; None for no limit.

    Raises:
        InputError: options that contradict each other, or a destination that cannot be written.
        ModelError: the model has what is not emitted, or what TFLite does not have; or the
            conversion crashed or hung.
        VerificationError: the result computes something else; nothing was written.
        MissingExtraError: TensorFlow is not installed.
    """
    path = Path(destination)
    kind: Format = format or ("tflite" if path.suffix == ".tflite" else "savedmodel")
    refuse_foreign(path, folder=kind == "savedmodel")
    _refuse(kind, quantize, representative)
    check(model)
    with tempfile.TemporaryDirectory(prefix="lowtide-") as work, staging(path) as beside:
        source, staged = save_source(model, Path(work)), beside / "staged"
        dataset = "" if representative is None else str(Path(representative).absolute())
        try:
            reply = child.run(
                "lowtide.backends.tensorflow.from_onnx.job:run",
                {
                    "model": str(source),
                    "staged": str(staged),
                    "format": kind,
                    "dims": dict(dims or {}),
                    "quantize": quantize,
                    "representative": dataset,
                    "verify": verify,
                    "seed": seed,
                },
                timeout_s=timeout_s,
                memory_limit_bytes=memory_limit_bytes,
            )
        except child.ChildError as error:
            raise ModelError(
                f"TensorFlow does not survive the conversion ({error}): the model is damaged, or "
                f"asks for more memory or time than there is"
            ) from None
        install(staged, path)
    return from_reply(reply, path)


def save_source(model: onnx_ir.Model, folder: Path) -> Path:
    """Write a model for the child that reads it; large weights beside it."""
    path = folder / "model.onnx"
    weights = sum(
        value.const_value.nbytes
        for value in model.graph.initializers.values()
        if value.const_value is not None
    )
    large = "model.data" if weights > _INLINE_BYTES else None
    onnx_ir.save(model, path, external_data=large)
    return path


def _refuse(kind: Format, quantize: Quantize, representative: str | Path | None) -> None:
    """Refuse, before any work, options that contradict each other."""
    if quantize != "none" and kind != "tflite":
        raise InputError(f"quantize={quantize} is for .tflite: a SavedModel keeps its types")
    if quantize == "int8" and representative is None:
        raise InputError(
            "quantize=int8 needs a representative dataset: an .npz with [samples, ...] per input"
        )
    if representative is not None and not Path(representative).is_file():
        raise InputError(f"{representative} does not exist: give an .npz file")
