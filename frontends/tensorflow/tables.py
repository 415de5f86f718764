"""Lookup tables: the shape of what is found in them.

    found = LookupTableFind(table, keys, default)        shape: keys' shape + that of one value

A trace keeps that shape with the table's handle. A loaded SavedModel has lost it, and all that
follows from what is looked up is of unknown shape then. The table itself is there: one lookup of
one made-up key says what a value looks like, and changes nothing. The handle is treated as any
other that is captured: the table stays the model's own, with its initializer, and lookups run
once, in order.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from lowtide.frontends.tensorflow.rebuild import rebuilt
from lowtide.tensorflow_types import TfFunction, load_tensorflow

if TYPE_CHECKING:
    from lowtide.tensorflow_types import TfOperation

__all__ = ["describe_tables"]

_LOOKUP = "LookupTableFindV2"


def describe_tables(function: TfFunction) -> TfFunction:
    """The function with shapes behind its lookups; itself where nothing was to be learned."""
    concrete: Any = function
    util = load_tensorflow("tensorflow.python.ops.handle_data_util")
    captured = {inner.name: (outer, inner) for outer, inner in concrete.graph.captures}
    learned = False
    for op in function.graph.get_operations():
        if op.type != _LOOKUP or op.inputs[0].name not in captured:
            continue
        table, handle = captured[op.inputs[0].name]
        if not util.get_resource_handle_data(handle).is_set:
            learned = _describe(op, table, handle) or learned
    if not learned:
        return function
    given = {tensor.op.name for tensor in concrete.graph.inputs}
    nodes = [n for n in concrete.graph.as_graph_def().node if n.name not in given]
    waits = {f"^{name}" for name in given}
    for node in nodes:
        node.input[:] = [name for name in node.input if name not in waits]
        for name in [name for name in node.attr if name.startswith("_")]:
            del node.attr[name]
    return rebuilt(function, nodes)


def _describe(op: TfOperation, table: Any, handle: Any) -> bool:
    """Note with a handle what one key and one value of its table look like."""
    tensorflow = load_tensorflow()
    if not hasattr(table, "numpy"):  # symbolic: of a function that is traced around this one
        return False
    keys: Any = op.inputs[1].dtype
    values: Any = op.outputs[0].dtype
    try:
        with tensorflow.init_scope():
            found = tensorflow.raw_ops.LookupTableFindV2(
                table_handle=table,
                keys=tensorflow.zeros([], keys),
                default_value=tensorflow.zeros([], values),
            )
    except tensorflow.errors.OpError:  # keys or values of several numbers; not initialised
        return False
    shapes = load_tensorflow("tensorflow.core.framework.full_type_pb2")
    data = load_tensorflow("tensorflow.python.framework.cpp_shape_inference_pb2")
    known = data.CppShapeInferenceResult.HandleData(is_set=True)
    described: list[tuple[list[int], Any]] = [([], keys), (found.shape.as_list(), values)]
    for shape, dtype in described:
        known.shape_and_type.append(
            data.CppShapeInferenceResult.HandleShapeAndType(
                shape=tensorflow.TensorShape(shape).as_proto(),
                dtype=dtype.as_datatype_enum,
                type=shapes.FullTypeDef(),
            )
        )
    load_tensorflow("tensorflow.python.ops.handle_data_util").set_handle_data(handle, known)
    return True
