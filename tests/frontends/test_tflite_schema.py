"""The compact schema against ai_edge_litert's generated code, field by field, by execution."""

from __future__ import annotations

import dataclasses

import pytest

from lowtide.bench.tflite_builder import pack
from lowtide.flatbuffer import Kind, verify
from lowtide.frontends.tflite.dtypes import ELEMENT_TYPES
from lowtide.frontends.tflite.operators import BUILTINS
from lowtide.ir.dtype import BITS
from tests.tflite_objects import LITERT, OBJECTS, SCHEMA, agree, attribute, filled, members


def test_every_table_is_known() -> None:
    assert OBJECTS.keys() == SCHEMA.tables.keys()


@pytest.mark.parametrize("name", sorted(OBJECTS))
def test_every_field_has_its_slot_type_and_default(name: str) -> None:
    """Each value packed by the generated code is read from where the schema says, and absent
    fields give the generated code's defaults."""
    schema = dataclasses.replace(SCHEMA, root=SCHEMA.tables[name])
    table = OBJECTS[name]()
    known = [f for f in schema.root.fields if attribute(table, f) is not None]
    assert len(known) == len(members(table))
    for example in (filled(name, 1), filled(name, 50, 1), filled(name, 7, 2)):
        root = verify(memoryview(pack(example)), schema).root
        assert agree(root, example) >= len(known)
        assert set(root.present_slots()) == {f.slot for f in known}
    empty = OBJECTS[name]()
    root = verify(memoryview(pack(empty)), schema).root
    for field in known:
        if field.kind is Kind.SCALAR:
            assert root.number(field.name) == getattr(empty, str(attribute(empty, field)))


@pytest.mark.parametrize("name", sorted(SCHEMA.unions))
def test_every_union_has_its_members(name: str) -> None:
    numbers = {v: k for k, v in members(getattr(LITERT, name)).items() if isinstance(v, int)}
    assert numbers.pop(0) == "NONE"
    assert numbers == SCHEMA.unions[name]


def test_every_builtin_operator_has_its_name() -> None:
    numbers = {k: v for k, v in members(LITERT.BuiltinOperator).items() if isinstance(v, int)}
    assert numbers == {name: i for i, name in enumerate(BUILTINS)}


def test_every_element_type_has_its_size() -> None:
    numbers = {k: v for k, v in members(LITERT.TensorType).items() if isinstance(v, int)}
    assert sorted(numbers.values()) == list(range(len(ELEMENT_TYPES)))
    opaque = {"STRING", "RESOURCE", "VARIANT"}
    for name, number in numbers.items():
        expected = "opaque" if name in opaque else name.lower().replace("float8_", "float8")
        assert ELEMENT_TYPES[number] == expected
        assert expected in BITS
