"""The target `tflite`: the file's operators in TensorFlow Lite Micro, with an offline memory plan.

What is planned is what TFLM's planner gets: its tensors, lifetimes and scratch, read from the stock
interpreter. Models that it refuses (operators or types without kernels) are planned under the same
accounting without scratch, run in LiteRT, and never called optimal.
"""

from __future__ import annotations

import time
from dataclasses import dataclass, fields, replace
from pathlib import Path
from typing import TYPE_CHECKING, ClassVar

from lowtide.backends.tflite import rebuild
from lowtide.backends.tflite.tflm import (
    ACCOUNTING,
    Kernels,
    KernelScratch,
    annotate,
    check_plan,
    elided_graph,
    estimate_scratch,
    find_elision,
    greedy_head,
    keeps_in_place,
    measure,
    measure_scratch,
    plan_offsets,
    stored_offsets,
)
from lowtide.backends.tflite.tflm.in_place import whitelist
from lowtide.devices import place_arena
from lowtide.errors import InputError, LowtideError, MissingExtraError, ModelError
from lowtide.frontends.tflite import TfliteDialect, import_graph, read
from lowtide.ir import Role, simulate
from lowtide.passes.plan import InPlacePair
from lowtide.passes.rewrite.regions import Limits
from lowtide.planning import Planned, Prepared, Rewritable
from lowtide.sources import Origin
from lowtide.targets.tflite_half import widened
from lowtide.targets.tflite_staged import StagedTflite
from lowtide.targets.workspace import unknown_workspace

if TYPE_CHECKING:
    from lowtide.backends.tflite.tflm import OfflinePlan, TflmMeasurement
    from lowtide.devices import Device
    from lowtide.frontends.tflite import TfliteImport, TfliteSource
    from lowtide.ir import Graph
    from lowtide.passes.plan import Plan
    from lowtide.planning import Progress
    from lowtide.settings import Settings

__all__ = ["PlannedTflite", "PreparedTflite", "prepare", "prepare_source"]

_MOST_PARTS = 10  # that TFLM's CONCATENATION takes: kMaxInputNum
# What one more operator of a tile takes of TFLM's persistent memory, on average of those measured
# (64-bit): structures of node and tensors; multiplier and shift of each channel.
_OP_BYTES, _CHANNEL_BYTES = 170, 8
_REFUSED = "it does not run in TensorFlow Lite Micro"


@dataclass(frozen=True)
class PlannedTflite(Planned):
    """A planned TFLite model, and what TFLM needs to run it."""

    after: TflmMeasurement | None = None


