"""The target `tensorflow`: an ONNX model as a SavedModel whose ops run in the planned order.

What is planned is the function that `from_onnx` emits: TensorFlow's kernels with their scratch,
measured once for each distinct op. The result is that function, re-emitted as a chain; TensorFlow
is asked not to rewrite it, so that what was predicted is what a loaded model allocates.
"""

from __future__ import annotations

import tempfile
import time
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, ClassVar

from lowtide.backends.tensorflow.accounting import ACCOUNTING
from lowtide.backends.tensorflow.from_onnx.convert import save_source
from lowtide.backends.tensorflow.from_onnx.emitter import check
from lowtide.backends.tensorflow.package import tensorflow_packages
from lowtide.frontends.onnx import OnnxSource, read
from lowtide.frontends.onnx.dimensions import require_bound
from lowtide.ir import simulate
from lowtide.planning import Rewritable
from lowtide.sources import Origin
from lowtide.targets.onnx_rewritable import rewritable_onnx
from lowtide.targets.tensorflow_function import PreparedFunction, traced
from lowtide.targets.tensorflow_staged import StagedTensorflow

if TYPE_CHECKING:
    import onnx
    import onnx_ir

    from lowtide.planning import Planned, Progress
    from lowtide.settings import Settings

__all__ = ["PreparedTensorflow", "prepare"]


@dataclass(frozen=True, kw_only=True)
class PreparedTensorflow(PreparedFunction):
    """An ONNX model as a TensorFlow function; `model` has its dimensions bound."""

    same_kernels: ClassVar[bool] = False  # but with ONNX Runtime's

    model: onnx_ir.Model

    def rewritable(self) -> Rewritable:
        """The ONNX model's operators; sums and convolutions are ops of their own in TensorFlow."""
        return rewritable_onnx(
            self.source,
            ACCOUNTING,
            lambda new: _prepared(new, self.settings, time.perf_counter()),
        )

    @property
    def packages(self) -> tuple[str, ...]:
        """The packages that the result depends on."""
        return ("onnx", "onnx-ir", "onnxruntime", "ortools", *tensorflow_packages())

    def stage(self, planned: Planned, destination: Path, folder: Path) -> StagedTensorflow:
        """The SavedModel in the planned order."""
        return StagedTensorflow(
            "lowtide.targets.tensorflow_job:emit",
            lambda: self._models(folder),
            self.emitted_order(planned),
            self.settings.seed,
            destination,
            folder,
        )

    def _models(self, folder: Path) -> dict[str, object]:
        """The model to emit, and the one whose outputs it has to give, where it was rewritten."""
        found: dict[str, object] = {"model": str(save_source(self.model, folder))}
        if self.rewrites and self.source.model is not None:
            original = folder / "original"
            original.mkdir(exist_ok=True)
            found["original"] = str(save_source(self.source.model, original))
        return found


def prepare(
    model: str | Path | onnx.ModelProto | onnx_ir.Model,
    settings: Settings,
    progress: Progress | None = None,
) -> PreparedTensorflow:
    """Read an ONNX model, emit it as a function of TensorFlow, and import that.

    Raises:
        InputError: the model cannot be read.
        ModelError: it has what is not emitted, or sizes that depend on data.
        MissingExtraError: TensorFlow is not installed.
    """
    started = time.perf_counter()
    return _prepared(read(model, dims=settings.dims), settings, started, progress)


def _prepared(
    source: OnnxSource, settings: Settings, started: float, progress: Progress | None = None
) -> PreparedTensorflow:
    require_bound(source.open_dims)
    check(source.model)
    if progress is not None:
        progress.stage("convert to TensorFlow, and measure its kernels")
    with tempfile.TemporaryDirectory(prefix="lowtide-") as folder:
        request = {"model": str(save_source(source.model, Path(folder)))}
        graph, notes = traced("lowtide.targets.tensorflow_job:trace", request, "model")
    own = simulate(graph, ACCOUNTING)
    return PreparedTensorflow(
        source=Origin(source.path, source.sha256, "onnx", source.model),
        settings=replace(settings, level="none"),
        graph=graph,
        accounting=ACCOUNTING,
        source_order=own,
        default_order=own,
        notes=(*source.notes, *notes),
        seconds=time.perf_counter() - started,
        model=source.model,
    )
