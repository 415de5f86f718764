"""From a model to a plan: which graph is planned, under which accounting, with which passes."""

from __future__ import annotations

import os
import platform
import time
from dataclasses import dataclass, field, replace
from importlib.metadata import version
from pathlib import Path
from typing import TYPE_CHECKING, Protocol

from lowtide import __version__
from lowtide.errors import InputError, ModelError, PlanError
from lowtide.frontends.onnx import import_graph, optimized_by_ort, read
from lowtide.ir import Accounting, Graph, Timeline, simulate, verify
from lowtide.passes.pipeline import DEFAULT, parse, print_pipeline, run
from lowtide.passes.plan import Certificate, Plan
from lowtide.passes.state import State
from lowtide.solvers.schedule.orders.ort_default import reverse_dfs
from lowtide.sources import Origin, plugged_frontend, read_plugged
from lowtide.units import parse_bytes

if TYPE_CHECKING:
    from collections.abc import Mapping

    import onnx
    import onnx_ir

    from lowtide.frontends.onnx import OnnxSource, OrtLevel
    from lowtide.ir import Op

    Source = str | Path | onnx.ModelProto | onnx_ir.Model

__all__ = ["Planned", "Prepared", "Progress", "Settings", "plan_model", "prepare"]

_TARGETS = ("onnxruntime", "onnx")
_LEVELS = ("all", "extended", "basic")

# ONNX Runtime's CPU allocator aligns every tensor to 64 bytes; the caller owns the inputs; outputs
# are handed over at the end.
_ACCOUNTING = Accounting(inputs_in_arena=False, outputs_live_to_end=True, alignment=64)

# Without a time limit the search ends after this much work, which is repeatable and took at most
# some two seconds on the graphs tried; the clock is only a guard then.
_DEFAULT_WORK = 25_000_000
_DEFAULT_LIMIT_S = 60.0


class Progress(Protocol):
    """Who wants to hear how far the work has come."""

    def stage(self, text: str) -> None:
        """Called when the work turns to something else."""
        ...

    def bounds(self, incumbent: int | None, bound: int) -> None:
        """Called by solvers with the best value and the lower bound so far, in bytes."""
        ...


@dataclass(frozen=True)
class Settings:
    """The options of one run, checked."""

    target: str
    level: str
    portable: bool
    dims: Mapping[str, int]
    budget_bytes: int | None
    time_limit_s: float | None
    work_limit: int | None
    seed: int
    pipeline: str
    threads: int

    @classmethod
    def of(
        cls,
        *,
        target: str,
        level: str,
        portable: bool,
        dims: Mapping[str, int] | None,
        budget: int | str | None,
        time_limit_s: float | None,
        seed: int,
        pipeline: str | None,
        threads: int | None,
    ) -> Settings:
        """Check the options.

        Raises:
            InputError: an unknown target, level or pass, or a value out of range.
        """
        if target not in _TARGETS:
            raise InputError(f"the target `{target}` is not one of {', '.join(_TARGETS)}")
        if level not in _LEVELS:
            raise InputError(f"the level `{level}` is not one of {', '.join(_LEVELS)}")
        if target == "onnx":
            if portable:
                raise InputError("--portable belongs to the target onnxruntime: drop one of them")
            level = "none"
        elif portable:
            level = "basic"
        if isinstance(budget, str):
            budget = parse_bytes(budget)
        if budget is not None and budget <= 0:
            raise InputError(f"the budget must be at least one byte, not {budget}")
        if time_limit_s is not None and time_limit_s < 0:
            raise InputError(f"the time limit must not be negative: {time_limit_s}")
        return cls(
            target=target,
            level=level,
            portable=portable,
            dims=dict(dims or {}),
            budget_bytes=budget,
            time_limit_s=_DEFAULT_LIMIT_S if time_limit_s is None else time_limit_s,
            work_limit=_DEFAULT_WORK if time_limit_s is None else None,
            seed=seed,
            pipeline=print_pipeline(parse(pipeline or DEFAULT)),
            threads=threads or os.cpu_count() or 1,
        )

    @classmethod
    def from_plan(cls, plan: Plan, threads: int | None) -> Settings:
        """The settings under which a saved plan was made."""
        dims: dict[str, int] = {}
        for key, value in plan.options.items():
            if key.startswith("dim:"):
                dims[key[4:]] = int(value)
        return cls.of(
            target=plan.target,
            level=plan.level if plan.level in _LEVELS else "all",
            portable=bool(plan.options.get("portable", False)),
            dims=dims,
            budget=None,
            time_limit_s=None,
            seed=int(plan.options.get("seed", 0)),
            pipeline=str(plan.options.get("pipeline", DEFAULT)),
            threads=threads,
        )

    @property
    def plan_options(self) -> dict[str, str | int | bool]:
        """What a plan records, so that it can be applied later."""
        options: dict[str, str | int | bool] = {
            "portable": self.portable,
            "seed": self.seed,
            "pipeline": self.pipeline,
            "lowtide": __version__,
            "onnxruntime": version("onnxruntime"),
        }
        options.update({f"dim:{name}": value for name, value in self.dims.items()})
        return options


