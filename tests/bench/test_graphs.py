from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from lowtide.bench.graphs import branching, chain, wide
from lowtide.solvers.schedule.exact import native_problem, schedule

if TYPE_CHECKING:
    from collections.abc import Callable

    from lowtide.solvers.schedule.problem import ScheduleProblem


@pytest.mark.parametrize("make", [branching, wide, chain])
@pytest.mark.parametrize("n", [1, 2, 7, 100, 3000])
def test_graphs_have_n_nodes_and_repeat(
    make: Callable[[int, int], ScheduleProblem], n: int
) -> None:
    problem = make(n, 3)
    assert problem.num_nodes == len(problem.buffers) == n
    assert problem.topological_order == tuple(range(n))
    assert problem == make(n, 3)
    assert n < 100 or problem != make(n, 4)


def test_their_cut_nodes() -> None:
    assert len(native_problem(chain(3000)).parts()) == 3000
    assert len(native_problem(branching(3000)).parts()) > 100
    widest = max(end - begin for begin, end in native_problem(wide(3000)).parts())
    assert widest > 2900


@pytest.mark.parametrize("make", [branching, wide, chain])
def test_20000_nodes_are_scheduled_and_bounded(
    make: Callable[[int, int], ScheduleProblem],
) -> None:
    solution = schedule(make(20_000, 0), time_limit_s=None)
    assert solution.status == "optimal"
