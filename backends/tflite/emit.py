"""A TFLite file with its operators in another order, and with other metadata.

An operator list is a vector of offsets, so that a permutation writes new offsets into the old
vector; nothing else moves. Metadata goes in front of the file (`layout`). Either way every byte
outside is the source's own, unknown fields included. The result is verified and compared with the
source, table by table, before anybody gets it.
"""

from __future__ import annotations

import itertools
import mmap
import struct
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from lowtide.backends.atomic import AtomicFile
from lowtide.backends.tflite.control import CONTROL, encode_control, renumbered
from lowtide.backends.tflite.layout import new_front
from lowtide.backends.tflite.patch import pieces
from lowtide.errors import InputError, LowtideError, ModelError, PlanError, VerificationError
from lowtide.flatbuffer import Kind, differences, verify

if TYPE_CHECKING:
    from collections.abc import Collection, Iterator, Mapping, Sequence

    from lowtide.flatbuffer import Table
    from lowtide.frontends.tflite import TfliteSource, TfliteSubgraph

__all__ = ["PLAN", "emit", "write"]

PLAN = "OfflineMemoryAllocation"  # read by TFLM: [1, 0, tensors, offset...], -1 for unplanned
_REMEDY = ", as no converter writes it: convert the model again"


def emit(
    source: TfliteSource,
    order: Sequence[int],
    *,
    subgraph: int = 0,
    metadata: Mapping[str, bytes] | None = None,
) -> bytes:
    """The file with the operators of one subgraph in `order`.

    Args:
        source: what `lowtide.frontends.tflite.read` returned.
        order: operator indices of the source, in the new order.
        subgraph: whose operators are permuted.
        metadata: named buffers to replace or to add.

    Raises:
        PlanError: not a permutation of the operators, or one comes before what it depends on; or
            the file has an offline memory plan, which is for its old order, and no new one came.
        ModelError: the file cannot hold it (objects share bytes; too long; unknown root fields).
        InputError: there is no such subgraph, or a metadata name that is not the caller's.
    """
    emission = _emission(source, order, subgraph, metadata or {})
    data = b"".join(emission.chunks())
    _check(source, memoryview(data), emission)
    return data


def write(
    source: TfliteSource,
    order: Sequence[int],
    destination: str | Path,
    *,
    subgraph: int = 0,
    metadata: Mapping[str, bytes] | None = None,
    force: bool = False,
) -> Path:
    """Like `emit`, into a file that appears whole or not at all; nothing is held in memory.

    Args:
        source: as for `emit`.
        order: as for `emit`.
        destination: the file.
        subgraph: as for `emit`.
        metadata: as for `emit`.
        force: replace an existing file; the source itself is never replaced.

    Raises:
        LowtideError: as for `emit`.
        InputError: the file exists, is the source, or cannot be written.
    """
    path = Path(destination)
    if not path.parent.is_dir():
        raise InputError(f"folder {path.parent} does not exist: create it first")
    if path.is_dir():
        raise InputError(f"{path} is a folder: name a file")
    if source.path is not None and path.resolve() == source.path.resolve():
        raise InputError(f"{path} is the input file and is never written to: choose another -o")
    if path.exists() and not force:
        raise InputError(f"{path} exists already: remove it or choose another -o")
    emission = _emission(source, order, subgraph, metadata or {})
    try:
        with AtomicFile(path) as file:
            for chunk in emission.chunks():
                file.stream.write(chunk)
            file.stream.flush()
            written = mmap.mmap(file.stream.fileno(), 0, access=mmap.ACCESS_READ)
            _check(source, memoryview(written), emission)
            file.commit()
    except OSError as error:
        raise InputError(f"cannot write {path}: {error.strerror or error}") from error
    return path


@dataclass(frozen=True, slots=True, eq=False)
class _Emission:
    """What is written: `front`, then the source from `start` on with `patches` over it."""

    data: memoryview
    front: bytes
    start: int
    patches: Mapping[int, bytes]
    subgraph: int
    order: tuple[int, ...]
    metadata: Mapping[str, bytes]
    replaced: frozenset[int]

    def chunks(self) -> Iterator[memoryview | bytes]:
        return itertools.chain([self.front], pieces(self.data, self.start, self.patches))