@dataclass(frozen=True, kw_only=True)
class PreparedTflite(Prepared):
    """A TFLite model.

    Attributes:
        file: the model as it was read.
        imported: its main subgraph.
        scratch: what the kernels of the device ask for: measured, or an estimate.
        executed: what the reference kernels ask for, which run here.
        before: the model in TFLM as it came; None where TFLM does not run it.
        came: the file before its float16 weights were widened; None where that was not needed.
    """

    runtime: ClassVar[str] = "TensorFlow Lite Micro"
    own_order: ClassVar[str] = "file"
    pinned_versions: ClassVar[tuple[str, ...]] = ("tflite-micro",)

    file: TfliteSource
    imported: TfliteImport
    scratch: KernelScratch
    executed: KernelScratch
    before: TflmMeasurement | None
    came: TfliteSource | None = None

    @property
    def kernels(self) -> Kernels:
        """The library that the device runs; the reference kernels where no device is given."""
        device = self.settings.device
        return Kernels.REFERENCE if device is None else Kernels(device.kernels)

    @property
    def packages(self) -> tuple[str, ...]:
        """The packages that the result depends on."""
        return ("ai-edge-litert", "ortools", "tflite-micro")

    @property
    def arena_before(self) -> int:
        """The arena's head with the file's own plan, or as TFLM's planner lays the file out."""
        if self.before is not None and self.kernels is Kernels.REFERENCE:
            return self.before.head_bytes
        if stored_offsets(self.file) is not None:
            checked = check_plan(self.file, scratch=self.scratch.sizes)
            if checked is not None:
                return checked.head_bytes
        return greedy_head(self.file.model, self.scratch.sizes)

    @property
    def breakdown(self) -> dict[str, int]:
        """Weights, what persists in the arena, and the largest scratch."""
        found = super().breakdown
        if self.before is not None:
            found["weights"] = self.before.weights_bytes
            found["persistent"] = self.before.tail_bytes
        return found

    def needed(self, planned: Planned) -> int:
        """The least arena in which TFLM runs the planned model; its head where it does not.

        With other kernels than the executed ones, the planned head and what was measured beside it.
        """
        head = planned.plan.arena_bytes or planned.timeline.peak_bytes
        run = planned.after if isinstance(planned, PlannedTflite) else None
        if run is None and not planned.plan.offsets:
            run = self.before
        if run is None:
            return head
        if self.kernels is Kernels.REFERENCE:
            return run.required_bytes
        return head + run.required_bytes - run.head_bytes

    def rewritable(self) -> Rewritable:
        """The main subgraph; what becomes of it is a file like any other."""
        dialect = TfliteDialect(
            self.file,
            self.imported,
            sharing=whitelist(self.kernels),
            most_parts=_MOST_PARTS,
            half=self.settings.quantize == "float16",
        )
        limits = Limits(
            ACCOUNTING,
            elided=self.kernels is Kernels.REFERENCE and len(self.file.model.subgraphs) == 1,
            op_bytes=_OP_BYTES,
            channel_bytes=_CHANNEL_BYTES,
        )
        return Rewritable(self.imported.graph, dialect, ACCOUNTING, self._rebuilt, limits)

    def _rebuilt(self, edited: Graph) -> Prepared:
        file = read(rebuild(self.file, self.imported, edited))
        new = prepare_source(file, self.source, self.settings)
        known = {field.name: getattr(new, field.name) for field in fields(PreparedTflite)}
        kept = (note for note in self.notes if not note.startswith(_REFUSED))
        known |= {"notes": tuple(dict.fromkeys((*kept, *new.notes))), "came": self.came}
        return replace(self, **known)

    def conclude(self, planned: Planned) -> Planned:
        """The plan with offsets for TFLM, or the file's own order where that is not better."""
        best = self._measured(self._laid_out(planned))
        if (best.plan.arena_bytes or 0) > self.arena_before:
            best = self.keep_default_order()
            note = "no better plan was found: the file's own is kept"
            plan = replace(best.plan, arena_bytes=self.arena_before)
            best = replace(best, plan=plan, notes=(*self.notes, note))
        device, head = self.settings.device, best.plan.arena_bytes or 0
        if device is None:
            return best
        try:
            placed = place_arena(device, head, self.needed(best) - head)
        except InputError as error:
            return replace(best, notes=(*best.notes, str(error)))
        where = placed.tensors.name
        if placed.persistent is not placed.tensors:
            where = f"{where} (tensors) and {placed.persistent.name} (what persists)"
        return replace(best, notes=(*best.notes, f"on {device.title} the arena goes into {where}"))

    def _measured(self, planned: Planned) -> Planned:
        if self.before is None:
            return planned
        staged = self.stage(planned, Path(), Path())
        after = measure(read(staged.data), seed=self.settings.seed)
        return PlannedTflite(self, planned.plan, planned.timeline, notes=planned.notes, after=after)

    def _laid_out(self, planned: Planned) -> Planned:
        """With offsets; in the file's order if that packs lower, where tensors lie in others."""
        certificate = planned.plan.certificate
        if certificate is not None and not keeps_in_place(self.imported.graph, self.graph):
            certificate = replace(
                certificate,
                status="feasible",
                lower_bound_bytes=min(certificate.lower_bound_bytes, self._operands_of_one_op()),
                bound_method="trivial",
            )
            planned = replace(planned, plan=replace(planned.plan, certificate=certificate))
        best = self._with_offsets(planned)
        if self.graph is self.imported.graph or certificate is None:
            return best
        if (best.plan.arena_bytes or 0) <= certificate.lower_bound_bytes:
            return best
        timeline = self.source_order
        reached = timeline.peak_bytes == certificate.lower_bound_bytes
        plan = replace(
            planned.plan,
            sequence=tuple(step.op.name for step in timeline.steps),
            certificate=replace(
                certificate,
                status=certificate.status if reached else "feasible",
                scope="order",
                peak_bytes=timeline.peak_bytes,
                method=self.own_order,
            ),
        )
        other = self._with_offsets(replace(planned, plan=plan, timeline=timeline))
        lower = (other.plan.arena_bytes or 0) < (best.plan.arena_bytes or 0)
        return other if lower else best

    def _with_offsets(self, planned: Planned) -> Planned:
        order = [op.source for op in planned.order if isinstance(op.source, int)]
        offline = plan_offsets(
            self.file.model,
            scratch=self.scratch.sizes,
            order=order,
            kernels=self.kernels,
            in_place=self.accounting.in_place,
            time_limit_s=self.settings.time_limit_s,
            seed=self.settings.seed,
        )
        certificate = planned.plan.certificate
        if certificate is not None and self.kernels is not Kernels.REFERENCE:
            # The search counted scratch that the device may not need.
            bound = min(certificate.lower_bound_bytes, self._tensors_of_one_op())
            certificate = replace(certificate, lower_bound_bytes=bound, bound_method="trivial")
        if certificate is not None and offline.head_bytes < certificate.lower_bound_bytes:
            # In-place results and elided copies were taken together, which the search did not.
            certificate = replace(
                certificate,
                status="feasible",
                lower_bound_bytes=offline.lower_bound_bytes,
                scope="fixed_order",
            )
        if (
            certificate is not None
            and certificate.status == "optimal"
            and offline.head_bytes == certificate.lower_bound_bytes
        ):
            certificate = replace(certificate, scope="order+layout")
        elif certificate is not None and certificate.scope == "order+layout":
            certificate = replace(certificate, scope="order")
        plan = replace(
            planned.plan,
            certificate=certificate,
            offsets=self._by_name(offline),
            arena_bytes=offline.head_bytes,
            arena_lower_bound_bytes=offline.lower_bound_bytes,
            in_place=tuple(self._pair(result, operand) for result, operand in offline.in_place),
        )
        return replace(planned, plan=plan)

    def _tensors_of_one_op(self) -> int:
        """The most that one operator reads and writes: a bound for any kernels."""
        unit = self.accounting
        return max(
            sum(
                unit.round_up(tensor.nbytes)
                for tensor in {*op.operands, *op.outputs}
                if tensor.role not in (Role.CONSTANT, Role.STATE)
            )
            for op in self.graph.ops
        )

    def _operands_of_one_op(self) -> int:
        """The most that one operator reads: a bound whatever is written over what."""
        unit = self.accounting
        return max(
            sum(
                unit.round_up(tensor.nbytes)
                for tensor in op.operands
                if tensor.role not in (Role.CONSTANT, Role.STATE)
            )
            for op in self.graph.ops
        )

    def _by_name(self, offline: OfflinePlan) -> dict[str, int]:
        """Offsets by the graph's names; of other subgraphs' tensors by `@SUBGRAPH/TENSOR`."""
        found: dict[str, int] = {}
        number = 0
        for subgraph in self.file.model.subgraphs:
            for tensor in subgraph.tensors:
                known = self.imported.tensors[tensor.index] if subgraph.index == 0 else None
                name = known.name if known is not None else f"@{subgraph.index}/{tensor.index}"
                if offline.offsets[number] >= 0:
                    found[name] = offline.offsets[number]
                number += 1
        return dict(sorted(found.items()))

    def _pair(self, result: int, operand: int) -> InPlacePair:
        output, source = self.imported.tensors[result], self.imported.tensors[operand]
        assert output is not None
        assert source is not None
        assert output.producer is not None
        return InPlacePair(output.producer.name, output.name, source.name)

    def stored(self, plan: Plan) -> tuple[int, ...]:
        """The offsets of a plan, one per tensor over all subgraphs; -1 for what has none."""
        found: list[int] = []
        for subgraph in self.file.model.subgraphs:
            for tensor in subgraph.tensors:
                known = self.imported.tensors[tensor.index] if subgraph.index == 0 else None
                name = known.name if known is not None else f"@{subgraph.index}/{tensor.index}"
                found.append(plan.offsets.get(name, -1))
        return tuple(found)

    def stage(self, planned: Planned, destination: Path, folder: Path) -> StagedTflite:
        """The model in the planned order, with its offline plan."""
        del folder
        return StagedTflite(self, planned, destination)

    def as_it_was(self, planned: Planned) -> PreparedTflite:
        """The model before rewrites."""
        old = None if planned.unrewritten is None else planned.unrewritten.prepared
        return old if isinstance(old, PreparedTflite) else self


