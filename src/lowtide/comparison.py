"""Compare two models, two plans, or a model with a plan of it."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from lowtide.errors import InputError
from lowtide.pictures.build import run_of
from lowtide.pictures.difference import Difference, Side
from lowtide.saved import adopted, load_plan
from lowtide.settings import Settings, target_for
from lowtide.targets import prepare

if TYPE_CHECKING:
    from lowtide.passes.plan import Plan
    from lowtide.planning import Progress

__all__ = ["compare"]


def compare(
    a: str | Path,
    b: str | Path,
    *,
    models: Sequence[str | Path] = (),
    target: str | None = None,
    progress: Progress | None = None,
) -> Difference:
    """What `b` does otherwise than `a`.

    Each is a plan (`.json`) or a model, which is taken in its own order, for the target of its
    plan if it is compared with one and `target` is None. Sizes, and with them the
    curves and the tensors at the peak, are known of a plan whose model is the other one or among
    `models`; what else is compared, the plans say themselves.

    Raises:
        InputError: one cannot be read, or one of `models` belongs to neither plan.
        PlanError: a plan is malformed, or does not fit its model.
    """
    given = Path(a), Path(b)
    plans = [load_plan(path) if _is_plan(path) else None for path in given]
    extra = [Path(path) for path in models]
    known = [*extra, *(path for path, plan in zip(given, plans, strict=True) if plan is None)]
    for path in extra:
        if not any(plan is not None and _belongs(path, plan) for plan in plans):
            raise InputError(f"--model {path}: neither plan was made for it: drop it")
    sides = [
        _of_model(path, _settings(path, target, plans), progress)
        if plan is None
        else _of_plan(path, plan, next((m for m in known if _belongs(m, plan)), None), progress)
        for path, plan in zip(given, plans, strict=True)
    ]
    return Difference(sides[0], sides[1])


def _is_plan(path: Path) -> bool:
    return path.suffix.lower() == ".json"


def _belongs(model: Path, plan: Plan) -> bool:
    """Whether a plan was made for this file; of a folder it is checked when the plan is taken."""
    if model.is_dir():
        return plan.target == "tensorflow"
    try:
        with model.open("rb") as stream:
            return hashlib.file_digest(stream, "sha256").hexdigest() == plan.model_sha256
    except OSError as error:
        raise InputError(f"{model} cannot be read: {error.strerror or error}") from None


def _settings(model: Path, target: str | None, plans: Sequence[Plan | None]) -> Settings:
    """Those of a plan that was made for the model, so that both speak of the same graph."""
    for plan in plans:
        if target is None and plan is not None and _belongs(model, plan):
            return Settings.from_plan(plan, None)
    return Settings.of(target=target_for(model, target))


def _of_model(path: Path, settings: Settings, progress: Progress | None) -> Side:
    prepared = prepare(path, settings, progress)
    timeline = prepared.source_order
    run = run_of(timeline, prepared.accounting.alignment)
    names = tuple(moment.op for moment in run.moments)
    return Side(path.name, names, run, timeline.peak_bytes, prepared.arena_before)


def _of_plan(path: Path, plan: Plan, model: Path | None, progress: Progress | None) -> Side:
    peak = None if plan.certificate is None else plan.certificate.peak_bytes
    run = None
    if model is not None:
        planned = adopted(plan, model, None, progress)
        run = run_of(
            planned.timeline,
            planned.prepared.accounting.alignment,
            offsets=plan.offsets,
            sequence=plan.sequence,
        )
    return Side(path.name, plan.sequence, run, peak, plan.arena_bytes, plan.rewrites)
