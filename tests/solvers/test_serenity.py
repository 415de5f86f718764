from __future__ import annotations

from typing import TYPE_CHECKING

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from lowtide.errors import LowtideError
from lowtide.solvers.schedule.check import check, peak_of
from lowtide.solvers.schedule.exact import schedule
from lowtide.solvers.schedule.problem import Buffer, ScheduleProblem
from lowtide.solvers.schedule.registry import available, get_scheduler
from lowtide.solvers.schedule.serenity import SerenityOptions, serenity, serenity_reference
from tests.solvers.interruption import interrupt_after
from tests.solvers.oracles import best_by_ideals
from tests.solvers.strategies import schedule_problems

if TYPE_CHECKING:
    from collections.abc import Callable


def grid(width: int, length: int) -> ScheduleProblem:
    """Chains side by side that nothing joins: (length + 1) ** width ideals, Kahn's order poor."""
    buffers = [
        Buffer(1 + (7 * row * row + 3 * column) % 13, column * width + row, readers)
        for row in range(width)
        for column in range(length)
        for readers in [((column + 1) * width + row,) if column + 1 < length else ()]
    ]
    return ScheduleProblem(width * length, tuple(buffers))


WIDE = grid(10, 9)


def options() -> st.SearchStrategy[SerenityOptions]:
    return st.builds(
        SerenityOptions,
        divide=st.booleans(),
        soft_budget=st.booleans(),
        step_states=st.sampled_from([1, 2, 5, 1 << 14]),
    )


@settings(max_examples=1000)
@given(schedule_problems(max_nodes=9), options())
def test_it_is_exact(problem: ScheduleProblem, opts: SerenityOptions) -> None:
    solution = serenity(problem, options=opts)
    check(problem, solution)
    assert solution.status == "optimal"
    assert solution.peak_bytes == solution.lower_bound_bytes == best_by_ideals(problem)


@settings(max_examples=200)
@given(schedule_problems(max_nodes=7))
def test_native_equals_reference(problem: ScheduleProblem) -> None:
    assert serenity(problem).peak_bytes == serenity_reference(problem).peak_bytes


@settings(max_examples=500)
@given(schedule_problems(max_nodes=9), options(), st.integers(0, 60))
def test_a_limit_leaves_a_valid_order_and_a_valid_bound(
    problem: ScheduleProblem, opts: SerenityOptions, work: int
) -> None:
    limited = SerenityOptions(
        divide=opts.divide,
        soft_budget=opts.soft_budget,
        step_states=opts.step_states,
        work_limit=work + 1,
    )
    solution = serenity(problem, options=limited)
    check(problem, solution)
    assert solution.peak_bytes is not None
    optimum = best_by_ideals(problem)
    assert solution.lower_bound_bytes <= optimum <= solution.peak_bytes
    assert solution.status in ("optimal", "feasible")


@settings(max_examples=300)
@given(schedule_problems(max_nodes=9), st.booleans())
def test_without_memory_it_says_so(problem: ScheduleProblem, soft_budget: bool) -> None:
    opts = SerenityOptions(soft_budget=soft_budget, memory_bytes=0)
    solution = serenity(problem, options=opts)
    check(problem, solution)
    assert solution.lower_bound_bytes <= best_by_ideals(problem)
    best = schedule(problem)
    assert best.order is not None
    started = serenity(problem, options=opts, start=[best.order])
    assert started.peak_bytes == best.peak_bytes


def test_a_wide_graph_is_solved_within_a_soft_budget_only() -> None:
    # Without a budget there are 10 ** 9 states.
    small = 64 << 20
    solution = serenity(grid(9, 9), options=SerenityOptions(memory_bytes=small))
    exact = schedule(grid(9, 9))
    assert (solution.status, solution.peak_bytes) == ("optimal", exact.peak_bytes)
    plain = serenity(grid(9, 9), options=SerenityOptions(memory_bytes=small, soft_budget=False))
    assert plain.status == "feasible"
    assert plain.method == "kahn"


def test_a_time_limit_and_an_interrupt_keep_the_best_order() -> None:
    start = schedule(WIDE).order
    assert start is not None
    hopeless = SerenityOptions(soft_budget=False, memory_bytes=1 << 40)
    solution = serenity(WIDE, time_limit_s=0.1, start=[start], options=hopeless)
    assert solution.status == "time_limit"
    assert solution.peak_bytes == peak_of(WIDE, start)
    assert solution.method == "start 0"
    solution = serenity(WIDE, progress=interrupt_after(0.1), options=hopeless)
    assert solution.status == "time_limit"
    assert solution.method == "kahn"


def test_progress_is_called_and_its_errors_pass() -> None:
    seen: list[tuple[int | None, int]] = []
    hopeless = SerenityOptions(soft_budget=False, memory_bytes=1 << 40)
    serenity(
        WIDE,
        time_limit_s=0.2,
        progress=lambda peak, bound: seen.append((peak, bound)),
        options=hopeless,
    )
    assert len(seen) >= 2

    def fail(peak: int | None, bound: int) -> None:
        raise ZeroDivisionError(f"{peak} {bound}")

    with pytest.raises(ZeroDivisionError):
        serenity(WIDE, progress=fail, options=hopeless)


@pytest.mark.parametrize(
    ("call", "match"),
    [
        (lambda: serenity(WIDE, time_limit_s=-1.0), "time limit"),
        (lambda: serenity(WIDE, options=SerenityOptions(step_states=0)), "step_states"),
        (lambda: serenity(WIDE, options=SerenityOptions(memory_bytes=-1)), "memory_bytes"),
        (lambda: serenity(WIDE, start=[(0,)]), "permutation"),
    ],
)
def test_what_makes_no_sense_is_refused(call: Callable[[], object], match: str) -> None:
    with pytest.raises(LowtideError, match=match):
        call()


def test_it_has_a_name() -> None:
    assert available()[:2] == ("exact", "serenity")
    assert get_scheduler("serenity")(grid(3, 3)).status == "optimal"
