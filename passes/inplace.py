"""Decide which in-place candidates the planner may count on."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

from lowtide.errors import InputError
from lowtide.ir import Role

if TYPE_CHECKING:
    from lowtide.ir import InPlace, Op
    from lowtide.passes.state import State

__all__ = ["Inplace"]

_MODES = ("runtime", "static", "off")


@dataclass(frozen=True, slots=True)
class Inplace:
    """Keep the in-place candidates that can apply.

    Attributes:
        mode: `runtime`: all that the runtime may take, depending on the order, and that the
            scheduler models exactly; `static`: only those that hold in every order (the operand has
            no other reader); `off`: none.
    """

    mode: str = "runtime"

    def __post_init__(self) -> None:
        if self.mode not in _MODES:
            raise InputError(f"inplace: mode `{self.mode}` is not one of {', '.join(_MODES)}")

    def __call__(self, state: State) -> State:
        """The state with the candidates filtered; the ops are changed in place on the graph."""
        if self.mode == "off":
            return replace(state, accounting=replace(state.accounting, in_place=False))
        handed_out = {t.storage for t in state.graph.outputs}
        readers: dict[str, set[str]] = {}
        for tensor in state.graph.tensors:
            readers.setdefault(tensor.storage.name, set()).update(o.name for o in tensor.consumers)

        def applies(op: Op, candidate: InPlace) -> bool:
            operand, result = op.inputs[candidate.input], op.outputs[candidate.output]
            if operand is None or result.storage is not result or result in handed_out:
                return False
            root = operand.storage
            if root.role is not Role.ACTIVATION or root in handed_out:
                return False
            if root.nbytes != result.nbytes:
                return False
            return self.mode == "runtime" or readers[root.name] == {op.name}

        for op in state.graph.ops:
            op.in_place = tuple(c for c in op.in_place if applies(op, c))
        return state
