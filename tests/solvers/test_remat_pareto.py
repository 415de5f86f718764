"""The trade-off between budget and cost: against the true front, and what it promises."""

from __future__ import annotations

from concurrent.futures import ProcessPoolExecutor, ThreadPoolExecutor
from dataclasses import replace
from multiprocessing import get_context
from random import Random
from typing import TYPE_CHECKING

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from lowtide.errors import InputError, LowtideError
from lowtide.solvers.remat import pareto as sweep
from lowtide.solvers.remat.auto import auto
from lowtide.solvers.remat.check import peak_of
from lowtide.solvers.remat.front import ParetoFront, check_front
from lowtide.solvers.remat.pareto import ParetoOptions, pareto
from lowtide.solvers.remat.problem import OrderScope, RematProblem
from lowtide.solvers.remat.reference import solve_reference, transients
from lowtide.solvers.status import Status
from tests.solvers.interruption import interrupt_after
from tests.solvers.remat_repeats import repeat_problems
from tests.solvers.remat_strategies import remat_problems, training_problem

if TYPE_CHECKING:
    from concurrent.futures import Executor

    from lowtide.solvers.remat.solution import RematSolution

QUICK = ParetoOptions(solver="search", work_limit=20_000)
TRAINING = training_problem(8, Random(5))


def against_the_reference(problem: RematProblem, front: ParetoFront) -> None:
    """Every point lies on or above the true front; no claim is false."""
    check_front(problem, front)
    for point in front.points:
        solution = point.solution
        assert solution.sequence is not None
        assert max(transients(problem, solution.sequence), default=0) <= point.budget_bytes
        exact = solve_reference(problem.with_budget(point.budget_bytes), front.scope)
        assert exact is not None
        assert solution.cost is not None
        assert solution.cost >= exact[0] or solution.cost == pytest.approx(exact[0])
        assert solution.bound is not None
        assert solution.bound.cost <= exact[0]
        if solution.status is Status.OPTIMAL:
            assert solution.cost == pytest.approx(exact[0])
    if front.least_bound_bytes:
        below = problem.with_budget(front.least_bound_bytes - 1)
        assert solve_reference(below, front.scope) is None


@settings(max_examples=60, deadline=None)
@given(st.one_of(remat_problems(max_nodes=5), repeat_problems()), st.sampled_from(OrderScope))
def test_the_front_against_the_reference(problem: RematProblem, scope: OrderScope) -> None:
    front = pareto(problem, scope=scope, points=4, time_limit_s=None, options=QUICK)
    against_the_reference(problem, front)


@pytest.mark.parametrize("scope", OrderScope)
def test_the_front_of_small_training_graphs(scope: OrderScope) -> None:
    """Here the search finds the best plan of every budget: the points are the true front's."""
    for seed in range(8):
        problem = training_problem(3, Random(seed))
        front = pareto(problem, scope=scope, points=5, time_limit_s=None, options=QUICK)
        for point in front.points:
            exact = solve_reference(problem.with_budget(point.budget_bytes), scope)
            assert exact is not None
            assert point.solution.cost == exact[0]
        below = problem.with_budget(front.least_budget_bytes - 1)
        assert solve_reference(below, scope) is None


@settings(max_examples=12, deadline=None)
@given(repeat_problems())
def test_with_the_portfolio(problem: RematProblem) -> None:
    options = ParetoOptions(work_limit=20_000)
    front = pareto(problem, scope=OrderScope.FIXED, points=3, time_limit_s=60.0, options=options)
    against_the_reference(problem, front)
    assert all(point.solution.status is Status.OPTIMAL for point in front.points)


@pytest.mark.parametrize("scope", OrderScope)
def test_a_training_graph(scope: OrderScope) -> None:
    front = pareto(TRAINING, scope=scope, points=6, time_limit_s=None, options=QUICK)
    check_front(TRAINING, front)
    assert len(front.points) >= 3
    first, last = front.points[0], front.points[-1]
    assert first.solution.cost == TRAINING.base_cost
    assert first.solution.status is Status.OPTIMAL
    assert front.base_peak_bytes == peak_of(TRAINING, TRAINING.order) >= first.budget_bytes
    assert last.budget_bytes == front.least_budget_bytes
    assert front.least_proven is (front.least_bound_bytes == front.least_budget_bytes)
    again = pareto(TRAINING, scope=scope, points=6, time_limit_s=None, options=QUICK)
    assert again.points == front.points


