"""ONNX models through TVM's importer: to a shared library (`tvm`), or to C sources (`c`)."""

from __future__ import annotations

import tempfile
import time
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, ClassVar, cast

import onnx_ir

from lowtide.errors import InputError, ModelError
from lowtide.frontends.onnx import OnnxSource, read
from lowtide.frontends.tvm import require_tvm
from lowtide.ir import parse, simulate
from lowtide.passes.pipeline import parse as parse_pipeline
from lowtide.planning import Planned, Prepared, Rewritable
from lowtide.sources import Origin
from lowtide.targets.onnx_rewritable import rewritable_onnx
from lowtide.targets.tvm_child import call
from lowtide.targets.tvm_plan import ACCOUNTING, without_workspace

if TYPE_CHECKING:
    import onnx

    from lowtide.emission import Staged
    from lowtide.planning import Progress
    from lowtide.settings import Settings

__all__ = ["PreparedTvm", "prepare"]


@dataclass(frozen=True, kw_only=True)
class PreparedTvm(Prepared):
    """A model as TVM lowers it for this machine's CPU, or as C.

    Attributes:
        model: what TVM lowers.
        text: the graph as it was lowered.
        workspace_bytes: the most that one kernel takes beside the arena; None where that is not
            known. A C program's scratch lies in the arena.
    """

    runtime: ClassVar[str] = "TVM"
    own_order: ClassVar[str] = "tvm"
    pinned_versions: ClassVar[tuple[str, ...]] = ("apache-tvm",)
    same_kernels: ClassVar[bool] = False  # but with ONNX Runtime's

    model: onnx_ir.Model
    text: str
    workspace_bytes: int | None

    @property
    def packages(self) -> tuple[str, ...]:
        """The packages that the result depends on."""
        return ("apache-tvm", "onnx", "onnx-ir", "ortools")

    @property
    def repeats(self) -> bool:
        """Kernels may run again."""
        return True

    @property
    def breakdown(self) -> dict[str, int]:
        """As always, with the workspace that lies beside the arena."""
        return {**super().breakdown, "workspace": self.workspace_bytes or 0}

    def needed(self, planned: Planned) -> int:
        """The arena."""
        arena = planned.plan.arena_bytes
        return planned.timeline.peak_bytes if arena is None else arena

    def conclude(self, planned: Planned) -> Planned:
        """What is beside the arena is covered by no proof about it."""
        if self.workspace_bytes == 0:
            return planned
        return replace(planned, plan=without_workspace(planned.plan))

    def request(self, folder: Path) -> dict[str, object]:
        """What a child of `tvm_child` needs; the model is written into the folder.

        Raises:
            ModelError: the model cannot be written.
        """
        return {**request(self.model, self.settings, folder), "graph": self.text}

    def original(self, folder: Path) -> Path:
        """A file of the model whose outputs a result has to give; written where it is needed.

        Raises:
            ModelError: the model cannot be written.
        """
        if self.rewrites:
            folder = folder / "source"
            folder.mkdir(exist_ok=True)
        model = self.source.model if self.rewrites else self.model
        return Path(str(request(model, self.settings, folder)["model"]))

    def rewritable(self) -> Rewritable:
        """The ONNX model's operators; sums and convolutions are kernels of their own in TVM."""
        return rewritable_onnx(
            self.source,
            ACCOUNTING,
            lambda new: _prepared(new, self.settings, time.perf_counter()),
        )

    def stage(self, planned: Planned, destination: Path, folder: Path) -> Staged:
        """The model compiled with the plan, as a library or as C sources."""
        if self.settings.target == "c":
            from lowtide.targets.tvm_c_staged import StagedC

            return StagedC(self, planned, destination, folder)
        from lowtide.targets.tvm_staged import StagedTvm

        return StagedTvm(self, planned, destination, folder)


def prepare(
    model: str | Path | onnx.ModelProto | onnx_ir.Model,
    settings: Settings,
    progress: Progress | None = None,
) -> PreparedTvm:
    """Read an ONNX model; TVM imports and lowers it in a child process.

    Raises:
        InputError: the model cannot be read, TVM does not take it, or a dimension has no value.
        MissingExtraError: TVM is missing, or of a version that is not known.
    """
    started = time.perf_counter()
    require_tvm()
    if "allocate" not in [name for name, _ in parse_pipeline(settings.pipeline)]:
        raise InputError(f"`{settings.pipeline}` lays nothing out: add the pass `allocate`")
    return _prepared(read(model, dims=settings.dims), settings, started, progress)


def _prepared(
    source: OnnxSource, settings: Settings, started: float, progress: Progress | None = None
) -> PreparedTvm:
    if progress is not None:
        progress.stage("import and lower with TVM")
    with tempfile.TemporaryDirectory(prefix="lowtide-") as name:
        reply = call("lower", request(source.model, settings, Path(name)))
    text = cast("str", reply["graph"])
    graph = parse(text)
    for op, flops in zip(graph.ops, cast("list[int]", reply["flops"]), strict=True):
        op.flops = flops
    own = simulate(graph, ACCOUNTING)
    return PreparedTvm(
        source=Origin(source.path, source.sha256, "onnx", source.model),
        settings=replace(settings, level="none"),
        graph=graph,
        accounting=ACCOUNTING,
        source_order=own,
        default_order=own,
        notes=(*source.notes, *cast("list[str]", reply["notes"])),
        seconds=time.perf_counter() - started,
        model=source.model,
        text=text,
        workspace_bytes=cast("int | None", reply["workspace"]),
    )


def request(model: onnx_ir.Model | None, settings: Settings, folder: Path) -> dict[str, object]:
    """What a child of `tvm_child` needs to lower a model, which is written into the folder.

    Raises:
        ModelError: it cannot be written.
    """
    assert model is not None
    path = folder / "model.onnx"
    try:
        if not path.exists():
            onnx_ir.save(model, path, external_data="model.bin")
    except (OSError, ValueError) as error:
        raise ModelError(f"the model cannot be handed to TVM: {str(error)[:200]}") from error
    return {
        "model": str(path),
        "dims": dict(settings.dims),
        "c": settings.target == "c",
    }
