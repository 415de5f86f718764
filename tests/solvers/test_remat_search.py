"""The search for cheap sequences: against the exhaustive reference, and what it promises."""

from __future__ import annotations

from dataclasses import replace
from random import Random

import pytest
from hypothesis import Phase, given, settings
from hypothesis import strategies as st

from lowtide.errors import InputError, InstanceError, LowtideError
from lowtide.solvers import _native
from lowtide.solvers.remat.bounds import peak_bound, repeat_bound
from lowtide.solvers.remat.check import check, peak_of
from lowtide.solvers.remat.problem import OrderScope, RematProblem
from lowtide.solvers.remat.reference import solve_reference
from lowtide.solvers.remat.registry import available, get_solver
from lowtide.solvers.remat.search import SearchOptions, search
from lowtide.solvers.schedule.exact import schedule
from lowtide.solvers.schedule.problem import Buffer
from lowtide.solvers.status import Status
from tests.solvers.remat_strategies import remat_problems, training_problem

SHORT = SearchOptions(work_limit=60_000)
# a -> b -> c -> d, and d reads a as well; c scratches: a is made again for d within 12.
CHAIN = RematProblem(
    4,
    (Buffer(4, 0, (1, 3)), Buffer(1, 1, (2,)), Buffer(5, 2, (3,)), Buffer(1, 3, (), True)),
    (3, 1, 1, 1),
    12,
    workspace=(0, 0, 6, 0),
)


@settings(max_examples=120, deadline=None, derandomize=True, phases=[Phase.generate])
@given(remat_problems(max_nodes=5), st.sampled_from(OrderScope))
def test_the_search_against_the_reference(problem: RematProblem, scope: OrderScope) -> None:
    """Never below the least cost, no false proof; and on graphs this small, that cost."""
    found = search(problem, scope=scope, time_limit_s=None, options=SHORT)
    exact = solve_reference(problem, scope)
    if exact is None:
        assert found.sequence is None
        assert found.status in (Status.INFEASIBLE, Status.FEASIBLE)
        return
    assert found.status is not Status.INFEASIBLE
    assert found.peak_bound_bytes <= problem.budget_bytes
    assert found.bound is not None
    assert found.bound.cost <= exact[0]
    assert found.cost == pytest.approx(exact[0])


@settings(max_examples=200, deadline=None)
@given(remat_problems(max_nodes=5))
def test_the_bounds_hold(problem: RematProblem) -> None:
    least, _ = peak_bound(problem)
    for budget in range(max(0, least - 3), least):
        assert solve_reference(problem.with_budget(budget), OrderScope.FREE) is None
    room = problem.budget_bytes - problem.constant_bytes
    if schedule(problem.once).lower_bound_bytes > room:
        exact = solve_reference(problem, OrderScope.FREE)
        bound = repeat_bound(problem, OrderScope.FREE)
        assert exact is None or (bound is not None and bound.cost <= exact[0])
    if peak_of(problem, problem.order) > problem.budget_bytes:
        exact = solve_reference(problem, OrderScope.FIXED)
        bound = repeat_bound(problem, OrderScope.FIXED)
        assert exact is None or (bound is not None and bound.cost <= exact[0])


def test_a_repeat_is_found_and_proven() -> None:
    solution = search(CHAIN, time_limit_s=None, options=SHORT)
    assert (solution.cost, solution.status) == (9, Status.OPTIMAL)
    assert solution.sequence == (0, 1, 2, 0, 3)
    assert solution.overhead_bound_percent == 50.0


def test_minimum_cuts_are_no_bound_when_a_buffer_can_be_made_again() -> None:
    """Every order has `a` live while c runs; the sequence with a repeat has not."""
    assert schedule(CHAIN.once).lower_bound_bytes == 16
    assert peak_of(CHAIN, (0, 1, 2, 0, 3)) == 12
    assert peak_bound(CHAIN) == (12, "one op")


def test_what_cannot_be_made_again_raises_the_bound() -> None:
    assert peak_bound(replace(CHAIN, pinned=(0,))) == (16, "one op and what cannot be made again")
    solution = search(replace(CHAIN, pinned=(0,)), time_limit_s=None)
    assert solution.status is Status.INFEASIBLE
    assert solution.peak_bound_bytes == 16


def test_an_infeasible_budget_is_proven() -> None:
    solution = search(CHAIN.with_budget(11), time_limit_s=None)
    assert (solution.status, solution.sequence) == (Status.INFEASIBLE, None)
    assert solution.peak_bound_bytes == 12


