"""Spatial tiling: a region of spatially local ops is run tile by tile.

    Y = f(X)   becomes   Y = concat(f_0(X[a_0:b_0]), f_1(X[a_1:b_1]), ...)   along the rows

with slices and a concatenation of the format, and the region's own ops on fewer rows. Each tile's
f reads the rows that it needs (its halo among them), so that rows near the border of two tiles are
computed twice. Every element of Y is computed by the same op from the same operands as before: the
result is the same bit for bit. The geometry is in `rows` and `tiles`, the choice in `tile_search`.

What is known: partial execution of MCUNetV2 (Lin et al., NeurIPS 2021, arXiv:2110.15352), which
runs the first stage of a network patch by patch; Pex (Liberis and Lane, MLSys 2023). Here any
region may be tiled, in any number of tiles, and the runtime is the stock one.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from itertools import pairwise
from typing import TYPE_CHECKING

from lowtide.errors import PlanError
from lowtide.ir import Accounting
from lowtide.ir.semantics import Concat, Convolution, Pooling
from lowtide.passes.rewrite.regions import Limits, Region, region_at
from lowtide.passes.rewrite.rows import Rows
from lowtide.passes.rewrite.rule import Refusal, Rewrite
from lowtide.passes.rewrite.tile_search import choose

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence

    from lowtide.ir import Graph, Tensor
    from lowtide.ir.semantics import Window
    from lowtide.passes.rewrite.dialect import Dialect
    from lowtide.passes.rewrite.tile_search import Choices
    from lowtide.passes.rewrite.tiles import Step, Tile

__all__ = ["Tiling"]


_LIMITS = Limits(Accounting(inputs_in_arena=True))


@dataclass(frozen=True, slots=True)
class Tiling:
    """The rule.

    Attributes:
        limits: of the target, on which the choice of sites is made; what is made of a site does not
            depend on them.
        recompute_limit: the extra work that all sites together may take, as a part of the whole.
    """

    limits: Limits = _LIMITS
    recompute_limit: float = 0.15

    @property
    def name(self) -> str:
        """`tiling`."""
        return "tiling"

    @property
    def exact(self) -> bool:
        """Always."""
        return True

    @property
    def options(self) -> bool:
        """How many ops, in which tiles."""
        return True

    def settled(self, rewrite: Rewrite, sequence: Sequence[str]) -> Rewrite:
        """The rewrite itself: nothing is left open."""
        del sequence
        return rewrite

    def choices(self, graph: Graph, dialect: Dialect) -> tuple[Choices, ...]:
        """Sets of regions to be tiled together, by estimate the best one first; maybe none."""
        return choose(graph, dialect, self.limits, self.recompute_limit)

    def rewrites(self, choices: Choices) -> tuple[Rewrite, ...]:
        """What there is to apply, in any order."""
        return tuple(
            self.site(each.region, each.estimate.heights, upward=each.estimate.upward)
            for each in choices.chosen
        )

    def sites(self, graph: Graph, dialect: Dialect) -> Iterator[Rewrite | Refusal]:
        """The regions of the best of `choices`: together they lower the peak, one may not."""
        for choices in self.choices(graph, dialect)[:1]:
            yield from self.rewrites(choices)

    def site(self, region: Region, heights: tuple[int, ...], *, upward: bool = False) -> Rewrite:
        """A region in tiles of these heights, from the top or from the bottom."""
        option = f"{len(region.ops)}x{','.join(map(str, heights))}{'^' if upward else ''}"
        return Rewrite(self.name, region.ops[-1].op.name, option)

    def apply(self, graph: Graph, dialect: Dialect, rewrite: Rewrite) -> None:
        """Run the region in tiles; the option is `OPSxHEIGHT,HEIGHT,...`, `^` for upward."""
        option = re.fullmatch(r"(\d{1,9})x(\d{1,9}(?:,\d{1,9})+)(\^?)", rewrite.option)
        anchors = [op for op in graph.ops if op.name == rewrite.op]
        region, estimate = None, None
        if rewrite.rule == self.name and option is not None and anchors:
            region = region_at(graph, dialect, self.limits, anchors[0], int(option[1]))
            heights = tuple(int(height) for height in option[2].split(","))
            if region is not None:
                estimate = region.estimate(heights, upward=option[3] == "^")
        if region is None or estimate is None:
            raise PlanError(f"`{rewrite}` is no site of this graph")
        _Build(graph, dialect, region).run(estimate.tiles)


class _Build:
    """Writes the tiles in front of the region's last op, and takes the old ops away."""

    def __init__(self, graph: Graph, dialect: Dialect, region: Region) -> None:
        self.graph = graph
        self.dialect = dialect
        self.region = region
        self.anchor = region.ops[-1].op

    def run(self, tiles: tuple[Tile, ...]) -> None:
        region = self.region
        parts = [self.tile(number, tile) for number, tile in enumerate(tiles)]
        if tiles[0].rows.start > 0:  # they began at the bottom
            parts.reverse()
        level = 0
        while len(parts) > 1:
            level += 1
            groups = _groups(parts, self.dialect.most_parts or len(parts))
            joined: list[Tensor] = []
            for number, group in enumerate(groups):
                name = f"{self.anchor.name}/join"
                if len(groups) > 1:
                    name = f"{name}{level}_{number}"
                joined.append(self.join(name, group, region.axis, region.result))
            parts = joined
        self.graph.replace_uses(region.result, parts[0])
        for each in reversed(region.ops):
            self.graph.remove(each.op)

    def join(self, name: str, parts: list[Tensor], axis: int, like: Tensor) -> Tensor:
        return self.dialect.join(self.graph, name, parts, axis, like, before=self.anchor)

    def tile(self, number: int, tile: Tile) -> Tensor:
        """The ops of one tile; its rows of the result."""
        region = self.region
        made: dict[Tensor, tuple[Tensor, Rows]] = {
            region.entry: (region.entry, Rows(0, region.entry.shape[region.axis]))
        }
        cut: dict[tuple[Tensor, Rows], Tensor] = {}

        def rows(tensor: Tensor, wanted: Rows) -> Tensor:
            whole, held = made[tensor]
            if held == wanted:
                return whole
            if (tensor, wanted) not in cut:
                name = f"{self.anchor.name}/tile{number}/{tensor.name}@{wanted.start}"
                while name in self.graph:
                    name += "'"
                cut[tensor, wanted] = self.dialect.slice(
                    self.graph,
                    name,
                    whole,
                    region.axis,
                    wanted.start - held.start,
                    wanted.stop - held.start,
                    before=self.anchor,
                )
            return cut[tensor, wanted]

        for step in tile.steps:
            fed = {t: rows(t, step.fed) for t in step.local.operands if t is not step.local.addend}
            made[step.local.result] = self.step(number, step, fed, rows), step.result
        return rows(region.result, tile.rows)

    def step(
        self,
        number: int,
        step: Step,
        fed: dict[Tensor, Tensor],
        rows: Callable[[Tensor, Rows], Tensor],
    ) -> Tensor:
        local = step.local
        op, axis = local.op, local.axis
        name = f"{self.anchor.name}/tile{number}/{op.name}"
        if isinstance(local.meaning, Concat):
            parts = [fed[part] for part in local.meaning.parts]
            return self.join(name, parts, local.meaning.axis, local.result)
        inputs = list(op.inputs)
        addend: Tensor | None = None
        if local.addend is not None:
            addend = rows(local.addend, step.result)
            del inputs[max(n for n, t in enumerate(inputs) if t is local.addend)]
        shape = list(local.result.shape)
        shape[axis] = len(step.result)
        windows: dict[int, Window] | None = None
        if isinstance(local.meaning, Convolution | Pooling) and step.window is not None:
            windows = {**local.meaning.windows, axis: step.window}
        return self.dialect.again(
            self.graph,
            name,
            op,
            [None if t is None else fed.get(t, t) for t in inputs],
            shape,
            before=self.anchor,
            windows=windows,
            addend=addend,
        )


def _groups(parts: list[Tensor], most: int) -> list[list[Tensor]]:
    """Runs of at most `most`, as even as can be."""
    count = -(-len(parts) // most)
    bounds = [len(parts) * n // count for n in range(count + 1)]
    return [parts[a:b] for a, b in pairwise(bounds)]
