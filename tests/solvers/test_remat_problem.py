"""Rematerialization: the problem, the checker, and the exhaustive reference."""

from __future__ import annotations

import itertools
from dataclasses import replace
from random import Random
from typing import TYPE_CHECKING

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from lowtide.errors import InstanceError, LowtideError
from lowtide.solvers.remat.check import check, check_stages, peak_of
from lowtide.solvers.remat.problem import OrderScope, RematProblem
from lowtide.solvers.remat.reference import solve_reference, transients
from lowtide.solvers.remat.solution import CostBound, RematSolution
from lowtide.solvers.schedule.check import peak_of as schedule_peak_of
from lowtide.solvers.schedule.problem import Buffer, InPlace
from lowtide.solvers.status import Status
from tests.solvers.remat_strategies import random_sequence, remat_problems

if TYPE_CHECKING:
    from collections.abc import Iterator

# a -> b -> c -> d, and d reads a as well: a can be kept, or made again for d.
CHAIN = RematProblem(
    4,
    (Buffer(4, 0, (1, 3)), Buffer(1, 1, (2,)), Buffer(5, 2, (3,)), Buffer(1, 3, (), True)),
    (3, 1, 1, 1),
    100,
)


@settings(max_examples=300)
@given(remat_problems(max_nodes=7), st.randoms(use_true_random=False), st.integers(0, 6))
def test_the_checker_agrees_with_the_recurrence(
    problem: RematProblem, random: Random, extra: int
) -> None:
    sequence = random_sequence(problem, random, extra)
    start = problem.constant_bytes + sum(
        b.size
        for b in problem.once.buffers
        if b.producer < 0 and problem.inputs_in_arena and (b.consumers or b.output)
    )
    assert peak_of(problem, sequence) == max(start, *transients(problem, sequence), 0)


@given(remat_problems(max_nodes=7))
def test_without_repeats_the_peak_is_the_schedule_s(problem: RematProblem) -> None:
    peak = schedule_peak_of(problem.once, problem.order)
    assert peak_of(problem, problem.order) == peak + problem.constant_bytes


def _all_sequences(problem: RematProblem, length: int) -> Iterator[tuple[int, ...]]:
    for size in range(problem.num_nodes, length + 1):
        yield from itertools.product(range(problem.num_nodes), repeat=size)


@settings(max_examples=60)
@given(remat_problems(max_nodes=4), st.sampled_from(OrderScope))
def test_the_reference_is_the_best_of_all_sequences(
    problem: RematProblem, scope: OrderScope
) -> None:
    """Every sequence of up to six runs, by the checker alone."""
    best: int | float | None = None
    for sequence in _all_sequences(problem, min(6, 2 * problem.num_nodes)):
        try:
            peak = peak_of(problem, sequence)
            if scope is OrderScope.FIXED:
                check_stages(problem, sequence)
        except LowtideError:
            continue
        cost = problem.cost_of(sequence)
        if peak <= problem.budget_bytes and (best is None or cost < best):
            best = cost
    found = solve_reference(problem, scope)
    if found is None:
        assert best is None
        return
    cost, sequence = found
    assert peak_of(problem, sequence) <= problem.budget_bytes
    assert cost == problem.cost_of(sequence)
    if scope is OrderScope.FIXED:
        check_stages(problem, sequence)
    assert best is None or cost <= best
    assert len(sequence) > 6 or best == cost


@given(remat_problems(max_nodes=5))
def test_a_fixed_order_is_never_cheaper(problem: RematProblem) -> None:
    free, fixed = (solve_reference(problem, scope) for scope in OrderScope)
    assert fixed is None or (free is not None and free[0] <= fixed[0])


def test_a_kept_buffer_costs_bytes_and_a_repeat_costs_time() -> None:
    assert peak_of(CHAIN, (0, 1, 2, 3)) == 10
    assert transients(CHAIN, (0, 1, 2, 0, 3)) == [4, 5, 6, 9, 10]
    tight = CHAIN.with_budget(9)
    assert solve_reference(tight, OrderScope.FREE) is None
    assert solve_reference(CHAIN, OrderScope.FREE) == (6, (0, 1, 2, 3))
    big = replace(CHAIN, workspace=(0, 0, 6, 0))
    assert peak_of(big, (0, 1, 2, 3)) == 16
    assert solve_reference(big.with_budget(12), OrderScope.FIXED) == (9, (0, 1, 2, 0, 3))


def test_stages_of_the_input_order() -> None:
    check_stages(CHAIN, (0, 1, 0, 1, 2, 0, 2, 3))
    for sequence in [
        (0, 2, 1, 3),  # first runs out of order
        (0, 1, 1, 0, 2, 3),  # repeats that do not ascend
        (0, 0, 1, 2, 3, 3),  # a run after the last first one
        (0, 1, 2),  # a node is missing
        (0, 1, 0, 0, 2, 3),  # twice in one stage
    ]:
        with pytest.raises(LowtideError, match="stage"):
            check_stages(CHAIN, sequence)


def test_invalid_sequences_are_refused() -> None:
    pinned = replace(CHAIN, pinned=(0,))
    later = RematProblem(2, (), (1, 1), 0, precedence=((1, 0),), order=(1, 0))
    for problem, sequence, message in [
        (CHAIN, (0, 1, 2), "never run"),
        (CHAIN, (0, 1, 2, 3, 4), "not there"),
        (CHAIN, (1, 0, 2, 3), "before it is made"),
        (pinned, (0, 1, 0, 2, 3), "pinned"),
        (later, (0, 1, 0), "must follow"),
    ]:
        with pytest.raises(LowtideError, match=message):
            peak_of(problem, sequence)


