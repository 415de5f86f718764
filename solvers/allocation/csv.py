"""Buffers as CSV, in MiniMalloc's format: `id,lower,upper,size[,alignment][,gaps][,offset]`.

The header names the columns, in any order. Lifetimes are half-open; with a column `end` in place of
`upper`, ends are inclusive, those of gaps too, as MiniMalloc reads them.

    id, buffer, buffer_id    any text, unique
    lower, begin, start      and upper, or end (inclusive)
    size                     bytes
    alignment                of this buffer's offset
    gaps                     `7-9 12-14`: times at which the buffer is unused
    offset                   its fixed place; empty for none
    hint                     MiniMalloc's advice to its search: ignored
    pool                     ours, written only: the name of the memory; ignored
    shares                   ours: ids of buffers at whose offset it may lie, separated by spaces

Not accepted: gaps with a window (`7-9@0:64`), in which a buffer keeps part of its room.
"""

from __future__ import annotations

import csv
import os
import re
from functools import partial
from io import StringIO
from pathlib import Path
from typing import TYPE_CHECKING

from lowtide.errors import InstanceError
from lowtide.solvers.allocation.problem import AllocationProblem, Block, check_block
from lowtide.solvers.text_file import read_text

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

__all__ = ["parse_csv", "read_csv", "to_csv", "write_csv"]

MAX_FILE_BYTES = 64 << 20
MAX_BLOCKS = 1_000_000
MAX_ID = 1000  # characters
_NAMES = {"buffer": "id", "buffer_id": "id", "start": "lower", "begin": "lower"}
_COLUMNS = ("id", "lower", "upper", "size", "alignment", "gaps", "offset", "hint", "pool", "shares")
_INTEGER = re.compile(r"[+-]?[0-9]{1,24}")
_GAP = re.compile(r"([+-]?[0-9]{1,24})-([+-]?[0-9]{1,24})")


def read_csv(
    path: str | os.PathLike[str], *, alignment: int = 1, capacity: int | None = None
) -> AllocationProblem:
    """The problem in a file.

    Args:
        path: a table as in MiniMalloc, with a header.
        alignment: of every offset, in bytes.
        capacity: the most that a layout may be high, in bytes; None for the least height.

    Raises:
        InstanceError: the file is unreadable, too large, or not such a table.
    """
    parse = partial(parse_csv, alignment=alignment, capacity=capacity)
    return read_text(path, parse, most_bytes=MAX_FILE_BYTES, encoding="utf-8-sig")


def parse_csv(text: str, *, alignment: int = 1, capacity: int | None = None) -> AllocationProblem:
    """The problem in a CSV text. Raises `InstanceError` on anything else."""
    blocks: list[Block] = []
    lines: dict[str, int] = {}
    friends: list[tuple[int, str, int]] = []  # block, id of the other, line
    nothing: list[str] = []
    try:
        rows = csv.reader(StringIO(text), strict=True)
        header = [
            _NAMES.get(name.strip().lower(), name.strip().lower()) for name in next(rows, nothing)
        ]
        last = int("end" in header)  # an inclusive end is one less
        columns = _columns(["upper" if name == "end" else name for name in header])
        for row in rows:
            if not row:
                continue
            line = rows.line_num
            if len(row) != len(header):
                raise InstanceError(
                    f"line {line} has {len(row)} fields, the header has {len(header)}"
                )
            if len(blocks) == MAX_BLOCKS:
                raise InstanceError(f"more than {MAX_BLOCKS} buffers")
            field = {name: row[column].strip() for name, column in columns.items()}
            if len(field["id"]) > MAX_ID:
                raise InstanceError(f"line {line}: the id is over {MAX_ID} characters")
            if field["id"] in lines:
                raise InstanceError(
                    f"line {line}: the id `{field['id']}` is given to two buffers, the first in "
                    f"line {lines[field['id']]}"
                )
            lines[field["id"]] = line
            block = Block(
                field["id"],
                _integer(field["lower"], line, "lower"),
                _integer(field["upper"], line, "upper") + last,
                _integer(field["size"], line, "size"),
                _integer(field["offset"], line, "offset") if field.get("offset") else None,
                _gaps(field.get("gaps", ""), line, last),
                _integer(field["alignment"], line, "alignment") if field.get("alignment") else 1,
            )
            try:
                check_block(block, alignment)
            except InstanceError as error:
                raise InstanceError(f"line {line}: {error}") from error
            friends.extend((len(blocks), name, line) for name in field.get("shares", "").split())
            blocks.append(block)
    except csv.Error as error:
        raise InstanceError(f"not CSV: {error}") from error
    return AllocationProblem(tuple(blocks), alignment, capacity, _pairs(friends, lines))


