"""An ONNX model with known shapes to the graph IR."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING, cast

import onnx_ir

from lowtide.errors import ModelError
from lowtide.frontends.onnx.dimensions import OpenDimension, require_bound
from lowtide.frontends.onnx.dtypes import ELEMENT_TYPES
from lowtide.frontends.onnx.flops import node_flops
from lowtide.frontends.onnx.kernels import KernelQuery, TensorType, kernel_memory
from lowtide.frontends.onnx.message import one_line
from lowtide.frontends.onnx.shapes import INFERENCE_PROBLEM, OPAQUE
from lowtide.frontends.onnx.traits import node_traits
from lowtide.ir import Alias, Graph, InPlace, Role, Traits, verify

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from lowtide.frontends.onnx.kernels import KernelMemory
    from lowtide.ir import Tensor
    from lowtide.ir.op import Attribute

__all__ = ["import_graph"]

_MAX_ITEMS = 64  # of a list attribute that is carried over; longer ones stay in the source node
_MAX_TEXT = 256
_LISTED = 5  # values named in an error


def import_graph(model: onnx_ir.Model, *, threads: int = 1) -> Graph:
    """The main graph of `model` as ONNX Runtime's CPU kernels would run it, node by node.

    - An initializer is a constant, listed among the inputs or not; the result of a Constant node is
      one too, and the node becomes no op (ORT turns it into an initializer).
    - Nodes with subgraphs and calls of model functions are opaque ops; values captured by subgraphs
      follow the node's own inputs, each once.
    - Strings, sequences and optionals have the dtype `opaque` and no bytes.
    - A view that is an output of the graph is a copy; views of constants and inputs cost nothing.

    Args:
        model: a model whose shapes are known, as `read` or `optimized_by_ort` return it.
        threads: intra-op threads of the session, on which some kernels' workspace depends.

    Raises:
        ModelError: a shape is unknown; the message names the values and the dimensions.
    """
    require_bound(_open(model))
    return _Import(model, threads).run()


def _open(model: onnx_ir.Model) -> list[OpenDimension]:
    found: list[OpenDimension] = []
    constants = model.graph.initializers
    for value in model.graph.inputs:
        if value.name in constants or value.shape is None:
            continue
        for axis, dim in enumerate(value.shape):
            if not isinstance(dim, int):
                found.append(
                    OpenDimension(str(value.name), axis, dim.value or f"{value.name}[{axis}]")
                )
    return found


class _Import:
    """One import: the graph so far and the tensors of the model's values."""

    def __init__(self, model: onnx_ir.Model, threads: int) -> None:
        self.model = model
        self.threads = threads
        self.graph = Graph(model.graph.name or "graph")
        self.tensors: dict[onnx_ir.Value, Tensor] = {}
        self.outputs = set(model.graph.outputs)
        self.versions = {("" if d == "ai.onnx" else d): v for d, v in model.opset_imports.items()}
        self.nested: dict[onnx_ir.OperatorIdentifier, frozenset[tuple[str, str]]] = {}
        counts: dict[str, int] = {}
        for node in model.graph:
            if node.name:
                counts[node.name] = counts.get(node.name, 0) + 1
        self.unique = {name for name, count in counts.items() if count == 1}
        self.taken = set(counts)

    def run(self) -> Graph:
        source = self.model.graph
        for value in source.inputs:
            self._define(value, Role.CONSTANT if value.name in source.initializers else Role.INPUT)
        for value in source.initializers.values():
            if value not in self.tensors:
                self._define(value, Role.CONSTANT)
        nodes = [node for node in source if not self._constant(node)]
        self._require_known(nodes)
        for index, node in enumerate(source):
            if self._constant(node):
                self._define(node.outputs[0], Role.CONSTANT)
            else:
                self._add(node, self._name(node, index))
        for value in source.outputs:
            self.graph.add_output(self.tensors[value])
        verify(self.graph)
        return self.graph

    def _name(self, node: onnx_ir.Node, index: int) -> str:
        if node.name in self.unique:
            return str(node.name)
        name = f"{node.op_type}_{index}"
        while name in self.taken:
            name += "_"
        self.taken.add(name)
        return name

    @staticmethod
    def _constant(node: onnx_ir.Node) -> bool:
        return node.op_type == "Constant" and node.domain in ("", "ai.onnx")

    def _define(self, value: onnx_ir.Value, role: Role) -> Tensor:
        kind, shape = _constant_type(value) if role is Role.CONSTANT else _value_type(value)
        if kind is None or shape is None:
            raise ModelError(
                one_line(f"the {role} `{value.name}` has no type or no shape in the model")
            )
        tensor = self.graph.add_tensor(str(value.name), kind, shape, role=role)
        self.tensors[value] = tensor
        return tensor

    def _add(self, node: onnx_ir.Node, name: str) -> None:
        domain = "" if node.domain == "ai.onnx" else node.domain
        attributes = _plain_attributes(node)
        called = self.model.functions.get(node.op_identifier())
        operands = [None if v is None else self.tensors[v] for v in node.inputs]
        captured = [self.tensors[v] for v in _captured(node) if v in self.tensors]
        given = {t for t in operands if t is not None}
        operands += [t for t in captured if t not in given]
        positions = [i for i, value in enumerate(node.outputs) if value.name]
        types = [_tensor_type(v) if v.name else None for v in node.outputs]
        memory = self._memory(node, domain, attributes, types, opaque=called is not None)
        aliases = self._aliases(node, memory)
        results = [self._result(node.outputs[i], operands, aliases.get(i)) for i in positions]
        traits = node_traits(
            domain,
            node.op_type,
            attributes,
            inputs=sum(v is not None for v in node.inputs),
            standard=called is None,
            nested=self._nested(node),
        )
        in_place = tuple(
            InPlace(positions.index(c.output), c.input)
            for c in memory.in_place
            if c.output in positions
            and c.input < len(node.inputs)
            and _read_once(operands, c.input)
            and results[positions.index(c.output)].alias is None
        )
        self.graph.add_op(
            name,
            f"onnx.{domain}" if domain else "onnx",
            node.op_type,
            operands,
            results,
            attributes=attributes,
            traits=Traits(
                pinned=traits.pinned,
                random=traits.random,
                once=next(_subgraphs(node), None) is not None,
                view=any(t.alias is not None for t in results),
                commutes=traits.commutes,
            ),
            in_place=in_place,
            flops=node_flops(
                node.op_type,
                attributes,
                [None if v is None else _tensor_type(v) for v in node.inputs],
                types,
            ),
            workspace_bytes=memory.workspace_bytes,
            workspace_known=memory.workspace_known,
            source=node,
        )
        for tensor in captured:
            if tensor.producer is not None:  # a repeat would not reach the subgraph
                tensor.producer.traits = replace(tensor.producer.traits, once=True)

    def _memory(
        self,
        node: onnx_ir.Node,
        domain: str,
        attributes: dict[str, Attribute],
        types: Sequence[TensorType | None],
        *,
        opaque: bool,
    ) -> KernelMemory:
        kind = f"{node.domain}::{node.op_type}" if opaque else node.op_type
        return kernel_memory(
            KernelQuery(
                domain=domain,
                kind=kind,
                version=node.version or self.versions.get(domain, 1),
                attributes=attributes,
                inputs=tuple(None if v is None else _tensor_type(v) for v in node.inputs),
                outputs=tuple(types),
                constant=tuple(
                    v is not None and self.tensors[v].role is Role.CONSTANT for v in node.inputs
                ),
                threads=self.threads,
            )
        )

    def _aliases(self, node: onnx_ir.Node, memory: KernelMemory) -> dict[int, int]:
        """Output to input, by the node's own positions; what the graph returns is a copy."""
        return {
            output: operand
            for output, operand in memory.aliases
            if output < len(node.outputs)
            and operand < len(node.inputs)
            and node.inputs[operand] is not None
            and node.outputs[output] not in self.outputs
        }

    def _result(
        self, value: onnx_ir.Value, operands: Sequence[Tensor | None], base: int | None
    ) -> Tensor:
        kind, shape = _value_type(value)
        if kind is None or shape is None:  # _require_known has seen to it
            raise ModelError(f"the shape of `{value.name}` is unknown")
        tensor = self.graph.add_tensor(str(value.name), kind, shape)
        operand = None if base is None else operands[base]
        if operand is not None and operand.nbytes == tensor.nbytes:
            tensor.alias = Alias(operand, 0)
        self.tensors[value] = tensor
        return tensor

    def _nested(self, node: onnx_ir.Node) -> frozenset[tuple[str, str]]:
        """Domain and kind of every node inside a node's subgraphs or its function's body."""
        identifier = node.op_identifier()
        function = self.model.functions.get(identifier)
        found: set[tuple[str, str]] = set()
        if function is not None:
            if identifier not in self.nested:
                for inner in function.all_nodes():
                    found.add((inner.domain, inner.op_type))
                    found |= self._nested(inner)
                self.nested[identifier] = frozenset(found)
            return self.nested[identifier]
        for graph in _subgraphs(node):
            for inner in graph.all_nodes():
                found.add((inner.domain, inner.op_type))
                if inner.op_identifier() in self.model.functions:
                    found |= self._nested(inner)
        return frozenset(found)

    def _require_known(self, nodes: Sequence[onnx_ir.Node]) -> None:
        unknown: list[str] = []
        for index, node in enumerate(nodes):
            for value in node.outputs:
                if not value.name:
                    continue
                kind, shape = _value_type(value)
                if kind is None or shape is None:
                    of = f"{node.op_type} `{node.name}`" if node.name else f"{node.op_type} {index}"
                    unknown.append(f"`{value.name}` (made by {of}): {_shape_text(value)}")
        if unknown:
            more = f"; and {len(unknown) - _LISTED} more" if len(unknown) > _LISTED else ""
            problem = cast("str | None", self.model.meta.get(INFERENCE_PROBLEM))
            because = f" Shape inference says: {problem}." if problem else ""
            listed = one_line(f"{'; '.join(unknown[:_LISTED])}{more}.{because}")
            raise ModelError(
                f"the shapes of {len(unknown)} values are unknown: {listed} A named dimension can "
                f"be bound with --dim NAME=VALUE; sizes that depend on the data, and operators "
                f"that neither onnx nor ONNX Runtime knows, cannot be planned: cut the model there"
            )