def _emission(
    source: TfliteSource, order: Sequence[int], number: int, metadata: Mapping[str, bytes]
) -> _Emission:
    subgraphs = source.model.subgraphs
    if not 0 <= number < len(subgraphs):
        raise InputError(f"subgraph {number} does not exist: the model has {len(subgraphs)}")
    if CONTROL in metadata:
        raise InputError(f"metadata `{CONTROL}` follows from the order: leave it out")
    subgraph = subgraphs[number]
    _check_order(subgraph, order)
    patches: dict[int, bytes] = {}
    named = dict(metadata)
    if list(order) != list(range(len(order))):
        _check_plan(source, metadata)
        patches.update(_permuted(source, subgraph, order))
        if subgraph.control:
            edges = [s.control for s in subgraphs]
            edges[number] = renumbered(subgraph.control, order)
            named[CONTROL] = encode_control(edges)
    if not named:
        return _Emission(source.data, b"", 0, patches, number, tuple(order), {}, frozenset())
    used = frozenset(t.buffer for s in subgraphs for t in s.tensors)
    front = new_front(source.model.table, named, used)
    patches.update(_shifted(source, front.shift))
    return _Emission(
        source.data,
        front.data,
        front.start,
        {place: patch for place, patch in patches.items() if place >= front.start},
        number,
        tuple(order),
        named,
        front.replaced,
    )


def _check_order(subgraph: TfliteSubgraph, order: Sequence[int]) -> None:
    operators = subgraph.operators
    if sorted(order) != list(range(len(operators))):
        raise PlanError(
            f"the order is not a permutation of the {len(operators)} operators of subgraph "
            f"{subgraph.index}"
        )
    place = {operator: index for index, operator in enumerate(order)}
    for operator, before in enumerate(subgraph.predecessors()):
        for needed in before:
            if place[needed] > place[operator]:
                raise PlanError(
                    f"operator {operator} ({operators[operator].kind}) is ordered before operator "
                    f"{needed} ({operators[needed].kind}), on which it depends"
                )


def _check_plan(source: TfliteSource, metadata: Mapping[str, bytes]) -> None:
    """An offline memory plan is for one order: another one would overwrite live tensors."""
    plan = source.metadata(PLAN)
    if plan is None or PLAN in metadata:
        return
    offsets = struct.unpack_from(f"<{len(plan) // 4}i", plan)[3:]
    if any(offset != -1 for offset in offsets):
        raise PlanError(
            f"the model has an offline memory plan (metadata `{PLAN}`) for its present order: "
            f"give one for the new order, or one with all offsets -1"
        )


def _permuted(
    source: TfliteSource, subgraph: TfliteSubgraph, order: Sequence[int]
) -> dict[int, bytes]:
    """The operator vector with its offsets in the new order."""
    vector = subgraph.table.vector_place("operators")
    stop = vector + 4 + 4 * len(order)
    shared = -1  # the vector itself is among the ranges
    for found in verify(source.data, source.model.table.schema, ranges=True).ranges:
        shared += found.start < stop and vector < found.stop
    if shared:
        raise ModelError(
            f"the operators of subgraph {subgraph.index} share bytes with other objects{_REMEDY}"
        )
    positions = [subgraph.operators[i].table.position for i in order]
    offsets = [position - vector - 4 - 4 * i for i, position in enumerate(positions)]
    return {vector + 4: struct.pack(f"<{len(offsets)}I", *offsets)}


def _shifted(source: TfliteSource, shift: int) -> dict[int, bytes]:
    """The absolute positions in the file, moved; each stored place once."""
    fields = [(b.table, "offset") for b in source.model.buffers]
    for subgraph in source.model.subgraphs:
        fields += [(op.table, "large_custom_options_offset") for op in subgraph.operators]
    patches: dict[int, bytes] = {}
    for table, name in fields:
        if table.integer(name) > 1:  # 0 and 1 are placeholders
            patches[table.place(name)] = struct.pack("<Q", table.integer(name) + shift)
    places = sorted(patches)
    if any(after - before < 8 for before, after in itertools.pairwise(places)):
        raise ModelError(f"tables with positions in the file overlap{_REMEDY}")
    return patches


# -------------------------------------------------------------------- the check of the result

_MOVED = frozenset({"Buffer.offset", "Operator.large_custom_options_offset"})
_REBUILT = frozenset({"Model.buffers", "Model.metadata", "SubGraph.operators"})


