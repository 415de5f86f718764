"""The graph IR: ops in execution order over named tensors."""

from __future__ import annotations

from typing import TYPE_CHECKING

from lowtide.errors import LowtideError, ModelError
from lowtide.ir.dtype import nbytes as dense_nbytes
from lowtide.ir.op import InPlace, Op, Traits
from lowtide.ir.tensor import Alias, Role, Tensor, Use

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence

    import networkx as nx

    from lowtide.ir.op import Attribute
    from lowtide.ir.recipe import Recipe

__all__ = ["Graph"]


class Graph:
    """A directed acyclic graph of ops, kept in a valid execution order.

    Names are unique; iteration order is the order of insertion, so that everything built on it is
    deterministic. Do not mutate while iterating over `ops`: take a copy of the tuple (it is one).
    Appending is O(inputs + outputs). Putting ops in front of others is, too; the next look at the
    order, or the next `remove`, then takes O(ops).
    """

    def __init__(self, name: str = "graph") -> None:
        self.name = name
        self._inputs: list[Tensor] = []
        self._outputs: list[Tensor] = []
        self._ops: dict[str, Op] = {}  # in order but for `_inserted`
        self._inserted: dict[Op, list[Op]] = {}  # not yet in order: in front of which op
        self._tensors: dict[str, Tensor] = {}

    # ---------------------------------------------------------------- reading

    @property
    def inputs(self) -> tuple[Tensor, ...]:
        """What the caller hands over."""
        return tuple(self._inputs)

    @property
    def outputs(self) -> tuple[Tensor, ...]:
        """What the caller gets; an input or a constant may be among them."""
        return tuple(self._outputs)

    @property
    def ops(self) -> tuple[Op, ...]:
        """The ops in execution order."""
        self._sort()
        return tuple(self._ops.values())

    @property
    def tensors(self) -> tuple[Tensor, ...]:
        """All tensors, in order of definition."""
        return tuple(self._tensors.values())

    def tensor(self, name: str) -> Tensor:
        """The tensor of that name; KeyError if there is none."""
        return self._tensors[name]

    def op(self, name: str) -> Op:
        """The op of that name; KeyError if there is none."""
        return self._ops[name]

    def __len__(self) -> int:
        return len(self._ops)

    def __contains__(self, name: str) -> bool:
        return name in self._tensors

    # ---------------------------------------------------------------- building

    def add_tensor(
        self,
        name: str,
        dtype: str,
        shape: Sequence[int],
        *,
        role: Role = Role.ACTIVATION,
        nbytes: int | None = None,
        alias: Alias | None = None,
        like: Tensor | None = None,
        recipe: Recipe | None = None,
    ) -> Tensor:
        """Define a tensor.

        Args:
            name: unique in the graph.
            dtype: such as `float32` or `int8`.
            shape: of whole numbers.
            role: what it is in the graph.
            nbytes: its size; by default the dense one.
            alias: the tensor whose storage it shares, and where; None for storage of its own.
            like: of a tensor that a rewrite introduces, the one whose element type it has.
            recipe: of a constant that a rewrite introduces, how it is made.

        Raises:
            ModelError: the name is taken, or the size is invalid.
        """
        if name in self._tensors:
            raise ModelError(f"the name `{name}` is given to two tensors; names must be unique")
        dims = tuple(shape)
        size = dense_nbytes(dtype, dims) if nbytes is None else nbytes
        tensor = Tensor(name, dtype, dims, size, role, alias, like, recipe)
        self._tensors[name] = tensor
        if role is Role.INPUT:
            self._inputs.append(tensor)
        return tensor

    def add_op(
        self,
        name: str,
        dialect: str,
        kind: str,
        inputs: Iterable[Tensor | None],
        outputs: Iterable[Tensor],
        *,
        attributes: Mapping[str, Attribute] | None = None,
        traits: Traits = Traits(),  # noqa: B008 - frozen
        in_place: tuple[InPlace, ...] = (),
        flops: int = 0,
        cost: float | None = None,
        workspace_bytes: int = 0,
        workspace_known: bool = True,
        source: object = None,
        before: Op | None = None,
    ) -> Op:
        """Append an op, or insert it in front of `before`.

        Args:
            name: unique in the graph.
            dialect: the format that it is of, such as `onnx`.
            kind: the operator's name there.
            inputs: tensors of this graph; None for one that is left out.
            outputs: tensors that no op makes yet.
            attributes: of the operator.
            traits: pinned, random, a view, ...
            in_place: candidates, in the runtime's order of preference.
            flops: floating point operations, 0 when unknown.
            cost: seconds or model units, None when unknown.
            workspace_bytes: scratch while it runs.
            workspace_known: whether that is modelled.
            source: where it comes from, for the backend.
            before: an op of this graph; None to append.

        Raises:
            ModelError: the name is taken, or an output already has a producer.
            LowtideError: `before` is no op of this graph.
        """
        if before is not None and self._ops.get(before.name) is not before:
            raise LowtideError(f"op `{name}` cannot go in front of `{before.name}`: it is not here")
        if name in self._ops:
            raise ModelError(f"the name `{name}` is given to two ops; names must be unique")
        op = Op(
            name,
            dialect,
            kind,
            tuple(inputs),
            tuple(outputs),
            attributes=attributes,
            traits=traits,
            in_place=in_place,
            flops=flops,
            cost=cost,
            workspace_bytes=workspace_bytes,
            workspace_known=workspace_known,
            source=source,
        )
        for tensor in op.outputs:
            if tensor.producer is not None:
                raise ModelError(
                    f"tensor `{tensor.name}` is produced twice: by op `{tensor.producer.name}` "
                    f"and by op `{name}`"
                )
        for tensor in op.outputs:
            tensor.producer = op
        for index, operand in enumerate(op.inputs):
            if operand is not None:
                operand._uses[Use(op, index)] = None
        self._ops[name] = op
        if before is not None:
            self._inserted.setdefault(before, []).append(op)
        return op

    def _sort(self) -> None:
        """Put inserted ops in their places."""
        if not self._inserted:
            return
        moved = {op for ops in self._inserted.values() for op in ops}
        stack = [op for op in reversed(self._ops.values()) if op not in moved]
        ordered: dict[str, Op] = {}
        while stack:
            op = stack.pop()
            waiting = self._inserted.pop(op, None)
            if waiting is None:
                ordered[op.name] = op
            else:
                stack += [op, *reversed(waiting)]
        self._ops = ordered

    def add_output(self, tensor: Tensor) -> None:
        """Hand `tensor` to the caller as the next output."""
        self._outputs.append(tensor)
        if tensor.role is Role.ACTIVATION:
            tensor.role = Role.OUTPUT

    # ---------------------------------------------------------------- changing

    def remove(self, op: Op) -> None:
        """Remove an op whose results nobody reads, and its results.

        Raises:
            LowtideError: a result is still used or is an output of the graph.
        """
        for tensor in op.outputs:
            if tensor._uses or tensor in self._outputs:
                raise LowtideError(f"op `{op.name}` cannot go: `{tensor.name}` is still used")
        self._sort()
        for index, operand in enumerate(op.inputs):
            if operand is not None:
                del operand._uses[Use(op, index)]
        for tensor in op.outputs:
            del self._tensors[tensor.name]
        del self._ops[op.name]

    def replace_uses(self, old: Tensor, new: Tensor) -> None:
        """Let every reader of `old`, the graph's outputs included, read `new`."""
        for use in old.uses:
            inputs = list(use.op.inputs)
            inputs[use.position] = new
            use.op._inputs = tuple(inputs)
            del old._uses[use]
            new._uses[use] = None
        if old in self._outputs:
            self._outputs = [new if t is old else t for t in self._outputs]
            if old.role is Role.OUTPUT:
                old.role = Role.ACTIVATION
            if new.role is Role.ACTIVATION:
                new.role = Role.OUTPUT

    def reorder(self, order: Iterable[Op]) -> None:
        """Put the ops in a new execution order.

        Raises:
            LowtideError: `order` is not a permutation of the ops, or breaks a dependency.
        """
        ops = list(order)
        if len(ops) != len(self._ops) or {o.name for o in ops} != self._ops.keys():
            raise LowtideError("the new order is not a permutation of the graph's ops")
        done: set[Op] = set()
        for op in ops:
            for operand in op.operands:
                if operand.producer is not None and operand.producer not in done:
                    raise LowtideError(
                        f"op `{op.name}` would run before `{operand.producer.name}`, "
                        f"which makes its input `{operand.name}`"
                    )
            done.add(op)
        self._inserted.clear()
        self._ops = {o.name: o for o in ops}

    # ---------------------------------------------------------------- views

    def to_networkx(self) -> nx.DiGraph[str]:
        """Ops as nodes, tensors as edges.

        Nodes carry `kind`, `workspace_bytes`, `flops`, `position`; edges `tensors` and `nbytes`.
        Several tensors between the same two ops share one edge.
        """
        import networkx as nx

        self._sort()
        graph: nx.DiGraph[str] = nx.DiGraph(name=self.name)
        for position, op in enumerate(self._ops.values()):
            graph.add_node(
                op.name,
                kind=op.qualified,
                workspace_bytes=op.workspace_bytes,
                flops=op.flops,
                position=position,
            )
        for op in self._ops.values():
            for operand in op.operands:
                if operand.producer is None:
                    continue
                edge = (operand.producer.name, op.name)
                if graph.has_edge(*edge):
                    graph.edges[edge]["tensors"].append(operand.name)
                    graph.edges[edge]["nbytes"] += operand.nbytes
                else:
                    graph.add_edge(*edge, tensors=[operand.name], nbytes=operand.nbytes)
        return graph
