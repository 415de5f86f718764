"""Operators that a rewrite introduced, as tables of the file.

The operators' numbers, options and versions are those of TensorFlow's schema and of its
`tools/versioning/op_version.cc`: the least version that takes the element type.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

from lowtide.errors import VerificationError
from lowtide.flatbuffer import Kind, Node

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from lowtide.frontends.tflite import TfliteOperator
    from lowtide.ir import Op
    from lowtide.ir.op import Attribute

__all__ = ["new_operator"]


class _Builtin(NamedTuple):
    """An operator that rewrites introduce; `versions` above 1, by the result's element type."""

    code: int
    options: str
    versions: Mapping[str, int]


_BUILTINS = {
    "ADD": _Builtin(0, "AddOptions", {"int8": 2, "int16": 3}),
    "CONCATENATION": _Builtin(2, "ConcatenationOptions", {"int8": 2, "int16": 3}),
    "PAD": _Builtin(34, "PadOptions", {"int8": 2, "int16": 3}),
    "RELU": _Builtin(19, "", {"int8": 2, "uint8": 2, "int16": 3}),
    "RELU6": _Builtin(21, "", {"int8": 2, "uint8": 2, "int16": 3}),
    "RELU_N1_TO_1": _Builtin(20, "", {}),
    "SLICE": _Builtin(65, "SliceOptions", {"int8": 2, "int16": 4}),
    "TANH": _Builtin(28, "", {"int8": 2, "int16": 3}),
}
_MOST_DEPRECATED = 127  # the older field's greatest number


def new_operator(
    op: Op, operators: Sequence[TfliteOperator], tables: Sequence[Node], codes: list[Node]
) -> Node:
    """The table of a new op, without its operands and results.

    Args:
        op: whose `source` names the operator that it resembles, if any.
        operators: the source's.
        tables: the same as they will be written.
        codes: the model's operator codes, to which one may be added.

    Raises:
        VerificationError: it is none that rewrites introduce.
    """
    if op.dialect != "tflite":
        raise VerificationError(f"op `{op.name}` is {op.qualified}: no operator of TFLite")
    if isinstance(op.source, int):
        model = operators[op.source]
        if model.kind == op.kind:
            return _resembling(op, model, tables[op.source])
    known = _BUILTINS.get(op.kind)
    if known is None:
        raise VerificationError(f"op `{op.name}` ({op.kind}) resembles no operator of the source")
    schema = codes[0].schema if codes else tables[0].schema
    node = Node(schema, "Operator")
    version = known.versions.get(op.outputs[0].dtype, 1)
    node.set("opcode_index", _code(codes, known.code, version))
    if known.options:
        options = Node(schema, known.options)
        _fill(options, op.attributes)
        node.set_node("builtin_options", options)
    return node


def _resembling(op: Op, model: TfliteOperator, table: Node) -> Node:
    """The source's operator with what differs in its options."""
    node = table.copy()
    node.fields.pop("debug_metadata_index", None)
    before = model.attributes()
    changed = {k: v for k, v in op.attributes.items() if before.get(k) != v}
    if changed:
        held = node.node("builtin_options")
        if held is None:
            raise VerificationError(f"op `{op.name}` ({op.kind}): its options are not known")
        options = held.copy()
        _fill(options, changed)
        node.set_node("builtin_options", options)
    return node


def _fill(options: Node, attributes: Mapping[str, Attribute]) -> None:
    for name, value in attributes.items():
        field = options.kind.by_name.get(name)
        if field is None or field.kind is not Kind.SCALAR or not isinstance(value, int | float):
            raise VerificationError(f"{options.kind.name}.{name} cannot be {value!r}")
        options.set(name, value)


def _code(codes: list[Node], builtin: int, version: int) -> int:
    """The index of an operator code of at least this version, added where there is none."""
    for index, node in enumerate(codes):
        number = max(node.number("builtin_code"), node.number("deprecated_builtin_code"))
        if number == builtin and node.number("version") >= version:
            return index
    node = Node(codes[0].schema, "OperatorCode")
    node.set("deprecated_builtin_code", min(builtin, _MOST_DEPRECATED))
    node.set("builtin_code", builtin)
    node.set("version", version)
    codes.append(node)
    return len(codes) - 1
