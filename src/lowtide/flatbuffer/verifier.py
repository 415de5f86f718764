"""The verifier: nothing of an untrusted flatbuffer is used before it passed here.

    0        4        8                         A table starts with the signed distance back to
    +--------+--------+----- ... -----+         its vtable; the vtable lists its own size, the
    | root   | TFL3   |               |         table's size, and where in the table each field
    +---|----+--------+--- +--------+ |         lies (0: absent). All other offsets are unsigned
        +----------------> | table  | |         and point forward.
               vtable <-----| -vtable|
               +------+     | fields |---> strings, vectors, tables further on
               +------+     +--------+

Checked, for every object that can be reached: it lies inside the data; tables, vtables, vectors,
strings and scalars are aligned; offsets point forward; strings end with a zero; a vector's count
fits; a union's member is one of its tables. Fields and union members that the schema does not know
(newer files) are left alone and listed.

Forward offsets exclude cycles: along any path of reads the address grows. They do not exclude
sharing, with which a small file unfolds to a huge tree: the tables that are reached, counted with
repetition, and the bytes that they name are bounded (vectors of u8, which nobody copies, apart).
The work is linear in those two bounds. Recursion is as deep as the schema, and bounded as well.

The checks are those of flatbuffers' own C++ verifier, with fields outside their table refused.
"""

from __future__ import annotations

import struct
from dataclasses import dataclass
from typing import NamedTuple

from lowtide.errors import ModelError
from lowtide.flatbuffer.schema import Field, Kind, Schema, TableType
from lowtide.flatbuffer.table import Table

__all__ = ["Limits", "Range", "Verified", "verify"]

_U16 = struct.Struct("<H")
_U32 = struct.Struct("<I")
_I32 = struct.Struct("<i")
_TWO_U16 = struct.Struct("<HH")
_MAX_SLOTS = 64  # of a vtable: several times what the largest table of a schema has
_MAX_UNKNOWN = 1000
_MAX_FLATBUFFER = (1 << 31) - 1  # offsets are 32 bits with a sign; data may follow beyond


@dataclass(frozen=True, slots=True)
class Limits:
    """How much a file may ask for.

    Attributes:
        tables: that can be reached, one that is reached twice counted twice.
        depth: of tables within tables.
        unfolding: the bytes named by all objects may be this many times the file's.
        slack_bytes: that small files may name on top.
    """

    tables: int = 500_000
    depth: int = 64
    unfolding: int = 4
    slack_bytes: int = 1 << 20


class Range(NamedTuple):
    """Bytes that an object occupies, half-open; `what` is a table's name, `vtable`, ..."""

    start: int
    stop: int
    what: str


@dataclass(frozen=True, eq=False)
class Verified:
    """What a successful verification knows.

    Attributes:
        root: the root table.
        unknown: the fields and union members that the schema lacks, in order of first sight.
        ranges: of all objects, where they were asked for.
    """

    root: Table
    unknown: tuple[str, ...]
    ranges: tuple[Range, ...]


class _DamageError(Exception):
    """What is wrong; the path to it grows while the stack unwinds."""

    def __init__(self, what: str) -> None:
        super().__init__(what)
        self.what = what
        self.path: list[str] = []


def verify(
    data: memoryview, schema: Schema, *, limits: Limits = Limits(), ranges: bool = False
) -> Verified:
    """Check `data` and return its root table.

    Args:
        data: the file, as a contiguous view of bytes.
        schema: what it should be.
        limits: see `Limits`.
        ranges: collect the bytes that every object occupies (shared ones repeat).

    Raises:
        ModelError: the data is not a valid flatbuffer of that schema, or exceeds the limits; the
            message names the field, the value and the place.
    """
    check = _Verifier(data, schema, limits, collect=ranges)
    try:
        position = check.root()
        check.table(position, schema.root, 0)
    except _DamageError as damage:
        where = schema.root.name + "".join(reversed(damage.path))
        raise ModelError(
            f"damaged flatbuffer: {where}: {damage.what} (file of {len(data)} bytes): get the file "
            f"again from its source"
        ) from None
    root = Table(data, schema, schema.root, position)
    return Verified(root, tuple(check.unknown), tuple(check.ranges))