def test_bounds_are_handed_down_and_plans_up(monkeypatch: pytest.MonkeyPatch) -> None:
    """Only one of the budgets is solved, the rest fail: it serves the others, too."""
    whole = pareto(
        TRAINING,
        scope=OrderScope.FIXED,
        points=5,
        time_limit_s=60.0,
        options=ParetoOptions(work_limit=20_000),
    )
    middle = whole.points[1]
    assert middle.solution.bound is not None
    assert middle.solution.bound.cost > TRAINING.base_cost
    solve = auto

    def only(problem: RematProblem, **arguments: object) -> RematSolution:
        if problem.budget_bytes != middle.budget_bytes:
            raise ImportError("not today")
        return solve(problem, **arguments)  # type: ignore[arg-type]

    monkeypatch.setattr(sweep, "auto", only)
    front = pareto(
        TRAINING,
        scope=OrderScope.FIXED,
        points=5,
        time_limit_s=60.0,
        options=ParetoOptions(work_limit=20_000),
    )
    check_front(TRAINING, front)
    assert "auto: ImportError: not today" in front.notes
    for point in front.points:
        assert point.solution.bound is not None
        if point.budget_bytes <= middle.budget_bytes:
            assert point.solution.bound.cost >= middle.solution.bound.cost
        else:
            assert point.solution.cost is not None
            assert middle.solution.cost is not None
            assert point.solution.cost < middle.solution.cost


@pytest.mark.parametrize("kind", ["threads", "processes", "own"])
def test_executors(kind: str) -> None:
    executor: Executor | None = None
    if kind == "threads":
        executor = ThreadPoolExecutor(2)
    elif kind == "processes":
        executor = ProcessPoolExecutor(2, get_context("spawn"))
    options = replace(QUICK, threads=2, executor=executor)
    front = pareto(TRAINING, points=4, time_limit_s=None, options=options)
    if executor is not None:
        executor.shutdown()
    check_front(TRAINING, front)
    assert front.notes == ()
    assert len(front.points) >= 3


@pytest.mark.parametrize("threads", [1, 2])
def test_an_interruption_gives_what_is_known(threads: int) -> None:
    problem = training_problem(60, Random(2))
    interrupt = interrupt_after(0.5)

    def progress(done: int, total: int) -> None:
        assert 0 <= done < total
        interrupt()

    options = ParetoOptions(threads=threads)
    front = pareto(problem, points=5, time_limit_s=20.0, progress=progress, options=options)
    check_front(problem, front)
    assert front.notes == ("interrupted",)


def test_no_time_is_the_order_alone() -> None:
    front = pareto(TRAINING, time_limit_s=0.0)
    check_front(TRAINING, front)
    assert front.points[0].solution.cost == TRAINING.base_cost


def test_an_order_that_cannot_be_bettered_is_one_point() -> None:
    chain = RematProblem(3, TRAINING.buffers[:0], (1, 2, 3), 0, workspace=(5, 7, 3))
    front = pareto(chain, options=QUICK)
    assert [p.budget_bytes for p in front.points] == [7]
    assert front.least_proven


def test_a_dominated_point_is_refuted() -> None:
    front = pareto(TRAINING, points=4, time_limit_s=None, options=QUICK)
    for bad in (
        replace(front, points=()),
        replace(front, points=front.points[::-1]),
        replace(front, points=(front.points[0], *front.points)),
        replace(front, points=front.points[:-1]),
        replace(front, least_bound_bytes=front.least_budget_bytes + 1),
        replace(front, scope=OrderScope.FIXED),
    ):
        with pytest.raises(LowtideError):
            check_front(TRAINING, bad)


def test_wrong_arguments() -> None:
    with pytest.raises(InputError, match="at least 2 points"):
        pareto(TRAINING, points=1)
    with pytest.raises(InputError, match="time limit"):
        pareto(TRAINING, time_limit_s=-1.0)
    with pytest.raises(InputError, match="threads"):
        pareto(TRAINING, options=ParetoOptions(threads=0))
    with pytest.raises(InputError, match="no remat solver `x`"):
        pareto(TRAINING, options=ParetoOptions(solver="x"))
