"""Saved plans: read them, and take them for the model that they were made for."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from lowtide.errors import InputError, PlanError
from lowtide.passes.plan import Plan
from lowtide.rewriting import replay
from lowtide.settings import Settings
from lowtide.targets import prepare

if TYPE_CHECKING:
    from lowtide.planning import Planned, Progress

__all__ = ["adopted", "load_plan"]


def load_plan(path: str | Path) -> Plan:
    """A plan that was saved.

    Raises:
        PlanError: it is malformed.
        InputError: the file cannot be read.
    """
    return Plan.from_json(_read_text(Path(path)))


def adopted(
    plan: Plan, model: str | Path, threads: int | None = None, progress: Progress | None = None
) -> Planned:
    """The model with its saved plan, checked against the graph.

    Raises:
        PlanError: the plan was made for another model, or does not fit its graph.
    """
    prepared = prepare(model, Settings.from_plan(plan, threads), progress)
    if prepared.source.sha256 != plan.model_sha256:
        raise PlanError(
            f"the plan was made for the model with SHA-256 {plan.model_sha256[:12]}..., "
            f"{model} has {prepared.source.sha256[:12]}...: run optimize on this model"
        )
    return replay(prepared, plan) if plan.rewrites else prepared.adopt(plan)


def _read_text(path: Path) -> str:
    try:
        if path.stat().st_size > 1 << 28:
            raise InputError(f"{path} has {path.stat().st_size:,} bytes: too large for a plan")
        return path.read_text(encoding="utf-8")
    except OSError as error:
        raise InputError(f"the plan {path} cannot be read: {error.strerror or error}") from None
    except UnicodeDecodeError as error:
        raise InputError(f"the plan {path} is no text: {error}") from None
