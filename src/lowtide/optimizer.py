"""The main job, end to end: read, plan, check, emit, verify, measure, report.

source file --target prepares--> ir.Graph --passes--> Plan
Plan --target stages--> file in a temporary folder --verify, measure--> written in its place
"""

from __future__ import annotations

import shutil
import tempfile
import time
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING

from lowtide import outputs
from lowtide.errors import InputError, VerificationError
from lowtide.passes.plan import Plan
from lowtide.pictures.build import build_scene
from lowtide.pictures.exports import Exports, format_of, write_picture
from lowtide.pictures.record import Recorder
from lowtide.planning import plan as make_plan
from lowtide.reporting import build_report
from lowtide.rewriting import improve
from lowtide.saved import adopted, load_plan
from lowtide.settings import FOLDERS, Settings, target_for
from lowtide.targets import prepare

if TYPE_CHECKING:
    from collections.abc import Mapping

    import onnx
    import onnx_ir

    from lowtide.emission import Outcome, Staged
    from lowtide.pictures.record import Record
    from lowtide.planning import Planned, Progress
    from lowtide.report import Report

    Source = str | Path | onnx.ModelProto | onnx_ir.Model

__all__ = ["Result", "analyze", "apply", "load_plan", "optimize", "plot"]


@dataclass(frozen=True)
class Result:
    """What an optimization gave.

    Attributes:
        report: figures, proof, verification and measurements; `report.to_json()`.
        plan: the execution sequence and layout; `plan.to_json()`.
    """

    report: Report
    plan: Plan
    _planned: Planned = field(repr=False)
    _record: Record | None = field(default=None, repr=False)

    @property
    def budget_met(self) -> bool:
        """Whether no budget was set or the peak is within it."""
        return self.report.budget is None or self.report.budget["excess"] <= 0

    def save(self, path: str | Path) -> Path:
        """Write the planned model; the file appears whole or not at all.

        Raises:
            InputError: `path` is the source model, or cannot be written.
        """
        destination, prepared = Path(path), self._planned.prepared
        folder = prepared.settings.target in FOLDERS
        outputs.refuse(
            {outputs.SOURCE: prepared.source.path},
            {"the model": destination},
            folders={"the model"} if folder else (),
        )
        with tempfile.TemporaryDirectory(prefix="lowtide-") as work:
            prepared.stage(self._planned, destination, Path(work)).commit()
        return destination

    def draw(self, path: str | Path) -> Path:
        """Write a picture; its name's ending says which.

        .html, .svg, .png, .json (Chrome trace), .pickle (PyTorch's memory viewer).

        Raises:
            InputError: another ending, `path` is the source model, or it cannot be written.
            MissingExtraError: a PNG without the extra.
        """
        return write_picture(
            path,
            lambda: build_scene(self._planned, self.report, self._record),
            self._planned.prepared.source.path,
        )


