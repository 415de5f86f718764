from __future__ import annotations

from typing import TYPE_CHECKING

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from lowtide.errors import LowtideError
from lowtide.solvers.schedule.check import check, peak_of
from lowtide.solvers.schedule.exact import ExactOptions, native_problem, schedule
from lowtide.solvers.schedule.orders import ORDERS
from lowtide.solvers.schedule.problem import Buffer, InPlace, ScheduleProblem
from lowtide.solvers.schedule.reference import min_cut_bound, schedule_reference
from tests.solvers.interruption import interrupt_after
from tests.solvers.oracles import best_by_enumeration, best_by_ideals, least_transients
from tests.solvers.strategies import exact_options, relabelled, schedule_problems

if TYPE_CHECKING:
    from collections.abc import Sequence


def layered(width: int, layers: int) -> ScheduleProblem:
    """Layers of nodes, each reading three of the layer before: far too wide to be solved."""
    n = width * layers
    readers: list[list[int]] = [[] for _ in range(n)]
    for v in range(width, n):
        row, column = divmod(v, width)
        for k in (0, 1, 5):
            readers[(row - 1) * width + (column * 3 + k * row) % width].append(v)
    return ScheduleProblem(
        n,
        tuple(
            Buffer(3 + (7 * v * v + v) % 11, v, tuple(sorted(set(r))))
            for v, r in enumerate(readers)
        ),
    )


HARD = layered(12, 12)


@settings(max_examples=150)
@given(schedule_problems(max_nodes=6))
def test_the_ideals_oracle_equals_enumeration(problem: ScheduleProblem) -> None:
    assert best_by_ideals(problem) == best_by_enumeration(problem)


@settings(max_examples=2000)
@given(schedule_problems(max_nodes=9), exact_options())
def test_every_product_of_switches_gives_the_optimum(
    problem: ScheduleProblem, options: ExactOptions
) -> None:
    solution = schedule(problem, time_limit_s=None, options=options)
    check(problem, solution)
    assert solution.status == "optimal"
    assert solution.peak_bytes == best_by_ideals(problem)


@settings(max_examples=1500)
@given(schedule_problems(max_nodes=9))
def test_search_alone_gives_the_optimum(problem: ScheduleProblem) -> None:
    # Without what finds orders by other means, the search has to prove and find everything.
    options = ExactOptions(
        min_cut=False, reorder=False, windows=False, cut_nodes=False, beam=False, heuristics=False
    )
    solution = schedule(problem, time_limit_s=None, options=options)
    assert solution.peak_bytes == solution.lower_bound_bytes == best_by_ideals(problem)


@settings(max_examples=500)
@given(schedule_problems(max_nodes=9))
def test_default_options_give_the_optimum(problem: ScheduleProblem) -> None:
    solution = schedule(problem)
    check(problem, solution)
    assert solution.status == "optimal"
    assert solution.peak_bytes == best_by_ideals(problem)


@settings(max_examples=300)
@given(schedule_problems(max_nodes=8))
def test_native_equals_reference(problem: ScheduleProblem) -> None:
    reference = schedule_reference(problem)
    assert schedule(problem).peak_bytes == reference.peak_bytes == best_by_ideals(problem)


@settings(max_examples=400)
@given(schedule_problems(max_nodes=8))
def test_min_cut_bounds(problem: ScheduleProblem) -> None:
    native = native_problem(problem)
    for node, least in enumerate(least_transients(problem)):
        reference = min_cut_bound(problem, node)
        assert max(reference, native.min_cut(node)) <= least
        if not problem.in_place:
            assert reference == least
        if len([c for c in problem.in_place if c.node == node]) <= 1:
            assert native.min_cut(node) == least


@settings(max_examples=300)
@given(schedule_problems(max_nodes=9))
def test_native_evaluation_equals_the_checker(problem: ScheduleProblem) -> None:
    native = native_problem(problem)
    for order in {tuple(f(problem)) for f in ORDERS.values()}:
        assert native.peak(order) == peak_of(problem, order)
        for begin, end in native.parts():  # the same nodes in every order
            assert set(order[begin:end]) == set(problem.topological_order[begin:end])


