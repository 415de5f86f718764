"""The covering bound: its rows against every kind of sequence, its value against brute force."""

from __future__ import annotations

from dataclasses import replace
from itertools import combinations
from random import Random

from hypothesis import given, settings
from hypothesis import strategies as st

from lowtide.solvers.remat.check import peak_of
from lowtide.solvers.remat.cover import cover_bound, cover_rows
from lowtide.solvers.remat.problem import OrderScope, RematProblem
from lowtide.solvers.remat.reference import solve_reference
from lowtide.solvers.remat.search import SearchOptions, search
from lowtide.solvers.remat.solution import CostBound
from lowtide.solvers.schedule.problem import Buffer
from lowtide.solvers.status import Status
from tests.solvers.remat_repeats import repeat_problems
from tests.solvers.remat_strategies import random_sequence, remat_problems, training_problem


def _met(problem: RematProblem, scope: OrderScope, repeated: set[int]) -> bool:
    return all(
        sum(b for v, b in row.bytes_of.items() if v in repeated) >= row.excess
        for row in cover_rows(problem, scope)
    )


@settings(max_examples=150, deadline=None)
@given(st.one_of(remat_problems(max_nodes=5), repeat_problems()), st.sampled_from(OrderScope))
def test_the_cheapest_plan_meets_every_row(problem: RematProblem, scope: OrderScope) -> None:
    exact = solve_reference(problem, scope)
    if exact is None:
        return
    cost, sequence = exact
    assert _met(problem, scope, {v for v in sequence if sequence.count(v) > 1})
    # So the cheapest set that meets them costs no more than the plan's repeats.
    nodes = sorted({v for row in cover_rows(problem, scope) for v in row.bytes_of})
    least = min(
        sum(problem.costs[v] for v in some)
        for count in range(len(nodes) + 1)
        for some in combinations(nodes, count)
        if _met(problem, scope, set(some))
    )
    assert problem.base_cost + least <= cost + 1e-9


@settings(max_examples=150, deadline=None)
@given(remat_problems(max_nodes=12), st.integers(0, 2**32), st.integers(0, 8))
def test_any_sequence_meets_the_rows_of_its_peak(
    problem: RematProblem, seed: int, extra: int
) -> None:
    sequence = random_sequence(problem, Random(seed), extra)
    tight = problem.with_budget(peak_of(problem, sequence))
    repeated = {v for v in sequence if sequence.count(v) > 1}
    assert _met(tight, OrderScope.FREE, repeated)


def test_rows_in_the_fixed_order_say_more() -> None:
    # 0 and 1 are independent; 2 reads 0, 3 reads all. Only the input order has 0 live at 1.
    buffers = (Buffer(4, 0, (2,)), Buffer(4, 1, (3,)), Buffer(1, 2, (3,)), Buffer(1, 3, (), True))
    problem = RematProblem(4, buffers, (1, 5, 1, 1), 7)
    assert cover_rows(problem, OrderScope.FREE) == []
    rows = cover_rows(problem, OrderScope.FIXED)
    assert [(row.node, row.excess, row.bytes_of) for row in rows] == [
        (1, 1, {0: 4}),
        (2, 2, {1: 4}),
    ]


def test_a_dear_op_that_must_run_again() -> None:
    """As in SegNet at half its peak: the first op's result is in the way of the widest run."""
    buffers = (
        Buffer(4, 0, (1, 3)),
        Buffer(1, 1, (2,)),
        Buffer(5, 2, (3,)),
        Buffer(1, 3, (), True),
    )
    problem = RematProblem(4, buffers, (30, 1, 1, 1), 12, workspace=(0, 0, 6, 0))
    result = cover_bound(problem)
    assert result.bound == CostBound(OrderScope.FREE, 63, "cover")
    assert result.repeats == (0,)
    assert cover_bound(problem.with_budget(16)).bound is None
    # What cannot run again leaves no cover: that is the peak bound's to say.
    assert cover_bound(replace(problem, pinned=(0,))).bound is None


def test_costs_that_are_fractions() -> None:
    problem = training_problem(14, Random(5))
    whole = cover_bound(problem)
    thirds = cover_bound(replace(problem, costs=tuple(c / 3 for c in problem.costs)))
    assert whole.bound is not None
    assert thirds.bound is not None
    assert abs(whole.bound.cost / 3 - thirds.bound.cost) < 1e-6 * whole.bound.cost


def test_the_search_ends_where_the_cover_is_met() -> None:
    """Chains with a backward pass: the cheapest cover is what the best plan repeats."""
    problem = training_problem(16, Random(0)).with_budget_ratio("0.9")
    solution = search(problem, time_limit_s=60.0, seed=1)
    assert solution.status is Status.OPTIMAL
    assert solution.bound is not None
    assert (solution.bound.scope, solution.bound.method) == (OrderScope.FREE, "cover")
    assert solution.seconds < 59.0
    without = search(
        problem, time_limit_s=None, options=SearchOptions(cover=False, work_limit=200_000)
    )
    assert without.bound is not None
    assert without.bound.cost < solution.bound.cost
