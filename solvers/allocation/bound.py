"""A lower bound on the height: the greatest load of any moment, less what sharing can save."""

from __future__ import annotations

from math import gcd
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from lowtide.solvers.allocation.problem import AllocationProblem

__all__ = ["lower_bound"]

# Up to this many blocks that are connected by sharing, their least room is found exactly.
_EXACT_MEMBERS = 8


def lower_bound(problem: AllocationProblem) -> int:
    """No layout has a lower height.

    Fixed blocks. One reaches its own end.

    Load. Take the non-empty blocks that are active at one moment, and let g be the greatest common
    divisor of all alignments, so that every offset is a multiple of g. Blocks at different offsets
    are disjoint, and remain so with sizes rounded up to multiples of g, since the next offset is
    one. Blocks at the same offset, a class, must be sharing pairs all, and take the room of the
    largest. So the rounded classes are disjoint intervals [o, o + r) from 0 up, and the topmost
    ends at or above the sum of all r. The layout itself reaches less than that by no more than the
    rounding of the largest block of the topmost class: the height is at least the sum of the
    classes' rounded sizes less the greatest rounding of any block active.

    Sharing. A class saves all its members but the largest. The room of a connected component of
    the sharing graph among the active blocks is at least the least sum of maxima over its
    partitions into cliques, found by dynamic programming for up to 8 members. For more: in a class,
    every member but the one of highest rank (by size, then index) has a partner of higher rank in
    it, so the sum of the blocks that have an active partner of higher rank bounds the saving. It is
    never more than the sum of min(size) over all active sharing pairs (Bonferroni's inequality),
    in which each such block counts once per partner of higher rank.

    Any subset of the active blocks gives a bound, so it may be taken after each beginning.

    O(n log n + n * distinct roundings), plus the components where pairs share.
    """
    grain = 0
    for block in problem.blocks:
        if block.size:
            grain = gcd(grain, problem.alignment_of(block))
    grain = max(grain, 1)
    sizes = [-(-b.size // grain) * grain for b in problem.blocks]
    saving = _Saving(problem, sizes)
    events: list[tuple[int, int, int]] = []  # time, 0 for an end (first) or 1, block
    bound = 0
    for index, block in enumerate(problem.blocks):
        if block.offset is not None:
            bound = max(bound, block.offset + block.size)
        if block.size:
            for lower, upper in block.active:
                events.append((lower, 1, index))
                events.append((upper, 0, index))
    events.sort()
    load = 0
    slacks: dict[int, int] = {}
    for _, begins, index in events:
        slack = sizes[index] - problem.blocks[index].size
        if begins:
            load += sizes[index]
            slacks[slack] = slacks.get(slack, 0) + 1
            saving.begin(index)
            if load > bound:
                reached = load - max(slacks)
                if reached > bound:
                    bound = max(bound, reached - saving.most())
        else:
            load -= sizes[index]
            slacks[slack] -= 1
            if not slacks[slack]:
                del slacks[slack]
            saving.end(index)
    return bound


class _Saving:
    """The most that sharing can save among the blocks that are active."""

    def __init__(self, problem: AllocationProblem, sizes: list[int]) -> None:
        self._sizes = sizes
        self._partners: dict[int, list[int]] = {}
        for one, two in problem.shares:
            self._partners.setdefault(one, []).append(two)
            self._partners.setdefault(two, []).append(one)
        self._active: set[int] = set()
        self._known: dict[tuple[int, ...], int] = {}
        self._most: int | None = 0

    def begin(self, index: int) -> None:
        if index in self._partners:
            self._active.add(index)
            self._most = None

    def end(self, index: int) -> None:
        if index in self._partners:
            self._active.discard(index)
            self._most = None

    def most(self) -> int:
        if self._most is None:
            self._most = sum(self._component(members) for members in self._components())
        return self._most

    def _components(self) -> list[tuple[int, ...]]:
        left = set(self._active)
        components: list[tuple[int, ...]] = []
        while left:
            stack = [left.pop()]
            members = list(stack)
            while stack:
                for partner in self._partners[stack.pop()]:
                    if partner in left:
                        left.discard(partner)
                        stack.append(partner)
                        members.append(partner)
            if len(members) > 1:
                components.append(tuple(sorted(members)))
        return components

    def _component(self, members: tuple[int, ...]) -> int:
        if members not in self._known:
            exact = len(members) <= _EXACT_MEMBERS
            self._known[members] = self._exact(members) if exact else self._by_rank(members)
        return self._known[members]

    def _by_rank(self, members: tuple[int, ...]) -> int:
        inside = set(members)
        return sum(
            self._sizes[one]
            for one in members
            if any(
                two in inside and (self._sizes[two], two) > (self._sizes[one], one)
                for two in self._partners[one]
            )
        )

    def _exact(self, members: tuple[int, ...]) -> int:
        """Over subsets: the class of the last member is each clique that holds it."""
        number = {block: k for k, block in enumerate(members)}
        size = [self._sizes[block] for block in members]
        adjacent = [
            sum(1 << number[two] for two in self._partners[one] if two in number) for one in members
        ]
        count = 1 << len(members)
        clique = [False] * count
        clique[0] = True
        total, largest, best = [0] * count, [0] * count, [0] * count
        for subset in range(1, count):
            last = subset.bit_length() - 1
            rest = subset ^ 1 << last
            clique[subset] = clique[rest] and rest & adjacent[last] == rest
            total[subset] = total[rest] + size[last]
            largest[subset] = max(largest[rest], size[last])
            others = rest
            while True:  # every subset of the rest, the empty one last
                group = others | 1 << last
                if clique[group]:
                    best[subset] = max(
                        best[subset], best[subset ^ group] + total[group] - largest[group]
                    )
                if not others:
                    break
                others = (others - 1) & rest
        return best[-1]
