"""A lowered Relax function as a freestanding C program: tensors and scratch planned together."""

# pyright: reportUnknownVariableType=false, reportUnknownArgumentType=false
# pyright: reportUnknownParameterType=false, reportMissingTypeArgument=false
# pyright: reportArgumentType=false, reportAttributeAccessIssue=false
# pyright: reportCallIssue=false, reportUnknownLambdaType=false
# TVM has no stubs, and its annotations are narrower than what it takes.

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import TYPE_CHECKING

from lowtide.backends.tvm.c_kernels import c_kernels
from lowtide.backends.tvm.c_program import write_program
from lowtide.errors import InputError, ModelError
from lowtide.ir import Alias, Graph, Role
from lowtide.passes.pipeline import parse, run
from lowtide.passes.plan import Plan
from lowtide.passes.state import State
from lowtide.targets.tvm_plan import ACCOUNTING

if TYPE_CHECKING:
    from collections.abc import Mapping

    import tvm

    from lowtide.backends.tvm.c_kernels import CKernel
    from lowtide.backends.tvm.c_program import CProgram
    from lowtide.frontends.tvm import Imported
    from lowtide.ir import Tensor

__all__ = ["CCode", "c_code", "c_program"]


def c_program(
    module: tvm.IRModule,
    imported: Imported,
    *,
    name: str = "model",
    passes: str = "schedule,allocate",
    time_limit_s: float | None = 60.0,
    seed: int = 0,
) -> CProgram:
    """The program of a lowered function.

    Args:
        module: where the function and its kernels come from.
        imported: the function; all its sizes are static.
        name: the prefix of files and symbols.
        passes: which find order and layout.
        time_limit_s: of each solver.
        seed: for everything random.

    Raises:
        InputError: the name is no C identifier.
        ModelError: the function calls something else than kernels, or has symbolic sizes.
    """
    if not re.fullmatch(r"[A-Za-z_][A-Za-z0-9_]{0,62}", name):
        raise InputError(f"`{name}` is no C identifier: letters, digits and _ are")
    code = c_code(module, imported)
    blank = Plan("", "c", "none", {}, tuple(op.name for op in code.graph.ops))
    state = run(
        parse(passes),
        State(
            graph=code.graph,
            accounting=ACCOUNTING,
            plan=blank,
            seed=seed,
            time_limit_s=time_limit_s,
        ),
    )
    return write_program(name, imported, state.order, state.plan, code.kernels, code.source)


@dataclass(frozen=True, slots=True)
class CCode:
    """The kernels of a function as C, and what is to be planned for it.

    Attributes:
        graph: what lies in the arena, kernels' scratch as results that nobody reads.
        kernels: by the kinds of the ops.
        source: of all kernels.
    """

    graph: Graph
    kernels: Mapping[str, CKernel]
    source: str


def c_code(module: tvm.IRModule, imported: Imported) -> CCode:
    """The kernels that the function calls.

    Raises:
        ModelError: the function calls something else than kernels, or has symbolic sizes.
    """
    for op in imported.graph.ops:
        if op.traits.pinned and not op.traits.view:
            reason = (*imported.notes, f"`{op.kind}` is called")[0]
            raise ModelError(f"{reason}: that needs TVM's runtime, which a C program does not have")
    for allocation in imported.allocations.values():
        if imported.bounds.variables(allocation.dims):
            raise ModelError(
                f"the size of `{allocation.tensor.name}` is symbolic: give its dimensions"
            )
    used = dict.fromkeys(op.kind for op in imported.graph.ops if not op.traits.view)
    kernels, source = c_kernels(module, used)
    return CCode(_with_scratch(imported, kernels), kernels, source)


def _with_scratch(imported: Imported, kernels: Mapping[str, CKernel]) -> Graph:
    """The graph of what lies in the arena, scratch as results that nobody reads."""
    plain = imported.arena_graph()
    graph = Graph(plain.name)
    copies: dict[Tensor, Tensor] = {}

    def copy(tensor: Tensor) -> Tensor:
        at = tensor.alias
        role = Role.ACTIVATION if tensor.producer is not None else tensor.role
        copies[tensor] = graph.add_tensor(
            tensor.name,
            tensor.dtype,
            tensor.shape,
            role=role,
            nbytes=tensor.nbytes,
            alias=None if at is None else Alias(copies[at.base], at.offset),
        )
        return copies[tensor]

    for tensor in plain.tensors:
        if tensor.producer is None:
            copy(tensor)
    for op in plain.ops:
        outputs = [copy(tensor) for tensor in op.outputs]
        sizes = () if op.traits.view else kernels[op.kind].scratch
        for number, size in enumerate(sizes):
            outputs.append(graph.add_tensor(f"{op.name}~{number}", "uint8", (size,)))
        inputs = [None if t is None else copies[t] for t in op.inputs]
        graph.add_op(
            op.name,
            op.dialect,
            op.kind,
            inputs,
            outputs,
            traits=op.traits,
            flops=op.flops,
            cost=op.cost,
            source=op.source,
        )
    for tensor in plain.outputs:
        graph.add_output(copies[tensor])
    return graph
