"""Operators that ONNX defines by others: the function that a schema gives for a node."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import TYPE_CHECKING, Any, cast

import onnx
import onnx.defs
import onnx_ir

from lowtide.backends.tensorflow.from_onnx.dtypes import NAMES

if TYPE_CHECKING:
    from lowtide.backends.tensorflow.from_onnx.value import Value

__all__ = ["defines", "definition"]


def _schema(domain: str, kind: str, version: int) -> Any:
    """The schema, whose extension type has incomplete stubs; None where there is none."""
    try:
        return onnx.defs.get_schema(kind, version, "" if domain == "ai.onnx" else domain)
    except onnx.defs.SchemaError:
        return None


def defines(domain: str, kind: str, version: int, attributes: Iterable[str] = ()) -> bool:
    """Whether ONNX has a definition of the operator, with these attributes, by others."""
    schema = _schema(domain, kind, version)
    if schema is None or not set(attributes) <= set(schema.attributes):
        return False
    return bool(schema.has_function or schema.has_context_dependent_function)


def definition(
    node: onnx_ir.Node,
    inputs: Sequence[Value | None],
    attributes: Mapping[str, onnx_ir.Attr],
    version: int,
) -> onnx_ir.Function | None:
    """The function that computes the node for inputs of these types; None where there is none."""
    schema = _schema(node.domain, node.op_type, version)
    if schema is None:
        return None
    proto: onnx.FunctionProto | None = None
    if schema.has_function:
        versions = [v for v in schema.function_opset_versions if v <= version]
        at = max(versions, default=schema.function_opset_versions[0])
        proto = _parsed(schema.get_function_with_opset_version(at))
    elif schema.has_context_dependent_function:
        versions = [v for v in schema.context_dependent_function_opset_versions if v <= version]
        at = max(versions, default=schema.context_dependent_function_opset_versions[0])
        request = _request(node, attributes)
        types = [_type(value).SerializeToString() for value in inputs]
        made = schema.get_context_dependent_function_with_opset_version(
            at, request.SerializeToString(), types
        )
        proto = _parsed(made)
    if proto is None:
        return None
    if not proto.opset_import:
        proto.opset_import.add(domain="", version=version)
    made_here = {name for inner in proto.node for name in inner.output} | set(proto.input)
    for name in proto.output:
        if name not in made_here:  # a result that the node does not ask for
            proto.node.append(onnx.helper.make_node("Constant", [], [name], value_float=0.0))
    function = onnx_ir.serde.deserialize_function(proto)
    for name, attribute in schema.attributes.items():
        if name in function.attributes and attribute.default_value.type:
            default = onnx_ir.serde.deserialize_attribute(attribute.default_value)
            if function.attributes[name].value is None:
                function.attributes[name] = default
        elif attribute.default_value.type:
            function.attributes[name] = onnx_ir.serde.deserialize_attribute(attribute.default_value)
    return function


def _parsed(data: bytes | onnx.FunctionProto) -> onnx.FunctionProto:
    """The function, which some versions of onnx hand over serialized."""
    return data if isinstance(data, onnx.FunctionProto) else onnx.FunctionProto.FromString(data)


def _request(node: onnx_ir.Node, attributes: Mapping[str, onnx_ir.Attr]) -> onnx.NodeProto:
    """The node alone, with its attributes resolved."""
    proto = onnx.NodeProto(op_type=node.op_type, domain=node.domain, name=node.name or "")
    proto.input.extend("" if v is None else f"in{i}" for i, v in enumerate(node.inputs))
    proto.output.extend(f"out{i}" if v.name else "" for i, v in enumerate(node.outputs))
    for attribute in attributes.values():
        proto.attribute.append(onnx_ir.to_proto(attribute))
    return proto


def _type(value: Value | None) -> onnx.TypeProto:
    if value is None:
        return onnx.TypeProto()
    name = cast("onnx_ir.TensorProtocol", value.dtype).name
    number = next(number for number, known in NAMES.items() if known == name)
    return onnx.helper.make_tensor_type_proto(number, value.shape)
