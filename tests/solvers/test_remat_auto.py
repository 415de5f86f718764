"""The portfolio: against the exhaustive reference, and what it promises of its members."""

from __future__ import annotations

import signal
from concurrent.futures import ProcessPoolExecutor, ThreadPoolExecutor
from dataclasses import replace
from multiprocessing import get_context
from random import Random
from typing import TYPE_CHECKING

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from lowtide.errors import InputError, LowtideError
from lowtide.solvers.remat import auto as portfolio
from lowtide.solvers.remat.auto import AutoOptions, auto
from lowtide.solvers.remat.check import check
from lowtide.solvers.remat.problem import OrderScope, RematProblem
from lowtide.solvers.remat.reference import solve_reference, transients
from lowtide.solvers.remat.registry import get_solver
from lowtide.solvers.remat.solution import CostBound
from lowtide.solvers.status import Status
from tests.solvers.interruption import interrupt_after
from tests.solvers.remat_repeats import repeat_problems
from tests.solvers.remat_strategies import remat_problems, training_problem

if TYPE_CHECKING:
    from concurrent.futures import Executor

    from lowtide.solvers.remat.solution import RematSolution

WORK = 20_000
QUICK = AutoOptions(work_limit=WORK, exact=False)
# Without the covering program, which proves much at once.
UNCOVERED = AutoOptions(work_limit=WORK, cover=False)
TRAINING = training_problem(6, Random(5)).with_budget_ratio("0.8")


def against_the_reference(problem: RematProblem, solution: RematSolution) -> None:
    """No false claim, and the plan holds by the checker and by the plain reference."""
    check(problem, solution)
    if solution.sequence is not None:
        assert max(transients(problem, solution.sequence), default=0) <= problem.budget_bytes
    for scope in OrderScope:
        exact = solve_reference(problem, scope)
        bounds = [b for b in solution.bounds if b.scope is scope]
        assert exact is None or all(b.cost <= exact[0] for b in bounds)
        if scope is not solution.scope:
            continue
        if exact is None:
            assert solution.sequence is None
        elif solution.cost is not None:
            assert solution.cost >= exact[0] or solution.cost == pytest.approx(exact[0])
        if solution.status is Status.INFEASIBLE:
            assert exact is None


@settings(max_examples=80, deadline=None)
@given(st.one_of(remat_problems(max_nodes=6), repeat_problems()), st.sampled_from(OrderScope))
def test_the_portfolio_against_the_reference(problem: RematProblem, scope: OrderScope) -> None:
    solution = auto(problem, scope=scope, time_limit_s=None, options=QUICK)
    against_the_reference(problem, solution)


@settings(max_examples=6, deadline=None)
@given(repeat_problems(), st.sampled_from(OrderScope))
def test_with_the_exact_solvers(problem: RematProblem, scope: OrderScope) -> None:
    solution = auto(problem, scope=scope, time_limit_s=60.0, options=AutoOptions(work_limit=WORK))
    against_the_reference(problem, solution)
    exact = solve_reference(problem, OrderScope.FIXED)
    if scope is OrderScope.FIXED:
        proof = Status.INFEASIBLE if exact is None else Status.OPTIMAL
        assert solution.status is proof
    elif exact is not None:
        assert solution.cost is not None
        assert solution.cost <= exact[0]


@pytest.mark.parametrize("scope", OrderScope)
def test_the_best_plans_of_small_training_graphs(scope: OrderScope) -> None:
    for seed in range(12):
        problem = training_problem(3, Random(seed)).with_budget_ratio("0.85")
        solution = auto(problem, scope=scope, time_limit_s=None, options=QUICK)
        exact = solve_reference(problem, scope)
        assert solution.cost == (None if exact is None else exact[0])


def test_each_bound_names_its_scope_and_its_solver() -> None:
    fixed = auto(TRAINING, scope=OrderScope.FIXED, time_limit_s=60.0, options=UNCOVERED)
    assert (fixed.status, fixed.cost) == (Status.OPTIMAL, 56)
    assert fixed.bound is not None
    assert (fixed.bound.scope, fixed.bound.solver) == (OrderScope.FIXED, "checkmate-milp")
    free = auto(TRAINING, time_limit_s=60.0, options=UNCOVERED)
    assert free.bound is not None
    assert free.bound.scope is OrderScope.FREE
    bounds = {b.scope: (b.cost, b.solver) for b in free.bounds}
    assert bounds[OrderScope.FIXED] == (56, "checkmate-milp")
    assert free.cost is not None
    # A bound of the fixed order is no proof in the free one, even where the costs agree.
    assert free.bound.cost < free.cost <= 56
    assert free.status is Status.FEASIBLE


def test_the_covering_program_proves_a_plan_of_the_free_order() -> None:
    problem = training_problem(16, Random(4)).with_budget_ratio("0.8")
    solution = auto(problem, time_limit_s=60.0)
    check(problem, solution)
    assert solution.bound is not None
    assert (solution.bound.scope, solution.bound.solver) == (OrderScope.FREE, "cover")
    assert solution.bound.cost > problem.base_cost


def failing(*_: object, **__: object) -> RematSolution:
    """A solver that is not there."""
    raise ImportError("no such package")


def crashing(*_: object, **__: object) -> RematSolution:
    """A solver that takes its process with it."""
    signal.raise_signal(signal.SIGKILL)
    raise AssertionError


