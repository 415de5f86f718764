"""Regions that can be run tile by tile, and what each would need: an estimate, no simulation.

A region is a run of ops of the graph's order, all spatially local along one axis, that reads one
tensor (and constants) and makes one that others read:

    ... ──▶ X ──▶ [ op  op  op  op ] ──▶ Y ──▶ ...

Tile by tile, what is alive is what lives beside the region, the rows of X that are still to be
read, the rows of Y that are made, and the tensors within the tile. Where the runtime cannot place
slices and parts of a concatenation inside a larger tensor, X stays whole, slices are copies, and
all of Y is there twice at its end.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from functools import cached_property
from itertools import accumulate
from typing import TYPE_CHECKING

from lowtide.ir import Role
from lowtide.ir.semantics import Convolution, Pooling
from lowtide.passes.rewrite.rows import Rows
from lowtide.passes.rewrite.tiles import local, plan_tile, row_bytes

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from lowtide.ir import Accounting, Graph, Op, Tensor
    from lowtide.passes.rewrite.dialect import Dialect
    from lowtide.passes.rewrite.tiles import Local, Tile

__all__ = ["Estimate", "Limits", "Region", "heights", "region_at", "regions"]


@dataclass(frozen=True, slots=True)
class Limits:
    """How the target places and what an op costs it.

    Attributes:
        accounting: as the graph is scheduled under.
        elided: slices are views and parts lie in their concatenation, byte by byte.
        op_bytes: what persists in the runtime's memory for each op.
        channel_bytes: and beside it for each channel that a convolution makes.
        longest: ops of a region.
    """

    accounting: Accounting
    elided: bool = False
    op_bytes: int = 0
    channel_bytes: int = 0
    longest: int = 48

    def persistent(self, step: Local) -> int:
        """What one more op like this takes for good."""
        meaning = step.meaning
        channels = 0
        if isinstance(meaning, Convolution):
            channels = step.result.shape[meaning.channels]
        return self.op_bytes + self.channel_bytes * channels


@dataclass(frozen=True, slots=True)
class Estimate:
    """A region in tiles.

    Attributes:
        tiles: in execution order.
        heights: theirs.
        upward: they begin at the bottom.
        peak_bytes: the most that is alive.
        extra_work: operations more than the ops as they are.
        persistent_bytes: what the new ops take for good, more than the old ones.
    """

    tiles: tuple[Tile, ...]
    heights: tuple[int, ...]
    upward: bool
    peak_bytes: int
    extra_work: int
    persistent_bytes: int


@dataclass(frozen=True, eq=False)
class Region:
    """See above.

    Attributes:
        first: the position of the first op in the graph's order.
        entry: X.
        ops: in order; the last one makes Y.
        beside: bytes of the tensors that live beside the region while it runs.
        entry_counts: X counts under the accounting.
        entry_stays: others read X later on, or it stays to the end.
        limits: of the target.
        planned: tiles by their rows, as they were needed.
        inner: tiles away from the ends, by their height.
    """

    first: int
    entry: Tensor
    ops: tuple[Local, ...]
    beside: int
    entry_counts: bool
    entry_stays: bool
    limits: Limits
    planned: dict[Rows, Tile | None] = field(default_factory=dict[Rows, "Tile | None"])
    inner: dict[int, Tile] = field(default_factory=dict[int, "Tile"])

    @property
    def axis(self) -> int:
        """Of the rows."""
        return self.ops[0].axis

    @property
    def last(self) -> int:
        """The position of the last op."""
        return self.first + len(self.ops) - 1

    @property
    def result(self) -> Tensor:
        """Y."""
        return self.ops[-1].result

    @cached_property
    def work(self) -> int:
        """Operations of the ops as they are."""
        return sum(each.op.flops for each in self.ops)

    @property
    def rows(self) -> int:
        """Rows of Y."""
        return self.result.shape[self.axis]

    @cached_property
    def unit(self) -> int:
        """Rows of which every tile has a multiple, so that its part of Y begins aligned."""
        each = row_bytes(self.result, self.axis)
        align = self.limits.accounting.alignment if self.limits.elided else 1
        return next((n for n in range(1, align + 1) if n * each % align == 0), 1)

    def even(self, height: int) -> tuple[int, ...]:
        """Tiles of one height, but for the last one."""
        whole, rest = divmod(self.rows, height)
        return (height,) * whole + ((rest,) if rest else ())

    def fitted(self, threshold: int, *, upward: bool) -> tuple[int, ...] | None:
        """The highest tiles, one after the other, each within the threshold; None if none is."""
        found: list[int] = []
        done = 0
        while done < self.rows:
            most = (self.rows - done - 1) // self.unit + 1  # in units
            low, high = 0, most
            while low < high:  # the highest that fits; higher tiles need more
                middle = (low + high + 1) // 2
                height = min(middle * self.unit, self.rows - done)
                if self._fits(found, height, threshold, upward=upward):
                    low = middle
                else:
                    high = middle - 1
            if low == 0:
                return None
            found.append(min(low * self.unit, self.rows - done))
            done += found[-1]
        return tuple(found)

    def _fits(self, before: list[int], height: int, threshold: int, *, upward: bool) -> bool:
        done = sum(before)
        tile = self.tile(done, height, upward=upward)
        ahead: list[Tile | None] = []
        if done + height < self.rows:  # what is unread then: one row of the next tile shows it
            step = min(self.unit, self.rows - done - height)
            ahead = [self.tile(done + height, step, upward=upward)]
            if done + height + step < self.rows:
                ahead.append(self.tile(self.rows - self.unit, self.unit, upward=upward))
        known = [each for each in ahead if each is not None]
        if tile is None or len(known) < len(ahead):
            return False
        return self._load([tile, *known], self._parts(before)) <= threshold

    def tile(self, done: int, height: int, *, upward: bool) -> Tile | None:
        """The tile after `done` rows, from the top or from the bottom."""
        start = self.rows - done - height if upward else done
        rows = Rows(max(0, start), max(0, start) + height)
        if rows not in self.planned:
            known = self.inner.get(height)
            tile = None if known is None else known.shifted(rows)
            if tile is None:
                tile = plan_tile(self.ops, self.entry, rows)
                if tile is not None and tile.shifted(rows) is not None:
                    self.inner.setdefault(height, tile)
            self.planned[rows] = tile
        return self.planned[rows]

    def estimate(self, heights: tuple[int, ...], *, upward: bool = False) -> Estimate | None:
        """The region in tiles of these heights, from the top or from the bottom; None if it can't.

        The heights are those of one tile after the other, and add up to the rows of Y.
        """
        tiles: list[Tile] = []
        begins = list(accumulate(heights, initial=0))
        if begins[-1] != self.rows or min(heights, default=0) < 1:
            return None
        for done, height in zip(begins, heights, strict=False):
            tile = self.tile(done, height, upward=upward)
            if tile is None:
                return None
            tiles.append(tile)
        peak = max(self._load(tiles[n:], self._parts(heights[:n])) for n in range(len(tiles)))
        size, total_bytes = self.limits.accounting.round_up, self.result.nbytes
        if not self.limits.elided:
            kept = size(self.entry.nbytes) if self.entry_stays else 0
            peak = max(peak, self.beside + kept + 2 * size(total_bytes))
        count = len(tiles) - 1
        persistent = sum(self.limits.persistent(each) for each in self.ops) * count
        persistent += self.limits.op_bytes * (1 + sum(self._slices(tile) for tile in tiles))
        work = sum(tile.work for tile in tiles) - self.work
        return Estimate(tuple(tiles), heights, upward, peak, work, persistent)

    def _slices(self, tile: Tile) -> int:
        made = {step.local.result: step.result for step in tile.steps}
        made[self.entry] = Rows(0, self.entry.shape[self.axis])
        fed = {
            (operand, step.result if operand is step.local.addend else step.fed)
            for step in tile.steps
            for operand in step.local.operands
        }
        fed.add((self.result, tile.rows))
        return sum(made[tensor] != rows for tensor, rows in fed)

    def _parts(self, heights: Sequence[int]) -> int:
        """Bytes of the parts of Y that these tiles made."""
        size, each = self.limits.accounting.round_up, row_bytes(self.result, self.axis)
        if self.limits.elided:
            return size(sum(heights) * each)
        return sum(size(height * each) for height in heights)

    def _load(self, tiles: list[Tile], done: int) -> int:
        """The most that is alive while the first of these tiles runs, the others to come."""
        tile, size = tiles[0], self.limits.accounting.round_up
        last_read = {t: i for i, step in enumerate(tile.steps) for t in step.local.operands}
        alive: dict[Tensor, int] = {}
        peak = 0
        for index, step in enumerate(tile.steps):
            operands, result = step.local.operands, step.local.result
            rest = self._unread(tiles[index > last_read[self.entry] :])
            made = size(len(step.result) * row_bytes(result, self.axis))
            dies = [t for t in operands if t in alive and last_read[t] == index]
            reused = step.local.window is None and any(alive[t] == made for t in dies)
            live = sum(alive.values()) + (0 if reused else made) + step.local.op.workspace_bytes
            if not self.limits.elided:
                parts = [size(len(step.fed) * row_bytes(t, self.axis)) for t in operands]
                whole = [alive.get(t, -1) for t in operands]
                live += sum(p for p, w in zip(parts, whole, strict=True) if p != w)
            if result is self.result:
                if step.result != tile.rows:
                    live += size(len(tile.rows) * row_bytes(result, self.axis))
            else:
                alive[result] = made
            peak = max(peak, self.beside + rest + done + live)
            for tensor in dies:
                del alive[tensor]
        return peak

    def _unread(self, tiles: list[Tile]) -> int:
        """Bytes of X while these tiles have yet to read it."""
        size = self.limits.accounting.round_up
        if not self.entry_counts:
            return 0
        if self.entry_stays or (tiles and not self.limits.elided):
            return size(self.entry.nbytes)
        read = [self._reads(tile) for tile in tiles]
        rows = max((r.stop for r in read), default=0) - min((r.start for r in read), default=0)
        return size(rows * row_bytes(self.entry, self.axis))

    def _reads(self, tile: Tile) -> Rows:
        """The rows of X that a tile reads."""
        found: Rows | None = None
        for step in tile.steps:
            if self.entry in step.local.operands:
                fed = step.result if self.entry is step.local.addend else step.fed
                found = fed if found is None else found.hull(fed)
        return Rows(0, 0) if found is None else found


def heights(region: Region) -> tuple[int, ...]:
    """Heights of tiles that are alike, tallest first: each gives another count."""
    total, unit = region.rows, region.unit
    found = {
        ((total + count - 1) // count + unit - 1) // unit * unit for count in range(2, total + 1)
    }
    return tuple(sorted((h for h in found if 0 < h < total), reverse=True))


def regions(graph: Graph, dialect: Dialect, limits: Limits) -> Iterator[Region]:
    """All regions of at most `longest` ops."""
    for axis in _axes(graph, dialect):
        finder = _Finder(graph, dialect, limits, axis)
        for first in range(len(finder.ops)):
            for last in range(first, min(len(finder.ops), first + limits.longest)):
                if finder.ops[last] is None:
                    break
                found = finder.region(first, last)
                if found is not None:
                    yield found


def region_at(
    graph: Graph, dialect: Dialect, limits: Limits, anchor: Op, count: int
) -> Region | None:
    """The region of that many ops that ends with `anchor`; None where it is none."""
    last = graph.ops.index(anchor)
    if not 0 < count <= last + 1:
        return None
    for axis in _axes(graph, dialect):
        finder = _Finder(graph, dialect, limits, axis)
        if all(each is not None for each in finder.ops[last + 1 - count : last + 1]):
            found = finder.region(last + 1 - count, last)
            if found is not None:
                return found
    return None


def _axes(graph: Graph, dialect: Dialect) -> tuple[int, ...]:
    """The first spatial axis of every op that has windows."""
    found: dict[int, None] = {}
    for op in graph.ops:
        meaning = dialect.meaning(op)
        if isinstance(meaning, Convolution | Pooling) and meaning.windows:
            found[min(meaning.windows)] = None
    return tuple(found)


class _Finder:
    """The ops of a graph that are local along an axis, and when its tensors are made and read."""

    def __init__(self, graph: Graph, dialect: Dialect, limits: Limits, axis: int) -> None:
        self.limits = limits
        self.ops = [local(op, dialect, axis) for op in graph.ops]
        self.outputs = set(graph.outputs)
        position = {op: number for number, op in enumerate(graph.ops)}
        self.read: dict[Tensor, int] = {}
        self.across: list[list[tuple[Tensor, int]]] = [[] for _ in self.ops]  # made before an op
        for tensor in graph.tensors:
            if tensor.storage is not tensor or not self._counts(tensor):
                continue
            born = -1 if tensor.producer is None else position[tensor.producer]
            read = max((position[op] for op in tensor.consumers), default=-1)
            if tensor in self.outputs and limits.accounting.outputs_live_to_end:
                read = len(position)
            self.read[tensor] = read
            for first in range(born + 1, min(read, len(self.ops))):
                self.across[first].append((tensor, read))

    def _counts(self, tensor: Tensor) -> bool:
        if tensor.role in (Role.CONSTANT, Role.STATE):
            return False
        return tensor.role is not Role.INPUT or self.limits.accounting.inputs_in_arena

    def region(self, first: int, last: int) -> Region | None:
        """The ops [first, last], if they are one."""
        run = [each for each in self.ops[first : last + 1] if each is not None]
        made = {each.result for each in run}
        inside = {each.op for each in run}
        entries: set[Tensor] = set()
        for each in run:
            for operand in each.op.operands:
                if operand in made:
                    continue
                if operand in each.operands:
                    entries.add(operand)
                elif operand.role is not Role.CONSTANT:
                    return None
        result = run[-1].result
        if len(entries) != 1 or all(each.window is None for each in run):
            return None
        (entry,) = entries
        if entry.role in (Role.CONSTANT, Role.STATE):
            return None
        if any(tensor.alias is not None for tensor in (*made, entry)):
            return None
        for tensor in made - {result}:
            if tensor in self.outputs or not inside.issuperset(tensor.consumers):
                return None
        size = self.limits.accounting.round_up
        beside = sum(
            size(tensor.nbytes)
            for tensor, read in self.across[first]
            if read > last and tensor is not entry
        )
        stays = self.read.get(entry, -1) > last
        counts = self._counts(entry)
        return Region(first, entry, tuple(run), beside, counts, counts and stays, self.limits)
