"""Reading the tables of a verified flatbuffer."""

from __future__ import annotations

import struct
from typing import TYPE_CHECKING, cast

from lowtide.flatbuffer.schema import Kind

if TYPE_CHECKING:
    from lowtide.flatbuffer.schema import Field, Schema, TableType

__all__ = ["Table"]

_U16 = struct.Struct("<H")
_U32 = struct.Struct("<I")
_I32 = struct.Struct("<i")


class Table:
    """A table at a place of the data. It must come from `verify`: nothing is checked here.

    A name that the schema lacks is a KeyError, a field of another kind a TypeError.

    Attributes:
        data: the file.
        schema: its schema.
        kind: the table's type.
        position: where it starts.
    """

    __slots__ = ("data", "kind", "position", "schema")

    def __init__(self, data: memoryview, schema: Schema, kind: TableType, position: int) -> None:
        self.data = data
        self.schema = schema
        self.kind = kind
        self.position = position

    def place(self, name: str) -> int:
        """Where the field's inline bytes lie in the file, 0 where it is absent."""
        return self._at(self.kind.by_name[name].slot)

    def has(self, name: str) -> bool:
        """The field is stored."""
        return self.place(name) != 0

    def present_slots(self) -> tuple[int, ...]:
        """The slots that are stored, those that the schema lacks included."""
        vtable = self.position - _I32.unpack_from(self.data, self.position)[0]
        count = (_U16.unpack_from(self.data, vtable)[0] - 4) // 2
        offsets = struct.unpack_from(f"<{count}H", self.data, vtable + 4)
        return tuple(slot for slot, offset in enumerate(offsets) if offset)

    def inline_bytes(self) -> int:
        """The bytes of the table itself, without its vtable."""
        vtable = self.position - _I32.unpack_from(self.data, self.position)[0]
        return int(_U16.unpack_from(self.data, vtable + 2)[0])

    def vtable_range(self) -> tuple[int, int]:
        """The bytes of the vtable, half-open."""
        vtable = self.position - int(_I32.unpack_from(self.data, self.position)[0])
        return vtable, vtable + int(_U16.unpack_from(self.data, vtable)[0])

    # ---------------------------------------------------------------- values

    def number(self, name: str) -> int | float:
        """A scalar, or its default."""
        field = self._field(name, Kind.SCALAR)
        at = self._at(field.slot)
        if not at:
            return field.default
        return cast("int | float", struct.unpack_from("<" + field.code, self.data, at)[0])

    def scalar_bytes(self, name: str) -> bytes:
        """A stored scalar's bytes (NaN is equal to itself here)."""
        field = self._field(name, Kind.SCALAR)
        at = self._at(field.slot)
        return bytes(self.data[at : at + field.width]) if at else b""

    def integer(self, name: str) -> int:
        """An integer or boolean scalar, or its default."""
        return int(self.number(name))

    def text(self, name: str, limit: int = 256) -> str | None:
        """The first `limit` bytes of a string; what of them is not UTF-8 is replaced."""
        raw = self.encoded(name)
        return None if raw is None else str(raw[:limit], "utf-8", errors="replace")

    def encoded(self, name: str) -> memoryview | None:
        """A string's bytes, not copied."""
        return self._raw(self._field(name, Kind.STRING), 1)

    def raw(self, name: str) -> memoryview | None:
        """The bytes of a vector of scalars, not copied."""
        field = self._field(name, Kind.SCALARS)
        return self._raw(field, field.width)

    def numbers(self, name: str) -> tuple[int | float, ...] | None:
        """A vector of scalars, copied."""
        field = self._field(name, Kind.SCALARS)
        raw = self._raw(field, field.width)
        if raw is None:
            return None
        return struct.unpack_from(f"<{len(raw) // field.width}{field.code}", raw)

    def integers(self, name: str) -> tuple[int, ...]:
        """A vector of integers, copied; empty where it is absent."""
        values = self.numbers(name)
        return () if values is None else cast("tuple[int, ...]", values)

    def count(self, name: str) -> int:
        """The elements of a vector, 0 where it is absent."""
        at = self.place(name)
        return 0 if not at else int(_U32.unpack_from(self.data, self._follow(at))[0])

    def table(self, name: str) -> Table | None:
        """A table."""
        field = self._field(name, Kind.TABLE)
        at = self._at(field.slot)
        if not at:
            return None
        return Table(self.data, self.schema, self.schema.tables[field.target], self._follow(at))

    def member(self, name: str) -> Table | None:
        """A union's table; None where it is absent, or the schema does not know its type."""
        field = self._field(name, Kind.UNION)
        at = self._at(field.slot)
        kind = self.schema.unions[field.target].get(self.union_type(name))
        if not at or kind is None:
            return None
        return Table(self.data, self.schema, self.schema.tables[kind], self._follow(at))

    def union_type(self, name: str) -> int:
        """The number of a union's type, 0 for none."""
        at = self._at(self._field(name, Kind.UNION).slot - 1)
        return self.data[at] if at else 0

    def tables(self, name: str) -> tuple[Table, ...]:
        """A vector of tables; empty where it is absent."""
        field = self._field(name, Kind.TABLES)
        kind = self.schema.tables[field.target]
        return tuple(Table(self.data, self.schema, kind, at) for at in self._elements(field))

    def vector_place(self, name: str) -> int:
        """Where a vector or string starts (its count), 0 where it is absent."""
        at = self.place(name)
        return self._follow(at) if at else 0

    # ---------------------------------------------------------------- steps

    def _field(self, name: str, kind: Kind) -> Field:
        field = self.kind.by_name[name]
        if field.kind is not kind:
            raise TypeError(f"{self.kind.name}.{name} is a {field.kind}, not a {kind}")
        return field

    def _at(self, slot: int) -> int:
        vtable = self.position - _I32.unpack_from(self.data, self.position)[0]
        entry = 4 + 2 * slot
        if entry >= _U16.unpack_from(self.data, vtable)[0]:
            return 0
        offset = _U16.unpack_from(self.data, vtable + entry)[0]
        return self.position + offset if offset else 0

    def _follow(self, at: int) -> int:
        return at + int(_U32.unpack_from(self.data, at)[0])

    def _raw(self, field: Field, width: int) -> memoryview | None:
        at = self._at(field.slot)
        if not at:
            return None
        start = self._follow(at)
        count = _U32.unpack_from(self.data, start)[0]
        return self.data[start + 4 : start + 4 + count * width]

    def _elements(self, field: Field) -> list[int]:
        at = self._at(field.slot)
        if not at:
            return []
        start = self._follow(at)
        count = _U32.unpack_from(self.data, start)[0]
        offsets = struct.unpack_from(f"<{count}I", self.data, start + 4)
        return [start + 4 + 4 * i + offset for i, offset in enumerate(offsets)]