def test_pinned_nodes_keep_their_order() -> None:
    problem = RematProblem(2, (), (1, 1), 0, pinned=(0, 1))
    assert peak_of(problem, (0, 1)) == 0
    with pytest.raises(LowtideError, match="input order"):
        peak_of(problem, (1, 0))


def test_in_place_needs_the_last_read() -> None:
    problem = RematProblem(
        3, (Buffer(4, 0, (1, 2)), Buffer(4, 1, (2,))), (1, 1, 1), 0, in_place=(InPlace(1, 1, 0),)
    )
    assert transients(problem, (0, 1, 2)) == [4, 8, 8]
    assert transients(problem, (0, 1, 0, 2)) == [4, 4, 8, 8]


def test_alignment_and_constant_memory_are_part_of_the_peak() -> None:
    problem = RematProblem(1, (Buffer(5, 0, ()),), (1,), 0, (3,), constant_bytes=7, alignment=4)
    assert peak_of(problem, (0,)) == 8 + 4 + 7


def test_ratios_round_down() -> None:
    assert CHAIN.with_budget_ratio("0.79").budget_bytes == 7
    assert CHAIN.with_budget_ratio("0.9").budget_bytes == 9
    for ratio in ("x", "-1", "1.5", "70", "nan", "1/0"):
        with pytest.raises(InstanceError, match="ratio"):
            CHAIN.with_budget_ratio(ratio)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"costs": (1,)}, "costs has 1"),
        ({"costs": (1, 1, 1, -1)}, "cost must be"),
        ({"costs": (1, 1, 1, float("nan"))}, "cost must be"),
        ({"costs": (1, 1, 1, float("inf"))}, "cost must be"),
        ({"costs": (1, 1, 1, 10**400)}, "a huge number"),
        ({"costs": (1 << 59,) * 4}, "scale them down"),
        ({"alignment": 0}, "alignment"),
        ({"alignment": 1 << 59}, "over 2"),
        ({"constant_bytes": -1}, "constant"),
        ({"budget_bytes": -1}, "budget"),
        ({"pinned": (2, 1)}, "pinned"),
        ({"pinned": (4,)}, "pinned"),
        ({"order": (0, 1, 2)}, "permutation"),
        ({"order": (0, 2, 1, 3)}, "input order runs"),
        ({"precedence": ((0, 9),)}, "precedence"),
        ({"workspace": (1,)}, "workspace"),
    ],
)
def test_malformed_problems(changes: dict[str, object], message: str) -> None:
    fields: dict[str, object] = {
        "num_nodes": 4,
        "buffers": CHAIN.buffers,
        "costs": CHAIN.costs,
        "budget_bytes": 1,
    }
    with pytest.raises(InstanceError, match=message):
        RematProblem(**(fields | changes))  # type: ignore[arg-type]  # pyright: ignore[reportArgumentType]


GOOD = RematSolution(
    status=Status.OPTIMAL,
    scope=OrderScope.FREE,
    sequence=(0, 1, 2, 3),
    cost=6,
    base_cost=6,
    peak_bytes=10,
    bounds=(CostBound(OrderScope.FREE, 6, "every op once"),),
)


def test_a_solution_passes_and_reports_its_overhead() -> None:
    check(CHAIN, GOOD)
    assert (GOOD.overhead_percent, GOOD.overhead_bound_percent) == (0.0, 0.0)
    other = replace(
        GOOD, sequence=(0, 1, 2, 0, 3), cost=9, status=Status.FEASIBLE, scope=OrderScope.FIXED
    )
    check(CHAIN, other)
    assert other.overhead_percent == 50.0
    free_only = replace(other, scope=OrderScope.FREE, bounds=(CostBound(OrderScope.FIXED, 9, "x"),))
    check(CHAIN, free_only)  # a fixed-order bound proves nothing about a free order
    assert free_only.bound is None
    assert free_only.overhead_bound_percent is None


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"base_cost": 7}, "running all once"),
        ({"cost": 7}, "costs 6"),
        ({"peak_bytes": 9}, "peak is 10"),
        ({"status": Status.FEASIBLE}, "status"),
        ({"bounds": ()}, "status"),
        ({"bounds": (CostBound(OrderScope.FREE, 7, "x"),)}, "exceeds a cost"),
        ({"bounds": GOOD.bounds * 2}, "two bounds"),
        ({"peak_bound_bytes": 11}, "exceeds a peak"),
        ({"status": Status.INFEASIBLE}, "there is none"),
        ({"sequence": None}, "without a sequence"),
        ({"sequence": None, "cost": None, "peak_bytes": None}, "without a sequence"),
        ({"scope": OrderScope.FIXED, "sequence": (0, 1, 1, 0, 2, 3)}, "stages"),
    ],
)
def test_false_solutions_are_refused(changes: dict[str, object], message: str) -> None:
    false: RematSolution = replace(GOOD, **changes)  # type: ignore[arg-type]  # pyright: ignore[reportArgumentType]
    with pytest.raises(LowtideError, match=message):
        check(CHAIN, false)


def test_a_sequence_over_the_budget_is_refused() -> None:
    with pytest.raises(LowtideError, match="exceeds the budget"):
        check(CHAIN.with_budget(9), GOOD)