def _read_once(operands: list[Tensor | None], position: int) -> bool:
    """Whether the node reads that operand's storage nowhere else: ORT counts uses, not readers."""
    operand = operands[position]
    if operand is None:
        return False
    return sum(t is not None and t.storage is operand.storage for t in operands) == 1


def _shape_text(value: onnx_ir.Value) -> str:
    if value.type is None:
        return "no type"
    if value.shape is None:
        return "unknown rank"
    dims = ", ".join(str(d) if isinstance(d, int) else (d.value or "?") for d in value.shape)
    return f"[{dims}]"


def _value_type(value: onnx_ir.Value) -> tuple[str | None, tuple[int, ...] | None]:
    """Element type and shape; None for what is unknown."""
    if value.meta.get(OPAQUE):
        return "opaque", ()
    if value.type is None:
        return None, None
    if not isinstance(value.type, onnx_ir.TensorType):
        return "opaque", ()
    kind = ELEMENT_TYPES.get(value.type.dtype.value)
    if value.shape is None:
        return kind, None
    dims: list[int] = []
    for dim in value.shape:
        if not isinstance(dim, int):
            return kind, None
        dims.append(dim)
    return kind, tuple(dims)


def _constant_type(value: onnx_ir.Value) -> tuple[str | None, tuple[int, ...] | None]:
    """As the stored tensor says, whatever the declaration does."""
    if value.const_value is None:
        return _value_type(value)
    dims = tuple(int(d) for d in value.const_value.shape.numpy())
    return ELEMENT_TYPES.get(value.const_value.dtype.value), dims


