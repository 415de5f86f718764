"""An ONNX graph as TensorFlow ops: each node by its entry in the registry, or by its definition.

    registry      the operator's own function                         most operators
    functions     the model's local functions                         nodes one by one
    definitions   the function that ONNX's schema gives               Attention, losses, ...

Nodes whose operands are all constant are evaluated at once and stay constants.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, cast

import numpy as np
import onnx_ir

from lowtide.backends.tensorflow.from_onnx.call import Call
from lowtide.backends.tensorflow.from_onnx.definitions import defines, definition
from lowtide.backends.tensorflow.from_onnx.lazy import tf
from lowtide.backends.tensorflow.from_onnx.registry import find, nearest
from lowtide.backends.tensorflow.from_onnx.value import Array, Place, Value
from lowtide.errors import LowtideError, ModelError

if TYPE_CHECKING:
    from collections.abc import Iterator

    from lowtide.backends.tensorflow.from_onnx.registry import Entry

__all__ = ["Emitter", "check"]

_QUANTIZATION = ("QuantizeLinear", "DequantizeLinear")
_IGNORED = frozenset({"consumed_inputs", "doc_string", "onnx_opname"})
_DEPTH = 32

_Attributes = Mapping[str, onnx_ir.Attr]
# A function's parameter that is left out is None.
_Scope = dict[onnx_ir.Value, Value | None]


def check(model: onnx_ir.Model) -> None:
    """Every operator, and every attribute it is given, is one that is emitted.

    Raises:
        ModelError: which are not, where, and what to do instead.
    """
    problems: dict[str, str] = {}
    for node, imports in _nodes(model):
        if node.op_identifier() in model.functions:
            continue
        version = _version(node, imports)
        entry = find(node.domain, node.op_type, version)
        kind = node.op_type if node.domain in ("", "ai.onnx") else f"{node.domain}.{node.op_type}"
        if entry is None:
            if not defines(node.domain, node.op_type, version):
                remedy = nearest(node.domain, node.op_type)
                problems.setdefault(
                    kind,
                    f"{kind} (opset {version}), first at node `{_name(node)}`, is not emitted: "
                    f"{remedy}",
                )
            continue
        unknown = sorted(set(node.attributes) - entry.attributes - _IGNORED)
        if unknown and not defines(node.domain, node.op_type, version, unknown):
            problems.setdefault(
                f"{kind} {unknown}",
                f"{kind} (opset {version}) with the attribute `{unknown[0]}`, first at node "
                f"`{_name(node)}`, is not emitted: known are "
                f"{', '.join(sorted(entry.attributes)) or 'none'}",
            )
    if problems:
        raise ModelError("; ".join(problems.values()))


def _nodes(model: onnx_ir.Model) -> Iterator[tuple[onnx_ir.Node, Mapping[str, int]]]:
    for node in onnx_ir.traversal.RecursiveGraphIterator(model.graph):
        yield node, model.opset_imports
    for function in model.functions.values():
        for node in onnx_ir.traversal.RecursiveGraphIterator(function):
            yield node, function.opset_imports


def _version(node: onnx_ir.Node, imports: Mapping[str, int]) -> int:
    if node.version is not None:
        return node.version
    if node.domain in ("", "ai.onnx"):
        return imports.get("", imports.get("ai.onnx", 1))
    return imports.get(node.domain, 1)


def _name(node: onnx_ir.Node) -> str:
    return node.name or next((out.name for out in node.outputs if out.name), "") or node.op_type


class Emitter:
    """Emits a model's graph into the TensorFlow graph that is being built.

    Attributes:
        place: how constants get into the graph.
    """

    def __init__(
        self,
        model: onnx_ir.Model,
        *,
        place: Place,
        fake_quantized: bool = False,
        lite: bool = False,
    ) -> None:
        self._model = model
        self.place = place
        self._fake_quantized = fake_quantized
        self._lite = lite

    def emit(self, inputs: Mapping[str, Value]) -> dict[str, Value]:
        """The outputs' values from the inputs', both by name.

        Raises:
            ModelError: an operator is used in a way that is not emitted.
        """
        graph = self._model.graph
        scope: _Scope = {
            value: inputs[value.name or ""] for value in graph.inputs if value.name in inputs
        }
        self._run(graph, scope, [scope], self._model.opset_imports, {}, 0)
        return {value.name or "": self._value(value, [scope]) for value in graph.outputs}

    def _run(
        self,
        graph: onnx_ir.Graph,
        scope: _Scope,
        scopes: list[_Scope],
        imports: Mapping[str, int],
        bound: _Attributes,
        depth: int,
    ) -> None:
        for value in graph.initializers.values():
            if value not in scope and value.const_value is not None:
                scope[value] = Value(None, array=_array(value.const_value), place=self.place)
        for node in graph:
            self._node(node, scopes, imports, bound, depth)

    def _operand(self, value: onnx_ir.Value, scopes: list[_Scope]) -> Value | None:
        for level in range(len(scopes) - 1, -1, -1):
            if value in scopes[level]:
                found = scopes[level][value]
                if found is not None and level < len(scopes) - 1:
                    found = scopes[-1][value] = found.again()
                return found
        raise ModelError(f"`{value.name}` is read before it is computed")

    def _value(self, value: onnx_ir.Value, scopes: list[_Scope]) -> Value:
        found = self._operand(value, scopes)
        if found is None:
            raise ModelError(f"`{value.name}` is an output, and is left out")
        return found

    def _node(
        self,
        node: onnx_ir.Node,
        scopes: list[_Scope],
        imports: Mapping[str, int],
        bound: _Attributes,
        depth: int,
    ) -> None:
        if depth > _DEPTH:
            raise ModelError(
                f"functions call each other more than {_DEPTH} deep at `{_name(node)}`"
            )
        inputs = [None if v is None else self._operand(v, scopes) for v in node.inputs]
        attributes = {
            name: bound[attr.ref_attr_name or ""] if attr.is_ref() else attr
            for name, attr in node.attributes.items()
            if not attr.is_ref() or attr.ref_attr_name in bound
        }
        version = _version(node, imports)
        entry = find(node.domain, node.op_type, version)
        with tf.name_scope(_scope_name(_name(node))):
            results = self._results(
                node, inputs, attributes, version, entry, scopes, imports, bound, depth
            )
        for output, result in zip(node.outputs, results, strict=False):
            if result is not None and output.name:
                scopes[-1][output] = result

    def _results(
        self,
        node: onnx_ir.Node,
        inputs: list[Value | None],
        attributes: _Attributes,
        version: int,
        entry: Entry | None,
        scopes: list[_Scope],
        imports: Mapping[str, int],
        bound: _Attributes,
        depth: int,
    ) -> Sequence[Value | None]:
        function = self._model.functions.get(node.op_identifier())
        if function is None and (entry is None or set(attributes) - entry.attributes - _IGNORED):
            function = definition(node, inputs, attributes, version)
            if function is None:
                raise ModelError(
                    f"{node.op_type} (opset {version}) at node `{_name(node)}` is not emitted: "
                    f"{nearest(node.domain, node.op_type)}"
                )
        if function is not None:
            return self._function(function, inputs, attributes, depth)
        assert entry is not None

        def run_graph(graph: onnx_ir.Graph, values: Sequence[Value]) -> list[Value]:
            inner: _Scope = dict(zip(graph.inputs, values, strict=False))
            within = [*scopes, inner]
            self._run(graph, inner, within, imports, bound, depth + 1)
            return [self._value(value, within) for value in graph.outputs]

        folds = (
            entry.folds
            and any(v is not None for v in inputs)
            and all(v is None or v.array is not None for v in inputs)
            and not (self._fake_quantized and node.op_type in _QUANTIZATION)
        )
        if not folds:
            call = Call(
                node,
                inputs,
                version,
                attributes,
                run_graph,
                self.place,
                fake_quantized=self._fake_quantized,
                lite=self._lite,
            )
            return _guarded(entry, call)
        with tf.init_scope():
            eager = [None if v is None else Value(None, array=v.array) for v in inputs]
            call = Call(node, eager, version, attributes, run_graph, tf.constant)
            results = _guarded(entry, call)
            arrays = [None if value is None else _evaluated(value) for value in results]
        return [
            None if array is None else Value(None, array=array, place=self.place)
            for array in arrays
        ]

    def _function(
        self,
        function: onnx_ir.Function,
        inputs: Sequence[Value | None],
        attributes: _Attributes,
        depth: int,
    ) -> list[Value | None]:
        bound = {name: attr for name, attr in function.attributes.items() if attr.value is not None}
        bound.update(attributes)
        given = [*inputs, *[None] * (len(function.inputs) - len(inputs))]
        scope: _Scope = dict(zip(function.inputs, given, strict=True))
        for inner in function:
            self._node(inner, [scope], function.opset_imports, bound, depth + 1)
        return [scope.get(value) for value in function.outputs]


def _guarded(entry: Entry, call: Call) -> Sequence[Value | None]:
    """The entry's results; what TensorFlow refuses becomes an error that names the node."""
    try:
        results = entry.handler(call)
    except LowtideError:
        raise
    except Exception as error:
        text = str(error).strip().splitlines()
        raise ModelError(
            f"{call.label} cannot be emitted: {type(error).__name__}: {text[0] if text else ''}"
        ) from error
    return [results] if isinstance(results, Value) else results


def _evaluated(value: Value) -> Array:
    if value.array is not None:
        return value.array
    return cast("Array", np.asarray(cast("onnx_ir.TensorProtocol", value.tensor).numpy()))


def _array(tensor: onnx_ir.TensorProtocol) -> Array:
    return tensor.numpy()


def _scope_name(name: str) -> str:
    """A name that TensorFlow takes for a scope."""
    clean = re.sub(r"[^A-Za-z0-9_.\\/>-]", "_", name).strip("/")
    return clean if re.match(r"[A-Za-z0-9.]", clean) else f"n{clean}"