class _Verifier:
    def __init__(self, data: memoryview, schema: Schema, limits: Limits, *, collect: bool) -> None:
        self.data = data
        self.end = min(len(data), _MAX_FLATBUFFER)
        self.schema = schema
        self.limits = limits
        self.collect = collect
        self.tables_left = limits.tables
        self.bytes_left = limits.unfolding * self.end + limits.slack_bytes
        slots = max(len(table.fields) for table in schema.tables.values())
        self.unpack = tuple(struct.Struct(f"<{n}H") for n in range(slots + 1))
        self.unknown: dict[str, None] = {}
        self.ranges: list[Range] = []

    def root(self) -> int:
        if len(self.data) < 12:
            raise _DamageError(f"a flatbuffer has at least 12 bytes, this has {len(self.data)}")
        found = bytes(self.data[4:8])
        if found != self.schema.identifier:
            raise _DamageError(
                f"the file identifier is {found!r}, not {self.schema.identifier!r}: "
                f"this is another kind of file"
            )
        return self._follow(0)

    # ---------------------------------------------------------------- objects

    def table(self, position: int, kind: TableType, depth: int) -> None:
        if depth > self.limits.depth:
            raise _DamageError(f"tables are nested more than {self.limits.depth} deep")
        self.tables_left -= 1
        if self.tables_left < 0:
            raise _DamageError(f"more than {self.limits.tables} tables can be reached")
        offsets = self._offsets_of(position, kind)
        for item in kind.fields[: len(offsets)]:
            offset = offsets[item.slot]
            if offset:
                try:
                    self._field(position, offset, item, offsets, depth)
                except _DamageError as damage:
                    damage.path.append(f".{item.name}")
                    raise

    def _offsets_of(self, position: int, kind: TableType) -> tuple[int, ...]:
        """Where the fields that the schema knows lie in the table, by slot."""
        vtable, slots = self._vtable(position, kind.name)
        known = min(slots, len(kind.fields))
        for slot in range(known, slots):
            if _U16.unpack_from(self.data, vtable + 4 + 2 * slot)[0]:
                self._note(f"{kind.name} field {slot}")
        return self.unpack[known].unpack_from(self.data, vtable + 4)

    def _vtable(self, position: int, name: str) -> tuple[int, int]:
        """Check a table's own bytes; the place of its vtable and the number of its slots."""
        if position & 3 or position + 4 > self.end:
            raise _DamageError(f"a table at {position} is misaligned or outside the flatbuffer")
        vtable = position - _I32.unpack_from(self.data, position)[0]
        if vtable < 0 or vtable & 1 or vtable + 4 > self.end:
            raise _DamageError(f"a vtable at {vtable} is misaligned or outside the flatbuffer")
        length, size = _TWO_U16.unpack_from(self.data, vtable)
        if length < 4 or length & 1 or vtable + length > self.end:
            raise _DamageError(f"the vtable at {vtable} has {length} bytes, which do not fit")
        if length > 4 + 2 * _MAX_SLOTS:
            raise _DamageError(f"the vtable at {vtable} has more than {_MAX_SLOTS} fields")
        if size < 4 or position + size > self.end:
            raise _DamageError(f"a table at {position} has {size} bytes, which do not fit")
        self._spend(size + 4)
        if self.collect:
            self.ranges.append(Range(position, position + size, name))
            self.ranges.append(Range(vtable, vtable + length, "vtable"))
        return vtable, (length - 4) // 2

    def _field(
        self, table: int, offset: int, item: Field, offsets: tuple[int, ...], depth: int
    ) -> None:
        at = table + offset
        width = item.width if item.kind is Kind.SCALAR else 4
        size: int = _U16.unpack_from(self.data, self._vtable_of(table) + 2)[0]
        if offset < 4 or offset + width > size:
            raise _DamageError(f"the field at {at} lies outside its table")
        if item.kind is Kind.SCALAR:
            if at & (item.width - 1):
                raise _DamageError(f"the {item.width}-byte value at {at} is misaligned")
            return
        target = self._follow(at)
        if item.kind is Kind.STRING:
            self._string(target)
        elif item.kind is Kind.TABLE:
            self.table(target, self.schema.tables[item.target], depth + 1)
        elif item.kind is Kind.UNION:
            self._union(table, target, item, offsets, depth)
        elif item.kind is Kind.SCALARS:
            self._vector(target, item.width, free=item.code == "B")
        else:
            self._offsets(target, item, depth)

    def _union(
        self, table: int, target: int, item: Field, offsets: tuple[int, ...], depth: int
    ) -> None:
        place = offsets[item.slot - 1]
        number = self.data[table + place] if place else 0  # checked: its slot comes first
        name = self.schema.unions[item.target].get(number)
        if name is None:
            if number:
                self._vtable(target, item.target)
                self._note(f"{item.target} member {number}")
            return
        self.table(target, self.schema.tables[name], depth + 1)

    def _offsets(self, target: int, item: Field, depth: int) -> None:
        count = self._vector(target, 4)
        kind = self.schema.tables[item.target]
        for index in range(count):
            try:
                element = self._follow(target + 4 + 4 * index)
                self.table(element, kind, depth + 1)
            except _DamageError as damage:
                damage.path.append(f"[{index}]")
                raise

    def _string(self, target: int) -> None:
        count = self._vector(target, 1)
        end = target + 4 + count
        if end >= self.end or self.data[end] != 0:
            raise _DamageError(f"the string at {target} does not end with a zero")

    def _vector(self, target: int, width: int, *, free: bool = False) -> int:
        """Check a vector's place and size; the number of its elements."""
        if target & 3 or target + 4 > self.end:
            raise _DamageError(f"a vector at {target} is misaligned or outside the flatbuffer")
        count: int = _U32.unpack_from(self.data, target)[0]
        stop = target + 4 + count * width
        if stop > self.end:
            raise _DamageError(f"the vector at {target} claims {count} elements of {width} bytes")
        self._spend(4 if free else 4 + count * width)
        if self.collect:
            self.ranges.append(Range(target, stop, "vector"))
        return count

    # ---------------------------------------------------------------- steps

    def _vtable_of(self, table: int) -> int:
        """The place of a checked table's vtable."""
        return table - int(_I32.unpack_from(self.data, table)[0])

    def _follow(self, at: int) -> int:
        """Where the offset stored at `at` points."""
        if at & 3 or at + 4 > self.end:
            raise _DamageError(f"the offset at {at} is misaligned or outside the flatbuffer")
        distance: int = _U32.unpack_from(self.data, at)[0]
        if distance == 0 or at + distance >= self.end:
            raise _DamageError(f"the offset {distance} at {at} points outside the flatbuffer")
        return at + distance

    def _spend(self, count: int) -> None:
        self.bytes_left -= count
        if self.bytes_left < 0:
            raise _DamageError(
                f"shared objects unfold to more than {self.limits.unfolding} times the file"
            )

    def _note(self, unknown: str) -> None:
        self.unknown[unknown] = None
        if len(self.unknown) > _MAX_UNKNOWN:
            raise _DamageError(f"over {_MAX_UNKNOWN} kinds of fields are unknown")
