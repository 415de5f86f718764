"""A traced function again, from changed nodes: same signature, same captures."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, cast

from lowtide.tensorflow_types import TfFunction, load_tensorflow

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Mapping, Sequence

__all__ = ["rebuilt", "tensor_name"]


def tensor_name(name: str) -> str:
    """A tensor's name with its number."""
    return name if ":" in name or name.startswith("^") else f"{name}:0"


def rebuilt(
    function: TfFunction,
    nodes: Iterable[Any],
    *,
    resolve: Callable[[str], str] = tensor_name,
    shapes: Mapping[str, Sequence[int | None]] | None = None,
) -> TfFunction:
    """A function of the same signature and captures with other nodes; shapes are inferred anew.

    Args:
        function: a `ConcreteFunction`; it is not changed.
        nodes: `NodeDef`s, all but the placeholders of inputs.
        resolve: which of their tensors a result of the function is.
        shapes: for inputs by the name of their placeholder, where they are to be more special.
    """
    old: Any = function.graph
    framework = load_tensorflow("tensorflow.python.framework.func_graph")
    graph: Any = framework.FuncGraph(old.name)
    for called in old._functions.values():
        graph._add_function_recursive(called)
    nodes = list(nodes)
    definition = old.as_graph_def()
    with graph.as_default():
        values = _placeholders(function, graph, shapes or {})
        used = {name for node in nodes for name in map(tensor_name, node.input)}
        imported = type(definition)()
        imported.versions.CopyFrom(definition.versions)
        imported.node.extend(nodes)
        importer = load_tensorflow("tensorflow.python.framework.importer")
        importer.import_graph_def(
            imported, {name: values[name] for name in values if name in used}, name=""
        )
    return _concrete(function, graph, values, resolve)


def _placeholders(
    function: TfFunction, graph: Any, shapes: Mapping[str, Sequence[int | None]]
) -> dict[str, Any]:
    tensorflow = load_tensorflow()
    util = load_tensorflow("tensorflow.python.ops.handle_data_util")
    old: Any = function.graph
    captured = {inner.name: outer for outer, inner in old.captures}
    values: dict[str, Any] = {}
    for tensor in old.inputs:
        shape = shapes.get(tensor.op.name, tensor.shape)
        # Ops whose names are a part of a placeholder's would be renamed when they are imported.
        name = tensor.op.name.replace("/", ".")
        new = tensorflow.compat.v1.placeholder(tensor.dtype, shape, name=name)
        util.copy_handle_data(tensor, new)
        values[tensor.name] = new
        if tensor.name in captured:
            graph.add_capture(captured[tensor.name], new)
        else:
            graph.inputs.append(new)
    return values


def _concrete(
    function: TfFunction, graph: Any, values: Mapping[str, Any], resolve: Callable[[str], str]
) -> TfFunction:
    tensorflow = load_tensorflow()
    source: Any = function
    old: Any = function.graph
    found: dict[str, Any] = {}
    for tensor in old.outputs:
        name = resolve(tensor.name)
        found[tensor.name] = values[name] if name in values else graph.get_tensor_by_name(name)
        graph.outputs.append(found[tensor.name])
    graph.control_outputs.extend(graph.get_operation_by_name(c.name) for c in old.control_outputs)
    graph.variables = old.variables
    graph.structured_input_signature = old.structured_input_signature

    def mapped(value: object) -> object:
        name = getattr(value, "name", None)
        return found.get(name, value) if isinstance(name, str) else value

    graph.structured_outputs = tensorflow.nest.map_structure(
        mapped, old.structured_outputs, expand_composites=True
    )
    module = load_tensorflow("tensorflow.python.eager.polymorphic_function.concrete_function")
    made = module.ConcreteFunction.from_func_graph(graph, source.function_type, {})
    made._arg_keywords = source._arg_keywords
    made._num_positional_args = source._num_positional_args
    return cast("TfFunction", made)
