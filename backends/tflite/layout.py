"""New metadata in front of an existing flatbuffer, of which nothing else changes.

    before                                    after
    +--------------------------------+        +-----------------------------------------------+
    | root, Model, vectors | objects |        | root, Model, vectors, new objects | objects   |
    +--------------------------------+        +-----------------------------------------------+
      ^ no longer needed                                                          ^ the same bytes

Offsets in a flatbuffer point forward, so that a vector which shall name old tables and new ones
must lie before both: the root table and the vectors `buffers` and `metadata` are written anew in
front. All other objects keep their bytes and their distances to one another; the whole block moves
by a multiple of `_SHIFT`, so that every alignment stays. What moves with it and is stored as an
absolute position (`Buffer.offset`, `large_custom_options_offset`) is the caller's to patch.
"""

from __future__ import annotations

import struct
from collections import Counter
from dataclasses import dataclass
from typing import TYPE_CHECKING

from lowtide.errors import ModelError
from lowtide.flatbuffer import Kind, Range, verify

if TYPE_CHECKING:
    from collections.abc import Mapping

    from lowtide.flatbuffer import Table

__all__ = ["Front", "new_front"]

_SHIFT = 64  # the largest alignment that converters give to constants
_PAGE = 4096  # data outside the flatbuffer that lies at pages' starts (to be mapped) stays there
_DATA_ALIGNMENT = 16  # of `Buffer.data`, by the schema
_MAX_FLATBUFFER = (1 << 31) - 1
_MAX_FRONT = 1 << 30


@dataclass(frozen=True, slots=True)
class Front:
    """What goes in front.

    Attributes:
        data: the new bytes.
        start: the old file follows from here on.
        shift: what follows lies so much further back than before.
        replaced: old indices of the buffers that were replaced.
    """

    data: bytes
    start: int
    shift: int
    replaced: frozenset[int]


def new_front(root: Table, metadata: Mapping[str, bytes], tensors_use: frozenset[int]) -> Front:
    """The front that gives the model this metadata.

    A name that exists keeps its place, and its buffer's index unless something else uses that
    buffer; a new one comes last, with a new buffer.

    Args:
        root: the model's root table.
        metadata: what each name shall hold.
        tensors_use: the buffers that tensors name.

    Raises:
        ModelError: the root table has fields that the schema lacks, or the result would be too
            long for a flatbuffer.
    """
    if any(slot >= len(root.kind.fields) for slot in root.present_slots()):
        raise ModelError(
            "the model's root table has fields that this version does not know, so that no metadata"
            " can be added: update lowtide"
        )
    wanted = sum(len(data) for data in metadata.values())
    if wanted > _MAX_FRONT // 2:
        raise ModelError(f"metadata of {wanted} bytes does not fit: shorten it")
    found = verify(root.data, root.schema, ranges=True)
    edit = _Edit(root, metadata, tensors_use)
    outside = [p for p in _absolute(root) if p > 1]
    start = 0 if found.unknown else _live_start(root, found.ranges, outside, edit.replaced)
    step = _PAGE if outside and all(p % _PAGE == 0 for p in outside) else _SHIFT
    draft = edit.write(_MAX_FRONT)  # offsets have a fixed width: any shift gives the same length
    padding = -(len(draft) - start) % step
    shift = len(draft) + padding - start
    stop = max(r.stop for r in found.ranges)
    if stop + shift > _MAX_FLATBUFFER:
        raise ModelError(f"with its metadata the flatbuffer would take {stop + shift} bytes")
    return Front(edit.write(shift) + bytes(padding), start, shift, frozenset(edit.replaced))


