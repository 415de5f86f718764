"""ai_edge_litert's objects driven by the compact schema: all fields filled, all compared."""

from __future__ import annotations

import inspect
from typing import Any, cast

from lowtide.bench.tflite_builder import litert_schema
from lowtide.flatbuffer import Field, Kind, Table
from lowtide.frontends.tflite.schema import tflite_schema

SCHEMA = tflite_schema()
LITERT: Any = litert_schema()


def members(thing: Any) -> dict[str, Any]:
    """The attributes of an object without types."""
    return cast("dict[str, Any]", vars(thing))


OBJECTS: dict[str, Any] = {
    name[:-1]: kind
    for name, kind in members(LITERT).items()
    if name.endswith("T") and inspect.isclass(kind) and hasattr(kind, "Pack")
}


def attributes(table: Any) -> dict[str, str]:
    """The attributes of an object-API table by their names without case and underscores."""
    return {name.lower(): name for name in members(table)}


def attribute(table: Any, field: Field) -> str | None:
    """The attribute of the object API for a field; None for a deprecated one."""
    return attributes(table).get(field.name.replace("_", ""))


def filled(name: str, salt: int, member: int = 0) -> Any:
    """A table with every field set to a value that is not the default."""
    table = OBJECTS[name]()
    for field in SCHEMA.tables[name].fields:
        target = attribute(table, field)
        if target is None:
            continue
        setattr(table, target, value_for(field, salt + field.slot, member))
        if field.kind is Kind.UNION:
            union = SCHEMA.unions[field.target]
            number = sorted(union)[member % len(union)]
            setattr(table, f"{target}Type", number)
            setattr(table, target, filled(union[number], salt + 1))
    return table


def value_for(field: Field, salt: int, member: int) -> Any:
    low = salt % 100 + 2  # neither 0 nor 1 nor any default but 2, which `unlike` avoids
    if field.kind is Kind.SCALAR:
        if field.code == "?":
            return not field.default
        return low / 4 if field.code == "f" else low + (low == field.default)
    if field.kind is Kind.STRING:
        return f"text {salt}"
    if field.kind is Kind.SCALARS:
        values = {"?": [salt % 2 == 0, False, True], "f": [0.5, low / 4]}
        return values.get(field.code, [low, 0, low + 1])
    if field.kind is Kind.TABLE:
        return filled(field.target, salt + 3, member)
    if field.kind is Kind.TABLES:
        return [filled(field.target, salt + i, member + i) for i in range(3)]
    return None


def agree(table: Table, expected: Any) -> int:
    """Compare a read table with the object it was packed from; the number of fields compared."""
    compared = 0
    for field in table.kind.fields:
        name = attribute(expected, field)
        if name is None:
            assert field.name.startswith("deprecated_")
            continue
        wanted = getattr(expected, name)
        compared += 1
        if field.kind is Kind.SCALAR:
            assert table.number(field.name) == wanted, field
        elif wanted is None:
            assert not table.has(field.name)
        elif field.kind is Kind.STRING:
            assert bytes(table.encoded(field.name) or b"").decode() == wanted
        elif field.kind is Kind.SCALARS:
            assert list(table.numbers(field.name) or ()) == list(wanted)
        elif field.kind is Kind.TABLES:
            found = table.tables(field.name)
            assert len(found) == len(wanted)
            compared += sum(agree(one, other) for one, other in zip(found, wanted, strict=True))
        else:
            union = field.kind is Kind.UNION
            inner = table.member(field.name) if union else table.table(field.name)
            assert inner is not None
            assert inner.kind.name == type(wanted).__name__[:-1]
            compared += agree(inner, wanted)
    return compared


def everything() -> Any:
    """A valid `ModelT` in which every field of every table is set, and every union member used.

    One operator per member of both option unions, in a chain over tensors of two bytes that carry
    all kinds of quantization and sparsity; further subgraphs, signatures, metadata, files beside
    the model.
    """
    model = filled("Model", 1)
    model.version = 3
    options = [("BuiltinOptions", n) for n in SCHEMA.unions["BuiltinOptions"]]
    options += [("BuiltinOptions2", n) for n in SCHEMA.unions["BuiltinOptions2"]]
    model.buffers = [OBJECTS["Buffer"]()]
    for i in range(6):
        buffer = OBJECTS["Buffer"]()
        buffer.data = [i, i + 1]
        buffer.offset, buffer.size = 1, i  # a placeholder, kept as it is
        model.buffers.append(buffer)
    model.externalBufferGroups = [filled("ExternalBufferGroup", i) for i in range(2)]
    model.externalBuffers = [filled("ExternalBuffer", 5)]
    model.externalBuffers[0].group = 1
    for index, entry in enumerate(model.metadata):
        entry.buffer = index + 1
    model.metadataBuffer = [0, 1]
    model.operatorCodes = [filled("OperatorCode", i) for i in range(30)]
    model.subgraphs = [subgraph_of(options), subgraph_of(options[:3]), subgraph_of(options[:3])]
    for op in model.subgraphs[0].operators:
        _set_calls(op, 1, [1, 2])
    for signature in model.signatureDefs:
        signature.subgraphIndex = 0
        for item in (*signature.inputs, *signature.outputs):
            item.tensorIndex = 1
    return model


def _set_calls(op: Any, one: int, several: list[int]) -> None:
    """Let the options that name subgraphs name these."""
    options = op.builtinOptions or op.builtinOptions2
    for name, value in members(options).items():
        if "subgraph" in name.lower() or name == "calledComputations":
            setattr(options, name, several if isinstance(value, list) else one)


def subgraph_of(options: list[tuple[str, int]]) -> Any:
    """A subgraph with one operator per union member."""
    subgraph = filled("SubGraph", 9)
    subgraph.tensors, subgraph.operators = [], []
    for i in range(len(options) + 2):
        tensor = filled("Tensor", i, i)
        tensor.shape, tensor.shapeSignature = [1, 2], [-1, 2]
        tensor.type = LITERT.TensorType.INT8
        tensor.buffer = tensor.externalBuffer = 0
        tensor.isVariable = False
        subgraph.tensors.append(tensor)
    subgraph.tensors[1].buffer = 2
    subgraph.tensors[1].externalBuffer = 0
    for i, (union, number) in enumerate(options):
        op = filled("Operator", i)
        op.opcodeIndex = i % 30
        op.inputs, op.outputs, op.intermediates = [0, 1, -1], [i + 2], [1]
        op.largeCustomOptionsOffset, op.largeCustomOptionsSize = 1, 5
        op.builtinOptionsType = op.builtinOptions2Type = 0
        op.builtinOptions = op.builtinOptions2 = None
        name = "builtinOptions" if union == "BuiltinOptions" else "builtinOptions2"
        setattr(op, f"{name}Type", number)
        setattr(op, name, filled(SCHEMA.unions[union][number], i))
        op.mutatingVariableInputs = [i % 9 == 0, False]
        _set_calls(op, 0, [])
        subgraph.operators.append(op)
    subgraph.inputs, subgraph.outputs = [0], [len(options) + 1]
    return subgraph