def test_an_order_that_meets_the_budget_is_a_proof() -> None:
    # Two chains that join: the input order runs them in step, depth first is lower.
    sizes = (1, 1, 9, 9, 1, 1, 1)
    readers = ((2,), (3,), (4,), (5,), (6,), (6,), ())
    problem = RematProblem(
        7,
        tuple(Buffer(s, v, r, not r) for v, (s, r) in enumerate(zip(sizes, readers, strict=True))),
        (1,) * 7,
        0,
    )
    assert peak_of(problem, problem.order) == 19
    solution = search(problem.with_budget(12))
    assert (solution.status, solution.overhead_percent) == (Status.OPTIMAL, 0.0)
    assert solution.solver == "exact order"
    fixed = search(problem.with_budget(12), scope=OrderScope.FIXED, time_limit_s=0.1)
    assert fixed.cost is None or fixed.cost > problem.base_cost


@pytest.mark.parametrize("scope", OrderScope)
@pytest.mark.parametrize("threads", [1, 3])
def test_the_same_seed_and_work_give_the_same_sequence(scope: OrderScope, threads: int) -> None:
    problem = training_problem(20, Random(3))
    options = SearchOptions(work_limit=200_000, threads=threads, cover=False)
    one, two = (
        search(problem, scope=scope, time_limit_s=None, seed=5, options=options) for _ in range(2)
    )
    assert one.sequence is not None
    assert one.sequence == two.sequence
    assert one.status is Status.FEASIBLE
    single = SearchOptions(work_limit=200_000, cover=False)
    alone = search(problem, scope=scope, time_limit_s=None, seed=5, options=single)
    assert alone.cost is not None
    assert one.cost is not None
    assert one.cost <= alone.cost


def test_a_start_is_never_lost() -> None:
    problem = training_problem(12, Random(1))
    good = search(problem, time_limit_s=None, options=SearchOptions(work_limit=200_000))
    assert good.sequence is not None
    again = search(problem, time_limit_s=0.0, start=(good.sequence,))
    assert again.cost == good.cost
    assert again.status is Status.TIME_LIMIT
    for bad in [(0,), (*good.sequence, 99)]:
        with pytest.raises(LowtideError, match="node"):
            search(problem, start=(bad,))


def test_progress_hears_costs_and_may_interrupt() -> None:
    heard: list[tuple[int | float | None, int | float]] = []

    def progress(cost: int | float | None, bound: int | float) -> None:
        heard.append((cost, bound))
        if cost is not None:
            raise KeyboardInterrupt

    problem = training_problem(30, Random(2))
    solution = search(
        problem, time_limit_s=60.0, progress=lambda c, b: progress(c, b) if len(heard) < 9 else None
    )
    assert solution.seconds < 30.0
    assert heard
    assert all(bound >= problem.base_cost for _, bound in heard)


def test_wrong_arguments() -> None:
    with pytest.raises(LowtideError, match="time limit"):
        search(CHAIN, time_limit_s=-1)
    with pytest.raises(LowtideError, match="threads"):
        search(CHAIN, options=SearchOptions(threads=0))


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"sizes": [1]}, "unequal"),
        ({"sizes": [1, -1]}, "2\\^60"),
        ({"sizes": [1 << 60, 1 << 60]}, "2\\^60"),
        ({"producers": [0, 2]}, "not a node"),
        ({"consumers": [[1], [7]]}, "not a node"),
        ({"costs": [1.0, float("nan")]}, "cost"),
        ({"costs": [1.0, -1.0]}, "cost"),
        ({"order": [0, 0]}, "permutation"),
        ({"in_place": [(1, 0, 1)]}, "in-place"),
        ({"num_nodes": -1}, "negative"),
    ],
)
def test_the_core_checks_what_it_is_given(changes: dict[str, object], message: str) -> None:
    fields: dict[str, object] = {
        "num_nodes": 2,
        "sizes": [1, 1],
        "producers": [0, 1],
        "consumers": [[1], []],
        "outputs": [False, True],
        "workspace": [0, 0],
        "costs": [1.0, 1.0],
        "pinned": [False, False],
        "order": [0, 1],
        "in_place": [],
        "budget": 1,
    }
    with pytest.raises(ValueError, match=message):
        _native.Remat(**(fields | changes))  # type: ignore[arg-type]  # pyright: ignore[reportArgumentType]


def test_a_problem_too_large_for_the_search_is_refused() -> None:
    n = 100_000
    readers = [(v + 1,) if v + 1 < n else () for v in range(n)]
    buffers = tuple(Buffer(2, v, r, not r) for v, r in enumerate(readers))
    # Node 0 is read in the end as well, so the input order does not meet a budget that one op does.
    buffers = (Buffer(2, 0, (1, n - 1)), *buffers[1:])
    with pytest.raises(InstanceError, match="1 GiB"):
        search(
            RematProblem(n, buffers, (1,) * n, 7, workspace=(0, 0, 0, 3) + (0,) * (n - 4)),
            time_limit_s=5,
            options=SearchOptions(schedule=False),
        )


def test_the_registry() -> None:
    assert available()[0] == "search"
    solution = get_solver("search")(CHAIN, time_limit_s=0.2)
    check(CHAIN, solution)
    with pytest.raises(InputError, match="there is no remat solver `x`; there are: search"):
        get_solver("x")
