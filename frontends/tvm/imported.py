"""What the importer finds in a lowered Relax function: a graph, and the way back to bindings."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from lowtide.ir import Alias, Graph, Role, Tensor

if TYPE_CHECKING:
    from collections.abc import Mapping

    import numpy as np
    import numpy.typing as npt
    import tvm
    from tvm import relax

    from lowtide.frontends.tvm.sizes import Bounds

__all__ = ["UNBOUNDED", "Allocation", "Imported"]

UNBOUNDED = "state an upper bound for its dimensions, in `bounds` or tir_var_upper_bound"


@dataclass(frozen=True, slots=True)
class Allocation:
    """One `alloc_tensor` of the function.

    Attributes:
        tensor: its storage in the graph.
        binding: the binding that allocates it.
        dims: its dimensions as expressions.
        nbytes: at the upper bounds; 0 where no bound is known.
        apart: why it cannot lie in an arena; empty where it can.
        unbounded: whether its size has no bound.
    """

    tensor: Tensor
    binding: relax.VarBinding
    dims: tuple[tvm.ir.Expr, ...]
    nbytes: int
    apart: str
    unbounded: bool


@dataclass(frozen=True)
class Imported:
    """A Relax function as a graph, and the way back to its bindings.

    `source` of an op is the binding that runs it.

    Attributes:
        graph: bytes at the upper bounds of the symbolic dimensions.
        function: the lowered function.
        allocations: by the names of the tensors, in the order of the function.
        glue: the bindings that run nothing, in order.
        bounds: of the symbolic dimensions.
        constants: the values of the constants in the function, by the names of the tensors.
        notes: what the user should know.
    """

    graph: Graph
    function: relax.Function
    allocations: dict[str, Allocation]
    glue: tuple[relax.Binding, ...]
    bounds: Bounds
    constants: Mapping[str, npt.NDArray[np.generic]]
    notes: tuple[str, ...]

    def arena_graph(self) -> Graph:
        """The graph of what can lie in the arena: the rest, and the kernels' own pool, count as 0.

        The ops keep their names, order and sources.
        """
        result = Graph(self.graph.name)
        copies: dict[Tensor, Tensor] = {}

        def copy(tensor: Tensor) -> Tensor:
            at = tensor.alias
            root = self.allocations.get(tensor.storage.name)
            nbytes = tensor.nbytes if root is None or not root.apart else 0
            role = (
                Role.ACTIVATION if tensor.role is Role.OUTPUT and tensor.producer else tensor.role
            )
            copies[tensor] = result.add_tensor(
                tensor.name,
                tensor.dtype,
                tensor.shape,
                role=role,
                nbytes=0 if root is None and tensor.producer is not None else nbytes,
                alias=None if at is None else Alias(copies[at.base], at.offset if nbytes else 0),
            )
            return copies[tensor]

        for tensor in self.graph.tensors:
            if tensor.producer is None:
                copy(tensor)
        for op in self.graph.ops:
            result.add_op(
                op.name,
                op.dialect,
                op.kind,
                [None if t is None else copies[t] for t in op.inputs],
                [copy(t) for t in op.outputs],
                traits=op.traits,
                attributes=op.attributes,
                flops=op.flops,
                cost=op.cost,
                source=op.source,
            )
        for tensor in self.graph.outputs:
            result.add_output(copies[tensor])
        return result
