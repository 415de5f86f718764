"""Two flatbuffers compared by what they say, wherever their objects lie."""

from __future__ import annotations

from typing import TYPE_CHECKING

from lowtide.flatbuffer.schema import Kind

if TYPE_CHECKING:
    from collections.abc import Collection, Iterator

    from lowtide.flatbuffer.schema import Field
    from lowtide.flatbuffer.table import Table

__all__ = ["differences"]


def differences(
    left: Table, right: Table, *, ignore: Collection[str] = (), path: str = ""
) -> Iterator[str]:
    """The places where two tables of one type differ, one a line; nothing when they agree.

    Presence is compared too: a stored default is not an absent field. Fields that the schema lacks
    are compared by presence only.

    Args:
        left: a table.
        right: another of the same type.
        ignore: `Type.field` names that are left out, wherever they occur.
        path: what the lines begin with.
    """
    path = path or left.kind.name
    if left.kind is not right.kind:
        yield f"{path}: {left.kind.name} and {right.kind.name}"
        return
    if left.present_slots() != right.present_slots():
        known = {f.slot for f in left.kind.fields if f"{left.kind.name}.{f.name}" in ignore}
        ours, theirs = set(left.present_slots()) - known, set(right.present_slots()) - known
        if ours != theirs:
            yield f"{path}: stored fields {sorted(ours)} and {sorted(theirs)}"
            return
    for field in left.kind.fields:
        if f"{left.kind.name}.{field.name}" in ignore or not left.has(field.name):
            continue
        yield from _field(left, right, field, ignore, f"{path}.{field.name}")


def _field(
    left: Table, right: Table, field: Field, ignore: Collection[str], path: str
) -> Iterator[str]:
    name = field.name
    if field.kind is Kind.SCALAR:
        if left.scalar_bytes(name) != right.scalar_bytes(name):
            yield f"{path}: {left.number(name)} and {right.number(name)}"
    elif field.kind is Kind.STRING:
        if left.encoded(name) != right.encoded(name):
            yield f"{path}: {left.text(name)!r} and {right.text(name)!r}"
    elif field.kind is Kind.SCALARS:
        if left.raw(name) != right.raw(name):
            yield f"{path}: the vectors differ"
    elif field.kind is Kind.TABLES:
        ours, theirs = left.tables(name), right.tables(name)
        if len(ours) != len(theirs):
            yield f"{path}: {len(ours)} and {len(theirs)} elements"
            return
        for index, (one, another) in enumerate(zip(ours, theirs, strict=True)):
            yield from differences(one, another, ignore=ignore, path=f"{path}[{index}]")
    else:
        union = field.kind is Kind.UNION
        mine = left.member(name) if union else left.table(name)
        other = right.member(name) if union else right.table(name)
        if mine is not None and other is not None:
            yield from differences(mine, other, ignore=ignore, path=path)
        elif mine is not other:
            yield f"{path}: stored in one only"