def _tensor_type(value: onnx_ir.Value) -> TensorType | None:
    kind, shape = _value_type(value)
    return None if kind is None or shape is None else TensorType(kind, shape)


def _subgraphs(node: onnx_ir.Node) -> Iterator[onnx_ir.Graph]:
    for attribute in node.attributes.values():
        if attribute.is_ref():
            continue
        if attribute.type is onnx_ir.AttributeType.GRAPH:
            yield attribute.as_graph()
        elif attribute.type is onnx_ir.AttributeType.GRAPHS:
            yield from attribute.as_graphs()


def _captured(node: onnx_ir.Node) -> list[onnx_ir.Value]:
    """Values that the node's subgraphs read and do not define, in order, each once.

    Values of subgraphs in between are among them; the caller keeps those of the main graph.
    """
    found: dict[onnx_ir.Value, None] = {}
    for graph in _subgraphs(node):
        for inner in graph.all_nodes():
            found.update((v, None) for v in inner.inputs if v is not None)
    return list(found)


def _plain_attributes(node: onnx_ir.Node) -> dict[str, Attribute]:
    plain: dict[str, Attribute] = {}
    for name, attribute in node.attributes.items():
        if attribute.is_ref():
            continue
        kind = attribute.type
        if kind is onnx_ir.AttributeType.INT:
            plain[name] = attribute.as_int()
        elif kind is onnx_ir.AttributeType.FLOAT:
            plain[name] = attribute.as_float()
        elif kind is onnx_ir.AttributeType.STRING and isinstance(attribute.value, str):
            if len(attribute.value) <= _MAX_TEXT:
                plain[name] = attribute.value
        elif kind is onnx_ir.AttributeType.INTS:
            if len(attribute.as_ints()) <= _MAX_ITEMS:
                plain[name] = tuple(attribute.as_ints())
        elif kind is onnx_ir.AttributeType.FLOATS:
            if len(attribute.as_floats()) <= _MAX_ITEMS:
                plain[name] = tuple(attribute.as_floats())
        elif kind is onnx_ir.AttributeType.STRINGS and len(attribute.as_strings()) <= _MAX_ITEMS:
            plain[name] = tuple(attribute.as_strings())
    return plain
