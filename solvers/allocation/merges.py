"""Which blocks to put at one offset, where they may share it.

In any layout, the sharing pairs that lie at one offset while both are alive make groups; within a
group every two blocks that meet may share, or they would overlap. So the least height is the least
over the choices of groups, each block elsewhere being disjoint from what it meets. A group is
placed as one item whose height at a moment is that of its tallest living block.
"""

from __future__ import annotations

from itertools import combinations, pairwise
from math import lcm
from typing import TYPE_CHECKING

from lowtide.solvers.allocation.conflicts import meet

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from lowtide.solvers.allocation.problem import AllocationProblem

__all__ = ["Groups", "groupings", "item_of"]

# Every block is in one group, alone as a rule; groups and their blocks ascend.
Groups = tuple[tuple[int, ...], ...]

# So many pairs are tried in every combination.
_MOST_PAIRS = 5


def groupings(problem: AllocationProblem) -> tuple[list[Groups], bool]:
    """Choices of groups, the one with the most merges first; and whether these are all there are.

    With few sharing pairs all choices; else two: as many merges as a greedy pass finds, and only
    those of fixed blocks, which no choice can do without.
    """
    pairs = [
        (one, two)
        for one, two in problem.shares
        if meet(problem.blocks[one], problem.blocks[two])
        and problem.blocks[one].size
        and problem.blocks[two].size
    ]
    shares = {frozenset(pair) for pair in pairs}

    def fits(group: Sequence[int]) -> bool:
        fixed = {problem.blocks[k].offset for k in group} - {None}
        alignment = lcm(*(problem.alignment_of(problem.blocks[k]) for k in group))
        if len(fixed) > 1 or any(offset is not None and offset % alignment for offset in fixed):
            return False
        return all(
            frozenset(pair) in shares or not meet(problem.blocks[pair[0]], problem.blocks[pair[1]])
            for pair in combinations(group, 2)
        )

    # Empty where the chosen pairs exclude each other and none may be skipped.
    def merged(chosen: Iterable[tuple[int, int]], *, skip: bool) -> Groups:
        home = list(range(len(problem.blocks)))
        members = {k: [k] for k in home}
        for one, two in chosen:
            a, b = sorted((home[one], home[two]))
            if a == b:
                continue
            if not fits((*members[a], *members[b])):
                if skip:
                    continue
                return ()
            for k in members[b]:
                home[k] = a
            members[a] += members.pop(b)
        return tuple(sorted(tuple(sorted(group)) for group in members.values()))

    forced = [
        (one, two)
        for one, two in pairs
        if problem.blocks[one].offset is not None
        and problem.blocks[one].offset == problem.blocks[two].offset
    ]
    least = merged(forced, skip=True)
    if len(pairs) > _MOST_PAIRS:
        return [merged([*forced, *pairs], skip=True), least], False
    found: dict[Groups, None] = {}
    for count in range(len(pairs), -1, -1):
        for chosen in combinations(pairs, count):
            groups = merged(chosen, skip=False)
            if groups or not problem.blocks:
                found[groups] = None
    return list(found), True


def item_of(
    problem: AllocationProblem, group: Sequence[int]
) -> tuple[list[tuple[int, int, int]], int, int]:
    """The native item of a group: pieces (lower, upper, size), alignment, fixed offset or -1."""
    blocks = [problem.blocks[k] for k in group]
    fixed = next((b.offset for b in blocks if b.offset is not None), -1)
    alignment = lcm(*(problem.alignment_of(b) for b in blocks))
    if len(blocks) == 1:
        return [(*span, blocks[0].size) for span in blocks[0].active], alignment, fixed
    moments = sorted({moment for b in blocks for span in b.active for moment in span})
    pieces: list[tuple[int, int, int]] = []
    for lower, upper in pairwise(moments):
        size = max(
            (b.size for b in blocks if any(s[0] <= lower < s[1] for s in b.active)), default=0
        )
        if size and pieces and pieces[-1][1:] == (lower, size):
            pieces[-1] = (pieces[-1][0], upper, size)
        elif size:
            pieces.append((lower, upper, size))
    return pieces, alignment, fixed