@pytest.mark.parametrize("name", ["search", "checkmate_milp", "chain"])
def test_a_member_that_fails_is_noted(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(portfolio, name, failing)
    solution = auto(TRAINING, scope=OrderScope.FIXED, time_limit_s=60.0, options=UNCOVERED)
    solver = name.replace("_", "-")
    assert f"{solver}: ImportError: no such package" in solution.notes
    # Where one exact solver fails, the other one proves it.
    assert (solution.status, solution.cost) == (Status.OPTIMAL, 56)


def test_a_false_bound_is_dropped(monkeypatch: pytest.MonkeyPatch) -> None:
    def boasting(problem: RematProblem, **_: object) -> RematSolution:
        found = get_solver("checkmate-milp")(problem, scope=OrderScope.FREE, time_limit_s=0.0)
        assert not found.sequence
        claims = (CostBound(OrderScope.FIXED, 10_000, "boast"),)
        object.__setattr__(found, "bounds", claims)
        return found

    monkeypatch.setattr(portfolio, "checkmate_milp", boasting)
    options = AutoOptions(cover=False)
    solution = auto(TRAINING, scope=OrderScope.FIXED, time_limit_s=1.0, options=options)
    assert all(bound.method != "boast" for bound in solution.bounds)
    assert "checkmate-milp: its bound 10000 (boast) is refuted" in solution.notes


@pytest.mark.parametrize("kind", ["threads", "processes", "own"])
def test_executors(kind: str) -> None:
    executor: Executor | None = None
    if kind == "threads":
        executor = ThreadPoolExecutor(2)
    elif kind == "processes":
        executor = ProcessPoolExecutor(2, get_context("spawn"))
    options = replace(UNCOVERED, threads=2, executor=executor)
    solution = auto(TRAINING, scope=OrderScope.FIXED, time_limit_s=60.0, options=options)
    if executor is not None:
        assert executor.submit(abs, -1).result() == 1  # it is the caller's still
        executor.shutdown()
    check(TRAINING, solution)
    assert (solution.status, solution.cost, solution.notes) == (Status.OPTIMAL, 56, ())
    assert solution.cpu_seconds > 0


def test_a_worker_that_dies_is_noted(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(portfolio, "checkmate_milp", crashing)
    options = replace(UNCOVERED, threads=2)
    solution = auto(TRAINING, scope=OrderScope.FIXED, time_limit_s=60.0, options=options)
    assert solution.cost is not None
    assert any(note.startswith("checkmate-milp: BrokenProcessPool") for note in solution.notes)


def test_an_executor_that_is_shut_down_is_noted() -> None:
    executor = ThreadPoolExecutor(1)
    executor.shutdown()
    options = AutoOptions(executor=executor, work_limit=WORK)
    solution = auto(TRAINING, time_limit_s=5.0, options=options)
    check(TRAINING, solution)
    assert any("shutdown" in note for note in solution.notes)


@pytest.mark.parametrize("threads", [1, 2])
def test_an_interruption_gives_the_best_so_far(threads: int) -> None:
    problem = training_problem(60, Random(2))
    interrupt = interrupt_after(0.3)

    def progress(cost: int | float | None, bound: int | float) -> None:
        del bound
        if cost is not None:
            interrupt()

    before = signal.getsignal(signal.SIGINT)
    options = AutoOptions(threads=threads)
    solution = auto(problem, time_limit_s=300.0, progress=progress, options=options)
    assert signal.getsignal(signal.SIGINT) is before
    check(problem, solution)
    assert solution.sequence is not None
    assert (solution.status, solution.notes) == (Status.TIME_LIMIT, ("interrupted",))
    assert solution.seconds < 100.0


def test_progress_may_stop_it() -> None:
    heard: list[tuple[int | float | None, int | float]] = []

    def progress(cost: int | float | None, bound: int | float) -> None:
        heard.append((cost, bound))
        if len(heard) > 30:
            raise KeyboardInterrupt

    problem = training_problem(60, Random(2))
    solution = auto(
        problem, time_limit_s=300.0, progress=progress, options=AutoOptions(heuristics=False)
    )
    assert solution.notes == ("interrupted",)
    costs = [cost for cost, _ in heard if cost is not None]
    assert costs == sorted(costs, reverse=True)
    assert all(bound >= problem.base_cost for _, bound in heard)


def test_starts_are_never_lost() -> None:
    problem = training_problem(12, Random(1))
    good = auto(problem, time_limit_s=None, options=QUICK)
    assert good.sequence is not None
    again = auto(problem, time_limit_s=0.0, start=(good.sequence,))
    assert (again.cost, again.status) == (good.cost, Status.TIME_LIMIT)
    with pytest.raises(LowtideError, match="node"):
        auto(problem, start=((0,),))


def test_the_same_seed_and_work_give_the_same_plan() -> None:
    problem = training_problem(15, Random(8))
    one, two = (auto(problem, time_limit_s=None, seed=4, options=QUICK) for _ in range(2))
    assert one.sequence == two.sequence
    assert one.bounds == two.bounds


def test_wrong_arguments() -> None:
    with pytest.raises(InputError, match="time limit"):
        auto(TRAINING, time_limit_s=-1.0)
    with pytest.raises(InputError, match="threads"):
        auto(TRAINING, options=AutoOptions(threads=0))
