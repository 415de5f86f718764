"""A checked TFLite model to the graph IR, operator by operator."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from lowtide.errors import InputError
from lowtide.frontends.tflite.flops import operator_flops
from lowtide.ir import Graph, Role, Traits, verify

if TYPE_CHECKING:
    from lowtide.frontends.tflite.model import TfliteOperator, TfliteSubgraph, TfliteTensor
    from lowtide.frontends.tflite.source import TfliteSource
    from lowtide.ir import Op, Tensor

__all__ = ["TfliteImport", "import_graph"]

_COMMUTES = frozenset(
    {"ADD", "ADD_N", "EQUAL", "LOGICAL_AND", "LOGICAL_OR", "MAXIMUM", "MINIMUM", "MUL"}
    | {"BITWISE_XOR", "NOT_EQUAL", "SQUARED_DIFFERENCE"}
)


@dataclass(frozen=True, eq=False)
class TfliteImport:
    """A subgraph in the IR.

    Attributes:
        graph: one op per operator, in the file's order; `op.source` is the operator's index.
        tensors: the IR's tensor of every tensor index; None for tensors that no operator touches
            and the caller does not see.
        subgraph: what was imported.
    """

    graph: Graph
    tensors: tuple[Tensor | None, ...]
    subgraph: TfliteSubgraph

    def index(self, tensor: Tensor) -> int:
        """The tensor's index in the file; O(tensors).

        Raises:
            KeyError: it is not of this graph.
        """
        for index, known in enumerate(self.tensors):
            if known is tensor:
                return index
        raise KeyError(tensor.name)

    def operator(self, op: Op) -> TfliteOperator:
        """The operator that an op stands for."""
        if not isinstance(op.source, int):
            raise KeyError(op.name)
        return self.subgraph.operators[op.source]


def import_graph(source: TfliteSource, subgraph: int = 0) -> TfliteImport:
    """A subgraph as the file has it: no fusion, no view, no in-place result.

    - An op's kind is the builtin operator's name or the custom operator's code, in the dialect
      `tflite`; its attributes are the builtin options.
    - Tensors with data are constants (an input with data too), variable ones state.
    - Operators that keep or may keep state are pinned: resources, variables, unknown and custom
      ones but a few (`operators.PURE_CUSTOM`), those that control edges name, and control flow
      around such. Random ones are random.
    - IF, WHILE and the like are opaque; their subgraphs stay as they are.
    - Whether a RESHAPE shares its operand's bytes is the target's affair: nothing aliases here.
    - Workspace is the kernel's affair: unknown here.
    - A name that is empty or used before gets the tensor's index: `name#12`.

    Raises:
        InputError: there is no such subgraph.
        ModelError: the tensors take over 2^60 bytes together.
    """
    if not 0 <= subgraph < len(source.model.subgraphs):
        raise InputError(
            f"subgraph {subgraph} does not exist: the model has {len(source.model.subgraphs)}"
        )
    return _Import(source.model.subgraphs[subgraph]).run()


class _Import:
    def __init__(self, subgraph: TfliteSubgraph) -> None:
        self.subgraph = subgraph
        self.graph = Graph(_plain(subgraph.name) or f"subgraph_{subgraph.index}")
        self.tensors: list[Tensor | None] = [None] * len(subgraph.tensors)

    def run(self) -> TfliteImport:
        sub = self.subgraph
        for index in dict.fromkeys(sub.inputs):
            self._source(sub.tensors[index], Role.INPUT)
        for op in sub.operators:
            self._add(op)
        for index in sub.outputs:
            tensor = self.tensors[index] or self._source(sub.tensors[index], Role.CONSTANT)
            self.graph.add_output(tensor)
        verify(self.graph)
        return TfliteImport(self.graph, tuple(self.tensors), sub)

    def _add(self, op: TfliteOperator) -> None:
        sub = self.subgraph
        inputs = [self._operand(i) for i in op.inputs]
        outputs = [self._define(sub.tensors[i], Role.ACTIVATION) for i in op.outputs if i >= 0]
        attributes = op.attributes()
        self.graph.add_op(
            f"{_plain(op.kind)}_{op.index}",
            "tflite",
            _plain(op.kind),
            inputs,
            outputs,
            attributes=attributes,
            traits=Traits(
                pinned=op.index in sub.stateful,
                random=op.index in sub.random,
                commutes=op.kind in _COMMUTES,
            ),
            flops=operator_flops(op.kind, attributes, inputs, outputs),
            workspace_known=False,
            source=op.index,
        )

    def _operand(self, index: int) -> Tensor | None:
        if index < 0:
            return None
        return self.tensors[index] or self._source(self.subgraph.tensors[index], Role.INPUT)

    def _source(self, tensor: TfliteTensor, role: Role) -> Tensor:
        """Define a tensor that no operator makes."""
        if tensor.constant:
            role = Role.CONSTANT
        elif tensor.variable:
            role = Role.STATE
        return self._define(tensor, role)

    def _define(self, tensor: TfliteTensor, role: Role) -> Tensor:
        name = _plain(tensor.name)
        if not name or name in self.graph:
            name = f"{name or 'tensor'}#{tensor.index}"
        while name in self.graph:  # somebody gave it that name
            name += "#"
        made = self.graph.add_tensor(
            name, tensor.dtype, tensor.shape, role=role, nbytes=tensor.nbytes
        )
        self.tensors[tensor.index] = made
        return made


def _plain(name: str) -> str:
    """Printable characters only: names reach the terminal."""
    return "".join(c if c.isprintable() else "?" for c in name)
