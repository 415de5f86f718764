"""The target's own pipeline with our planner in the place of TVM's `StaticPlanBlockMemory`.

    library dispatch | LegalizeOps .. FuseTIR | RewriteDataflowReshape .. CallTIRRewrite
    --> plan: order and arena                      (TVM: StaticPlanBlockMemory)
    LowerAllocTensor, KillAfterLastUse, LowerRuntimeBuiltin, ...

The order is asserted: views must be marked and calls must have their destinations before the plan,
and nothing may move allocations after it. A function that cannot be planned is left to TVM's own
planner, and `notes` says why.
"""

# pyright: reportUnknownVariableType=false, reportUnknownArgumentType=false
# pyright: reportUnknownParameterType=false, reportMissingTypeArgument=false
# pyright: reportArgumentType=false, reportAttributeAccessIssue=false
# pyright: reportCallIssue=false, reportUnknownLambdaType=false
# TVM has no stubs, and its annotations are narrower than what it takes.

from __future__ import annotations

import importlib
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, cast

from lowtide.backends.tvm.emit import emit
from lowtide.errors import LowtideError, ModelError
from lowtide.frontends.tvm import import_function
from lowtide.frontends.tvm.imported import UNBOUNDED
from lowtide.targets.tvm_lean import lean
from lowtide.targets.tvm_plan import plan_function, refuse_excess

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    import tvm

    from lowtide.frontends.tvm import Imported
    from lowtide.targets.tvm_plan import FunctionPlan

__all__ = ["Pipeline", "Stages", "stages"]

_PLANNER = "StaticPlanBlockMemory"
_BEFORE = ("LegalizeOps", "FuseTIR", "RewriteDataflowReshape", "ToNonDataflow", "CallTIRRewrite")
_AFTER = ("LowerAllocTensor", "KillAfterLastUse", "LowerRuntimeBuiltin", "VMShapeLower")
# Whose runtimes shift a pointer; others copy a tensor that lies at an offset.
_SHIFTING = ("llvm", "c", "cuda")
_MODULES = {"llvm": "cpu_generic", "c": "cpu_generic", "cuda": "cuda", "rocm": "rocm"}


@dataclass(frozen=True, slots=True)
class Stages:
    """The passes of a target's pipeline, around the planner.

    Attributes:
        before: up to kernels with destinations.
        planner: TVM's own.
        after: down to the virtual machine.
        refusal: why the target's runtime cannot use an arena; empty where it can.
        host: whether kernels are for a CPU, which TVM does not schedule.
    """

    before: tuple[tvm.transform.Pass, ...]
    planner: tvm.transform.Pass
    after: tuple[tvm.transform.Pass, ...]
    refusal: str = ""
    host: bool = True


def stages(target: tvm.target.Target) -> Stages:
    """TVM's own pipeline for the target, cut at its memory planner.

    Raises:
        LowtideError: the pipeline is not of the form that a plan relies on.
    """
    kind = str(target.kind.name)
    family = _MODULES.get(kind, "gpu_generic" if "gpu" in target.keys else "cpu_generic")
    module = importlib.import_module(f"tvm.relax.backend.{family}.pipeline")
    passes: list[tvm.transform.Pass] = [
        *module.library_dispatch_passes(target),
        *module.legalize_passes(target),
        *module.dataflow_lower_passes(target),
        *module.finalize_passes(target),
    ]
    names = [_name(each) for each in passes]
    if names.count(_PLANNER) != 1:
        raise LowtideError(
            f"TVM's pipeline for {kind} has {names.count(_PLANNER)} passes {_PLANNER}: this "
            f"version of TVM is not known"
        )
    at = names.index(_PLANNER)
    for group, side in ((_BEFORE, names[:at]), (_AFTER, names[at + 1 :])):
        places = [side.index(name) if name in side else -1 for name in group]
        if -1 in places or places != sorted(places):
            raise LowtideError(
                f"TVM's pipeline for {kind} does not run {', '.join(group)} in this order around "
                f"{_PLANNER}: this version of TVM is not known"
            )
    refusal = ""
    if kind not in _SHIFTING:
        refusal = f"the runtime of {kind} copies tensors that lie at an offset in a storage"
    return Stages(
        tuple(passes[:at]), passes[at], tuple(passes[at + 1 :]), refusal, kind in ("llvm", "c")
    )


