"""The options of one run, checked."""

from __future__ import annotations

import os
from dataclasses import dataclass
from typing import TYPE_CHECKING

from lowtide import __version__
from lowtide.errors import InputError
from lowtide.passes.pipeline import DEFAULT, parse, print_pipeline
from lowtide.units import parse_bytes

if TYPE_CHECKING:
    from collections.abc import Mapping

    from lowtide.passes.plan import Plan

__all__ = ["LEVELS", "TARGETS", "Settings"]

TARGETS = ("onnxruntime", "onnx")
LEVELS = ("all", "extended", "basic")

# Without a time limit the search ends after this much work, which is repeatable and took at most
# some two seconds on the graphs tried; the clock is only a guard then.
_DEFAULT_WORK = 25_000_000
_DEFAULT_LIMIT_S = 60.0


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
        if target not in TARGETS:
            raise InputError(f"the target `{target}` is not one of {', '.join(TARGETS)}")
        if level not in LEVELS:
            raise InputError(f"the level `{level}` is not one of {', '.join(LEVELS)}")
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
            level=plan.level if plan.level in LEVELS else "all",
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
        }
        options.update({f"dim:{name}": value for name, value in self.dims.items()})
        return options
