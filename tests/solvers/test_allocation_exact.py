from __future__ import annotations

import random
from dataclasses import replace
from itertools import product

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from lowtide.errors import LowtideError
from lowtide.solvers import _native
from lowtide.solvers.allocation.check import check
from lowtide.solvers.allocation.exact import ExactAllocationOptions, allocate
from lowtide.solvers.allocation.merges import groupings, item_of
from lowtide.solvers.allocation.pack import pack
from lowtide.solvers.allocation.problem import AllocationProblem, Block
from lowtide.solvers.allocation.reference import least_height
from lowtide.solvers.allocation.stacking import stack
from tests.solvers.strategies import allocation_problems

SWITCHES = ("wait_bound", "release", "twins", "backjump")


def plain_problems() -> st.SearchStrategy[AllocationProblem]:
    """What the plain reference knows: no gaps, no sharing, one alignment, nothing fixed."""
    return allocation_problems(max_blocks=7, fixed=False).map(
        lambda p: AllocationProblem(
            tuple(b._replace(gaps=(), alignment=1) for b in p.blocks), p.alignment
        )
    )


@settings(max_examples=250)
@given(allocation_problems(max_blocks=6, max_size=5, alignments=(1, 2, 3)), st.data())
def test_every_combination_of_switches_finds_the_least_height(
    problem: AllocationProblem, data: st.DataObject
) -> None:
    least = least_height(problem)
    _, complete = groupings(problem)
    combinations = list(product([True, False], repeat=len(SWITCHES)))
    for on in data.draw(st.lists(st.sampled_from(combinations), min_size=3, max_size=3)):
        options = ExactAllocationOptions(**dict(zip(SWITCHES, on, strict=True)))
        solution = allocate(problem, time_limit_s=None, options=options)
        if least is None:
            assert solution.status == "infeasible"
            assert solution.offsets is None
            continue
        assert solution.height is not None
        if not complete:  # more sharing pairs than are tried in all ways
            assert solution.lower_bound <= least <= solution.height
            continue
        assert solution.status == "optimal"
        assert solution.height == solution.lower_bound == least
        for capacity in (least - 1, least, least + 1):
            if capacity < 0:
                continue
            fitted = allocate(
                replace(problem, capacity=capacity), time_limit_s=None, options=options
            )
            if capacity < least:
                assert fitted.status == "infeasible"
                assert capacity < fitted.lower_bound <= least
            else:
                assert fitted.height is not None
                assert fitted.height <= capacity


@settings(max_examples=150)
@given(plain_problems())
def test_the_plain_reference_reaches_the_same_verdicts(problem: AllocationProblem) -> None:
    solution = allocate(problem, time_limit_s=None)
    assert solution.height is not None
    found = stack(problem, solution.height)
    assert found is not None
    top = max((o + b.size for o, b in zip(found, problem.blocks, strict=True)), default=0)
    check(problem, replace(solution, offsets=found, height=top))
    if solution.height > 0:
        assert stack(problem, solution.height - 1) is None


@settings(max_examples=200)
@given(allocation_problems(max_blocks=14))
def test_the_native_bound_is_below_every_layout(problem: AllocationProblem) -> None:
    alone = replace(problem, shares=())
    native = _native.Allocation([item_of(alone, (k,)) for k in range(len(alone.blocks))])
    solution = pack(alone, time_limit_s=0.0)
    assert native.contradictory == (solution.status == "infeasible")
    if solution.height is not None:
        assert native.lower_bound <= solution.height


def crowd(count: int, seed: int) -> AllocationProblem:
    """Random blocks among which the greedy layouts are not the lowest."""
    rng = random.Random(seed)
    blocks: list[Block] = []
    for index in range(count):
        lower = rng.randrange(3 * count // 4)
        blocks.append(
            Block(str(index), lower, lower + rng.randint(1, count // 3), rng.randint(1, 90))
        )
    return AllocationProblem(tuple(blocks))


def test_a_work_limit_repeats() -> None:
    problem = crowd(90, seed=5)
    options = ExactAllocationOptions(work_limit=200_000)
    first = allocate(problem, time_limit_s=None, options=options)
    second = allocate(problem, time_limit_s=None, options=options)
    assert first.offsets == second.offsets
    assert (first.status, first.lower_bound) == (second.status, second.lower_bound)


def test_a_start_is_kept_when_nothing_better_is_found() -> None:
    problem = crowd(60, seed=2)
    best = allocate(problem, time_limit_s=None, options=ExactAllocationOptions(work_limit=10**7))
    assert best.offsets is not None
    again = allocate(
        problem,
        time_limit_s=None,
        start=(best.offsets,),
        options=ExactAllocationOptions(work_limit=1),
    )
    assert again.height == best.height


def test_no_time_still_gives_a_layout() -> None:
    solution = allocate(crowd(60, seed=3), time_limit_s=0.0)
    assert solution.offsets is not None
    assert solution.status in {"time_limit", "optimal"}


def test_ctrl_c_ends_it_with_the_best_so_far() -> None:
    problem = crowd(200, seed=1)

    def interrupt(height: int | None, bound: int) -> None:
        raise KeyboardInterrupt

    solution = allocate(problem, time_limit_s=None, progress=interrupt)
    assert solution.status == "time_limit"
    assert solution.offsets is not None


def test_an_error_of_the_progress_function_is_passed_on() -> None:
    def fail(height: int | None, bound: int) -> None:
        raise ValueError("no terminal")

    with pytest.raises(ValueError, match="no terminal"):
        allocate(crowd(200, seed=1), time_limit_s=None, progress=fail)


def test_what_is_wrong_is_said() -> None:
    problem = AllocationProblem((Block("a", 0, 2, 4), Block("b", 1, 3, 4)))
    with pytest.raises(LowtideError, match="time limit"):
        allocate(problem, time_limit_s=-1.0)
    with pytest.raises(LowtideError, match="overlap"):
        allocate(problem, start=((0, 2),))


def test_parts_that_never_meet_are_proven_apart() -> None:
    blocks: list[Block] = []
    for part in range(3):
        for block in crowd(25, seed=part).blocks:
            shift = 1000 * part
            blocks.append(
                block._replace(
                    id=f"{part}:{block.id}", lower=block.lower + shift, upper=block.upper + shift
                )
            )
    whole = allocate(AllocationProblem(tuple(blocks)), time_limit_s=None)
    apart = [allocate(crowd(25, seed=part), time_limit_s=None).height for part in range(3)]
    assert whole.status == "optimal"
    assert whole.height == max(h for h in apart if h is not None)


def test_a_part_whose_coarser_alignment_exceeds_the_capacity_ends_the_search() -> None:
    # Of multiples of 3 alone the load of a and b is 7; among all offsets it seems to be 6.
    coarse = (Block("a", 0, 2, 4, alignment=3), Block("b", 0, 2, 2, alignment=3))
    fine = (Block("c", 5, 7, 1),)
    problem = AllocationProblem((*coarse, *fine), capacity=6)
    assert least_height(problem) == 7
    solution = allocate(problem, time_limit_s=None)
    assert solution.status == "infeasible"
    assert solution.lower_bound == 7