@dataclass
class Pipeline:
    """A Relax pipeline for `tvm.compile(..., relax_pipeline=...)`; call it on a module.

    Attributes:
        passes: the passes on every function's graph.
        budget_bytes: the most that an arena may take.
        bounds: upper bounds of symbolic dimensions by name, for functions that state none.
        time_limit_s: of each solver.
        work_limit: of the exact scheduler, in its own unit.
        seed: for everything random.
        lean: exchange kernels for ones that keep less scratch (CPU only).
        plans: after a run, the plan of every planned function.
        notes: after a run, what the user should know.
    """

    passes: str
    budget_bytes: int | None = None
    bounds: Mapping[str, int] = field(default_factory=dict[str, int])
    time_limit_s: float | None = 60.0
    work_limit: int | None = None
    seed: int = 0
    lean: bool = False
    plans: dict[str, FunctionPlan] = field(default_factory=dict[str, "FunctionPlan"])
    notes: tuple[str, ...] = ()

    def __call__(self, module: tvm.IRModule) -> tvm.IRModule:
        """The lowered module, ready for TVM's code generation.

        Raises:
            BudgetInfeasibleError: no order has an arena within the budget.
            BudgetNotMetError: none was found.
        """
        import tvm

        target = tvm.target.Target.current(allow_none=True) or tvm.target.Target("llvm")
        cut = stages(target)
        with target:
            module = self.plan(self.lower(module, cut), cut)
            return apply(cut.after, module)

    def lower(self, module: tvm.IRModule, cut: Stages) -> tvm.IRModule:
        """The module as it will be planned; bounds are stated as attributes. Needs its target."""
        if self.bounds:
            for name, function in _functions(module).items():
                stated = dict(self.bounds)
                if function.attrs and "tir_var_upper_bound" in function.attrs:
                    stated.update(function.attrs["tir_var_upper_bound"])
                module = _updated(module, name, function.with_attr("tir_var_upper_bound", stated))
        module = apply(cut.before, module)
        return lean(module) if self.lean and cut.host else module

    def plan(self, module: tvm.IRModule, cut: Stages) -> tvm.IRModule:
        """Plan every function, or leave it to TVM's planner."""
        self.plans.clear()
        notes: list[str] = []
        left: list[str] = []
        for name in _functions(module):
            try:
                if cut.refusal:
                    raise ModelError(cut.refusal)
                imported = import_function(module, name)
                _refuse_unbounded(imported)
                self.plans[name] = planned = self.planned(imported)
            except ModelError as error:
                left.append(name)
                notes.append(f"`{name}` is left to TVM's planner: {error}")
                continue
            notes += imported.notes
            for allocation in imported.allocations.values():
                if allocation.apart and allocation.tensor not in imported.graph.outputs:
                    notes.append(
                        f"`{allocation.tensor.name}` is outside the arena: {allocation.apart}"
                    )
            module = emit(
                module, imported, planned.order, planned.plan.offsets, planned.arena_bytes
            )
        self.notes = tuple(dict.fromkeys(notes))
        return _left_to_tvm(module, left, cut)

    def planned(self, imported: Imported) -> FunctionPlan:
        """The plan of one function, within the budget."""
        found = self.within(imported, self.budget_bytes)
        if self.budget_bytes is not None:
            refuse_excess(found, self.budget_bytes)
        return found

    def within(self, imported: Imported, budget_bytes: int | None) -> FunctionPlan:
        """What the passes find, within the budget of the arena if they can."""
        return plan_function(
            imported,
            passes=self.passes,
            budget_bytes=budget_bytes,
            time_limit_s=self.time_limit_s,
            work_limit=self.work_limit,
            seed=self.seed,
        )


def apply(passes: Sequence[tvm.transform.Pass], module: tvm.IRModule) -> tvm.IRModule:
    """The module after the passes."""
    import tvm

    return tvm.transform.Sequential(list(passes))(module)


def _refuse_unbounded(imported: Imported) -> None:
    """TVM's planner can share what has no bound but the same symbolic size; an arena cannot."""
    results = {tensor.storage for tensor in imported.graph.outputs}
    for allocation in imported.allocations.values():
        if allocation.unbounded and allocation.tensor not in results:
            raise ModelError(f"the size of `{allocation.tensor.name}` has no bound: {UNBOUNDED}")


def _left_to_tvm(module: tvm.IRModule, names: Sequence[str], cut: Stages) -> tvm.IRModule:
    """TVM's planner on these functions only: on its own it would plan the results of ours too."""
    if not names:
        return module
    planned = cut.planner(module)
    for name in names:
        module = _updated(module, name, planned[name])
    return module


def _functions(module: tvm.IRModule) -> dict[str, tvm.relax.Function]:
    """The Relax functions by name, in order of name."""
    from tvm import relax

    found = {
        str(variable.name_hint): function
        for variable, function in module.functions_items()
        if isinstance(function, relax.Function)
    }
    return dict(sorted(found.items()))


def _updated(module: tvm.IRModule, name: str, function: tvm.relax.Function) -> tvm.IRModule:
    """A copy of the module with another function of that name."""
    import tvm

    functions = dict(module.functions)
    functions[module.get_global_var(name)] = function
    return tvm.IRModule(functions, attrs=module.attrs, global_infos=module.global_infos)


def _name(each: tvm.transform.Pass) -> str:
    return str(cast("object", each.info.name))