def optimize(
    model: Source,
    *,
    output: str | Path | None = None,
    target: str | None = None,
    budget: int | str | None = None,
    time_limit_s: float | None = None,
    seed: int = 0,
    dims: Mapping[str, int] | None = None,
    pipeline: str | None = None,
    ort_level: str = "all",
    portable: bool = False,
    plan_out: str | Path | None = None,
    verify: bool = True,
    threads: int | None = None,
    device: str | Path | None = None,
    costs: str | Path | None = None,
    quantize: str = "none",
    representative: str | Path | None = None,
    rewrite: str | None = None,
    html: str | Path | None = None,
    svg: str | Path | None = None,
    png: str | Path | None = None,
    trace: str | Path | None = None,
    snapshot: str | Path | None = None,
    progress: Progress | None = None,
) -> Result:
    """Plan a model for the least peak memory, and write it where `output` says.

    Args:
        model: a path, an `onnx.ModelProto` or an `onnx_ir.Model`; never changed.
        output: where to write the result; None to decide later with `Result.save`.
        target: `onnxruntime`, `onnx`, `tensorflow` (a SavedModel's folder), `tflite`, `tvm` (a
            shared library) or `c` (a folder of C) for ONNX models, `tflite` or `c` (a folder of
            C++) for TFLite models; by default the first that reads the model.
        budget: the most the peak may be, in bytes or as text such as `256KiB`. Where it is not met
            nothing is written, and the report's `budget` says by how much.
        time_limit_s: for each solver; None for a repeatable amount of work, some seconds at most.
        seed: for everything random.
        dims: values for dynamic dimensions; `*` for all that are open.
        pipeline: the passes, as `inplace,schedule,allocate`.
        ort_level: the optimisation level of ONNX Runtime's graph: `all`, `extended`, `basic`.
        portable: for a file that moves between machines.
        plan_out: where to write the plan as JSON.
        verify: execute source and result, compare the outputs, measure peak and latency.
        threads: at most this many; all cores by default.
        device: for TFLite models, a board's name or profile: its kernels, and a budget of its
            largest memory where none is given.
        costs: what it costs to run an op: a file (`lowtide.costs/1`), or `measure` to time ops on
            this machine; modelled where None.
        quantize: for ONNX models that become .tflite: `float16` (weights), `int8` (with
            `representative`, or the model's own QuantizeLinear and DequantizeLinear), or `none`.
        representative: an .npz with an array [samples, ...] for each input, by its name.
        rewrite: which rewrites may lower the peak: `exact` (they keep every bit), `float` (also
            those that regroup sums of floats) or `none`; by default what the pipeline says, exact.
        html: where to write the report as a page; also where a budget is not met.
        svg: where to write the picture for papers.
        png: the same in pixels, which needs the extra `png`.
        trace: where to write the executions as Chrome trace JSON.
        snapshot: where to write them as a memory snapshot for PyTorch's viewer.
        progress: told about stages and bounds.

    Raises:
        InputError: the model or an option cannot be used.
        VerificationError: the result did not do what was promised; nothing was written.
    """
    settings = Settings.of(
        target=target_for(model, target),
        level=ort_level,
        portable=portable,
        dims=dims,
        budget=budget,
        time_limit_s=time_limit_s,
        seed=seed,
        pipeline=pipeline,
        threads=threads,
        device=device,
        costs=costs,
        quantize=quantize,
        representative=representative,
        rewrite=rewrite,
    )
    started = time.perf_counter()
    destination = None if output is None else Path(output)
    plan_path = None if plan_out is None else Path(plan_out)
    exports = Exports.of(html, svg, png, trace, snapshot)
    outputs.refuse(
        _read(model, device, costs, representative),
        {"-o": destination, "--plan-out": plan_path, **exports.options},
        folders={"-o"} if settings.target in FOLDERS else (),
    )
    _refuse_suffix(destination, settings.target)
    exports.require()
    recorder = Recorder(progress)
    prepared = prepare(model, settings, recorder)
    outputs.refuse(prepared.source.data_files, {"--plan-out": plan_path, **exports.options})
    planned = improve(make_plan(prepared, recorder), recorder)
    return _finish(planned, destination, plan_path, verify, recorder, started, exports)


