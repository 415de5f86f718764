"""Flatbuffers written anew: what was stored is stored, and nothing else."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from lowtide.bench.tflite_builder import branching, pack, quantized, stateful
from lowtide.errors import ModelError
from lowtide.flatbuffer import Node, Schema, differences, verify, write
from tests.tflite_objects import SCHEMA, agree, everything, filled

NAMES = sorted(name for name, table in SCHEMA.tables.items() if table.fields)
TEXT = """
union Shape Circle=1 Square=2
table Canvas small:i8 wide:f64 count:u32=7 name:str sizes:[i64] bits:[bool] layers:[Layer]
    shape_type:u8 shape:union:Shape
table Layer height:i16 name:str
table Circle radius:f32
table Square side:f64
"""
CANVAS = Schema.parse(TEXT, root="Canvas", identifier=b"CNVS")


@pytest.mark.parametrize("name", NAMES)
def test_every_table_of_the_schema_round_trips(name: str) -> None:
    schema = dataclasses.replace(SCHEMA, root=SCHEMA.tables[name])
    expected: Any = filled(name, 1)
    table = verify(memoryview(pack(expected)), schema).root
    written = verify(memoryview(write(Node.of(table), identifier=b"TFL3")), schema).root
    assert list(differences(table, written)) == []
    assert agree(written, expected)


def test_a_model_with_everything_round_trips() -> None:
    root = verify(memoryview(pack(everything())), SCHEMA).root
    written = verify(memoryview(write(Node.of(root), identifier=b"TFL3")), SCHEMA).root
    assert list(differences(root, written)) == []


@pytest.mark.parametrize("data", [branching(1), quantized(2), stateful()])
def test_models_round_trip_with_aligned_buffers(data: bytes) -> None:
    root = verify(memoryview(data), SCHEMA).root
    node = Node.of(root)
    made = write(node, identifier=b"TFL3", alignments={("Buffer", "data"): 16})
    assert made == write(node, identifier=b"TFL3", alignments={("Buffer", "data"): 16})
    written = verify(memoryview(made), SCHEMA).root
    assert list(differences(root, written)) == []
    for buffer in written.tables("buffers"):
        place = buffer.vector_place("data")
        assert not place or (place + 4) % 16 == 0


@st.composite
def canvases(draw: st.DrawFn) -> Node:
    node = Node(CANVAS, "Canvas")
    if draw(st.booleans()):
        node.set("small", draw(st.integers(-128, 127)))
    if draw(st.booleans()):
        node.set("wide", draw(st.floats(allow_nan=False)))
    if draw(st.booleans()):
        node.set("count", draw(st.sampled_from([0, 7, 9])))
    if draw(st.booleans()):
        node.set_data("name", draw(st.binary(max_size=9)))
    if draw(st.booleans()):
        node.set_numbers("sizes", draw(st.lists(st.integers(-(2**63), 2**63 - 1), max_size=4)))
    if draw(st.booleans()):
        node.set_numbers("bits", draw(st.lists(st.booleans(), max_size=5)))
    if draw(st.booleans()):
        layers: list[Node] = []
        for height in draw(st.lists(st.integers(-9, 9), max_size=4)):
            layers.append(Node(CANVAS, "Layer"))
            layers[-1].set("height", height)
            if height > 0:
                layers[-1].set_data("name", b"x" * height)
        node.fields["layers"] = layers
    if draw(st.booleans()):
        shape = Node(CANVAS, draw(st.sampled_from(["Circle", "Square"])))
        shape.set("radius" if shape.kind.name == "Circle" else "side", draw(st.integers(0, 99)))
        node.set_node("shape", shape)
    return node


@given(canvases())
def test_what_is_set_is_read(node: Node) -> None:
    """The verifier, which checks alignment and bounds, and the reader, field by field."""
    data = write(node, identifier=b"CNVS")
    root = verify(memoryview(data), CANVAS).root
    again = Node.of(root)
    assert again.fields.keys() == node.fields.keys()
    for name in ("small", "wide", "count"):
        assert root.number(name) == node.number(name) == again.number(name)
    for name in ("name", "sizes", "bits"):
        assert bytes(again.data(name)) == bytes(node.data(name))
    assert again.numbers("sizes") == node.numbers("sizes") == root.integers("sizes")
    heights = [layer.number("height") for layer in node.nodes("layers")]
    assert [layer.number("height") for layer in root.tables("layers")] == heights
    shape, member = node.node("shape"), root.member("shape")
    assert (shape is None) == (member is None)
    if shape is not None and member is not None:
        assert member.kind is shape.kind
        name = member.kind.fields[0].name
        assert member.number(name) == shape.number(name)
    assert write(again, identifier=b"CNVS") == data


def test_a_copy_is_changed_alone() -> None:
    node = Node(CANVAS, "Canvas")
    node.set("count", 3)
    other = node.copy()
    other.set("count", 4)
    assert (node.number("count"), other.number("count")) == (3, 4)
    assert node.nodes("layers") == []
    assert "layers" not in node.fields


MISTAKES: list[tuple[Callable[[Node], object], type[Exception], str]] = [
    (lambda n: n.set("small", 128), ModelError, "Canvas.small cannot hold 128"),
    (lambda n: n.set_numbers("sizes", [2**63]), ModelError, "Canvas.sizes cannot hold"),
    (lambda n: n.set("name", 1), TypeError, "Canvas.name"),
    (lambda n: n.set_data("count", b"1234"), TypeError, "Canvas.count holds no bytes"),
    (lambda n: n.set_node("name", n), TypeError, "Canvas.name is no table"),
    (lambda n: n.data("layers"), TypeError, "Canvas.layers holds tables"),
    (lambda n: n.node("name"), TypeError, "Canvas.name is no table"),
    (lambda n: n.set("no such field", 1), KeyError, "no such field"),
]


@pytest.mark.parametrize(("change", "error", "message"), MISTAKES)
def test_mistakes_are_refused(
    change: Callable[[Node], object], error: type[Exception], message: str
) -> None:
    node = Node(CANVAS, "Canvas")
    node.set_data("name", b"n")
    node.fields["layers"] = [Node(CANVAS, "Layer")]
    with pytest.raises(error, match=message):
        change(node)


def test_fields_of_the_future_would_be_lost() -> None:
    shorter = Schema.parse(
        TEXT.replace("height:i16 name:str", "height:i16"), root="Canvas", identifier=b"CNVS"
    )
    node = Node(CANVAS, "Canvas")
    layer = Node(CANVAS, "Layer")
    layer.set_data("name", b"layer")
    node.fields["layers"] = [layer]
    root = verify(memoryview(write(node, identifier=b"CNVS")), shorter).root
    with pytest.raises(ModelError, match="Layer has fields that this version does not know"):
        Node.of(root)


def test_union_members_of_the_future_would_be_lost() -> None:
    text = TEXT.replace("Circle=1 Square=2", "Circle=1")
    older = Schema.parse(text, root="Canvas", identifier=b"CNVS")
    node = Node(CANVAS, "Canvas")
    node.set_node("shape", Node(CANVAS, "Square"))
    root = verify(memoryview(write(node, identifier=b"CNVS")), older).root
    with pytest.raises(ModelError, match=r"Canvas\.shape is of a type 2"):
        Node.of(root)
