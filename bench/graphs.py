"""Generated scheduling problems of any size, for measurements of growth: plain ints, repeatable.

branching(n, seed)   stages of cells, each a random DAG; a cell reads the two before it in its
                     stage (skip connections), and one node joins a stage to the next
wide(n, seed)        the same cells in a single stage, which has no cut nodes within it
chain(n, seed)       one operator after the other, with a residual sum every few
"""

from __future__ import annotations

import random
from typing import TYPE_CHECKING

from lowtide.solvers.schedule.problem import Buffer, ScheduleProblem

if TYPE_CHECKING:
    from collections.abc import Sequence

__all__ = ["branching", "chain", "wide"]

_SIZES = (96 << 10, 128 << 10, 192 << 10)


class _Builder:
    """Nodes with one result each."""

    def __init__(self) -> None:
        self.sizes: list[int] = []
        self.readers: list[list[int]] = []

    def add(self, size: int, inputs: Sequence[int]) -> int:
        node = len(self.sizes)
        self.sizes.append(size)
        self.readers.append([])
        for source in dict.fromkeys(inputs):
            self.readers[source].append(node)
        return node

    def problem(self) -> ScheduleProblem:
        return ScheduleProblem(
            len(self.sizes),
            tuple(
                Buffer(size, node, tuple(readers), not readers)
                for node, (size, readers) in enumerate(zip(self.sizes, self.readers, strict=True))
            ),
        )


def branching(n: int, seed: int = 0) -> ScheduleProblem:
    """A network of n >= 1 nodes in stages of one to six cells. O(n)."""
    return _network(n, random.Random(seed), most_cells=6)


def wide(n: int, seed: int = 0) -> ScheduleProblem:
    """A network of n >= 1 nodes in one stage: every cell overlaps with the next. O(n)."""
    return _network(n, random.Random(seed), most_cells=n)


def chain(n: int, seed: int = 0) -> ScheduleProblem:
    """A residual network of n >= 1 nodes. O(n)."""
    rng = random.Random(seed)
    build = _Builder()
    last = build.add(rng.choice(_SIZES), [])
    shortcut = last
    while len(build.sizes) < n:
        size = rng.choice(_SIZES)
        if len(build.sizes) - shortcut > 4:
            last = shortcut = build.add(size, [last, shortcut])
        else:
            last = build.add(size, [last])
    return build.problem()


def _network(n: int, rng: random.Random, most_cells: int) -> ScheduleProblem:
    build = _Builder()
    last = build.add(rng.choice(_SIZES), [])
    while len(build.sizes) < n:
        before, now = last, last
        cells = most_cells if most_cells == n else rng.randint(1, most_cells)
        while cells > 0 and len(build.sizes) < n:
            before, now = now, _cell(build, rng, n, before, now)
            cells -= 1
        if len(build.sizes) == n:
            break
        last = build.add(rng.choice(_SIZES), [now, before])
    return build.problem()


def _cell(build: _Builder, rng: random.Random, n: int, before: int, now: int) -> int:
    """A random DAG of 6 to 30 nodes over two inputs; the last node reads all that nobody reads."""
    unread: list[int] = []
    made: list[int] = []
    unit = rng.choice(_SIZES)
    for _ in range(rng.randint(5, 29)):
        if len(build.sizes) == n - 1:
            break
        near = made[-8:]
        sources = rng.sample(near, min(len(near), rng.choice((1, 1, 1, 2, 3))))
        if not near:
            sources.append(before)  # can run beside the cell before
        elif len(made) == 1 or rng.random() < 0.15:
            sources.append(rng.choice((before, now)))
        node = build.add(max(1, unit * rng.choice((1, 1, 2, 4)) // 2), sources)
        unread = [v for v in unread if v not in sources]
        unread.append(node)
        made.append(node)
    return build.add(unit, [*unread, now])
