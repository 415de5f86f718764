"""The classic heuristics: always valid, never better than the fixed order's optimum."""

from __future__ import annotations

from dataclasses import replace
from random import Random

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from lowtide.solvers.remat.chain import chain, plan, ranges
from lowtide.solvers.remat.check import check, check_stages
from lowtide.solvers.remat.griewank import ranges as revolve
from lowtide.solvers.remat.problem import OrderScope, RematProblem
from lowtide.solvers.remat.reference import solve_reference
from lowtide.solvers.remat.registry import available, get_solver
from lowtide.solvers.remat.replay import Turn, replay
from lowtide.solvers.status import Status
from tests.solvers.remat_repeats import repeat_problems
from tests.solvers.remat_strategies import training_problem

CLASSIC = (
    "chen-sqrt",
    "chen-greedy",
    "ap-sqrt",
    "ap-greedy",
    "linearised-sqrt",
    "linearised-greedy",
    "griewank",
    "chain",
)


@settings(max_examples=40)
@given(repeat_problems())
def test_never_below_the_optimum(problem: RematProblem) -> None:
    reference = solve_reference(problem, OrderScope.FIXED)
    for name in CLASSIC:
        solution = get_solver(name)(problem, scope=OrderScope.FIXED)
        check(problem, solution)
        if solution.cost is not None:
            assert reference is not None
            assert solution.cost >= reference[0]
        if reference is not None:
            assert solution.status is not Status.INFEASIBLE


@given(repeat_problems(), st.randoms(use_true_random=False))
def test_every_plan_of_keeping_gives_stages(problem: RematProblem, random: Random) -> None:
    kept = {
        (t, b)
        for t in range(problem.num_nodes)
        for b in range(len(problem.buffers))
        if random.random() < 0.5
    }
    check_stages(problem, replay(problem, lambda t, b: (t, b) in kept))
    assert replay(problem, lambda _t, _b: True) == problem.order


def even(layers: int) -> RematProblem:
    """A chain of equal layers."""
    problem = training_problem(layers, Random(1))
    n = problem.num_nodes
    buffers = tuple(b._replace(size=4) for b in problem.buffers)
    return replace(problem, buffers=buffers, costs=(1,) * n)


@pytest.mark.parametrize("name", CLASSIC)
def test_an_even_chain_fits_in_half(name: str) -> None:
    problem = even(24).with_budget_ratio("0.5")
    solution = get_solver(name)(problem)
    assert solution.sequence is not None
    assert solution.cost is not None
    assert problem.base_cost < solution.cost <= 2 * problem.base_cost


def test_the_turn_is_the_loss() -> None:
    problem = even(5)
    turn = Turn.of(problem)
    assert turn.place in (3, 4, 5)
    assert turn.levels[:4] == (0, 1, 2, 3)
    assert all(begin < end for begin, end in zip(turn.begin, turn.end, strict=True))


@pytest.mark.parametrize("count", [1, 2, 3, 7, 10, 20])
@pytest.mark.parametrize("checkpoints", [1, 2, 3, 5, 20])
def test_revolve_holds_no_more_than_its_checkpoints(count: int, checkpoints: int) -> None:
    found = revolve(count, checkpoints)
    assert sorted(found) == list(range(count))
    for level in range(count):
        held = [k for k, last in found.items() if k < last and k <= level <= last]
        assert len(held) <= checkpoints
    if checkpoints >= count:
        assert set(found.values()) == {count - 1}


@settings(max_examples=40)
@given(st.lists(st.integers(1, 5), min_size=1, max_size=5), st.integers(0, 64))
def test_the_chain_program_is_optimal_in_its_model(costs: list[int], buckets: int) -> None:
    """Against all nested ranges, with equal sizes."""
    count = len(costs)
    choice, weights = plan([1] * count, [float(c) for c in costs])
    found = ranges(choice, weights, buckets)
    fits = buckets // weights[1]

    def least(i: int, j: int, m: int) -> float:
        if i == j:
            return 0.0
        options = [
            least(k, j, m - 1) + (sum(costs[i : k - 1]) + least(i, k - 1, m) if k > i + 1 else 0)
            for k in range(i + 1, j + 1)
            if m > 0
        ]
        return min(options, default=float("inf"))

    def price(i: int, j: int, m: int) -> float:
        if i == j:
            return 0.0
        k = int(choice[i, j, m])
        if k < 0:
            return float("inf")
        rest = sum(costs[i : k - 1]) + price(i, k - 1, m) if k > i + 1 else 0.0
        return price(k, j, m - weights[k]) + rest

    assert price(0, count, buckets) == least(0, count, fits)
    assert sorted(found) == list(range(count))
    assert all(last >= k for k, last in found.items())


def test_a_chain_is_solved_to_its_optimum() -> None:
    """On small even chains the dynamic program meets the exhaustive reference, budget by budget."""
    base = even(3)
    met = 0
    for budget in range(10, 40, 2):
        problem = base.with_budget(budget)
        reference = solve_reference(problem, OrderScope.FIXED)
        solution = chain(problem)
        if reference is None:
            assert solution.cost is None
        elif solution.cost is not None:
            assert solution.cost >= reference[0]
            met += solution.cost == reference[0]
    assert met >= 3


def test_the_registry_knows_them() -> None:
    assert set(CLASSIC) <= set(available())