@settings(max_examples=300)
@given(schedule_problems(max_nodes=9), st.data())
def test_the_optimum_is_invariant_under_relabelling(
    problem: ScheduleProblem, data: st.DataObject
) -> None:
    number = data.draw(st.permutations(range(problem.num_nodes)))
    other = schedule(relabelled(problem, number))
    assert other.peak_bytes == schedule(problem).peak_bytes


def test_overwriting_depends_on_the_order() -> None:
    # b overwrites a only if c, the other reader of a, ran before.
    problem = ScheduleProblem(
        4,
        (
            Buffer(8, 0, (1, 2)),
            Buffer(8, 1, (3,)),
            Buffer(1, 2, (3,)),
            Buffer(1, 3, (), output=True),
        ),
        in_place=(InPlace(1, 1, 0),),
    )
    solution = schedule(problem)
    assert solution.order == (0, 2, 1, 3)
    assert solution.peak_bytes == solution.lower_bound_bytes == 10


@pytest.mark.parametrize("n", [0, 1])
def test_tiny_problems(n: int) -> None:
    problem = ScheduleProblem(n, tuple(Buffer(5, v, ()) for v in range(n)))
    solution = schedule(problem)
    assert (solution.status, solution.order) == ("optimal", tuple(range(n)))
    assert solution.peak_bytes == 5 * n


def test_a_chain_of_blocks_of_3000_nodes_is_proven() -> None:
    buffers: list[Buffer] = []
    for base in range(0, 3000, 6):  # two branches of two, a join, and a node between
        last = base + 6 >= 3000
        buffers += [
            Buffer(8, base, (base + 1, base + 3)),
            Buffer(40, base + 1, (base + 2,)),
            Buffer(4, base + 2, (base + 5,)),
            Buffer(4, base + 3, (base + 4,)),
            Buffer(30, base + 4, (base + 5,)),
            Buffer(8, base + 5, () if last else (base + 6,), last),
        ]
    solution = schedule(ScheduleProblem(3000, tuple(buffers)), time_limit_s=None)
    assert (solution.status, solution.peak_bytes) == ("optimal", 52)


def test_a_known_order_is_never_made_worse() -> None:
    start = schedule(HARD, time_limit_s=None, options=ExactOptions(work_limit=300_000))
    assert start.order is not None
    assert start.peak_bytes is not None
    again = schedule(HARD, time_limit_s=0.0, start=[start.order])
    assert again.peak_bytes is not None
    assert again.peak_bytes <= start.peak_bytes


def test_a_work_limit_is_repeatable() -> None:
    options = ExactOptions(work_limit=200_000)
    one = schedule(HARD, time_limit_s=None, options=options)
    two = schedule(HARD, time_limit_s=None, options=options)
    assert one.status == "feasible"
    assert (one.order, one.lower_bound_bytes) == (two.order, two.lower_bound_bytes)


def test_a_time_limit_ends_with_an_order_and_a_bound() -> None:
    solution = schedule(HARD, time_limit_s=0.0)
    check(HARD, solution)
    assert solution.status == "time_limit"
    assert solution.peak_bytes is not None
    assert 0 < solution.lower_bound_bytes < solution.peak_bytes


def test_progress_is_called_and_its_errors_pass() -> None:
    seen: list[tuple[int | None, int]] = []
    schedule(HARD, time_limit_s=1.0, progress=lambda peak, bound: seen.append((peak, bound)))
    assert len(seen) >= 2
    assert all(peak is not None and peak >= bound for peak, bound in seen)

    def fail() -> None:
        raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        schedule(HARD, time_limit_s=5.0, progress=lambda peak, bound: fail())


def test_an_interrupt_keeps_the_best_order() -> None:
    solution = schedule(HARD, time_limit_s=None, progress=interrupt_after(0.2))
    check(HARD, solution)
    assert solution.status == "time_limit"


@pytest.mark.parametrize("order", [(0,), (1, 0), (0, 0), (0, 2)])
def test_a_start_that_is_not_valid_is_refused(order: Sequence[int]) -> None:
    problem = ScheduleProblem(2, (Buffer(1, 0, (1,)),))
    with pytest.raises(LowtideError, match=r"order|node"):
        schedule(problem, start=[tuple(order)])


@pytest.mark.parametrize("limit", [-1.0, float("nan")])
def test_a_negative_time_limit_is_refused(limit: float) -> None:
    with pytest.raises(LowtideError, match="time limit"):
        schedule(HARD, time_limit_s=limit)
