"""Buffers as CSV, in MiniMalloc's format: `id,lower,upper,size[,offset]`, lifetimes half-open.

The header names the columns, in any order; `start`, `end` and `buffer` or `buffer_id` are
understood as well. An empty offset is none.
"""

from __future__ import annotations

import csv
import os
import re
from io import StringIO
from pathlib import Path
from typing import TYPE_CHECKING

from lowtide.errors import InstanceError
from lowtide.solvers.allocation.problem import AllocationProblem, Block

if TYPE_CHECKING:
    from collections.abc import Sequence

__all__ = ["parse_csv", "read_csv", "to_csv", "write_csv"]

MAX_FILE_BYTES = 64 << 20
MAX_BLOCKS = 1_000_000
MAX_ID = 1000  # characters
_NAMES = {"buffer": "id", "buffer_id": "id", "start": "lower", "end": "upper"}
_INTEGER = re.compile(r"[+-]?[0-9]{1,24}")


def read_csv(
    path: str | os.PathLike[str], *, alignment: int = 1, capacity: int | None = None
) -> AllocationProblem:
    """The problem in a file.

    Raises:
        InstanceError: the file is unreadable, too large, or not such a table.
    """
    where = Path(path)
    try:
        with where.open("rb") as file:
            data = file.read(MAX_FILE_BYTES + 1)
    except OSError as error:
        raise InstanceError(f"{where}: cannot be read: {error.strerror or error}") from error
    if len(data) > MAX_FILE_BYTES:
        raise InstanceError(f"{where}: larger than {MAX_FILE_BYTES >> 20} MiB, no instance is")
    try:
        text = data.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        raise InstanceError(f"{where}: not UTF-8 text, at byte {error.start}") from error
    try:
        return parse_csv(text, alignment=alignment, capacity=capacity)
    except InstanceError as error:
        raise InstanceError(f"{where}: {error}") from error


def parse_csv(text: str, *, alignment: int = 1, capacity: int | None = None) -> AllocationProblem:
    """The problem in a CSV text. Raises `InstanceError` on anything else."""
    blocks: list[Block] = []
    nothing: list[str] = []
    try:
        rows = csv.reader(StringIO(text), strict=True)
        header = [
            _NAMES.get(name.strip().lower(), name.strip().lower()) for name in next(rows, nothing)
        ]
        columns = _columns(header)
        for row in rows:
            if not row:
                continue
            if len(row) != len(header):
                raise InstanceError(
                    f"line {rows.line_num} has {len(row)} fields, the header has {len(header)}"
                )
            if len(blocks) == MAX_BLOCKS:
                raise InstanceError(f"more than {MAX_BLOCKS} buffers")
            field = {name: row[column].strip() for name, column in columns.items()}
            if len(field["id"]) > MAX_ID:
                raise InstanceError(f"line {rows.line_num}: the id is over {MAX_ID} characters")
            blocks.append(
                Block(
                    field["id"],
                    _integer(field["lower"], rows.line_num, "lower"),
                    _integer(field["upper"], rows.line_num, "upper"),
                    _integer(field["size"], rows.line_num, "size"),
                    _integer(field["offset"], rows.line_num, "offset")
                    if field.get("offset")
                    else None,
                )
            )
    except csv.Error as error:
        raise InstanceError(f"not CSV: {error}") from error
    return AllocationProblem(tuple(blocks), alignment, capacity)


def to_csv(problem: AllocationProblem, offsets: Sequence[int] | None = None) -> str:
    """The problem as CSV text, with the given offsets, or with those that are fixed."""
    out = StringIO()
    writer = csv.writer(out, lineterminator="\n")
    given = any(b.offset is not None for b in problem.blocks)
    with_offset = offsets is not None or given
    writer.writerow(["id", "lower", "upper", "size", *(["offset"] if with_offset else [])])
    for index, block in enumerate(problem.blocks):
        row: list[object] = [block.id, block.lower, block.upper, block.size]
        if offsets is not None:
            row.append(offsets[index])
        elif given:
            row.append("" if block.offset is None else block.offset)
        writer.writerow(row)
    return out.getvalue()


def write_csv(
    problem: AllocationProblem,
    path: str | os.PathLike[str],
    offsets: Sequence[int] | None = None,
) -> None:
    """Write `to_csv` to a file, through a temporary file beside it."""
    where = Path(path)
    part = where.with_name(f"{where.name}.part{os.getpid()}")
    try:
        part.write_text(to_csv(problem, offsets), encoding="utf-8")
        part.replace(where)
    except OSError as error:
        part.unlink(missing_ok=True)
        raise InstanceError(f"{where}: cannot be written: {error.strerror or error}") from error


def _columns(header: list[str]) -> dict[str, int]:
    columns: dict[str, int] = {}
    for column, name in enumerate(header):
        if name not in {"id", "lower", "upper", "size", "offset"}:
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
