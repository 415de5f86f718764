"""Shares of what a search may take; what only work limits is repeatable."""

from __future__ import annotations

import pytest

from lowtide.backends.tensorflow.accounting import ACCOUNTING
from lowtide.errors import InputError
from lowtide.ir import simulate
from lowtide.training.effort import Allowance, Effort
from lowtide.training.planner import find_sequence
from tests.training.test_planner import step


def test_without_any_limit_there_is_work() -> None:
    assert Effort.of(30.0, None) == Effort(30.0, None)
    assert Effort.of(None, 7) == Effort(None, 7)
    assert Effort.of(2.0, 7) == Effort(2.0, 7)
    unlimited = Effort.of(None, None)
    assert unlimited.time_limit_s is None
    assert (unlimited.work_limit or 0) > 1_000_000
    for bad in ((-1.0, None), (float("nan"), None), (None, 0)):
        with pytest.raises(InputError, match="limit must"):
            Effort.of(*bad)


def test_shares_are_of_time_and_of_work() -> None:
    assert Effort(8.0, 80).part(0.25) == Effort(2.0, 20)
    assert Effort(None, 3).part(0.1) == Effort(None, 1)  # 0 would be no limit
    assert Effort(0.01, 5).at_least(0.1) == Effort(0.1, 5)
    assert Effort(None, 5).at_least(0.1) == Effort(None, 5)


def test_an_allowance_is_used_up() -> None:
    work = Allowance(Effort(None, 1000))
    assert work.take(0.6).work_limit == 600
    assert work.take_left(0.5).work_limit == 200
    assert work.take_left(0.5).work_limit == 100
    assert work.left() == Effort(None, 100)
    assert not work.spent
    work.take(1.0)
    assert work.left() == Effort(None, 1)

    time = Allowance(Effort(3600.0))
    assert time.take(0.6) == Effort(0.6 * 3600)
    left = time.left().time_limit_s
    assert left is not None
    assert 0.6 * 3600 < left <= 3600.0  # the clock says what is left, not what was handed out
    assert Allowance(Effort(0.0)).spent


def test_work_finds_the_same_plan_again() -> None:
    graph = step(30)
    budget = simulate(graph, ACCOUNTING).peak_bytes * 4 // 10
    runs = [
        find_sequence(graph, budget, effort=Effort(None, work), seed=2)
        for work in (3_000_000, 3_000_000, 300_000)
    ]
    assert runs[0] == runs[1]
    assert runs[0].peak_after_bytes <= budget
    assert runs[0].cost_after_ns <= runs[2].cost_after_ns
