"""A flatbuffer schema as compact text.

    union Shape Circle=1 Square=2
    table Canvas version:u32=1 name:str sizes:[i32] layers:[Layer] shape_type:u8 shape:union:Shape
    empty Pad Slice                       tables without fields

A line that begins with a space continues the one above. Fields stand in the order of their slots.
Scalars are bool, i8 ... u64, f32, f64; `[T]` is a vector of scalars or of tables. The
type of a union field is the slot before it, as flatc lays it out. Structs are not modelled (the
schemas here have none, nor vectors of strings).
"""

from __future__ import annotations

from dataclasses import dataclass, field
from enum import Enum, auto

__all__ = ["Field", "Kind", "Schema", "TableType"]

# Text name -> (struct code, bytes).
_SCALARS = {
    "bool": ("?", 1),
    "i8": ("b", 1),
    "u8": ("B", 1),
    "i16": ("h", 2),
    "u16": ("H", 2),
    "i32": ("i", 4),
    "u32": ("I", 4),
    "i64": ("q", 8),
    "u64": ("Q", 8),
    "f32": ("f", 4),
    "f64": ("d", 8),
}


class Kind(Enum):
    """What a field holds; all but a scalar are an offset to something else."""

    SCALAR = auto()
    STRING = auto()
    TABLE = auto()
    UNION = auto()
    SCALARS = auto()
    TABLES = auto()


@dataclass(frozen=True, slots=True)
class Field:
    """One field of a table.

    Attributes:
        name: of the field.
        slot: its place in the vtable.
        kind: see `Kind`.
        code: the struct code of the scalar or of a vector's elements; empty for what has none.
        width: bytes of the scalar or of a vector's elements (4 for offsets).
        default: of an absent scalar.
        target: the name of the table or union, or empty.
    """

    name: str
    slot: int
    kind: Kind
    code: str
    width: int
    default: int | float
    target: str


@dataclass(frozen=True, slots=True)
class TableType:
    """A table's fields, by slot and by name."""

    name: str
    fields: tuple[Field, ...]
    by_name: dict[str, Field] = field(repr=False, compare=False)


@dataclass(frozen=True, eq=False)
class Schema:
    """All tables and unions of a schema.

    Attributes:
        tables: by name.
        unions: name to (type number to table name).
        root: the root table's type.
        identifier: the four bytes after the root offset.
    """

    tables: dict[str, TableType]
    unions: dict[str, dict[int, str]]
    root: TableType
    identifier: bytes

    @staticmethod
    def parse(text: str, *, root: str, identifier: bytes) -> Schema:
        """The schema that `text` describes.

        Raises:
            ValueError: a name is unknown or declared twice (a mistake in our own text).
        """
        tables: dict[str, TableType] = {}
        unions: dict[str, dict[int, str]] = {}
        for line in _joined(text):
            word, *rest = line.split()
            if word == "empty":
                for name in rest:
                    _declare(tables, TableType(name, (), {}))
            elif word == "union":
                members = (item.split("=") for item in rest[1:])
                unions[rest[0]] = {int(number): name for name, number in members}
            elif word == "table":
                fields = tuple(_field(slot, item) for slot, item in enumerate(rest[1:]))
                _declare(tables, TableType(rest[0], fields, {f.name: f for f in fields}))
            else:
                raise ValueError(f"unknown declaration {word!r}")
        for table in tables.values():
            for item in table.fields:
                known = unions if item.kind is Kind.UNION else tables
                if item.target and item.target not in known:
                    raise ValueError(f"{table.name}.{item.name}: {item.target} is not declared")
        for name, union in unions.items():
            if not set(union.values()) <= tables.keys():
                raise ValueError(f"union {name} has members that are not declared")
        return Schema(tables, unions, tables[root], identifier)


def _joined(text: str) -> list[str]:
    lines: list[str] = []
    for line in text.splitlines():
        if line.startswith(" "):
            lines[-1] += line
        elif line:
            lines.append(line)
    return lines


def _declare(tables: dict[str, TableType], table: TableType) -> None:
    if table.name in tables:
        raise ValueError(f"table {table.name} is declared twice")
    tables[table.name] = table


def _field(slot: int, text: str) -> Field:
    name, _, kind = text.partition(":")
    kind, _, default = kind.partition("=")
    if kind in _SCALARS:
        code, width = _SCALARS[kind]
        return Field(name, slot, Kind.SCALAR, code, width, _default(code, default), "")
    if kind == "str":
        return Field(name, slot, Kind.STRING, "", 4, 0, "")
    if kind.startswith("union:"):
        return Field(name, slot, Kind.UNION, "", 4, 0, kind.removeprefix("union:"))
    if kind.startswith("["):
        element = kind[1:-1]
        if element in _SCALARS:
            code, width = _SCALARS[element]
            return Field(name, slot, Kind.SCALARS, code, width, 0, "")
        return Field(name, slot, Kind.TABLES, "", 4, 0, element)
    return Field(name, slot, Kind.TABLE, "", 4, 0, kind)


def _default(code: str, text: str) -> int | float:
    if code in "fd":
        return float(text or 0)
    return int(text or 0)
