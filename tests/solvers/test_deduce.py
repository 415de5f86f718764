from __future__ import annotations

from hypothesis import given, settings
from hypothesis import strategies as st

from lowtide.solvers.schedule.check import peak_of
from lowtide.solvers.schedule.exact import ExactOptions, native_problem, schedule
from lowtide.solvers.schedule.problem import Buffer, ScheduleProblem
from tests.solvers.oracles import all_orders, best_by_ideals
from tests.solvers.strategies import schedule_problems


@settings(max_examples=1000)
@given(schedule_problems(max_nodes=6), st.integers(0, 3))
def test_all_orders_within_the_budget_obey_what_is_deduced(
    problem: ScheduleProblem, slack: int
) -> None:
    budget = best_by_ideals(problem) + slack
    refuted, next_bound, edges = native_problem(problem).deduce(budget)
    assert not refuted
    for order in all_orders(problem):
        # The deductions hold for all budgets below next_bound.
        if peak_of(problem, order) < max(next_bound, budget + 1):
            assert all(order.index(before) < order.index(after) for before, after in edges)


@settings(max_examples=500)
@given(schedule_problems(max_nodes=9), st.integers(1, 8))
def test_what_is_refuted_has_no_order(problem: ScheduleProblem, below: int) -> None:
    optimum = best_by_ideals(problem)
    refuted, next_bound, _ = native_problem(problem).deduce(max(optimum - below, 0))
    if refuted:
        assert optimum - below < next_bound <= optimum


def test_a_budget_of_the_bound_forces_what_is_in_every_minimum_cut() -> None:
    # 0 -> {1, 2} -> 3: 1 grows, 2 shrinks; within 12 bytes 2 has to run first.
    problem = ScheduleProblem(
        4,
        (Buffer(2, 0, (1,)), Buffer(5, 0, (2,)), Buffer(9, 1, (3,)), Buffer(1, 2, (3,))),
    )
    refuted, next_bound, edges = native_problem(problem).deduce(12)
    assert (refuted, next_bound, edges) == (False, 16, [(2, 1)])
    assert native_problem(problem).deduce(11)[:2] == (True, 12)


@settings(max_examples=500)
@given(schedule_problems(max_nodes=9), st.booleans(), st.booleans())
def test_searches_with_deductions_alone_give_the_optimum(
    problem: ScheduleProblem, one_step: bool, guards: bool
) -> None:
    options = ExactOptions(
        one_step=one_step,
        guards=guards,
        macro=False,
        min_cut=False,
        reorder=False,
        windows=False,
        cut_nodes=False,
        beam=False,
        heuristics=False,
    )
    solution = schedule(problem, time_limit_s=None, options=options)
    assert solution.peak_bytes == solution.lower_bound_bytes == best_by_ideals(problem)
