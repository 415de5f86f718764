"""Lowtide in TVM: the memory plan of a Relax module.

    ex = tvm.compile(mod, target="llvm", relax_pipeline="lowtide")
    ex = tvm.compile(mod, target="llvm", relax_pipeline=lowtide.tvm.pipeline(budget="2MiB"))

After `pip install "lowtide[tvm]"` the name `lowtide` is known to TVM: it calls `autoload` of the
entry-point group `tvm.backends` when it is imported.
"""

# pyright: reportUnknownVariableType=false, reportUnknownArgumentType=false
# pyright: reportUnknownParameterType=false, reportMissingTypeArgument=false
# pyright: reportArgumentType=false, reportAttributeAccessIssue=false
# pyright: reportCallIssue=false, reportUnknownLambdaType=false
# TVM has no stubs, and its annotations are narrower than what it takes.

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    import numpy as np
    import tvm
    from numpy.typing import NDArray

    from lowtide.backends.tvm.c_program import CProgram
    from lowtide.targets.tvm_pipeline import Pipeline
    from lowtide.targets.tvm_training import Rematerialized

__all__ = ["autoload", "c_program", "pipeline", "rematerialize"]

_PASSES = "schedule,rematerialize,allocate"
_TIME_LIMIT_S = 60.0
_WORK_LIMIT = 25_000_000  # of the exact scheduler; repeatable


def pipeline(
    *,
    budget: int | str | None = None,
    passes: str | None = None,
    bounds: Mapping[str, int] | None = None,
    time_limit_s: float | None = None,
    seed: int = 0,
    lean: bool = False,
) -> Pipeline:
    """A Relax pipeline that orders each function and packs its tensors in one arena.

    Args:
        budget: the most that an arena may take, in bytes or as text such as `2MiB`.
        passes: the passes on every function, `schedule,rematerialize,allocate` by default. Kernels
            run again only where a budget asks for it.
        bounds: upper bounds of symbolic dimensions by name, as TVM's `tir_var_upper_bound`.
        time_limit_s: for each solver; None for a repeatable amount of work, some seconds at most.
        seed: for everything random.
        lean: exchange kernels for ones that keep less scratch, where floating point operations
            grow by at most a twentieth; for CPUs.

    Raises:
        MissingExtraError: TVM is missing, or of a version that is not known.
        InputError: the budget is no size, or a pass is unknown.
    """
    from lowtide.errors import InputError
    from lowtide.frontends.tvm import require_tvm
    from lowtide.passes.pipeline import parse, print_pipeline
    from lowtide.targets.tvm_pipeline import Pipeline
    from lowtide.units import parse_bytes

    require_tvm()
    budget_bytes = parse_bytes(budget) if isinstance(budget, str) else budget
    if budget_bytes is not None and budget_bytes <= 0:
        raise InputError(f"the budget must be at least one byte, not {budget_bytes}")
    chosen = parse(passes or _PASSES)
    if "allocate" not in [name for name, _ in chosen]:
        raise InputError(f"`{passes}` lays nothing out: add the pass `allocate`")
    for name, most in (bounds or {}).items():
        if most < 0:
            raise InputError(f"the bound of `{name}` must not be negative: {most}")
    return Pipeline(
        passes=print_pipeline(chosen),
        budget_bytes=budget_bytes,
        bounds=dict(bounds or {}),
        time_limit_s=_TIME_LIMIT_S if time_limit_s is None else time_limit_s,
        work_limit=_WORK_LIMIT if time_limit_s is None else None,
        seed=seed,
        lean=lean,
    )


