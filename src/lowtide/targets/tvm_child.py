"""What TVM does for an ONNX model, in processes of its own: nothing of TVM runs in the caller's.

    lower:  model -> Relax -> kernels -> the graph to plan, as text
    build:  the same again, with a plan -> a library, and one with TVM's own plan
    c:      the same again, with a plan -> C sources

TVM checks little of what it reads: a hostile model can crash it, or keep it busy for ever. Lowering
is repeatable, so that names in a plan mean the same in the next process; the graph is compared.
"""

# pyright: reportUnknownVariableType=false, reportUnknownArgumentType=false
# pyright: reportUnknownParameterType=false, reportMissingTypeArgument=false
# pyright: reportArgumentType=false, reportAttributeAccessIssue=false
# pyright: reportCallIssue=false, reportUnknownLambdaType=false
# TVM has no stubs, and its annotations are narrower than what it takes.

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, cast

from lowtide import child
from lowtide.child import ChildError
from lowtide.errors import InputError, LowtideError, ModelError
from lowtide.ir import Graph, print_graph, unroll, verify
from lowtide.passes.plan import Plan

if TYPE_CHECKING:
    from collections.abc import Mapping

    import tvm

    from lowtide.frontends.tvm import Imported
    from lowtide.ir import Op
    from lowtide.targets.tvm_pipeline import Stages

__all__ = ["TARGET", "build", "c_sources", "call", "lower"]

TARGET = "llvm"
FUNCTION = "main"
_TIMEOUT_S = 1200.0
_MEMORY_BYTES = 16 << 30


def call(what: str, request: Mapping[str, object]) -> dict[str, object]:
    """One of the functions below, in a child.

    Raises:
        ModelError: TVM does not take the model, crashed, or took too long.
    """
    try:
        return child.run(
            f"lowtide.targets.tvm_child:{what}",
            request,
            timeout_s=_TIMEOUT_S,
            memory_limit_bytes=_MEMORY_BYTES,
        )
    except ChildError as error:
        raise ModelError(f"TVM fails on this model: {error}") from None


@dataclass(frozen=True, slots=True)
class _Lowered:
    """A model up to TVM's memory planner.

    Attributes:
        plain: with TVM's kernels.
        module: with kernels that keep less scratch; what is planned.
        imported: its function.
        cut: the passes around the planner.
    """

    plain: tvm.IRModule
    module: tvm.IRModule
    imported: Imported
    cut: Stages


def _lowered(request: Mapping[str, object]) -> _Lowered:
    import onnx
    import tvm

    from lowtide.frontends.tvm import import_function
    from lowtide.frontends.tvm.onnx_model import from_onnx
    from lowtide.targets.tvm_lean import lean
    from lowtide.targets.tvm_pipeline import apply, stages

    source = from_onnx(onnx.load(str(request["model"])), cast("dict[str, int]", request["dims"]))
    target = tvm.target.Target(TARGET)
    cut = stages(target)
    try:
        with target:
            plain = apply(cut.before, source)
        module = lean(plain)
    except (ValueError, TypeError, RuntimeError, tvm.error.InternalError) as error:
        text = " ".join(str(error).split())[:300]
        raise ModelError(f"TVM cannot lower this model: {text}") from error
    imported = import_function(module, FUNCTION)
    for allocation in imported.allocations.values():
        if allocation.unbounded:
            raise ModelError(
                f"the size of `{allocation.tensor.name}` depends on a dimension without a value: "
                f"give one with --dim NAME=VALUE, or --dim '*=1' for all"
            )
    return _Lowered(plain, module, imported, cut)


def lower(request: Mapping[str, object]) -> dict[str, object]:
    """The graph to plan; `c` asks for that of a C program, whose scratch is planned too."""
    found = _lowered(request)
    imported = found.imported
    notes: tuple[str, ...] = imported.notes
    if request["c"]:
        from lowtide.targets.tvm_c import c_code

        graph = c_code(found.module, imported).graph
        workspace: int | None = 0
    else:
        graph = imported.arena_graph()
        known = all(op.workspace_known or op.traits.pinned for op in imported.graph.ops)
        most = max((op.workspace_bytes for op in imported.graph.ops), default=0)
        workspace = most if known else None
        notes = (*notes, *_beside(imported, workspace))
    verify(graph)
    return {
        "graph": print_graph(graph),
        "flops": [op.flops for op in graph.ops],
        "workspace": workspace,
        "notes": list(notes),
    }


