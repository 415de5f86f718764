"""The stages as programs: their points are the sequences of the fixed order, at their peaks."""

from __future__ import annotations

import math
from dataclasses import replace
from fractions import Fraction
from random import Random

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from lowtide.errors import InputError
from lowtide.solvers.cp_sat import cp_model
from lowtide.solvers.milp.model import LinearModel, satisfied
from lowtide.solvers.remat.check import check_stages, peak_of
from lowtide.solvers.remat.checkmate import CheckmateModel
from lowtide.solvers.remat.extras import extra_of, next_sum, step_below
from lowtide.solvers.remat.problem import OrderScope, RematProblem
from lowtide.solvers.remat.reference import solve_reference
from lowtide.solvers.remat.stages import StageModel
from tests.solvers.remat_repeats import repeat_problems
from tests.solvers.remat_strategies import remat_problems, training_problem


def solved(model: LinearModel) -> list[int] | None:
    """The optimum of a program of integers by CP-SAT, in this process."""
    program = cp_model.CpModel()
    variables = [
        program.new_int_var(int(low), int(high), f"x{k}")
        for k, (low, high) in enumerate(zip(model.lower, model.upper, strict=True))
    ]
    for r in range(model.num_rows):
        entries = range(int(model.starts[r]), int(model.starts[r + 1]))
        assert all(float(model.values[e]).is_integer() for e in entries)
        total = sum(int(model.values[e]) * variables[int(model.columns[e])] for e in entries)
        if model.row_lower[r] > -1e18:
            program.add(total >= math.ceil(model.row_lower[r]))
        if model.row_upper[r] < 1e18:
            program.add(total <= math.floor(model.row_upper[r]))
    program.minimize(sum(float(c) * x for c, x in zip(model.cost, variables, strict=True)))
    solver = cp_model.CpSolver()
    solver.parameters.num_workers = 1
    status = solver.solve(program)
    assert status in (cp_model.OPTIMAL, cp_model.INFEASIBLE)
    return [solver.value(x) for x in variables] if status == cp_model.OPTIMAL else None


def with_integer_costs(problem: RematProblem) -> RematProblem:
    return replace(problem, costs=tuple(int(10 * c) for c in problem.costs))


@settings(max_examples=200)
@given(st.one_of(remat_problems(max_nodes=5), repeat_problems(), repeat_problems()))
def test_the_program_s_optimum_is_the_reference_s(problem: RematProblem) -> None:
    problem = with_integer_costs(problem)
    reference = solve_reference(problem, OrderScope.FIXED)
    program = StageModel(problem)
    point = None if program.impossible else solved(program.model)
    if reference is None:
        assert point is None
        return
    assert point is not None
    assert satisfied(program.model, point)
    sequence = program.sequence(point)
    check_stages(problem, sequence)
    assert peak_of(problem, sequence) <= problem.budget_bytes
    assert problem.cost_of(sequence) == reference[0]


@settings(max_examples=100)
@given(repeat_problems(), st.booleans())
def test_a_limit_keeps_what_costs_no_more(problem: RematProblem, below: bool) -> None:
    problem = with_integer_costs(problem)
    reference = solve_reference(problem, OrderScope.FIXED)
    least = Fraction(0) if reference is None else extra_of(problem, reference[1])
    below = below and least > 0
    limit = least - step_below(problem.costs, least) if below else least
    program = StageModel(problem, limit=limit, scale=2.0)
    point = None if program.impossible else solved(program.model)
    if reference is None or below:
        assert point is None
        return
    assert point is not None
    assert extra_of(problem, program.sequence(point)) == least
    again = program.point(reference[1])
    assert again is None or satisfied(program.model, again)


@settings(max_examples=100)
@given(repeat_problems(extras=False))
def test_the_published_program_agrees(problem: RematProblem) -> None:
    """Where it applies: one result for an op, nothing in place, no workspace."""
    reference = solve_reference(problem, OrderScope.FIXED)
    program = CheckmateModel(problem)
    point = solved(program.model)
    assert (point is None) == (reference is None)
    if point is None or reference is None:
        return
    sequence = program.sequence(point)
    assert peak_of(problem, sequence) <= problem.budget_bytes
    assert problem.cost_of(sequence) == reference[0]
    again = program.point(program.sequence(point))
    assert again is None or satisfied(program.model, again)
    known = program.point(reference[1])
    assert known is not None
    assert satisfied(program.model, known)


def test_a_training_graph_s_point_is_met() -> None:
    problem = training_problem(8, Random(3))
    free = problem.with_budget_ratio("1")
    program = StageModel(free)
    point = program.point(free.order)
    assert point is not None
    assert satisfied(program.model, point)
    assert program.sequence(point) == free.order


def test_what_the_published_program_lacks_is_refused() -> None:
    problem = training_problem(2, Random(1))
    with pytest.raises(InputError, match="workspace"):
        CheckmateModel(replace(problem, workspace=(1,) * problem.num_nodes))
    twice = (*problem.buffers, problem.buffers[-1])
    with pytest.raises(InputError, match="several buffers"):
        CheckmateModel(replace(problem, buffers=twice))


@settings(max_examples=200)
@given(
    st.lists(st.integers(1, 12), min_size=1, max_size=4),
    st.integers(0, 40),
    st.integers(0, 40),
    st.sampled_from([1, 2, 3]),
)
def test_the_next_sum(costs: list[int], low: int, more: int, below: int) -> None:
    high = low + more
    sums = {0}
    for _ in range(81):
        sums |= {s + c for s in sums for c in costs if s + c <= high}
    expected = min([s for s in sums if low <= s <= high], default=high)
    divided = [Fraction(c, below) for c in costs]
    found = next_sum(map(float, costs), Fraction(low), Fraction(high))
    assert found == expected
    assert next_sum(divided, Fraction(low, below), Fraction(high, below)) == found / below  # type: ignore[arg-type]  # pyright: ignore[reportArgumentType]
