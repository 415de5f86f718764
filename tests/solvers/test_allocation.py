from __future__ import annotations

from dataclasses import replace
from itertools import product
from math import gcd
from typing import TYPE_CHECKING

import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st

from lowtide.errors import InstanceError, LowtideError
from lowtide.solvers.allocation.best_fit import best_fit
from lowtide.solvers.allocation.bound import lower_bound
from lowtide.solvers.allocation.check import check
from lowtide.solvers.allocation.conflicts import conflicts, meet
from lowtide.solvers.allocation.first_fit import first_fit
from lowtide.solvers.allocation.pack import pack
from lowtide.solvers.allocation.packer import native_packer
from lowtide.solvers.allocation.problem import AllocationProblem, AllocationSolution, Block
from lowtide.solvers.allocation.reference import least_height
from lowtide.solvers.status import Status
from tests.solvers.strategies import allocation_problems

if TYPE_CHECKING:
    from collections.abc import Sequence


def moments(block: Block) -> set[int]:
    """The times at which the block is active; those of the strategies lie in [-3, 20)."""
    return {
        t
        for t in range(-3, 20)
        if block.lower <= t < block.upper and not any(a <= t < b for a, b in block.gaps)
    }


def clashes(problem: AllocationProblem, offsets: Sequence[int | None]) -> bool:
    """Whether two placed blocks overlap, from the definition."""
    shares = {frozenset(pair) for pair in problem.shares}
    for j, (b, y) in enumerate(zip(problem.blocks, offsets, strict=True)):
        for i, (a, x) in enumerate(zip(problem.blocks[:j], offsets[:j], strict=True)):
            if x is None or y is None or not moments(a) & moments(b):
                continue
            if x == y and frozenset((i, j)) in shares:
                continue
            if max(x, y) < min(x + a.size, y + b.size):
                return True
    return False


@settings(max_examples=300)
@given(allocation_problems(max_blocks=20))
def test_layouts_are_valid_and_not_below_the_bound(problem: AllocationProblem) -> None:
    solution = pack(problem, time_limit_s=None)
    impossible = clashes(problem, [b.offset for b in problem.blocks])
    assert (solution.status == "infeasible") == impossible
    if impossible:
        check(problem, solution)
    else:
        check(problem, solution)
        assert solution.offsets is not None
        assert solution.height is not None
        assert not clashes(problem, solution.offsets)
        assert solution.height >= solution.lower_bound == lower_bound(problem)
        assert (solution.status == "optimal") == (solution.height == solution.lower_bound)


@settings(max_examples=300)
@given(allocation_problems(max_blocks=7, max_size=6, alignments=(1, 2, 3)))
def test_bound_least_height_and_layout_are_in_order(problem: AllocationProblem) -> None:
    least = least_height(problem)
    assert (least is None) == clashes(problem, [b.offset for b in problem.blocks])
    if least is not None:
        height = pack(problem, time_limit_s=None).height
        assert height is not None
        assert lower_bound(problem) <= least <= height


@settings(max_examples=200)
@given(allocation_problems(max_blocks=6, max_size=4, alignments=(1, 2)))
def test_the_reference_finds_what_enumeration_finds(problem: AllocationProblem) -> None:
    assume(sum(b.offset is None and b.size > 0 for b in problem.blocks) <= 4)
    height = least_height(problem)
    most = 12 if height is None else height
    places = [
        [b.offset]
        if b.offset is not None
        else range(0, max(1, most - b.size + 1) if b.size else 1, problem.alignment_of(b))
        for b in problem.blocks
    ]
    best = min(
        (
            max((o + b.size for o, b in zip(offsets, problem.blocks, strict=True)), default=0)
            for offsets in product(*places)
            if not clashes(problem, offsets)
        ),
        default=None,
    )
    assert best == height


