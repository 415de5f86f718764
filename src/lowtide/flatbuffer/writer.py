"""Writing flatbuffers of any schema: tables as values that can be changed, and their bytes.

    model = Node.of(verify(data, schema).root)      the whole tree, what it names not copied
    model.set("version", 3)
    model.nodes("subgraphs")[0].text("name", b"main")
    data = write(model, identifier=b"TFL3")

A `Node` holds what is stored, as it is stored: an absent field stays absent, a stored default stays
stored. The tree is written from the front: each table behind its vtable, then what it names, which
therefore lies further back, as offsets demand. Equal vtables are stored once. The bytes depend on
the tree alone.
"""

from __future__ import annotations

import struct
from typing import TYPE_CHECKING

from lowtide.errors import ModelError
from lowtide.flatbuffer.schema import Kind

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from lowtide.flatbuffer.schema import Field, Schema, TableType
    from lowtide.flatbuffer.table import Table

__all__ = ["Node", "write"]

_MAX_FLATBUFFER = (1 << 31) - 1

Data = bytes | bytearray | memoryview


class Node:
    """A table to be written: its type, and the fields that it stores.

    Attributes:
        kind: its type.
        fields: by name; of a scalar, string or vector of scalars the bytes as stored (of a string
            without its zero), of a vector of tables the list of them.
    """

    __slots__ = ("fields", "kind", "schema")

    def __init__(self, schema: Schema, kind: str) -> None:
        self.schema = schema
        self.kind: TableType = schema.tables[kind]
        self.fields: dict[str, Value] = {}

    @staticmethod
    def of(table: Table) -> Node:
        """A verified table with everything under it; bytes are referred to, not copied.

        Raises:
            ModelError: it stores a field that the schema lacks, which would be lost.
        """
        node = Node(table.schema, table.kind.name)
        if any(slot >= len(table.kind.fields) for slot in table.present_slots()):
            raise ModelError(
                f"a table {table.kind.name} has fields that this version does not know, so that it "
                f"cannot be written anew: update lowtide"
            )
        for field in table.kind.fields:
            if table.has(field.name):
                node.fields[field.name] = _value(table, field)
        return node

    def copy(self) -> Node:
        """The same fields; nodes under it are shared."""
        node = Node(self.schema, self.kind.name)
        node.fields = dict(self.fields)
        return node

    # ---------------------------------------------------------------- reading

    def number(self, name: str) -> int | float:
        """A scalar, or its default."""
        field = self._field(name, Kind.SCALAR)
        held = self.fields.get(name)
        if not isinstance(held, Data):
            return field.default
        value: int | float = struct.unpack("<" + field.code, held)[0]
        return value

    def numbers(self, name: str) -> tuple[int | float, ...]:
        """A vector of scalars; empty where it is absent."""
        field = self._field(name, Kind.SCALARS)
        held = self.fields.get(name, b"")
        assert isinstance(held, Data)
        return struct.unpack(f"<{len(held) // field.width}{field.code}", held)

    def data(self, name: str) -> Data:
        """The bytes of a string or of a vector of scalars; empty where it is absent."""
        held = self.fields.get(name, b"")
        if not isinstance(held, Data):
            raise TypeError(f"{self.kind.name}.{name} holds tables")
        return held

    def node(self, name: str) -> Node | None:
        """A table; None where it is absent."""
        held = self.fields.get(name)
        if held is not None and not isinstance(held, Node):
            raise TypeError(f"{self.kind.name}.{name} is no table")
        return held

    def nodes(self, name: str) -> list[Node]:
        """A vector of tables, to be changed in place; an absent one gives a list of its own."""
        self._field(name, Kind.TABLES)
        held = self.fields.get(name, [])
        assert isinstance(held, list)
        return held

    # ---------------------------------------------------------------- changing

    def set(self, name: str, value: float) -> None:
        """Store a scalar."""
        field = self._field(name, Kind.SCALAR)
        try:
            self.fields[name] = struct.pack("<" + field.code, value)
        except struct.error as error:
            raise ModelError(f"{self.kind.name}.{name} cannot hold {value}: {error}") from None

    def set_numbers(self, name: str, values: Sequence[int] | Sequence[float]) -> None:
        """Store a vector of scalars."""
        field = self._field(name, Kind.SCALARS)
        try:
            self.fields[name] = struct.pack(f"<{len(values)}{field.code}", *values)
        except struct.error as error:
            raise ModelError(f"{self.kind.name}.{name} cannot hold the values: {error}") from None

    def set_data(self, name: str, data: Data) -> None:
        """Store a string's or a vector's bytes."""
        if self.kind.by_name[name].kind not in (Kind.STRING, Kind.SCALARS):
            raise TypeError(f"{self.kind.name}.{name} holds no bytes")
        self.fields[name] = data

    def set_node(self, name: str, node: Node) -> None:
        """Store a table, or a union's member with its number."""
        field = self.kind.by_name[name]
        if field.kind is Kind.UNION:
            members = self.schema.unions[field.target]
            number = next(n for n, kind in members.items() if kind == node.kind.name)
            self.set(self.kind.fields[field.slot - 1].name, number)
        elif field.kind is not Kind.TABLE:
            raise TypeError(f"{self.kind.name}.{name} is no table")
        self.fields[name] = node

    def _field(self, name: str, kind: Kind) -> Field:
        field = self.kind.by_name[name]
        if field.kind is not kind:
            raise TypeError(f"{self.kind.name}.{name} is a {field.kind}, not a {kind}")
        return field


