"""The targets `onnxruntime` and `onnx`: which graph is planned, and under which accounting."""

from __future__ import annotations

import time
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, ClassVar, cast

from lowtide.backends.onnx.op_times import op_times
from lowtide.errors import ModelError
from lowtide.frontends.onnx import OnnxSource, import_graph, optimized_by_ort, read
from lowtide.ir import Accounting, simulate, verify
from lowtide.passes.rewrite.regions import Limits
from lowtide.planning import Prepared, Rewritable
from lowtide.settings import LEVELS
from lowtide.solvers.schedule.orders.ort_default import reverse_dfs
from lowtide.sources import Origin
from lowtide.targets.onnx_rewritable import rewritable_onnx
from lowtide.targets.onnx_staged import CHILD_TIMEOUT_S, StagedOnnx, child_memory
from lowtide.targets.workspace import unknown_workspace

if TYPE_CHECKING:
    from pathlib import Path

    import onnx
    import onnx_ir

    from lowtide.frontends.onnx import OrtLevel
    from lowtide.ir import Graph, Timeline
    from lowtide.planning import Planned, Progress, Rewritable
    from lowtide.settings import Settings

__all__ = ["ACCOUNTING", "PreparedOnnx", "default_order", "prepare"]

# ONNX Runtime's CPU allocator aligns every tensor to 64 bytes; the caller owns the inputs; outputs
# are handed over at the end.
ACCOUNTING = Accounting(inputs_in_arena=False, outputs_live_to_end=True, alignment=64)


@dataclass(frozen=True, kw_only=True)
class PreparedOnnx(Prepared):
    """An ONNX model; `model` is what is planned: ORT's optimised graph, or the source itself."""

    runtime: ClassVar[str] = "ONNX Runtime"
    own_order: ClassVar[str] = "ort_default"
    pinned_versions: ClassVar[tuple[str, ...]] = ("onnxruntime",)

    model: onnx_ir.Model

    @property
    def packages(self) -> tuple[str, ...]:
        """The packages that the result depends on."""
        return ("onnx", "onnx-ir", "onnxruntime", "ortools")

    @property
    def repeats(self) -> bool:
        """Whether an op may run again: not where sessions merge equal nodes, as basic ones do."""
        return not self.settings.portable

    def rewritable(self) -> Rewritable:
        """The source's own operators; ONNX Runtime optimises what becomes of them."""
        in_blocks = self.settings.level == "all"
        # Convolutions of fewer rows add up in another order: other bits.
        tiles = self.settings.rewriting.rules == "float"
        return rewritable_onnx(
            self.source,
            ACCOUNTING,
            lambda new: _prepared(new, self.settings, time.perf_counter()),
            threads=self.settings.threads,
            scratch=not in_blocks,
            accumulates=True,
            addends=not in_blocks,
            limits=Limits(ACCOUNTING) if tiles else None,
        )

    def measured_costs(self) -> dict[str, int]:
        """What each op takes in ONNX Runtime on random inputs, in nanoseconds, by its name.

        Raises:
            ChildError: the model cannot be run.
        """
        times = op_times(
            self.model,
            dims=self.settings.dims,
            threads=self.settings.threads,
            seed=self.settings.seed,
            timeout_s=CHILD_TIMEOUT_S,
            memory_limit_bytes=child_memory(self.graph),
        )
        nodes = {op.name: cast("onnx_ir.Node", op.source) for op in self.graph.ops}
        return {name: times[node] for name, node in nodes.items() if node in times}

    def stage(self, planned: Planned, destination: Path, folder: Path) -> StagedOnnx:
        """The model in the planned order."""
        old = None if planned.unrewritten is None else planned.unrewritten.prepared
        before = old.model if isinstance(old, PreparedOnnx) else None
        return StagedOnnx(self.model, planned, destination, folder, before=before)


def prepare(
    model: str | Path | onnx.ModelProto | onnx_ir.Model,
    settings: Settings,
    progress: Progress | None = None,
) -> PreparedOnnx:
    """Read a model and import the graph that will run.

    Raises:
        InputError: the model cannot be read, or is none that can be planned.
    """
    started = time.perf_counter()
    return _prepared(read(model, dims=settings.dims), settings, started, progress)


def _prepared(
    source: OnnxSource, settings: Settings, started: float, progress: Progress | None = None
) -> PreparedOnnx:
    notes = list(source.notes)
    if settings.target == "onnx":
        planning, graph = source.model, import_graph(source.model, threads=settings.threads)
    else:
        if progress is not None:
            progress.stage("optimise with ONNX Runtime")
        planning, graph, level = _optimized(source, settings, notes)
        settings = replace(settings, level=level)
        # ORT gave every shape: what our own inference stumbled over no longer matters.
        notes = [note for note in notes if not note.startswith("shape inference")]
    verify(graph)
    return PreparedOnnx(
        source=Origin(source.path, source.sha256, "onnx", source.model),
        settings=settings,
        model=planning,
        graph=graph,
        accounting=ACCOUNTING,
        source_order=simulate(graph, ACCOUNTING),
        default_order=default_order(graph),
        notes=(*notes, *unknown_workspace(graph)),
        seconds=time.perf_counter() - started,
    )


def default_order(graph: Graph) -> Timeline:
    """The timeline of the order that ONNX Runtime takes by itself."""
    ops = graph.ops
    order = reverse_dfs(_predecessors(graph))
    return simulate(graph, ACCOUNTING, [ops[node] for node in order])


def _optimized(
    source: OnnxSource, settings: Settings, notes: list[str]
) -> tuple[onnx_ir.Model, Graph, OrtLevel]:
    """ORT's graph at the level that was asked for, or at the next lower one that can be planned."""
    level: OrtLevel
    for level in ("all", "extended", "basic"):
        if LEVELS.index(level) < LEVELS.index(settings.level):
            continue
        try:
            planning = optimized_by_ort(source, level=level, threads=settings.threads)
            return planning, import_graph(planning, threads=settings.threads), level
        except ModelError as error:
            if level == "basic":
                raise
            notes.append(f"ORT's graph at level {level} cannot be planned ({error})")
    raise ModelError("ONNX Runtime gave no graph that can be planned")


def _predecessors(graph: Graph) -> list[list[int]]:
    number = {op: index for index, op in enumerate(graph.ops)}
    return [[number[t.producer] for t in op.operands if t.producer is not None] for op in graph.ops]
