"""`checkmate-milp`, `checkmate-lp-rounding` and `interval-cp` against the exhaustive reference."""

from __future__ import annotations

import math
from dataclasses import replace
from random import Random

import pytest
from hypothesis import given, settings

from lowtide.errors import InputError, LowtideError
from lowtide.solvers.milp.solve import MilpSolver
from lowtide.solvers.remat.check import check
from lowtide.solvers.remat.checkmate_milp import MilpOptions, checkmate_milp
from lowtide.solvers.remat.interval_cp import CpOptions, interval_cp
from lowtide.solvers.remat.lp_rounding import lp_rounding
from lowtide.solvers.remat.problem import OrderScope, RematProblem
from lowtide.solvers.remat.reference import solve_reference
from lowtide.solvers.status import Status
from tests.solvers.remat_repeats import repeat_problems
from tests.solvers.remat_strategies import training_problem


@settings(max_examples=40)
@given(repeat_problems())
def test_intervals_are_optimal_without_in_place(problem: RematProblem) -> None:
    problem = replace(problem, in_place=())
    reference = solve_reference(problem, OrderScope.FIXED)
    for work in (0, 10_000):
        solution = interval_cp(
            problem, time_limit_s=None, options=CpOptions(runs=None, search_work=work)
        )
        check(problem, solution)
        if reference is None:
            assert solution.status is Status.INFEASIBLE
        else:
            assert solution.status is Status.OPTIMAL
            assert solution.cost == reference[0]


@settings(max_examples=20)
@given(repeat_problems())
def test_two_runs_each_prove_nothing_false(problem: RematProblem) -> None:
    """In place or not, and whatever the number of runs: no claim beyond the reference."""
    reference = solve_reference(problem, OrderScope.FIXED)
    solution = interval_cp(problem, time_limit_s=None, options=CpOptions(runs=2, search_work=0))
    check(problem, solution)
    if reference is None:
        assert solution.cost is None
        return
    assert solution.status is not Status.INFEASIBLE
    assert all(b.cost <= reference[0] for b in solution.bounds)
    assert solution.cost is None or solution.cost >= reference[0]


@settings(max_examples=8)
@given(repeat_problems())
def test_the_milp_is_optimal(problem: RematProblem) -> None:
    reference = solve_reference(problem, OrderScope.FIXED)
    solution = checkmate_milp(
        problem, time_limit_s=None, options=MilpOptions(search_work=0, relax_above=10)
    )
    check(problem, solution)
    if reference is None:
        assert solution.status is Status.INFEASIBLE
        return
    assert solution.cost is not None
    assert math.isclose(solution.cost, reference[0])
    assert solution.status is Status.OPTIMAL


TRAINING = training_problem(6, Random(5)).with_budget_ratio("0.8")


@pytest.mark.parametrize("strict", [False, True])
@pytest.mark.parametrize("solver", [MilpSolver.HIGHS, MilpSolver.SCIP])
@pytest.mark.parametrize("work", [0, 10_000])
def test_every_way_to_the_same_optimum(strict: bool, solver: MilpSolver, work: int) -> None:
    options = MilpOptions(strict=strict, solver=solver, search_work=work)
    solution = checkmate_milp(TRAINING, time_limit_s=None, options=options)
    assert solution.status is Status.OPTIMAL
    other = interval_cp(TRAINING, time_limit_s=None, options=CpOptions(runs=None, search_work=9))
    assert other.status is Status.OPTIMAL
    assert solution.cost == other.cost
    assert solution.cpu_seconds > 0


def test_the_bound_is_of_the_fixed_order() -> None:
    solution = checkmate_milp(
        TRAINING, scope=OrderScope.FREE, options=MilpOptions(search_work=10_000)
    )
    assert solution.status is not Status.OPTIMAL
    scopes = {b.scope: b.cost for b in solution.bounds}
    assert scopes[OrderScope.FREE] == TRAINING.base_cost
    assert scopes[OrderScope.FIXED] == solution.cost


def test_rounding_brackets_the_optimum() -> None:
    exact = checkmate_milp(TRAINING, options=MilpOptions(search_work=10_000))
    assert exact.cost is not None
    rounded = lp_rounding(TRAINING)
    assert rounded.cost is not None
    assert rounded.cost >= exact.cost
    assert rounded.bound is not None
    assert TRAINING.base_cost < rounded.bound.cost <= exact.cost


@settings(max_examples=3)
@given(repeat_problems())
def test_rounding_claims_nothing_false(problem: RematProblem) -> None:
    reference = solve_reference(problem, OrderScope.FIXED)
    solution = lp_rounding(problem, time_limit_s=None)
    check(problem, solution)
    if reference is None:
        assert solution.cost is None
        return
    assert solution.status is not Status.INFEASIBLE
    assert all(b.cost <= reference[0] for b in solution.bounds)


def test_no_time_is_a_status() -> None:
    for solver in (checkmate_milp, interval_cp, lp_rounding):
        solution = solver(TRAINING, time_limit_s=0.0)
        check(TRAINING, solution)
        assert solution.status in (Status.TIME_LIMIT, Status.FEASIBLE)


def test_no_budget_is_infeasible() -> None:
    for solver in (checkmate_milp, interval_cp, lp_rounding):
        assert solver(TRAINING.with_budget(3)).status is Status.INFEASIBLE


def test_bad_arguments_are_refused() -> None:
    for solver in (checkmate_milp, interval_cp, lp_rounding):
        with pytest.raises(InputError, match="time limit"):
            solver(TRAINING, time_limit_s=-1.0)
    with pytest.raises(InputError, match="max_nodes"):
        checkmate_milp(TRAINING, options=MilpOptions(max_nodes=3))
    with pytest.raises(LowtideError, match="stage"):
        checkmate_milp(TRAINING, start=(TRAINING.order[:-1],))