def analyze(
    model: Source,
    *,
    target: str | None = None,
    budget: int | str | None = None,
    time_limit_s: float | None = None,
    seed: int = 0,
    dims: Mapping[str, int] | None = None,
    pipeline: str | None = None,
    ort_level: str = "all",
    threads: int | None = None,
    device: str | Path | None = None,
    costs: str | Path | None = None,
    quantize: str = "none",
    representative: str | Path | None = None,
    rewrite: str | None = None,
    html: str | Path | None = None,
    svg: str | Path | None = None,
    png: str | Path | None = None,
    trace: str | Path | None = None,
    snapshot: str | Path | None = None,
    progress: Progress | None = None,
) -> Report:
    """Report the peak of a model, what makes it, and what a better order would need.

    Executes nothing, and writes nothing but the pictures that are asked for. Arguments and errors
    are those of `optimize`.
    """
    settings = Settings.of(
        target=target_for(model, target),
        level=ort_level,
        portable=False,
        dims=dims,
        budget=budget,
        time_limit_s=time_limit_s,
        seed=seed,
        pipeline=pipeline,
        threads=threads,
        device=device,
        costs=costs,
        quantize=quantize,
        representative=representative,
        rewrite=rewrite,
    )
    started = time.perf_counter()
    exports = Exports.of(html, svg, png, trace, snapshot)
    outputs.refuse(_read(model, device, costs, representative), exports.options)
    exports.require()
    recorder = Recorder(progress)
    prepared = prepare(model, settings, recorder)
    outputs.refuse(prepared.source.data_files, exports.options)
    planned = improve(make_plan(prepared, recorder), recorder)
    report = build_report(planned, None, None, started=started)
    _write(exports.render(planned, report, recorder.record))
    return report


def apply(
    plan: str | Path | Plan,
    model: str | Path,
    *,
    output: str | Path,
    verify: bool = True,
    threads: int | None = None,
    progress: Progress | None = None,
) -> Result:
    """Apply a saved plan to the model that it was made for, and verify it again.

    Args:
        plan: a plan, or the file that `plan_out` wrote.
        model: the source, byte for byte the one of the plan.
        output: where to write the result.
        verify: execute source and result, compare the outputs, measure peak and latency.
        threads: at most this many; all cores by default.
        progress: told about stages.

    Raises:
        PlanError: the plan is malformed, was made for another model, or does not fit its graph.
    """
    started = time.perf_counter()
    destination = Path(output)
    made = plan if isinstance(plan, Plan) else load_plan(plan)
    outputs.refuse(
        {outputs.SOURCE: model, "the plan": plan},
        {"-o": destination},
        folders={"-o"} if made.target in FOLDERS else (),
    )
    recorder = Recorder(progress)
    planned = adopted(made, model, threads, recorder)
    return _finish(planned, destination, None, verify, recorder, started, Exports())


def plot(
    plan: str | Path | Plan,
    model: str | Path,
    output: str | Path,
    *,
    progress: Progress | None = None,
) -> Report:
    """Draw a saved plan of a model.

    Args:
        plan: a plan, or the file that `plan_out` wrote.
        model: the source, byte for byte the one of the plan.
        output: its ending says how: .html, .svg, .png, .json (Chrome trace) or .pickle (memory
            snapshot).
        progress: told about stages.

    Raises:
        InputError: another ending, or a file that is read would be written over.
        PlanError: the plan is malformed, was made for another model, or does not fit its graph.
        MissingExtraError: a PNG without the extra.
    """
    started = time.perf_counter()
    exports = Exports(**{format_of(Path(output)): Path(output)})
    outputs.refuse({outputs.SOURCE: model, "the plan": plan}, {"-o": Path(output)})
    exports.require()
    made = plan if isinstance(plan, Plan) else load_plan(plan)
    recorder = Recorder(progress)
    planned = adopted(made, model, None, recorder)
    report = build_report(planned, None, None, started=started)
    _write(exports.render(planned, report, recorder.record))
    return report


def _refuse_suffix(destination: Path | None, target: str) -> None:
    """Raise where the output's name says another format than the target writes."""
    suffix = "" if destination is None else destination.suffix.lower()
    writers = {".onnx": ("onnxruntime", "onnx"), ".tflite": ("tflite",)}.get(suffix, (target,))
    if target not in writers:
        raise InputError(
            f"-o {destination}: the target {target} writes no {suffix}: name it otherwise, or add "
            f"--target {writers[0]}"
        )