@dataclass(frozen=True)
class Prepared:
    """A model that is ready to be planned.

    Attributes:
        source: the model as it was read.
        settings: the options; `level` is the one that was really used.
        model: the planning model: ORT's optimised one, or the source itself; None where no
            backend could write it.
        graph: the planning model as IR.
        accounting: how its memory is counted.
        source_order: the timeline of the planning model's own order.
        default_order: the timeline of ONNX Runtime's DEFAULT order.
        notes: what the user should know.
        seconds: wall time of loading.
    """

    source: Origin
    settings: Settings
    model: onnx_ir.Model | None
    graph: Graph
    accounting: Accounting
    source_order: Timeline
    default_order: Timeline
    notes: tuple[str, ...] = ()
    seconds: float = 0.0

    def keep_default_order(self) -> Planned:
        """A plan that changes nothing: the order that ONNX Runtime takes by itself.

        For graphs in which the measured peak contradicts the predicted one.
        """
        timeline = self.default_order
        certificate = Certificate(
            status="feasible",
            quantity="peak",
            scope="fixed_order",
            covers=(),
            peak_bytes=timeline.peak_bytes,
            lower_bound_bytes=0,
            method="ort_default",
            bound_method="none",
        )
        plan = replace(self.blank_plan(timeline), certificate=certificate)
        note = "the planned order was measured to need more than ONNX Runtime's own, which is kept"
        return Planned(self, plan, timeline, notes=(*self.notes, note))

    def blank_plan(self, start: Timeline) -> Plan:
        """A plan that only says for what it is made, with the sequence of `start`."""
        accounting = self.accounting
        return Plan(
            model_sha256=self.source.sha256,
            target=self.settings.target,
            level=self.settings.level,
            accounting={
                "inputs_in_arena": accounting.inputs_in_arena,
                "outputs_live_to_end": accounting.outputs_live_to_end,
                "alignment": accounting.alignment,
            },
            sequence=tuple(step.op.name for step in start.steps),
            options=self.settings.plan_options,
        )

    def adopt(self, plan: Plan) -> Planned:
        """Take a saved plan; its sequence and figures are checked against the graph.

        Raises:
            PlanError: the sequence does not fit, or its peak is not what the certificate says.
        """
        names = {op.name for op in self.graph.ops}
        if set(plan.sequence) != names or len(plan.sequence) != len(names):
            raise PlanError(
                "the plan's sequence does not name the ops of this model's planning graph: it was "
                "made with another ONNX Runtime or CPU; run optimize here"
            )
        order = tuple(self.graph.op(name) for name in plan.sequence)
        timeline = simulate(self.graph, self.accounting, order)
        if plan.certificate is None or plan.certificate.peak_bytes != timeline.peak_bytes:
            raise PlanError(
                f"the plan does not state the peak that its sequence has, {timeline.peak_bytes} "
                f"bytes: it was changed, or made by another version"
            )
        return Planned(self, plan, timeline)


@dataclass(frozen=True)
class Planned:
    """A prepared model with its plan and the timeline of the planned sequence."""

    prepared: Prepared
    plan: Plan
    timeline: Timeline
    seconds: float = 0.0
    notes: tuple[str, ...] = field(default=())

    @property
    def order(self) -> tuple[Op, ...]:
        """The planned sequence."""
        return tuple(step.op for step in self.timeline.steps)

    @property
    def within_budget(self) -> bool:
        """Whether no budget was set or the planned peak is within it."""
        budget = self.prepared.settings.budget_bytes
        return budget is None or self.timeline.peak_bytes <= budget


