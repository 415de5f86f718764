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
from typing import TYPE_CHECKING, ClassVar, cast

from lowtide import child
from lowtide.backends.tensorflow.from_onnx.convert import save_source
from lowtide.backends.tensorflow.from_onnx.emitter import check
from lowtide.backends.tensorflow.package import tensorflow_packages
from lowtide.child import ChildError
from lowtide.errors import ModelError
from lowtide.frontends.onnx import read
from lowtide.frontends.onnx.dimensions import require_bound
from lowtide.ir import Accounting, parse, simulate, verify
from lowtide.planning import Prepared
from lowtide.sources import Origin
from lowtide.targets.tensorflow_job import CHILD_BYTES, TIMEOUT_S
from lowtide.targets.tensorflow_staged import StagedTensorflow
from lowtide.targets.workspace import unknown_workspace

if TYPE_CHECKING:
    import onnx
    import onnx_ir

    from lowtide.planning import Planned, Progress
    from lowtide.settings import Settings

__all__ = ["ACCOUNTING", "PreparedTensorflow", "prepare"]

# What a call allocates: its results stay, its arguments are the caller's.
ACCOUNTING = Accounting(inputs_in_arena=False, outputs_live_to_end=True, alignment=1)


@dataclass(frozen=True, kw_only=True)
class PreparedTensorflow(Prepared):
    """An ONNX model as a TensorFlow function; `model` has its dimensions bound."""

    runtime: ClassVar[str] = "TensorFlow"
    own_order: ClassVar[str] = "tensorflow"
    pinned_versions: ClassVar[tuple[str, ...]] = tensorflow_packages()

    model: onnx_ir.Model

    @property
    def packages(self) -> tuple[str, ...]:
        """The packages that the result depends on."""
        return ("onnx", "onnx-ir", "onnxruntime", "ortools", *tensorflow_packages())

    @property
    def breakdown(self) -> dict[str, int]:
        """Bytes apart from the peak; a SavedModel's variables are its weights."""
        found = super().breakdown
        return {**found, "weights": found["weights"] + found["persistent"], "persistent": 0}

    def stage(self, planned: Planned, destination: Path, folder: Path) -> StagedTensorflow:
        """The SavedModel in the planned order."""
        order = None
        certificate = planned.plan.certificate
        if certificate is None or certificate.method != self.own_order:
            order = [op.name for op in planned.order]
        return StagedTensorflow(
            "lowtide.targets.tensorflow_job:emit",
            lambda: {"model": str(save_source(self.model, folder))},
            order,
            self.settings.seed,
            destination,
            folder,
        )


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
    source = read(model, dims=settings.dims)
    require_bound(source.open_dims)
    check(source.model)
    if progress is not None:
        progress.stage("convert to TensorFlow, and measure its kernels")
    with tempfile.TemporaryDirectory(prefix="lowtide-") as folder:
        try:
            reply = child.run(
                "lowtide.targets.tensorflow_job:trace",
                {"model": str(save_source(source.model, Path(folder)))},
                timeout_s=TIMEOUT_S,
                memory_limit_bytes=CHILD_BYTES,
            )
        except ChildError as error:
            raise ModelError(
                f"TensorFlow does not survive the model ({error}): it is damaged, or asks for more "
                f"memory than there is"
            ) from None
    graph = parse(str(reply["graph"]))
    verify(graph)
    if not graph.ops:
        raise ModelError("the model computes nothing: there is nothing to plan")
    own = simulate(graph, ACCOUNTING)
    return PreparedTensorflow(
        source=Origin(source.path, source.sha256, "onnx", source.model),
        settings=replace(settings, level="none"),
        graph=graph,
        accounting=ACCOUNTING,
        source_order=own,
        default_order=own,
        notes=(*source.notes, *cast("list[str]", reply["notes"]), *unknown_workspace(graph)),
        seconds=time.perf_counter() - started,
        model=source.model,
    )