def to_csv(
    problem: AllocationProblem,
    offsets: Sequence[int] | None = None,
    pools: Sequence[str] | None = None,
) -> str:
    """The problem as CSV text, with the given offsets, or with those that are fixed.

    `pools` are the names of the memories that the blocks lie in. Columns that no buffer needs are
    left out. The problem's own alignment and capacity are not part of the format.

    Raises:
        InstanceError: a buffer that shares has an id with a space in it, or none.
    """
    friends: dict[int, list[str]] = {}
    for one, two in problem.shares:
        name = problem.blocks[min(one, two)].id
        if name.split() != [name]:
            raise InstanceError(f"the id `{name}` has spaces: the column `shares` cannot name it")
        friends.setdefault(max(one, two), []).append(name)
    columns: list[tuple[str, Callable[[int, Block], object]]] = [
        ("id", lambda _, b: b.id),
        ("lower", lambda _, b: b.lower),
        ("upper", lambda _, b: b.upper),
        ("size", lambda _, b: b.size),
    ]
    if any(b.alignment != 1 for b in problem.blocks):
        columns.append(("alignment", lambda _, b: b.alignment))
    if any(b.gaps for b in problem.blocks):
        columns.append(("gaps", lambda _, b: " ".join(f"{x}-{y}" for x, y in b.gaps)))
    if friends:
        columns.append(("shares", lambda k, _: " ".join(friends.get(k, []))))
    if offsets is not None:
        columns.append(("offset", lambda k, _: offsets[k]))
    elif any(b.offset is not None for b in problem.blocks):
        columns.append(("offset", lambda _, b: "" if b.offset is None else b.offset))
    if pools is not None:
        columns.append(("pool", lambda k, _: pools[k]))
    out = StringIO()
    writer = csv.writer(out, lineterminator="\n")
    writer.writerow([name for name, _ in columns])
    for index, block in enumerate(problem.blocks):
        writer.writerow([value(index, block) for _, value in columns])
    return out.getvalue()


def write_csv(
    problem: AllocationProblem,
    path: str | os.PathLike[str],
    offsets: Sequence[int] | None = None,
    pools: Sequence[str] | None = None,
) -> None:
    """Write a problem to a file, through a temporary file beside it.

    Args:
        problem: its blocks are the rows.
        path: is replaced if it is there.
        offsets: one a block, for a column `offset`; None for no such column.
        pools: the name of each block's pool, for a column `pool`; None for no such column.
    """
    where = Path(path)
    part = where.with_name(f"{where.name}.part{os.getpid()}")
    try:
        part.write_text(to_csv(problem, offsets, pools), encoding="utf-8")
        part.replace(where)
    except OSError as error:
        part.unlink(missing_ok=True)
        raise InstanceError(f"{where}: cannot be written: {error.strerror or error}") from error


def _columns(header: list[str]) -> dict[str, int]:
    columns: dict[str, int] = {}
    for column, name in enumerate(header):
        if name not in _COLUMNS:
            raise InstanceError(f"the header has the unknown column `{name[:40]}`")
        if name in columns:
            raise InstanceError(f"the header names `{name}` twice")
        columns[name] = column
    missing = [name for name in ("id", "lower", "upper", "size") if name not in columns]
    if missing:
        raise InstanceError(f"the header lacks {', '.join(missing)}: give id,lower,upper,size")
    return columns


def _integer(text: str, line: int, column: str) -> int:
    if not _INTEGER.fullmatch(text):
        raise InstanceError(f"line {line}: `{column}` must be an integer, not `{text[:40]}`")
    return int(text)


def _gaps(text: str, line: int, last: int) -> tuple[tuple[int, int], ...]:
    gaps: list[tuple[int, int]] = []
    for part in text.split():
        match = _GAP.fullmatch(part)
        if match is None and "@" in part:
            raise InstanceError(
                f"line {line}: the gap `{part[:40]}` has a window, which is not modelled: leave "
                f"the gap out, the buffer then keeps its whole room"
            )
        if match is None:
            raise InstanceError(f"line {line}: the gap `{part[:40]}` is not like `7-9`")
        gaps.append((int(match[1]), int(match[2]) + last))
    return tuple(gaps)


def _pairs(
    friends: list[tuple[int, str, int]], lines: dict[str, int]
) -> tuple[tuple[int, int], ...]:
    """The sharing pairs by index; a pair may be named from either side, or from both."""
    number = {name: index for index, name in enumerate(lines)}
    pairs: dict[tuple[int, int], None] = {}
    for index, name, line in friends:
        other = number.get(name)
        if other is None or other == index:
            what = "itself" if other == index else "no other buffer"
            raise InstanceError(f"line {line}: `shares` names `{name[:40]}`, {what}")
        pairs[min(index, other), max(index, other)] = None
    return tuple(pairs)