Value = Data | Node | list[Node]


def _value(table: Table, field: Field) -> Value:
    name = field.name
    if field.kind is Kind.SCALAR:
        return table.scalar_bytes(name)
    if field.kind is Kind.STRING:
        return table.encoded(name) or b""
    if field.kind is Kind.SCALARS:
        return table.raw(name) or b""
    if field.kind is Kind.TABLES:
        return [Node.of(item) for item in table.tables(name)]
    held = table.member(name) if field.kind is Kind.UNION else table.table(name)
    if held is None:
        raise ModelError(
            f"{table.kind.name}.{name} is of a type {table.union_type(name)} that this version "
            f"does not know, so that it cannot be written anew: update lowtide"
        )
    return Node.of(held)


def write(
    root: Node, *, identifier: bytes, alignments: Mapping[tuple[str, str], int] | None = None
) -> bytes:
    """The file.

    Args:
        root: the root table. A node that is named twice is written twice.
        identifier: the four bytes after the root offset.
        alignments: of vectors that need more than their elements, by table and field.

    Raises:
        ModelError: it would take 2 GiB or more.
    """
    return _Writer(identifier, alignments or {}).run(root)


class _Writer:
    def __init__(self, identifier: bytes, alignments: Mapping[tuple[str, str], int]) -> None:
        self.out = bytearray(4) + identifier
        self.alignments = alignments
        self.vtables: dict[bytes, int] = {}

    def run(self, root: Node) -> bytes:
        struct.pack_into("<I", self.out, 0, self._table(root))
        self._pad(8)  # of a length that keeps the alignment of what may be appended
        self._check()
        return bytes(self.out)

    def _table(self, node: Node) -> int:
        """Append a table and all that it names; where it is."""
        out = self.out
        stored = sorted(
            (f for f in node.kind.fields if f.name in node.fields),
            key=lambda f: (-_width(f), f.slot),
        )
        widest = max((_width(f) for f in stored), default=4)
        size, places = _layout(stored)
        slots = 1 + max((f.slot for f in stored), default=-1)
        entries = {f.slot: places[f.name] for f in stored}
        vtable = struct.pack(
            f"<HH{slots}H", 4 + 2 * slots, size, *(entries.get(s, 0) for s in range(slots))
        )
        known = self.vtables.get(vtable)
        if known is None:
            self._pad(2)
            known = self.vtables[vtable] = len(out)
            out += vtable
        self._pad(max(4, widest))
        at = len(out)
        out += bytes(size)
        struct.pack_into("<i", out, at, at - known)
        for field in sorted(stored, key=lambda f: f.slot):
            value = node.fields[field.name]
            place = at + places[field.name]
            if field.kind is Kind.SCALAR:
                assert isinstance(value, Data)
                out[place : place + field.width] = value
            else:
                target = self._object(node, field, value)
                struct.pack_into("<I", out, place, target - place)
        return at

    def _object(self, node: Node, field: Field, value: Value) -> int:
        if isinstance(value, Node):
            return self._table(value)
        if isinstance(value, list):
            return self._tables(value)
        out = self.out
        width = field.width if field.kind is Kind.SCALARS else 1
        boundary = max(4, width, self.alignments.get((node.kind.name, field.name), 1))
        out += bytes(-(len(out) + 4) % boundary)
        at = len(out)
        out += struct.pack("<I", len(value) // width)
        out += value
        if field.kind is Kind.STRING:
            out.append(0)
        self._check()
        return at

    def _tables(self, nodes: list[Node]) -> int:
        self._pad(4)
        at = len(self.out)
        self.out += struct.pack("<I", len(nodes)) + bytes(4 * len(nodes))
        for index, node in enumerate(nodes):
            place = at + 4 + 4 * index
            struct.pack_into("<I", self.out, place, self._table(node) - place)
        return at

    def _pad(self, boundary: int) -> None:
        self.out += bytes(-len(self.out) % boundary)

    def _check(self) -> None:
        if len(self.out) > _MAX_FLATBUFFER:
            raise ModelError("the model would take 2 GiB or more, which no flatbuffer holds")


def _width(field: Field) -> int:
    return field.width if field.kind is Kind.SCALAR else 4


def _layout(fields: list[Field]) -> tuple[int, dict[str, int]]:
    """A table's inline bytes and where in it each field lies; `fields` from wide to narrow."""
    size, places = 4, dict[str, int]()
    for field in fields:
        width = _width(field)
        size += -size % width
        places[field.name] = size
        size += width
    return size + -size % 4, places
