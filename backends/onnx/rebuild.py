"""A model from a rewritten graph: what rewrites left alone stays as it is, byte for byte."""

from __future__ import annotations

from typing import TYPE_CHECKING, cast

import numpy as np
import onnx_ir as ir

from lowtide.backends.onnx.dependence import subgraphs
from lowtide.errors import ModelError
from lowtide.ir import Cast, Folded, Joined, Part, Role, Values

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from numpy.typing import NDArray

    from lowtide.ir import Graph, Op, Tensor
    from lowtide.ir.op import Attribute

__all__ = ["rebuild"]

_MS = "com.microsoft"


def rebuild(model: ir.Model, original: Graph, edited: Graph, *, addends: bool = True) -> ir.Model:
    """A copy of `model` with the nodes of `edited`, in its order; `model` is not changed.

    Args:
        model: what `original` was imported from.
        original: the graph before the rewrites.
        edited: the graph after them: ops of other names are new.
        addends: whether a convolution with an addend is ONNX Runtime's FusedConv; if not, it is
            a Conv and an Add, which ONNX Runtime's own optimiser makes one op of.

    Raises:
        ModelError: a subgraph reads what a rewrite removed, or there is no data for a constant.
    """
    return _Rebuild(model, original, edited, addends=addends).run()


class _Rebuild:
    def __init__(self, model: ir.Model, original: Graph, edited: Graph, *, addends: bool) -> None:
        self.original, self.edited, self.addends = original, edited, addends
        self.model = model.clone()
        graph = self.model.graph
        twins = dict(zip(map(id, model.graph), graph, strict=True))
        self.nodes = {op.name: twins[id(op.source)] for op in original.ops}
        self.values: dict[str, ir.Value] = {str(v.name): v for v in graph.inputs}
        self.values |= {str(v.name): v for v in graph.initializers.values()}
        self.values |= {str(v.name): v for node in graph for v in node.outputs if v.name}
        self.arrays: dict[Tensor, NDArray[np.generic]] = {}

    def run(self) -> ir.Model:
        graph = self.model.graph
        constants = [node for node in graph if node.op_type == "Constant" and not node.domain]
        kept = {op.name for op in self.edited.ops if self._kept(op)}
        dropped = [node for name, node in self.nodes.items() if name not in kept]
        order: list[ir.Node] = list(constants)
        for op in self.edited.ops:
            if self._kept(op):
                node = self.nodes[op.name]
                self._rewire(node, op)
                order.append(node)
            else:
                order += self._new(op)
        for index, tensor in enumerate(self.edited.outputs):
            self._output(index, tensor, order)
        self._check_subgraphs(order, dropped)
        graph.remove([*graph])
        for node in dropped:
            for index in range(len(node.inputs)):
                node.replace_input_with(index, None)
        graph.extend(order)
        self._drop_constants()
        return self.model

    def _kept(self, op: Op) -> bool:
        """Whether the source has the op, and a rewrite has not put another in its place."""
        try:
            return self.original.op(op.name).source is op.source
        except KeyError:
            return False

    def _rewire(self, node: ir.Node, op: Op) -> None:
        for index, tensor in enumerate(op.inputs[: len(node.inputs)]):
            value = None if tensor is None else self._value(tensor)
            if node.inputs[index] is not value:
                node.replace_input_with(index, value)

    def _value(self, tensor: Tensor) -> ir.Value:
        known = self.values.get(tensor.name)
        if known is None:
            known = self.values[tensor.name] = self._constant(tensor)
        return known

    def _constant(self, tensor: Tensor) -> ir.Value:
        data = ir.Tensor(np.ascontiguousarray(self._data(tensor)), name=tensor.name)
        value = ir.Value(
            name=tensor.name,
            shape=ir.Shape(data.shape),
            type=ir.TensorType(data.dtype),
            const_value=data,
        )
        self.model.graph.register_initializer(value)
        return value

    def _data(self, tensor: Tensor) -> NDArray[np.generic]:
        if tensor not in self.arrays:
            self.arrays[tensor] = self._made(tensor)
        return self.arrays[tensor]

    def _made(self, tensor: Tensor) -> NDArray[np.generic]:
        recipe = tensor.recipe
        if isinstance(recipe, Part):
            at = [slice(None)] * recipe.axis + [slice(recipe.start, recipe.stop)]
            return cast("NDArray[np.generic]", self._data(recipe.base)[tuple(at)])
        if isinstance(recipe, Joined):
            return np.concatenate([self._data(part) for part in recipe.parts], recipe.axis)
        if isinstance(recipe, Cast):
            return self._data(recipe.base).astype(tensor.dtype)
        if isinstance(recipe, Folded):
            return self._folded(recipe, tensor)
        if isinstance(recipe, Values):
            items = np.array(recipe.items, tensor.dtype)
            return (
                np.broadcast_to(items, tensor.shape)
                if items.size == 1
                else items.reshape(tensor.shape)
            )
        value = self.values.get(tensor.name)
        held = None if value is None else value.const_value
        if held is None and value is not None and value.producer() is not None:
            held = ir.convenience.get_const_tensor(value)
        if held is None:
            raise ModelError(f"the constant `{tensor.name}` has no data in the model")
        return cast("NDArray[np.generic]", held.numpy())

    def _folded(self, recipe: Folded, tensor: Tensor) -> NDArray[np.generic]:
        """In double precision, rounded once."""
        shape = [1] * len(tensor.shape)
        shape[recipe.axis] = -1

        def column(of: Tensor) -> NDArray[np.float64]:
            return self._data(of).astype(np.float64).reshape(shape)

        made = np.zeros(tensor.shape)
        if recipe.base is not None:
            made = self._data(recipe.base).astype(np.float64)
        if recipe.mean is not None:
            made = made - column(recipe.mean)
        made = made * (column(recipe.scale) / np.sqrt(column(recipe.variance) + recipe.epsilon))
        if recipe.shift is not None:
            made = made + column(recipe.shift)
        return made.astype(tensor.dtype)

    def _new(self, op: Op) -> list[ir.Node]:
        inputs = [None if t is None else self._value(t) for t in op.inputs]
        domain = op.dialect.removeprefix("onnx").removeprefix(".")
        attributes = dict(op.attributes)
        if domain == _MS and op.kind == "FusedConv":
            if not self.addends and len(inputs) > 3 and not attributes.get("activation"):
                conv = self._node(op.name + "/conv", "", "Conv", inputs[:3], attributes)
                conv.outputs[0].name = op.outputs[0].name + "/conv"
                add = self._node(op.name, "", "Add", [inputs[3], conv.outputs[0]], {})
                return [conv, self._named(add, op)]
            self.model.opset_imports.setdefault(_MS, 1)
        return [self._named(self._node(op.name, domain, op.kind, inputs, attributes), op)]

    def _node(
        self,
        name: str,
        domain: str,
        kind: str,
        inputs: Sequence[ir.Value | None],
        attributes: Mapping[str, Attribute],
    ) -> ir.Node:
        kept = list(inputs)
        while kept and kept[-1] is None:
            kept.pop()
        return ir.node(kind, kept, attributes, domain=domain, name=name)

    def _named(self, node: ir.Node, op: Op) -> ir.Node:
        for value, tensor in zip(node.outputs, op.outputs, strict=True):
            value.name = tensor.name
            value.shape = ir.Shape(tensor.shape)
            like = tensor
            while like.like is not None:
                like = like.like
            source = self.values.get(like.name)
            value.type = None if source is None else source.type
            self.values[tensor.name] = value
        return node

    def _output(self, index: int, tensor: Tensor, order: list[ir.Node]) -> None:
        """The caller keeps the name: a new producer takes it over, others get an Identity."""
        graph = self.model.graph
        old = graph.outputs[index]
        value = self._value(tensor)
        if value is old:
            return
        made = value.producer()
        others = [other for other in graph.outputs if other is value]
        if made is None or others or value.name in {str(v.name) for v in graph.outputs}:
            copy = self._node(f"{old.name}/result", "", "Identity", [value], {})
            order.append(copy)
            value = copy.outputs[0]
        name = old.name
        old.name = f"{name}/replaced"
        value.name, value.shape, value.type = name, old.shape, old.type
        graph.outputs[index] = value

    def _check_subgraphs(self, order: Sequence[ir.Node], dropped: Sequence[ir.Node]) -> None:
        gone = {id(value) for node in dropped for value in node.outputs}
        for node in order:
            for inner in subgraphs(node):
                for deep in inner.all_nodes():
                    if any(v is not None and id(v) in gone for v in deep.inputs):
                        raise ModelError(
                            f"a subgraph of `{node.name}` reads what a rewrite removed"
                        )

    def _drop_constants(self) -> None:
        """Constants that nothing reads any more, as far as the source read them."""
        graph = self.model.graph
        read = {t.name for t in self.original.tensors if t.role is Role.CONSTANT and t.uses}
        for name in [*graph.initializers]:
            value = graph.initializers[name]
            if name in read and not value.uses() and value not in graph.outputs:
                if value in graph.inputs:
                    graph.inputs.remove(value)
                del graph.initializers[name]