class _Edit:
    """The new vectors: every element is an old table, at its place in the file, or a new object."""

    def __init__(
        self, root: Table, metadata: Mapping[str, bytes], tensors_use: frozenset[int]
    ) -> None:
        self.root = root
        self.buffers: list[int | bytes | None] = [t.position for t in root.tables("buffers")]
        self.entries: list[int | tuple[bytes, int]] = []
        self.replaced: set[int] = set()
        old = root.tables("metadata")
        self.entries += [t.position for t in old]
        if not self.buffers:
            self.buffers.append(None)  # number 0 means no buffer
        names = [bytes(t.encoded("name") or b"") for t in old]
        users = Counter(t.integer("buffer") for t in old)
        users.update(root.integers("metadata_buffer"))
        for key, data in metadata.items():
            name = key.encode()
            places = [i for i, known in enumerate(names) if known == name]
            kept = old[places[0]].integer("buffer") if places else 0
            if len(places) == 1 and kept and kept not in tensors_use and users[kept] == 1:
                self.buffers[kept] = data
                self.replaced.add(kept)
                continue
            self.buffers.append(data)
            for place in places:
                self.entries[place] = (name, len(self.buffers) - 1)
            if not places:
                self.entries.append((name, len(self.buffers) - 1))

    def write(self, shift: int) -> bytes:
        """The front's bytes, when old positions lie `shift` further back."""
        out = bytearray(8)
        out[4:8] = self.root.schema.identifier
        slots = set(self.root.present_slots())
        fields = [
            f for f in self.root.kind.fields if f.slot in slots or f.name in {"buffers", "metadata"}
        ]
        size = 4 + 4 * len(fields)
        places = {f.slot: 4 + 4 * i for i, f in enumerate(fields)}
        count = max(places) + 1
        out += struct.pack(
            f"<HH{count}H", 4 + 2 * count, size, *(places.get(s, 0) for s in range(count))
        )
        out += bytes(-len(out) % 4)
        table = len(out)
        struct.pack_into("<I", out, 0, table)
        out += struct.pack("<i", table - 8) + bytes(size - 4)
        vectors: dict[str, int] = {}
        for name, elements in (("buffers", self.buffers), ("metadata", self.entries)):
            vectors[name] = len(out)
            out += struct.pack("<I", len(elements)) + bytes(4 * len(elements))
        for field in fields:
            at = table + places[field.slot]
            if field.kind is Kind.SCALAR:
                out[at : at + 4] = self.root.scalar_bytes(field.name)
                continue
            place = self.root.place(field.name)
            target = vectors.get(field.name)
            if target is None:
                target = place + int(struct.unpack_from("<I", self.root.data, place)[0]) + shift
            struct.pack_into("<I", out, at, target - at)
        for index, buffer in enumerate(self.buffers):
            target = buffer + shift if isinstance(buffer, int) else _add_buffer(out, buffer)
            at = vectors["buffers"] + 4 + 4 * index
            struct.pack_into("<I", out, at, target - at)
        for index, entry in enumerate(self.entries):
            target = entry + shift if isinstance(entry, int) else _add_metadata(out, *entry)
            at = vectors["metadata"] + 4 + 4 * index
            struct.pack_into("<I", out, at, target - at)
        return bytes(out)


def _add_buffer(out: bytearray, data: bytes | None) -> int:
    """Append a `Buffer`, with data or without; where its table is."""
    if data is None:
        out += bytes(-len(out) % 4)
        out += struct.pack("<HHi", 4, 4, 4)
        return len(out) - 4
    out += bytes(-len(out) % 4) + bytes(2)  # the table, 6 bytes on, is aligned to 4
    vtable = len(out)
    out += struct.pack("<HHH", 6, 8, 4)
    table = len(out)
    out += struct.pack("<iI", table - vtable, 0)
    out += bytes(-(len(out) + 4) % _DATA_ALIGNMENT)
    struct.pack_into("<I", out, table + 4, len(out) - table - 4)
    out += struct.pack("<I", len(data)) + data
    return table


def _add_metadata(out: bytearray, name: bytes, buffer: int) -> int:
    """Append a `Metadata` entry; where its table is."""
    out += bytes(-len(out) % 4)
    vtable = len(out)
    out += struct.pack("<HHHH", 8, 12, 4, 8)
    table = len(out)
    out += struct.pack("<iII", table - vtable, 8, buffer)
    out += struct.pack("<I", len(name)) + name + b"\0"
    return table


def _absolute(root: Table) -> list[int]:
    """All positions that are stored as such."""
    found = [t.integer("offset") for t in root.tables("buffers")]
    for subgraph in root.tables("subgraphs"):
        found += [t.integer("large_custom_options_offset") for t in subgraph.tables("operators")]
    return found


def _live_start(
    root: Table, ranges: tuple[Range, ...], outside: list[int], replaced: set[int]
) -> int:
    """Where the first byte lies that is still needed.

    Ranges are counted as often as they are reached: one that a dead object shares with a live one
    stays.
    """
    live = Counter((r.start, r.stop) for r in ranges)
    buffers = root.tables("buffers")
    for table in (root, *(buffers[i] for i in replaced)):
        live[table.position, table.position + table.inline_bytes()] -= 1
        live[table.vtable_range()] -= 1
    for table, name, width in (
        (root, "buffers", 4),
        (root, "metadata", 4),
        *((buffers[i], "data", 1) for i in replaced),
    ):
        place = table.vector_place(name)
        if place:
            live[place, place + 4 + width * table.count(name)] -= 1
    return min([start for (start, _), count in live.items() if count > 0] + outside)
