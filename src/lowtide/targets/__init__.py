"""One module per target: which graph is planned, how its memory is counted, how it is written."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from lowtide.errors import InputError
from lowtide.settings import is_saved_model
from lowtide.sources import plugged_frontend

if TYPE_CHECKING:
    import onnx
    import onnx_ir

    from lowtide.planning import Prepared, Progress
    from lowtide.settings import Settings

    Source = str | Path | onnx.ModelProto | onnx_ir.Model

__all__ = ["prepare"]


def prepare(model: Source, settings: Settings, progress: Progress | None = None) -> Prepared:
    """Read a model and import the graph that its target will run.

    Raises:
        InputError: the model cannot be read, or is none that can be planned.
    """
    if progress is not None:
        progress.stage("load")
    frontend = plugged_frontend(model)
    if frontend is not None and isinstance(model, str | Path):
        from lowtide.targets import plugged

        return plugged.prepare(Path(model), frontend, settings)
    if isinstance(model, str | Path) and Path(model).suffix.lower() == ".tflite":
        from lowtide.targets import tflite

        return tflite.prepare(Path(model), settings, progress)
    if isinstance(model, str | Path) and is_saved_model(model):
        from lowtide.targets import saved_model

        return saved_model.prepare(Path(model), settings, progress)
    if settings.target == "tflite":
        from lowtide.targets import converted

        return converted.prepare(model, settings, progress)
    if settings.device is not None:
        raise InputError("--device is for TFLite models: drop it, or take --target tflite")
    if settings.quantize != "none":
        raise InputError(
            "--quantize makes a .tflite: take --target tflite, and --target c on the result"
        )
    if settings.target == "tensorflow":
        from lowtide.targets import tensorflow

        return tensorflow.prepare(model, settings, progress)
    if settings.target in ("tvm", "c"):
        from lowtide.targets import tvm

        return tvm.prepare(model, settings, progress)
    from lowtide.targets import onnx

    return onnx.prepare(model, settings, progress)