def prepare(path: Path, settings: Settings, progress: Progress | None = None) -> PreparedTflite:
    """Read a model and ask TFLM what it needs of memory beside its tensors.

    Raises:
        InputError: the model cannot be read, or is none that can be planned.
        MissingExtraError: the extra `edge` is not installed.
    """
    for option, given in (("--dim", settings.dims), ("--quantize", settings.quantize != "none")):
        if given:
            raise InputError(f"{option} is for ONNX models: `{path}` is a .tflite already")
    source = read(path)
    return prepare_source(source, Origin(path, source.sha256, "tflite", None), settings, progress)


def prepare_source(
    source: TfliteSource, origin: Origin, settings: Settings, progress: Progress | None = None
) -> PreparedTflite:
    """The same for a model that was read; `origin` is what it was made from.

    Raises:
        ModelError: it is none that can be planned.
        MissingExtraError: the extra `edge` is not installed.
    """
    started = time.perf_counter()
    imported = import_graph(source)
    notes = list(source.notes)
    if progress is not None:
        progress.stage("run in TensorFlow Lite Micro")
    before: TflmMeasurement | None = None
    try:
        scratch = measure_scratch(source)
        before = measure(source, seed=settings.seed)
    except MissingExtraError:
        raise
    except LowtideError as error:
        wide = _widened(source, origin, settings, progress)
        if wide is not None:
            return replace(wide, seconds=time.perf_counter() - started)
        every = tuple((s.index, op.index) for s in source.model.subgraphs for op in s.operators)
        scratch = KernelScratch({}, "none", every)
        notes.append(f"{_REFUSED}, so nothing is measured: {error}")
    if not imported.graph.ops:
        raise ModelError(f"{_label(origin)} has no operators: there is nothing to plan")
    device = settings.device
    kernels = Kernels.REFERENCE if device is None else Kernels(device.kernels)
    executed = scratch
    if kernels is not Kernels.REFERENCE:
        scratch = estimate_scratch(source.model, executed, kernels)
    annotate(imported.graph, source.model, scratch, kernels=kernels)
    if not scratch.validated:
        for op in imported.graph.ops:
            op.workspace_known = False
    if device is not None:
        notes += _device_notes(device, source)
    graph, timeline = imported.graph, simulate(imported.graph, ACCOUNTING)
    elision = find_elision(source.model, kernels)
    if elision:
        pieces = elided_graph(imported, elision)
        elided = simulate(pieces, ACCOUNTING)
        if elided.peak_bytes <= timeline.peak_bytes:
            graph, timeline = pieces, elided
    return PreparedTflite(
        source=origin,
        settings=settings,
        graph=graph,
        accounting=ACCOUNTING,
        source_order=timeline,
        default_order=timeline,
        notes=(*notes, *_unknown(imported.graph, before, kernels)),
        seconds=time.perf_counter() - started,
        file=source,
        imported=imported,
        scratch=scratch,
        executed=executed,
        before=before,
    )