@settings(max_examples=200)
@given(allocation_problems(max_blocks=15, fixed=False))
def test_the_bound_is_the_greatest_load(problem: AllocationProblem) -> None:
    problem = replace(problem, shares=())
    solid = [b for b in problem.blocks if b.size]
    align = gcd(*(problem.alignment_of(b) for b in solid)) if solid else 1
    loads = [0]
    for time in range(-3, 20):
        alive = [b.size for b in solid if time in moments(b)]
        rounded = [-(-s // align) * align for s in alive]
        if alive:  # the topmost block need not be rounded: the one where that saves most
            loads.append(sum(rounded) - max(r - s for r, s in zip(rounded, alive, strict=True)))
    assert lower_bound(problem) == max(loads)


def test_sharing_lowers_the_bound_no_further_than_it_can() -> None:
    def row(count: int, pairs: Sequence[tuple[int, int]]) -> AllocationProblem:
        return AllocationProblem(
            tuple(Block(f"b{k}", 0, 1, 5) for k in range(count)), shares=tuple(pairs)
        )

    assert lower_bound(row(2, [(0, 1)])) == 5
    # A path: one pair may share, not both (Bonferroni's inequality would say 5).
    path = row(3, [(0, 1), (1, 2)])
    assert lower_bound(path) == least_height(path) == 10
    triangle = row(3, [(0, 1), (1, 2), (0, 2)])
    assert lower_bound(triangle) == least_height(triangle) == 5
    # More than the search over subsets takes: by rank.
    star = row(12, [(0, k) for k in range(1, 12)])
    assert lower_bound(star) == 55
    large = star.blocks[0]._replace(size=6)
    heavy = AllocationProblem((large, *star.blocks[1:]), shares=star.shares)
    assert lower_bound(heavy) == 36  # of the first eight; 56 would be sharp
    matching = row(12, [(k, k + 1) for k in range(0, 12, 2)])
    assert lower_bound(matching) == 30


@settings(max_examples=200)
@given(allocation_problems(max_blocks=15))
def test_conflicts_are_the_pairs_that_meet(problem: AllocationProblem) -> None:
    solid = [(k, b) for k, b in enumerate(problem.blocks) if b.size]
    expected = [(i, j) for i, a in solid for j, b in solid if i < j and moments(a) & moments(b)]
    assert conflicts(problem) == expected
    assert all(meet(a, b) == bool(moments(a) & moments(b)) for _, a in solid for _, b in solid)
    near = native_packer(problem).neighbours()
    assert [(i, j) for i, others in enumerate(near) for j in others if i < j] == expected
    assert native_packer(problem).loads() == [
        (len(n), sum(problem.blocks[k].size for k in n)) for n in near
    ]


@settings(max_examples=300)
@given(allocation_problems(max_blocks=15), st.data())
def test_native_packing_equals_the_plain_one(
    problem: AllocationProblem, data: st.DataObject
) -> None:
    order = data.draw(st.permutations(range(len(problem.blocks))))
    packer = native_packer(problem)
    impossible = clashes(problem, [b.offset for b in problem.blocks])
    assert packer.fixed_clash() == impossible
    for fit, plain in ((False, first_fit), (True, best_fit)):
        offsets = plain(problem, order)
        assert clashes(problem, offsets) == impossible
        height = max((o + b.size for o, b in zip(offsets, problem.blocks, strict=True)), default=0)
        assert packer.place(order, fit) == (height, list(offsets))


@settings(max_examples=400)
@given(allocation_problems(), st.data())
def test_the_checker_judges_as_the_definition_does(
    problem: AllocationProblem, data: st.DataObject
) -> None:
    blocks = tuple(b._replace(offset=None) for b in problem.blocks)
    problem = replace(problem, blocks=blocks)
    assume(blocks)
    good = pack(problem, time_limit_s=None)
    assert good.offsets is not None
    index = data.draw(st.integers(0, len(blocks) - 1))
    align = problem.alignment_of(blocks[index])
    moved = data.draw(
        st.sampled_from([*(align * k for k in range(7)), *good.offsets]).filter(
            lambda offset: offset % align == 0
        )
    )
    offsets = (*good.offsets[:index], moved, *good.offsets[index + 1 :])
    height = max(o + b.size for o, b in zip(offsets, blocks, strict=True))
    mutated = replace(good, offsets=offsets, height=height, status=Status.FEASIBLE)
    if clashes(problem, offsets):
        with pytest.raises(LowtideError, match="overlap"):
            check(problem, mutated)
    else:
        check(problem, mutated)


@pytest.mark.parametrize(
    ("blocks", "shares", "message"),
    [
        ((Block("a", 0, 4, 1, None, ((0, 1),)),), (), r"`a`: the gap \[0, 1\) is out of order"),
        ((Block("a", 0, 4, 1, None, ((3, 4),)),), (), "not strictly inside"),
        ((Block("a", 0, 4, 1, None, ((2, 2),)),), (), r"empty gap \[2, 2\)"),
        ((Block("a", 0, 9, 1, None, ((4, 6), (5, 7))),), (), "out of order"),
        ((Block("a", 0, 9, 1, None, ((4, 6), (2, 3))),), (), "out of order"),
        ((Block("a", 0, 1, 1, None, (), 0),), (), "alignment must be at least 1, not 0"),
        ((Block("a", 0, 1, 1, 8, (), 3),), (), "the fixed offset 8 is negative or not a multiple"),
        ((Block("a", 0, 1, 1, None, (), 2**59 + 1),), (), r"over 2\^60"),
        ((Block("a", 0, 1, 1),), ((0, 0),), r"\(0, 0\) must name two"),
        ((Block("a", 0, 1, 1),), ((0, 1),), "must name two of the 1"),
        ((Block("a", 0, 1, 1), Block("b", 0, 1, 1)), ((0, 1), (1, 0)), "given twice"),
    ],
)
def test_problems_that_are_none(
    blocks: tuple[Block, ...], shares: tuple[tuple[int, int], ...], message: str
) -> None:
    with pytest.raises(InstanceError, match=message):
        AllocationProblem(blocks, 4, shares=shares)


def test_gaps_that_touch_and_blocks_that_take_turns() -> None:
    one = Block("a", 0, 9, 4, None, ((2, 4), (4, 6)))
    assert one.active == ((0, 2), (6, 9))
    two = Block("b", 2, 6, 4)
    assert not meet(one, two)
    problem = AllocationProblem((one, two))
    solution = pack(problem)
    assert (solution.status, solution.height, solution.offsets) == ("optimal", 4, (0, 0))
    with pytest.raises(LowtideError, match="overlap at offset 0 and time 6"):
        check(AllocationProblem((one, two._replace(upper=7))), solution)


def test_in_place_chains_reach_the_bound() -> None:
    """Each operator writes over its operand: they meet in one step, and all lie at 0."""
    blocks = tuple(Block(f"t{k}", k, k + 2, 10) for k in range(20))
    chain = AllocationProblem(blocks, shares=tuple((k, k + 1) for k in range(19)))
    solution = pack(chain)
    assert (solution.status, solution.height) == ("optimal", 10)
    assert lower_bound(replace(chain, shares=())) == 20


PAIR = AllocationProblem((Block("a", 0, 2, 10), Block("b", 1, 3, 6)), 4)
GOOD = AllocationSolution(Status.FEASIBLE, 18, 16, (0, 12))


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"offsets": (0, 8)}, "`a` and `b` overlap at offset 8 and time 1"),
        ({"offsets": (0, 14)}, "not a multiple of 4"),
        ({"offsets": (0, -4)}, "negative"),
        ({"offsets": (0,)}, "1 offsets for 2"),
        ({"height": 19}, "height is 18"),
        ({"height": 17}, "height is 18"),
        ({"lower_bound": 19}, "exceeds a height"),
        ({"status": Status.OPTIMAL}, "status optimal"),
        ({"offsets": None}, "states a height"),
        ({"status": Status.INFEASIBLE}, "infeasible with a layout"),
        ({"offsets": None, "height": None, "status": Status.INFEASIBLE}, "no two fixed"),
        ({"offsets": None, "height": None, "status": Status.OPTIMAL}, "without offsets"),
    ],
)
def test_the_checker_refuses(change: dict[str, object], message: str) -> None:
    check(PAIR, GOOD)
    bad = replace(GOOD, **change)  # type: ignore[arg-type]
    with pytest.raises(LowtideError, match=message):
        check(PAIR, bad)


