"""The scene as small JSON for the page's script: names once, numbers as differences.

Everything is a list of columns. A name begins with two digits to base 36: how many characters it
has in common with the one before it (front coding). A run's blocks are sorted by `start`, of which
the differences are kept; a block's tensors are numbers of the list `tensors`, each after the first
with its birth, and -1 is workspace. Blocks may be left out, so what the planned steps take as
workspace, for their table, is a list of its own.
"""

from __future__ import annotations

from itertools import pairwise
from typing import TYPE_CHECKING

from lowtide.pictures.names import Clipper, clipped, script_json
from lowtide.pictures.scene import Kind

if TYPE_CHECKING:
    from collections.abc import Sequence

    from lowtide.pictures.scene import Block, Run, Scene

__all__ = ["MOST_BLOCKS", "page_data"]

MOST_BLOCKS = 8000  # of a run; the smallest are left out above
# What texts may take. A page is below a megabyte where names of 24 bytes allow that; where not, it
# does not count, and names have 48.
_PAGE_BYTES = 999_000
_NAME_BYTES, _TYPE_BYTES, _KIND_BYTES = 330_000, 100_000, 20_000
_LONGEST_KIND = 80  # characters
_PER_NAME, _LEAST = 48, 24
_KINDS = tuple(Kind)
_DIGITS = "0123456789abcdefghijklmnopqrstuvwxyz"
_MOST_SHARED = 36 * 36 - 1


class _Table:
    """Strings by number, each once."""

    def __init__(self) -> None:
        self.rows: list[str] = []
        self._known: dict[str, int] = {}

    def number(self, text: str) -> int:
        found = self._known.setdefault(text, len(self.rows))
        if found == len(self.rows):
            self.rows.append(text)
        return found


def page_data(scene: Scene, beside: int = 0) -> str:
    """The data; the rest of the page takes `beside` bytes."""
    ops, tensors, kinds, types = _Table(), _Table(), _Table(), _Table()
    type_of: dict[int, int] = {}

    def encoded(run: Run) -> dict[str, object]:
        blocks = _largest(run.blocks)
        kept: list[object] = []
        for block in blocks:
            if block.kind is Kind.WORKSPACE:
                kept.append(-1)
                continue
            row: list[int] = []
            for name, shape, birth in zip(block.names, block.types, block.births, strict=True):
                tensor = tensors.number(name)
                type_of[tensor] = types.number(shape)
                row += [tensor, birth] if row else [tensor]
            kept.append(row[0] if len(row) == 1 else row)
        return {
            "ops": [ops.number(moment.op) for moment in run.moments],
            "kinds": [kinds.number(clipped(moment.kind, _LONGEST_KIND)) for moment in run.moments],
            "live": _differences([moment.live_bytes for moment in run.moments]),
            "again": [index for index, moment in enumerate(run.moments) if moment.again],
            "tensors": kept,
            "bytes": [block.nbytes for block in blocks],
            "start": _differences([block.start for block in blocks]),
            "length": [block.stop - block.start for block in blocks],
            "offset": [-1 if block.offset is None else block.offset for block in blocks],
            "kind": "".join(str(_KINDS.index(block.kind)) for block in blocks),
            "peak": run.peak_bytes,
            "peak_step": run.peak_step,
        }

    content: dict[str, object] = {
        "runs": [encoded(scene.before), encoded(scene.after)],
        "workspace": _differences([moment.workspace_bytes for moment in scene.after.moments]),
        "type_of": [type_of.get(index, 0) for index in range(len(tensors.rows))],
        "block_kinds": [kind.value for kind in _KINDS],
        "arena": not scene.own_allocator,
    }
    content["types"] = _clipped(types.rows, max(_TYPE_BYTES, _PER_NAME * len(types.rows)))
    names = [*ops.rows, *tensors.rows]
    least_kinds = max(_KIND_BYTES, _LEAST * len(kinds.rows))
    total = max(_NAME_BYTES, _PER_NAME * len(names))
    room = _PAGE_BYTES - beside - _size(content) - least_kinds
    if _LEAST * len(names) <= room < total:
        total = room
    clip = Clipper.fitting(names, total)
    content["ops"] = _front_coded([clip(name) for name in ops.rows])
    content["tensors"] = _front_coded([clip(name) for name in tensors.rows])
    # Most models have a few types of ops; where each has its own, they get what is left.
    room = _PAGE_BYTES - beside - _size(content)
    content["kinds"] = _clipped(kinds.rows, max(least_kinds, room))
    return script_json(content)


def _size(content: object) -> int:
    return len(script_json(content).encode())


def _clipped(rows: Sequence[str], total: int) -> list[str]:
    clip = Clipper.fitting(rows, total)
    return [clip(text) for text in rows]


def _largest(blocks: Sequence[Block]) -> list[Block]:
    if len(blocks) <= MOST_BLOCKS:
        return list(blocks)
    ranked = sorted(
        range(len(blocks)),
        key=lambda i: (-blocks[i].nbytes * (blocks[i].stop - blocks[i].start), i),
    )
    return [blocks[i] for i in sorted(ranked[:MOST_BLOCKS])]


def _front_coded(names: Sequence[str]) -> list[str]:
    """Names without the beginning that they share with the one before."""
    found: list[str] = []
    last = ""
    for name in names:
        shared = 0
        for one, two in zip(last, name, strict=False):
            # The script counts in UTF-16, where characters above U+FFFF are two.
            if one != two or one > "\uffff" or shared == _MOST_SHARED:
                break
            shared += 1
        found.append(f"{_DIGITS[shared // 36]}{_DIGITS[shared % 36]}{name[shared:]}")
        last = name
    return found


def _differences(values: Sequence[int]) -> list[int]:
    return [*values[:1], *(b - a for a, b in pairwise(values))]