def _check(source: TfliteSource, data: memoryview, emission: _Emission) -> None:
    """The result says what the source says, but for the order and the metadata.

    Raises:
        ModelError: it does not, as the source's objects lie over one another.
        VerificationError: it does not, which is a mistake of ours.
    """
    old = source.model.table
    try:
        found = next(_mismatches(old, verify(data, old.schema).root, emission), None)
    except LowtideError as error:
        found = str(error)
    if found is None:
        return
    if _overlapping(source):
        raise ModelError(f"objects of the model lie over one another{_REMEDY}")
    raise VerificationError(f"the emitted file differs from its source: {found}")


def _overlapping(source: TfliteSource) -> bool:
    """Two objects of the file, data outside the flatbuffer included, share bytes but differ."""
    root = source.model.table
    ranges = {(r.start, r.stop) for r in verify(root.data, root.schema, ranges=True).ranges}
    ranges |= {(b.start, b.stop) for b in source.model.buffers if b.outside}
    for subgraph in source.model.subgraphs:
        for op in subgraph.operators:
            start = op.table.integer("large_custom_options_offset")
            if start > 1:
                ranges.add((start, start + op.table.integer("large_custom_options_size")))
            if _fields_overlap(op.table):
                return True
    if any(_fields_overlap(buffer.table) for buffer in source.model.buffers):
        return True
    stop = 0
    for start, end in sorted(ranges):
        if start < stop:
            return True
        stop = max(stop, end)
    return False


def _fields_overlap(table: Table) -> bool:
    """Two fields of a table are stored in the same bytes, or one lies outside the table."""
    stop = table.position + 4
    places = sorted(
        (table.place(f.name), f.width if f.kind is Kind.SCALAR else 4)
        for f in table.kind.fields
        if table.has(f.name)
    )
    for place, width in places:
        if place < stop:
            return True
        stop = place + width
    return stop > table.position + table.inline_bytes()


def _mismatches(old: Table, new: Table, emission: _Emission) -> Iterator[str]:
    yield from _same(old, new, _REBUILT | _MOVED | {"Model.subgraphs"}, "Model")
    for number, (one, other) in enumerate(
        zip(old.tables("subgraphs"), new.tables("subgraphs"), strict=True)
    ):
        where = f"Model.subgraphs[{number}]"
        yield from _same(one, other, _REBUILT | _MOVED, where)
        before, after = one.tables("operators"), other.tables("operators")
        order = emission.order if number == emission.subgraph else range(len(before))
        for index, operator in zip(order, after, strict=True):
            here = f"{where}.operators[{index}]"
            yield from _same(before[index], operator, _MOVED, here)
            yield from _same_outside(before[index], operator, "large_custom_options_", here)
    buffers = new.tables("buffers")
    for index, buffer in enumerate(old.tables("buffers")):
        if index not in emission.replaced:
            yield from _same(buffer, buffers[index], _MOVED, f"Model.buffers[{index}]")
            yield from _same_outside(buffer, buffers[index], "", f"Model.buffers[{index}]")
    entries = new.tables("metadata")
    for index, entry in enumerate(old.tables("metadata")):
        ignored = _name(entry) in {name.encode() for name in emission.metadata}
        yield from _same(
            entry, entries[index], {"Metadata.buffer"} if ignored else (), "Model.metadata"
        )
    for name, wanted in emission.metadata.items():
        held = [buffers[e.integer("buffer")] for e in entries if _name(e) == name.encode()]
        if not held or any(bytes(b.raw("data") or b"") != wanted for b in held):
            yield f"metadata {name!r} was not stored"


def _name(metadata: Table) -> bytes:
    return bytes(metadata.encoded("name") or b"")


def _same(old: Table, new: Table, ignore: Collection[str], path: str) -> Iterator[str]:
    return differences(old, new, ignore=ignore, path=path)


def _same_outside(old: Table, new: Table, prefix: str, path: str) -> Iterator[str]:
    """Data named by its position in the file is the same data."""
    start, length = old.integer(f"{prefix}offset"), old.integer(f"{prefix}size")
    moved = new.integer(f"{prefix}offset")
    if start > 1 and old.data[start : start + length] != new.data[moved : moved + length]:
        yield f"{path}: the data outside the flatbuffer differs"
