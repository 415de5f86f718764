"""The flatbuffer reader's own parts: schema text, comparison, ranges."""

from __future__ import annotations

import dataclasses
from typing import Any

import pytest

from lowtide.bench.tflite_builder import pack, quantized
from lowtide.flatbuffer import Kind, Schema, Table, differences, verify
from tests.tflite_objects import SCHEMA, attribute, filled, value_for


def packed(name: str, table: Any) -> Table:
    """A table of any type as the root of a file."""
    schema = dataclasses.replace(SCHEMA, root=SCHEMA.tables[name])
    return verify(memoryview(pack(table)), schema).root


NAMES = sorted(name for name, table in SCHEMA.tables.items() if table.fields)


@pytest.mark.parametrize("name", NAMES)
def test_every_changed_field_is_a_difference(name: str) -> None:
    """What guards the emitted file sees each field of each table, changed or gone."""
    original = packed(name, filled(name, 1))
    assert list(differences(original, packed(name, filled(name, 1)))) == []
    for field in SCHEMA.tables[name].fields:
        target = attribute(filled(name, 1), field)
        if target is None or field.kind is Kind.UNION:
            continue
        other = value_for(field, 50 + field.slot, 1)
        if field.kind is Kind.SCALAR:
            values = [field.default if field.code == "?" else other]
        else:
            values = [other, None]
        for value in values:
            changed = filled(name, 1)
            setattr(changed, target, value)
            found = list(differences(original, packed(name, changed)))
            assert found, field
            assert found[0].startswith(name)
            ignored = differences(original, packed(name, changed), ignore=[f"{name}.{field.name}"])
            if not field.name.endswith("_type"):  # which says how to read the union beside it
                assert list(ignored) == []


def test_a_union_of_another_type_is_a_difference() -> None:
    one, other = filled("Operator", 1, 0), filled("Operator", 1, 1)
    assert list(differences(packed("Operator", one), packed("Operator", other)))


def test_readers_keep_to_the_kinds_of_the_fields() -> None:
    table = packed("Tensor", filled("Tensor", 1))
    with pytest.raises(TypeError, match=r"Tensor\.name"):
        table.number("name")
    with pytest.raises(KeyError):
        table.number("no such field")
    assert table.text("name", 3) == "tex"
    assert table.raw("shape") == memoryview(bytes(table.raw("shape") or b""))


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("table A a:i32\ntable A b:i32", "declared twice"),
        ("struct A a:i32", "unknown declaration 'struct'"),
        ("table A a:B", "A.a: B is not declared"),
        ("table A a:[B]", "A.a: B is not declared"),
        ("table A t:u8 a:union:U", "A.a: U is not declared"),
        ("union U B=1\ntable A a:i32", "members that are not declared"),
    ],
)
def test_mistakes_in_a_schema_s_text(text: str, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        Schema.parse(text, root="A", identifier=b"TEST")


def test_ranges_name_what_is_reached() -> None:
    data = memoryview(quantized(1))
    ranges = verify(data, SCHEMA, ranges=True).ranges
    kinds = {r.what for r in ranges}
    assert {"Model", "SubGraph", "Tensor", "Operator", "vtable", "vector"} <= kinds
    assert all(0 <= r.start < r.stop <= len(data) for r in ranges)