def _widened(
    source: TfliteSource, origin: Origin, settings: Settings, progress: Progress | None
) -> PreparedTflite | None:
    """The model with float32 for float16 weights; None where TFLM does not run that either."""
    if settings.quantize == "float16" or not settings.rewriting.allowed:
        return None
    file = widened(source)
    if file is None:
        return None
    found = prepare_source(file, origin, settings, progress)
    if found.before is None:
        return None
    note = (
        f"weights stored as float16 are stored as float32, since TensorFlow Lite Micro converts "
        f"none: the file has {len(file.data):,} bytes instead of {len(source.data):,}"
    )
    return replace(found, came=source, notes=(note, *found.notes))


def _label(origin: Origin) -> str:
    return "the model" if origin.path is None else f"`{origin.path}`"


def _unknown(graph: Graph, before: TflmMeasurement | None, kernels: Kernels) -> tuple[str, ...]:
    """A note on unknown scratch, where no other note says so."""
    if before is None or kernels is not Kernels.REFERENCE:
        return ()
    return unknown_workspace(graph)


def _device_notes(device: Device, source: TfliteSource) -> list[str]:
    """What is to be known of a device before anything is planned for it."""
    notes: list[str] = []
    if Kernels(device.kernels) is not Kernels.REFERENCE:
        notes.append(
            f"{device.title} runs {device.kernels} kernels, which are not executed here: their "
            f"scratch, and so the arena, is an estimate"
        )
    if len(source.data) > device.flash_bytes:
        notes.append(
            f"the model has {len(source.data):,} bytes, the flash of {device.title} "
            f"{device.flash_bytes:,}"
        )
    return notes
