"""Planners of other projects on our problems; every answer passes our checkers."""

from __future__ import annotations

import random
import threading
from dataclasses import replace

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from lowtide.bench import allocations
from lowtide.bench.instances import cut_rectangle
from lowtide.bench.peers import vela
from lowtide.errors import InputError
from lowtide.solvers.allocation.bound import lower_bound
from lowtide.solvers.allocation.check import check
from lowtide.solvers.allocation.exact import allocate
from lowtide.solvers.allocation.problem import AllocationProblem, AllocationSolution, Block
from lowtide.solvers.status import Status

VELA = sorted(vela.ALLOCATORS)


@st.composite
def problems(draw: st.DrawFn) -> AllocationProblem:
    """Buffers with gaps, sharing and alignments of their own, at any times."""
    blocks: list[Block] = []
    for index in range(draw(st.integers(0, 7))):
        lower = draw(st.integers(-(10**9), 10**9) | st.integers(0, 6))
        length = draw(st.integers(1, 6))
        gaps = ((lower + 1, lower + 2),) if length > 2 and draw(st.booleans()) else ()
        size = draw(st.integers(0, 40))
        alignment = draw(st.sampled_from((1, 1, 2, 3, 16)))
        blocks.append(
            Block(f"b{index}", lower, lower + length, size, gaps=gaps, alignment=alignment)
        )
    shares = ((0, 1),) if len(blocks) > 1 and draw(st.booleans()) else ()
    # A capacity that is easily met, so that the climber soon gives up on the load.
    return AllocationProblem(tuple(blocks), draw(st.sampled_from((1, 4))), 1 << 12, shares)


@pytest.mark.parametrize("name", VELA)
@settings(max_examples=40, deadline=None)
@given(problem=problems())
def test_vela_gives_valid_layouts(name: str, problem: AllocationProblem) -> None:
    solution = vela.ALLOCATORS[name](problem)
    check(problem, solution)
    assert solution.status in (Status.OPTIMAL, Status.FEASIBLE)
    assert solution.height is not None
    best = allocate(replace(problem, capacity=None))
    assert best.height is not None
    assert lower_bound(problem) <= best.height <= solution.height


@pytest.mark.parametrize("name", VELA)
def test_vela_repeats_itself_and_leaves_the_common_generator_alone(name: str) -> None:
    problem = cut_rectangle(3, 20, height=256)
    random.seed(7)
    state = random.getstate()
    one, two = (vela.ALLOCATORS[name](problem, time_limit_s=60.0, seed=s) for s in (0, 1))
    assert one.offsets == two.offsets
    assert random.getstate() == state


def test_vela_climbs_to_a_capacity() -> None:
    """Two long tensors and two short ones: the greedy layout has a hole, the climber fills it."""
    problem = cut_rectangle(0, 12, height=64)
    climbed = vela.vela_hillclimb(problem)
    greedy = vela.vela_greedy(problem)
    assert climbed.height is not None
    assert greedy.height is not None
    assert problem.capacity == lower_bound(problem) <= climbed.height <= greedy.height


def test_vela_stops_at_the_limit_with_its_best_layout() -> None:
    blocks = (Block("a", 0, 1, 10, alignment=16), Block("b", 0, 1, 10, alignment=16))
    problem = AllocationProblem((*blocks, Block("c", 0, 1, 10)), capacity=30)  # 36 are needed
    solution = vela.vela_hillclimb(problem, time_limit_s=0.02)
    check(problem, solution)
    assert (solution.status, solution.height) == (Status.TIME_LIMIT, 36)
    early = vela.vela_hillclimb(cut_rectangle(0, 2000), time_limit_s=0.0)
    assert (early.status, early.offsets, early.height) == (Status.TIME_LIMIT, None, None)


def test_what_vela_cannot_place_is_said() -> None:
    fixed = AllocationProblem((Block("a", 0, 2, 4, offset=8),))
    with pytest.raises(InputError, match=r"`a` is fixed at 8, which Vela's allocators cannot keep"):
        vela.vela_greedy(fixed)
    tight = AllocationProblem((Block("a", 0, 2, 4),), capacity=3)
    assert vela.vela_greedy(tight).status is Status.INFEASIBLE
    caught: list[AllocationSolution | InputError] = []

    def elsewhere() -> None:
        problem = AllocationProblem((Block("a", 0, 2, 4),))
        caught.append(vela.vela_greedy(problem))
        try:
            caught.append(vela.vela_greedy(problem, time_limit_s=1.0))
        except InputError as error:
            caught.append(error)

    thread = threading.Thread(target=elsewhere)
    thread.start()
    thread.join()
    solution, error = caught
    assert isinstance(solution, AllocationSolution)
    assert solution.height == 4
    assert isinstance(error, InputError)


def test_vela_is_among_the_allocators_of_the_table() -> None:
    known = allocations.allocators()
    assert [*known][-2:] == ["vela_hillclimb", "vela_greedy"]
    problem = AllocationProblem((Block("a", 0, 2, 4), Block("b", 1, 3, 3)), capacity=7)
    row = allocations.run("x", problem, VELA, runs=2, time_limit_s=5.0)
    for answer in row.answers.values():
        assert (answer.height, answer.status, answer.repeatable) == (7, "optimal", True)
