"""Linear programs in a child process: warm start, limits, and bounds that hold by themselves."""

from __future__ import annotations

import math
import os
import signal
import subprocess
import sys
import time

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from lowtide.errors import InputError, LowtideError
from lowtide.solvers.milp.model import Builder, LinearModel, dual_bound, satisfied
from lowtide.solvers.milp.solve import MilpSolver, Outcome, solve


def knapsack(values: list[int], weights: list[int], capacity: int) -> LinearModel:
    """Maximise the values (minimise their negatives)."""
    builder = Builder()
    items = [builder.variable(-float(v)) for v in values]
    builder.row(zip(items, map(float, weights), strict=True), upper=capacity)
    return builder.build()


def hard_knapsack() -> LinearModel:
    """Equality knapsacks (market split): small, and out of reach of any tree search."""
    random = np.random.default_rng(7)
    builder = Builder()
    items = [builder.variable() for _ in range(50)]
    for _ in range(6):
        weights = random.integers(1, 100, len(items))
        slack = builder.variable(1.0, 0, 5000, integer=False)
        other = builder.variable(1.0, 0, 5000, integer=False)
        terms = [(x, float(w)) for x, w in zip(items, weights, strict=True)]
        half = float(weights.sum() // 2)
        builder.row([*terms, (slack, 1.0), (other, -1.0)], half, half)
    return builder.build()


@pytest.mark.parametrize("solver", [MilpSolver.HIGHS, MilpSolver.SCIP])
@pytest.mark.parametrize("hint", [None, [1, 0, 0, 1]])
def test_a_hinted_search_ends_with_the_optimum(solver: MilpSolver, hint: list[int] | None) -> None:
    """With a hint HiGHS crashes when it is reached through ortools.linear_solver."""
    model = knapsack([8, 11, 6, 4], [5, 7, 4, 3], 14)
    found = solve(model, time_limit_s=30, hint=hint, solver=solver)
    assert found.outcome is Outcome.SOLVED
    assert found.rounded() == [0, 1, 1, 1]
    assert satisfied(model, [0, 1, 1, 1])
    assert -21.001 < found.bound <= -21
    assert found.cpu_seconds > 0


def test_the_hint_is_used() -> None:
    """With no time to search, what comes back is at least as good as the point it was given."""
    model = hard_knapsack()
    hint = [0] * model.num_variables
    for r in range(model.num_rows):
        hint[50 + 2 * r] = int(model.row_lower[r])
    assert satisfied(model, hint)
    found = solve(model, time_limit_s=0.0, hint=hint, grace_s=60)
    assert found.outcome is Outcome.LIMIT
    assert found.values is not None
    assert model.cost @ found.values <= model.cost @ np.array(hint) + 1e-6
    assert solve(model, time_limit_s=0.0, grace_s=60).values is None


def test_the_time_limit_hands_over_the_incumbent() -> None:
    found = solve(hard_knapsack(), time_limit_s=2.0, grace_s=60)
    assert found.outcome is Outcome.LIMIT
    assert found.values is not None
    assert found.bound <= float(hard_knapsack().cost @ found.values)


def test_the_hard_limit_kills_the_child() -> None:
    """The limit passes while the child still starts: it cannot answer, nobody waits for it."""
    found = solve(hard_knapsack(), time_limit_s=0.0, grace_s=0.05)
    assert found.outcome is Outcome.KILLED
    assert found.values is None
    assert found.bound == -math.inf
    assert "no answer within" in found.message


def test_the_memory_limit_fails_the_child_alone() -> None:
    found = solve(hard_knapsack(), time_limit_s=5, memory_limit_bytes=1 << 20)
    assert found.outcome is Outcome.FAILED
    assert found.message


def test_ctrl_c_ends_parent_and_child() -> None:
    script = (
        "import signal; signal.signal(signal.SIGINT, signal.default_int_handler)\n"
        "from tests.solvers.test_milp import hard_knapsack\n"
        "from lowtide.solvers.milp.solve import solve\n"
        "print('ready', flush=True)\n"
        "try:\n"
        "    solve(hard_knapsack(), time_limit_s=600)\n"
        "except KeyboardInterrupt:\n"
        "    print('stopped', flush=True)\n"
    )
    with subprocess.Popen(
        [sys.executable, "-c", script], stdout=subprocess.PIPE, text=True, cwd=_root()
    ) as process:
        assert process.stdout is not None
        assert process.stdout.readline() == "ready\n"
        time.sleep(1.5)
        os.kill(process.pid, signal.SIGINT)
        assert process.stdout.readline() == "stopped\n"
        assert process.wait(timeout=60) == 0


def _root() -> str:
    from pathlib import Path

    return str(Path(__file__).resolve().parents[2])


def test_infeasible() -> None:
    builder = Builder()
    x = builder.variable()
    builder.row([(x, 2.0)], 1.0, 1.0)
    found = solve(builder.build(), time_limit_s=30)
    assert found.outcome is Outcome.INFEASIBLE
    assert found.bound == math.inf


def test_a_linear_program_s_bound_is_exact() -> None:
    builder = Builder()
    x, y = (builder.variable(c, 0, 10, integer=False) for c in (3.0, 2.0))
    builder.row([(x, 1.0), (y, 1.0)], 4.0)
    builder.row([(x, 1.0), (y, -1.0)], 1.0)
    found = solve(builder.build(), time_limit_s=30)
    assert found.outcome is Outcome.SOLVED
    assert found.values is not None
    assert found.values == pytest.approx([2.5, 1.5])
    assert 10.5 - 1e-6 < found.bound <= 10.5


@settings(max_examples=100)
@given(st.randoms(use_true_random=False))
def test_any_multipliers_prove_a_bound(random: object) -> None:
    from random import Random

    assert isinstance(random, Random)
    builder = Builder()
    point = [random.randint(-3, 3) for _ in range(4)]
    for x in point:
        builder.variable(random.uniform(-2, 2), x - random.randint(0, 2), x + random.randint(0, 2))
    for _ in range(3):
        coefficients = [random.uniform(-2, 2) for _ in point]
        value = sum(c * x for c, x in zip(coefficients, point, strict=True))
        low, high = value - random.random() - 1e-9, value + random.random() + 1e-9
        ends = random.choice([(low, high), (-math.inf, high), (low, math.inf)])
        builder.row(enumerate(coefficients), *ends)
    model = builder.build()
    assert satisfied(model, point)
    duals = np.array([random.uniform(-3, 3) for _ in range(3)])
    assert dual_bound(model, duals) <= float(model.cost @ np.array(point)) + 1e-9


def test_points_are_checked_exactly() -> None:
    model = knapsack([1, 1], [1 << 52, 1], 1 << 52)
    assert satisfied(model, [1, 0])
    assert not satisfied(model, [1, 1])  # over by one part in 2^52
    assert not satisfied(model, [2, 0])
    assert not satisfied(model, [1])


def test_malformed_programs_and_limits_are_refused() -> None:
    good = knapsack([1], [1], 1)
    with pytest.raises(InputError, match="hint"):
        solve(good, time_limit_s=1, hint=[1, 2])
    with pytest.raises(InputError, match="time limit"):
        solve(good, time_limit_s=-1)
    builder = Builder()
    builder.row([(3, 1.0)])
    with pytest.raises(LowtideError, match="not of its 0 variables"):
        builder.build()
    builder = Builder()
    builder.variable(upper=math.inf)
    with pytest.raises(LowtideError, match="not bounded"):
        builder.build()