def rematerialize(
    module: tvm.IRModule,
    *,
    budget: int | float | str | None,
    function: str | None = None,
    target: str | tvm.target.Target = "llvm",
    arguments: Sequence[NDArray[np.generic]] | None = None,
    bounds: Mapping[str, int] | None = None,
    time_limit_s: float | None = None,
    seed: int = 0,
    lean: bool = False,
) -> Rematerialized:
    """A training step that stays within a budget: kernels run again where memory is short.

        step = relax.transform.Gradient("main", require_grads=weights)(mod)
        planned = lowtide.tvm.rematerialize(step, budget="4MiB")
        ex = tvm.compile(planned.module, target="llvm", relax_pipeline=None)

    Kernels are those that TVM makes and runs of the whole step, so that loss and gradients are the
    same, bit for bit.

    Args:
        module: with the adjoint that `relax.transform.Gradient` makes; it is not changed.
        budget: what a call may allocate, results and workspace included: bytes, text such as
            `4MiB`, a part (0 to 1) of what it allocates without recomputation, or None for that.
        function: which one; by default the only one that ends with `_adjoint`.
        target: as for `tvm.compile`.
        arguments: of a call, to measure what kernels cost; without them that is modelled.
        bounds: upper bounds of symbolic dimensions by name.
        time_limit_s: for each solver; None for a repeatable amount of work.
        seed: for everything random.
        lean: exchange kernels for ones that keep less scratch; they may round differently.

    Raises:
        MissingExtraError: TVM is missing, or of a version that is not known.
        InputError: the budget is no size, or there is no such function.
        ModelError: the function cannot be planned; the message says why.
        BudgetInfeasibleError, BudgetNotMetError: the message names the smallest budget that was
            met.
    """
    from lowtide.errors import InputError
    from lowtide.frontends.tvm import require_tvm
    from lowtide.targets.tvm_training import TrainingPipeline, adjoint_of
    from lowtide.targets.tvm_training import rematerialize as made
    from lowtide.units import parse_bytes

    require_tvm()
    import tvm

    limit = parse_bytes(budget) if isinstance(budget, str) else budget
    if isinstance(limit, float) and not 0.0 < limit <= 1.0:
        raise InputError(f"the budget {limit} is no part of the peak: give one in (0, 1]")
    if isinstance(limit, int) and limit <= 0:
        raise InputError(f"the budget must be at least one byte, not {limit}")
    name = function or adjoint_of(module)
    if name not in [str(variable.name_hint) for variable in module.get_global_vars()]:
        raise InputError(f"the module has no function `{name}`")
    return made(
        module,
        TrainingPipeline(
            passes=_PASSES,
            bounds=dict(bounds or {}),
            time_limit_s=_TIME_LIMIT_S if time_limit_s is None else time_limit_s,
            work_limit=_WORK_LIMIT if time_limit_s is None else None,
            seed=seed,
            lean=lean,
            function=name,
            budget=limit,
        ),
        tvm.target.Target(target) if isinstance(target, str) else target,
        arguments,
    )


def c_program(
    module: tvm.IRModule,
    *,
    name: str = "model",
    function: str = "main",
    passes: str | None = None,
    time_limit_s: float | None = None,
    seed: int = 0,
) -> CProgram:
    """A Relax module as freestanding C; `.save(folder)` writes it.

    Args:
        module: as for `tvm.compile`; all sizes are static.
        name: the prefix of files and symbols.
        function: which one.
        passes: `schedule,allocate` by default.
        time_limit_s: for each solver.
        seed: for everything random.

    Raises:
        MissingExtraError: TVM is missing, or of a version that is not known.
        ModelError: the function needs TVM's runtime, or has symbolic sizes.
        InputError: the name is no C identifier.
    """
    from lowtide.frontends.tvm import import_function, require_tvm
    from lowtide.targets.tvm_c import c_program as made
    from lowtide.targets.tvm_pipeline import apply, stages

    require_tvm()
    import tvm

    target = tvm.target.Target("llvm")  # whose passes fuse; kernels are lowered for C later
    with target:
        lowered = apply(stages(target).before, module)
    return made(
        lowered,
        import_function(lowered, function),
        name=name,
        passes=passes or "schedule,allocate",
        time_limit_s=_TIME_LIMIT_S if time_limit_s is None else time_limit_s,
        seed=seed,
    )


def autoload() -> None:
    """Make `relax_pipeline="lowtide"` known; called by `import tvm`. Cheap, and never raises."""
    try:
        from tvm.relax.pipeline import PIPELINE_MAP

        PIPELINE_MAP.setdefault("lowtide", pipeline)
    except Exception:
        return
