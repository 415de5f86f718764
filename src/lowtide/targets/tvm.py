"""The target `tvm`: an ONNX model through TVM's importer to a shared library and its plan."""

# pyright: reportUnknownVariableType=false, reportUnknownArgumentType=false
# pyright: reportUnknownParameterType=false, reportMissingTypeArgument=false
# pyright: reportArgumentType=false, reportAttributeAccessIssue=false
# pyright: reportCallIssue=false, reportUnknownLambdaType=false
# TVM has no stubs, and its annotations are narrower than what it takes.

from __future__ import annotations

import time
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, ClassVar

import onnx_ir

from lowtide.errors import ModelError
from lowtide.frontends.onnx import read
from lowtide.ir import simulate, verify
from lowtide.planning import Prepared
from lowtide.sources import Origin
from lowtide.targets.tvm_staged import StagedTvm

if TYPE_CHECKING:
    from pathlib import Path

    import onnx
    import tvm

    from lowtide.frontends.tvm import Imported
    from lowtide.planning import Planned, Progress
    from lowtide.settings import Settings
    from lowtide.targets.tvm_pipeline import Stages

__all__ = ["PreparedTvm", "prepare"]

_FUNCTION = "main"


@dataclass(frozen=True, kw_only=True)
class PreparedTvm(Prepared):
    """A Relax module, lowered up to TVM's memory planner; its function `main` is what is planned.

    Attributes:
        module: the lowered module.
        imported: its function.
        cut: the passes of TVM's pipeline around the planner.
    """

    runtime: ClassVar[str] = "TVM"
    own_order: ClassVar[str] = "tvm"
    pinned_versions: ClassVar[tuple[str, ...]] = ("apache-tvm",)

    module: tvm.IRModule
    imported: Imported
    cut: Stages

    @property
    def packages(self) -> tuple[str, ...]:
        """The packages that the result depends on."""
        return ("apache-tvm", "onnx", "onnx-ir", "ortools")

    def stage(self, planned: Planned, destination: Path, folder: Path) -> StagedTvm:
        """The module compiled with the plan, as a shared library."""
        return StagedTvm(self, planned, destination, folder)


def prepare(
    model: str | Path | onnx.ModelProto | onnx_ir.Model,
    settings: Settings,
    progress: Progress | None = None,
) -> PreparedTvm:
    """Read an ONNX model, import and lower it with TVM for this machine's CPU.

    Raises:
        InputError: the model cannot be read, TVM does not take it, or a dimension has no value.
        MissingExtraError: TVM is missing, or of a version that is not known.
    """
    from lowtide.frontends.tvm import import_function, require_tvm

    started = time.perf_counter()
    require_tvm()
    source = read(model, dims=settings.dims)
    if progress is not None:
        progress.stage("import and lower with TVM")

    import tvm

    from lowtide.frontends.tvm.onnx_model import from_onnx
    from lowtide.targets.tvm_pipeline import Pipeline, stages
    from lowtide.targets.tvm_plan import ACCOUNTING
    from lowtide.targets.tvm_staged import TARGET

    loaded = onnx_ir.external_data.load_to_model(source.model)
    module = from_onnx(onnx_ir.to_proto(loaded), settings.dims)
    target = tvm.target.Target(TARGET)
    cut = stages(target)
    try:
        with target:
            lowered = Pipeline("schedule,allocate").lower(module, cut)
    except (ValueError, TypeError, RuntimeError, tvm.error.InternalError) as error:
        text = " ".join(str(error).split())[:300]
        raise ModelError(f"TVM cannot lower this model: {text}") from error
    imported = import_function(lowered, _FUNCTION)
    for allocation in imported.allocations.values():
        if allocation.unbounded:
            raise ModelError(
                f"the size of `{allocation.tensor.name}` depends on a dimension without a value: "
                f"give one with --dim NAME=VALUE, or --dim '*=1' for all"
            )
    graph = imported.arena_graph()
    verify(graph)
    own = simulate(graph, ACCOUNTING)
    return PreparedTvm(
        source=Origin(source.path, source.sha256, "onnx", source.model),
        settings=replace(settings, level="none"),
        graph=graph,
        accounting=ACCOUNTING,
        source_order=own,
        default_order=own,
        notes=(*source.notes, *imported.notes, *_beside(imported)),
        seconds=time.perf_counter() - started,
        module=lowered,
        imported=imported,
        cut=cut,
    )


def _beside(imported: Imported) -> tuple[str, ...]:
    """What TVM takes beside the arena."""
    roots = {t.storage for t in imported.graph.outputs}
    results = sum(t.nbytes for t in roots if t.name in imported.allocations)
    workspace = max((op.workspace_bytes for op in imported.graph.ops), default=0)
    notes = [f"beside the arena: {results:,} bytes of results, which the caller keeps"]
    if workspace:
        notes.append(
            f"beside the arena: up to {workspace:,} bytes of TVM's workspace pool for a kernel, "
            f"which no order changes"
        )
    others = [a for a in imported.allocations.values() if a.apart and a.tensor not in roots]
    if others:
        total = sum(a.nbytes for a in others)
        notes.append(
            f"beside the arena: {total:,} bytes of other tensors; `{others[0].tensor.name}`: "
            f"{others[0].apart}"
        )
    return tuple(notes)