def prepare(model: Source, settings: Settings, progress: Progress | None = None) -> Prepared:
    """Read a model and import the graph that will run."""
    started = time.perf_counter()
    if progress is not None:
        progress.stage("load")
    notes: list[str] = []
    planning: onnx_ir.Model | None = None
    frontend = plugged_frontend(model)
    if frontend is not None and isinstance(model, str | Path):
        origin, graph = read_plugged(Path(model), frontend)
        settings = replace(settings, level="none")
    else:
        source = read(model, dims=settings.dims)
        origin = Origin(source.path, source.sha256, "onnx", source.model)
        notes.extend(source.notes)
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
    unknown = unknown_workspace(graph)
    if unknown:
        notes.append(
            f"the scratch of {', '.join(unknown[:8])} is not modelled: it counts as 0, and no "
            f"proof covers it"
        )
    default = reverse_dfs(_predecessors(graph))
    ops = graph.ops
    return Prepared(
        source=origin,
        settings=settings,
        model=planning,
        graph=graph,
        accounting=_ACCOUNTING,
        source_order=simulate(graph, _ACCOUNTING),
        default_order=simulate(graph, _ACCOUNTING, [ops[node] for node in default]),
        notes=tuple(notes),
        seconds=time.perf_counter() - started,
    )


def _optimized(
    source: OnnxSource, settings: Settings, notes: list[str]
) -> tuple[onnx_ir.Model, Graph, OrtLevel]:
    """ORT's graph at the level that was asked for, or at the next lower one that can be planned."""
    level: OrtLevel
    for level in ("all", "extended", "basic"):
        if _LEVELS.index(level) < _LEVELS.index(settings.level):
            continue
        try:
            planning = optimized_by_ort(source, level=level, threads=settings.threads)
            return planning, import_graph(planning, threads=settings.threads), level
        except ModelError as error:
            if level == "basic":
                raise
            notes.append(f"ORT's graph at level {level} cannot be planned ({error})")
    raise ModelError("ONNX Runtime gave no graph that can be planned")


def unknown_workspace(graph: Graph) -> list[str]:
    """The kinds of ops whose scratch is not modelled, sorted."""
    return sorted({op.qualified for op in graph.ops if not op.workspace_known})


def _predecessors(graph: Graph) -> list[list[int]]:
    number = {op: index for index, op in enumerate(graph.ops)}
    return [[number[t.producer] for t in op.operands if t.producer is not None] for op in graph.ops]


def plan_model(model: Source, settings: Settings, progress: Progress | None = None) -> Planned:
    """Prepare a model and run the passes; the plan is never worse than the orders it replaces."""
    prepared = prepare(model, settings, progress)
    started = time.perf_counter()
    if progress is not None:
        progress.stage("plan")
    settings = prepared.settings
    start = prepared.source_order
    if prepared.default_order.peak_bytes < start.peak_bytes:
        start = prepared.default_order
    state = run(
        parse(settings.pipeline),
        State(
            graph=prepared.graph,
            accounting=prepared.accounting,
            plan=prepared.blank_plan(start),
            seed=settings.seed,
            time_limit_s=settings.time_limit_s,
            work_limit=settings.work_limit,
            threads=settings.threads,
            progress=None if progress is None else progress.bounds,
        ),
    )
    timeline = simulate(state.graph, state.accounting, state.order)
    notes = list(prepared.notes)
    certificate = state.plan.certificate
    if certificate is None or certificate.method == "source":
        notes.append("no better order was found: the input's order is kept")
    if (
        settings.work_limit is not None
        and certificate is not None
        and certificate.lower_bound_bytes < certificate.peak_bytes
    ):
        notes.append("the search ended at its default effort: --time-limit 60s searches on")
    return Planned(
        replace(prepared, accounting=state.accounting),
        state.plan,
        timeline,
        seconds=time.perf_counter() - started,
        notes=tuple(notes),
    )


def versions() -> dict[str, str]:
    """What the result depends on, for the report."""
    names = ("onnx", "onnx-ir", "onnxruntime", "ortools")
    return {
        "lowtide": __version__,
        "python": platform.python_version(),
        **{name: version(name) for name in names},
    }
