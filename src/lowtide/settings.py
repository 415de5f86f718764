"""The options of one run, checked."""

from __future__ import annotations

import os
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING

from lowtide import __version__
from lowtide.devices import load_device
from lowtide.errors import InputError
from lowtide.passes.cost_file import read_costs
from lowtide.passes.costs import CostModel
from lowtide.passes.pipeline import DEFAULT, parse, print_pipeline
from lowtide.passes.rewrite.stage import Rewriting
from lowtide.units import parse_bytes

if TYPE_CHECKING:
    from collections.abc import Mapping

    from lowtide.devices import Device
    from lowtide.passes.plan import Plan
    from lowtide.passes.state import Pass

__all__ = [
    "FOLDERS",
    "FORMATS",
    "LEVELS",
    "QUANTIZE",
    "TARGETS",
    "Settings",
    "is_saved_model",
    "target_for",
]

# Which targets read which format; the first is the default.
FORMATS = {
    "onnx": ("onnxruntime", "onnx", "tensorflow", "tflite", "c", "tvm"),
    "tflite": ("tflite", "c"),
    "savedmodel": ("tensorflow",),  # a folder
}
TARGETS = tuple(dict.fromkeys(target for targets in FORMATS.values() for target in targets))
FOLDERS = ("c", "tensorflow")  # targets that are written as folders
QUANTIZE = ("none", "float16", "int8")
LEVELS = ("all", "extended", "basic")
MEASURE = "measure"  # instead of a file of costs

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
    device: Device | None = None
    costs: CostModel = field(default_factory=CostModel)
    measure_costs: bool = False
    quantize: str = "none"
    representative: Path | None = None

    @classmethod
    def of(
        cls,
        *,
        target: str,
        level: str = LEVELS[0],
        portable: bool = False,
        dims: Mapping[str, int] | None = None,
        budget: int | str | None = None,
        time_limit_s: float | None = None,
        seed: int = 0,
        pipeline: str | None = None,
        threads: int | None = None,
        device: str | Path | None = None,
        costs: str | Path | None = None,
        quantize: str = "none",
        representative: str | Path | None = None,
        rewrite: str | None = None,
    ) -> Settings:
        """Check the options.

        Raises:
            InputError: an unknown target, level or pass, or a value out of range.
        """
        if target not in TARGETS:
            raise InputError(f"the target `{target}` is not one of {', '.join(TARGETS)}")
        if level not in LEVELS:
            raise InputError(f"the level `{level}` is not one of {', '.join(LEVELS)}")
        if portable and target != "onnxruntime":
            raise InputError("--portable belongs to the target onnxruntime: drop one of them")
        _check_quantize(target, quantize, representative)
        if target != "onnxruntime":
            level = "none"
        elif portable:
            level = "basic"
        if isinstance(budget, str):
            budget = parse_bytes(budget)
        if budget is not None and budget <= 0:
            raise InputError(f"the budget must be at least one byte, not {budget}")
        board: Device | None = None
        if device is not None:
            if target not in FORMATS["tflite"]:
                raise InputError(f"--device is for TFLite models, not for the target {target}")
            board = load_device(device)
            if budget is None:
                budget = max(memory.available_bytes for memory in board.memories)
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
            pipeline=print_pipeline(_with_rewriting(parse(pipeline or DEFAULT), rewrite)),
            threads=threads or os.cpu_count() or 1,
            device=board,
            costs=CostModel() if costs in (None, MEASURE) else read_costs(costs),
            measure_costs=costs == MEASURE,
            quantize=quantize,
            representative=None if representative is None else Path(representative),
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
            quantize=str(plan.options.get("quantize", "none")),
            representative=str(plan.options.get("representative", "")) or None,
        )

    @property
    def rewriting(self) -> Rewriting:
        """Which rewrites may be used."""
        for _, each in parse(self.pipeline):
            if isinstance(each, Rewriting):
                return each
        return Rewriting("none")

    @property
    def plan_options(self) -> dict[str, str | int | bool]:
        """What a plan records, so that it can be applied later."""
        options: dict[str, str | int | bool] = {
            "portable": self.portable,
            "seed": self.seed,
            "pipeline": self.pipeline,
            "lowtide": __version__,
        }
        if self.device is not None:
            options["device"] = self.device.name
        if self.quantize != "none":
            options["quantize"] = self.quantize
        if self.representative is not None:
            options["representative"] = str(self.representative)
        options.update({f"dim:{name}": value for name, value in self.dims.items()})
        return options


def _with_rewriting(
    passes: tuple[tuple[str, Pass], ...], rules: str | None
) -> tuple[tuple[str, Pass], ...]:
    """The pipeline with the rewrites that were asked for apart from it."""
    if rules is None:
        return passes
    others = tuple(item for item in passes if not isinstance(item[1], Rewriting))
    wanted = Rewriting(rules)
    return others if rules == "none" else (("rewrite", wanted), *others)


def _check_quantize(target: str, quantize: str, representative: object) -> None:
    """Refuse options of quantization that contradict each other or the target."""
    if quantize not in QUANTIZE:
        raise InputError(f"--quantize {quantize}: it is one of {', '.join(QUANTIZE)}")
    if quantize != "none" and target not in FORMATS["tflite"]:
        raise InputError(
            f"--quantize is for what becomes a .tflite, not for the target {target}: add "
            f"--target tflite, or drop it"
        )
    if representative is not None and quantize != "int8":
        raise InputError("--representative belongs to --quantize int8: add it, or drop the data")


def is_saved_model(source: object) -> bool:
    """Whether a path is the folder of a TensorFlow SavedModel."""
    return isinstance(source, str | Path) and Path(source, "saved_model.pb").is_file()


def target_for(model: object, target: str | None) -> str:
    """The target that was asked for, or the first that reads the model's format.

    Raises:
        InputError: an unknown target, or one that does not read this format.
    """
    suffix = Path(model).suffix.lstrip(".").lower() if isinstance(model, str | Path) else "onnx"
    if is_saved_model(model):
        suffix = "savedmodel"
    targets = FORMATS.get(suffix, FORMATS["onnx"])
    if target is None:
        return targets[0]
    if target not in TARGETS:
        raise InputError(f"the target `{target}` is not one of {', '.join(TARGETS)}")
    if target not in targets:
        kind = "SavedModel" if suffix == "savedmodel" else f".{suffix}"
        raise InputError(
            f"the target {target} does not read {kind} models, for which there is "
            f"{' and '.join(targets)}"
        )
    return target
