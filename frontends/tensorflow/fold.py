"""Sizes that are known when a function is traced, in the place of ops that compute them.

    sum(x, axes = BroadcastGradientArgs(s, t))          how long are the axes?
    sum(x, axes = [0, 1])                               this long

The gradient of a product of many matrices (all attention has them) sums over axes that TensorFlow
computes from two shapes, as an op whose result has no length before it runs; that of a loop makes
zeros in the shape of a variable that it asks for. With shapes that are known, so are these;
TensorFlow would fold them before it runs the function, too.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, cast

from lowtide.frontends.tensorflow.rebuild import rebuilt, tensor_name
from lowtide.tensorflow_types import TfFunction, load_tensorflow

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from lowtide.tensorflow_types import TfOperation, TfTensor

__all__ = ["fold_sizes"]

_KINDS = frozenset({"BroadcastGradientArgs", "VariableShape"})


def fold_sizes(function: TfFunction) -> TfFunction:
    """The function with constants where sizes are known; itself if there are none."""
    operations = [op for op in function.graph.get_operations() if op.type in _KINDS]
    if not operations:
        return function
    old: Any = function.graph
    definition = old.as_graph_def()
    library = {f.signature.name: f for f in definition.library.function}
    known = {op.name: found for op in operations if (found := _sizes(op, library))}
    if not known:
        return function
    placeholders = {tensor.op.name for tensor in old.inputs}
    given = {f"^{name}" for name in placeholders}
    nodes: list[Any] = []
    for node in definition.node:
        if node.name in placeholders:
            continue
        for name in [name for name in node.attr if name.startswith("_")]:
            del node.attr[name]
        node.input[:] = [_shown(name, known) for name in node.input if name not in given]
        if node.name in known:
            nodes += _constants(node, known[node.name])
        else:
            nodes.append(node)
    return rebuilt(function, nodes, resolve=lambda name: _shown(tensor_name(name), known))


def _sizes(op: TfOperation, library: Mapping[str, Any]) -> list[list[int]]:
    """An op's results, where they are sizes or axes that are known; else nothing."""
    if op.type == "BroadcastGradientArgs":
        evaluate = load_tensorflow("tensorflow.python.framework.tensor_util").try_evaluate_constant
        axes = [evaluate(tensor) for tensor in op.outputs]
        return [] if any(found is None for found in axes) else [found.tolist() for found in axes]
    if op.type == "VariableShape":
        shape = _variable_shape(_outside(op.inputs[0], library))
        return [] if shape is None else [shape]
    return []


def _outside(handle: TfTensor, library: Mapping[str, Any]) -> TfTensor:
    """The handle that goes into a loop, for one that comes out of it; it is the same variable."""
    while handle.op.type in ("While", "StatelessWhile"):
        loop: Any = handle.op
        index = next(i for i, t in enumerate(loop.outputs) if t.name == handle.name)
        body = library.get(loop.get_attr("body").name)
        if body is None:
            break
        result = body.ret[body.signature.output_arg[index].name]
        if result != body.signature.input_arg[index].name:
            break
        handle = loop.inputs[index]
    return handle


def _variable_shape(handle: TfTensor) -> list[int] | None:
    util = load_tensorflow("tensorflow.python.ops.handle_data_util")
    tensorflow = load_tensorflow()
    data = util.get_resource_handle_data(handle)
    if not data.is_set or len(data.shape_and_type) != 1:
        return None
    shape = tensorflow.TensorShape(data.shape_and_type[0].shape)
    return cast("list[int]", shape.as_list()) if shape.is_fully_defined() else None


def _constants(node: Any, values: Sequence[Sequence[int]]) -> list[Any]:
    """Constants in the place of an op, the first of them under its name."""
    tensorflow = load_tensorflow()
    new = load_tensorflow("tensorflow.core.framework.node_def_pb2").NodeDef
    attribute = "T" if "T" in node.attr else "out_type"
    dtype = node.attr[attribute].type or tensorflow.int32.as_datatype_enum
    waits = [name for name in node.input if name.startswith("^")]
    made: list[Any] = []
    for index, value in enumerate(values):
        name = _folded(node.name, index)
        made.append(new(name=name, op="Const", input=waits, device=node.device))
        made[-1].attr["dtype"].type = dtype
        proto = tensorflow.make_tensor_proto(value, dtype=dtype, shape=[len(value)])
        made[-1].attr["value"].tensor.CopyFrom(proto)
    return made


def _folded(name: str, index: int) -> str:
    return name if index == 0 else f"{name}/axes_{index}"


def _shown(name: str, known: Mapping[str, object]) -> str:
    """The tensor that an operand is now."""
    op, _, index = name.partition(":")
    return f"{_folded(op, int(index or 0))}:0" if op in known else name