def _read(
    model: Source,
    device: str | Path | None,
    costs: str | Path | None,
    representative: str | Path | None,
) -> dict[str, object]:
    """What is read, by its option; names of boards and the like are no files."""
    return {
        outputs.SOURCE: model,
        "--device": device,
        "--costs": costs,
        "--representative": representative,
    }


def _write(files: Mapping[Path, bytes], staged: Staged | None = None) -> None:
    """Write all files, and the staged model before they get their names."""
    with outputs.Pending() as pending:
        for path, content in files.items():
            pending.add(path, content)
        if staged is not None:
            staged.commit()
        pending.commit()


def _finish(
    planned: Planned,
    destination: Path | None,
    plan_out: Path | None,
    verify: bool,
    recorder: Recorder,
    started: float,
    exports: Exports,
) -> Result:
    """Emit, verify, measure and report; the files appear together at the very end."""
    if not planned.within_budget:
        report = build_report(planned, None, None, started=started)
        _write(exports.render(planned, report, recorder.record))
        return Result(report, planned.plan, planned, recorder.record)
    with tempfile.TemporaryDirectory(prefix="lowtide-") as folder:
        tried = _Tried(planned)
        if destination is not None or verify:
            if verify:
                recorder.stage("verify and measure")
            tried = _tried(planned, destination, Path(folder), verify=verify)
        planned = tried.planned
        report = build_report(planned, tried.outcome, destination, started=started)
        files = exports.render(planned, report, recorder.record)
        if plan_out is not None:
            files[plan_out] = planned.plan.to_json().encode()
        _write(files, tried.staged if destination is not None and tried.wanted else None)
    return Result(report, planned.plan, planned, recorder.record)


@dataclass(frozen=True, slots=True)
class _Tried:
    """A planned model that is staged, and what its execution showed."""

    planned: Planned
    staged: Staged | None = None
    outcome: Outcome | None = None

    @property
    def wanted(self) -> bool:
        """Whether nothing was measured that forbids to write it."""
        if self.outcome is None:
            return True
        budget, needed = self.planned.prepared.settings.budget_bytes, self.outcome.needed_bytes
        return not (self.outcome.is_worse or (budget and needed and needed > budget))


def _tried(planned: Planned, destination: Path | None, work: Path, *, verify: bool) -> _Tried:
    """Stage and execute, until something does what was promised.

    A rewritten model that does not gives way to the model as it was, and an order that was measured
    to be worse to the runtime's own.
    """
    as_it_was = planned.unrewritten
    if as_it_was is not None and verify:
        found, failure = _rewritten(planned, destination, work)
        if found is not None:
            return found
        note = f"rewriting was taken back: executed, it gave {failure}"
        planned = replace(as_it_was, notes=(*as_it_was.notes, note))
    found = _staged(planned, destination, work, verify=verify)
    if found.outcome is not None and found.outcome.is_worse:
        default = planned.prepared.keep_default_order()
        return _staged(default, destination, work, verify=verify)
    return found


def _rewritten(planned: Planned, destination: Path | None, work: Path) -> tuple[_Tried | None, str]:
    """A rewritten model, executed; None, and what is wrong with it."""
    prepared = planned.prepared
    exact = prepared.settings.rewriting.rules == "exact" and prepared.same_kernels
    try:
        found = _staged(planned, destination, work, verify=True)
    except VerificationError as error:
        return None, str(error)
    if found.outcome is not None and found.outcome.is_worse:
        return None, "a higher peak"
    if found.outcome is not None and exact and found.outcome.verification["numerics"] == "close":
        return None, "other bits"
    return found, ""


def _staged(planned: Planned, destination: Path | None, work: Path, *, verify: bool) -> _Tried:
    """The model in the work folder, in the place of what was tried before; executed if asked to."""
    folder = work / "staged"
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir()
    staged = planned.prepared.stage(planned, destination or folder / "model", folder)
    return _Tried(planned, staged, staged.verify() if verify else None)