def _beside(imported: Imported, workspace: int | None) -> tuple[str, ...]:
    """What TVM takes beside the arena."""
    roots = {t.storage for t in imported.graph.outputs}
    results = sum(t.nbytes for t in roots if t.name in imported.allocations)
    notes = [f"beside the arena: {results:,} bytes of results, which the caller keeps"]
    if workspace is None:
        notes.append("beside the arena: TVM's workspace pool, which is not known for all kernels")
    elif workspace:
        notes.append(
            f"beside the arena: up to {workspace:,} bytes of TVM's workspace pool for a kernel, "
            f"which no order changes"
        )
    others = [a for a in imported.allocations.values() if a.apart and a.tensor not in roots]
    if others:
        total = sum(a.nbytes for a in others)
        notes.append(
            f"beside the arena: {total:,} bytes of other tensors; `{others[0].tensor.name}`: "
            f"{others[0].apart}"
        )
    return tuple(notes)


def _steps(graph: Graph, plan: Plan, expected: str) -> tuple[Graph, tuple[Op, ...]]:
    """The planned graph of this process, and its steps in order."""
    if print_graph(graph) != expected:
        raise LowtideError("TVM lowered the model in another way this time: please report this")
    order = tuple(graph.op(name) for name in plan.sequence)
    if len(set(order)) == len(order):
        return graph, order
    repeated = unroll(graph, order)
    return repeated, repeated.ops


def build(request: Mapping[str, object]) -> dict[str, object]:
    """Write the planned library to `output`, that with TVM's own plan to `stock`; either may be "".

    The reply says what the first run of the planned one allocates, where that is known.
    """
    import tvm

    found = _lowered(request)
    reply: dict[str, object] = {"predicted": None}
    with tvm.target.Target(TARGET):
        if request["stock"]:
            _compile(found, found.cut.planner(found.plain), str(request["stock"]))
        if request["output"]:
            from lowtide.backends.tvm.emit import emit
            from lowtide.backends.tvm.predict import first_run_peak
            from lowtide.targets.tvm_plan import FunctionPlan

            plan = Plan.from_json(str(request["plan"]))
            graph, order = _steps(found.imported.arena_graph(), plan, str(request["graph"]))
            reply["predicted"] = first_run_peak(FunctionPlan(found.imported, graph, plan))
            arena = plan.arena_bytes or 0
            module = emit(found.module, found.imported, order, plan.offsets, arena)
            _compile(found, module, str(request["output"]))
    return reply


def _compile(found: _Lowered, module: tvm.IRModule, path: str) -> None:
    import tvm

    from lowtide.targets.tvm_pipeline import apply

    executable = tvm.compile(apply(found.cut.after, module), target=TARGET, relax_pipeline=None)
    try:
        executable.export_library(path)
    except (RuntimeError, OSError) as error:
        text = " ".join(str(error).split())[:200]
        raise InputError(f"TVM links with a C++ compiler, which failed: {text}") from error


def c_sources(request: Mapping[str, object]) -> dict[str, object]:
    """Write the files of the C program with the planned order into the folder `output`."""
    from lowtide.backends.tvm.c_program import write_program
    from lowtide.targets.tvm_c import c_code

    found = _lowered(request)
    code = c_code(found.module, found.imported)
    plan = Plan.from_json(str(request["plan"]))
    _, order = _steps(code.graph, plan, str(request["graph"]))
    program = write_program(
        str(request["name"]), found.imported, order, plan, code.kernels, code.source
    )
    program.save(Path(str(request["output"])))
    return {"arena": program.arena_bytes, "weights": program.weights_bytes}