def test_the_checker_knows_fixed_offsets() -> None:
    problem = AllocationProblem((Block("a", 0, 2, 4, 8),))
    check(problem, AllocationSolution(Status.OPTIMAL, 12, 12, (8,)))
    with pytest.raises(LowtideError, match="fixed at 8"):
        check(problem, AllocationSolution(Status.FEASIBLE, 4, 4, (0,)))


def test_capacity() -> None:
    blocks = PAIR.blocks
    assert pack(AllocationProblem(blocks, 1, 15)).status == "infeasible"
    assert pack(AllocationProblem(blocks, 1, 15)).offsets is None
    assert pack(AllocationProblem(blocks, 1, 2**70)).status == "optimal"
    with pytest.raises(InstanceError, match="capacity must not be negative"):
        AllocationProblem(blocks, 1, -1)
    fits = pack(AllocationProblem(blocks, 1, 16))
    assert (fits.status, fits.height) == ("optimal", 16)


# The load is 2 throughout, but `a` has no room at either of its two places below that.
BLOCKED = AllocationProblem(
    (Block("a", 0, 3, 1), Block("b", 0, 1, 1, 0), Block("c", 2, 3, 1, 1)), capacity=2
)


def test_a_capacity_is_not_called_infeasible_without_a_proof() -> None:
    assert lower_bound(BLOCKED) == 2
    for offset in (0, 1):
        with pytest.raises(LowtideError, match="overlap"):
            check(BLOCKED, AllocationSolution(Status.OPTIMAL, 2, 2, (offset, 0, 1)))
    solution = pack(BLOCKED, time_limit_s=None)
    check(BLOCKED, solution)
    assert (solution.status, solution.height, solution.lower_bound) == ("feasible", 3, 2)


def test_packing_is_repeatable_and_the_search_improves() -> None:
    blocks = tuple(
        Block(str(k), (k * 7) % 60, (k * 7) % 60 + 1 + (k * k) % 13, 1 + (k * 37) % 29)
        for k in range(120)
    )
    problem = AllocationProblem(blocks)
    one, two = pack(problem, time_limit_s=None, seed=1), pack(problem, time_limit_s=None, seed=1)
    assert one.offsets == two.offsets
    assert pack(problem, time_limit_s=0.0).height is not None
    order = sorted(range(120), key=lambda k: -blocks[k].size)
    packer = native_packer(problem)
    greedy, _ = packer.place(order, True)
    found, offsets, _, _ = packer.search(order, True, lower_bound(problem), 0, -1.0, 2_000_000)
    assert found < greedy
    check(
        problem,
        AllocationSolution(Status.FEASIBLE, found, lower_bound(problem), tuple(offsets)),
    )
