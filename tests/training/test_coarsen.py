"""Chains of ops as one op: what is planned for the groups holds for the ops."""

from __future__ import annotations

from random import Random
from typing import TYPE_CHECKING

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from lowtide.solvers.remat.check import peak_of
from lowtide.solvers.remat.problem import RematProblem
from lowtide.solvers.schedule.problem import Buffer, InPlace
from lowtide.solvers.status import Status
from lowtide.training.coarsen import coarsen
from lowtide.training.effort import Effort
from lowtide.training.multilevel import multilevel
from tests.solvers.remat_repeats import repeat_problems
from tests.solvers.remat_strategies import random_sequence, remat_problems, training_problem

if TYPE_CHECKING:
    from collections.abc import Sequence


@settings(max_examples=400, deadline=None)
@given(
    st.one_of(remat_problems(max_nodes=12), repeat_problems()),
    st.randoms(use_true_random=False),
    st.sampled_from([0.0, 0.3, 1.0, 100.0]),
)
def test_sequences_of_groups_are_sequences_of_ops(
    problem: RematProblem, random: Random, small: float
) -> None:
    coarse = coarsen(problem, small=small)
    assert sorted(v for g in coarse.groups for v in g) == list(range(problem.num_nodes))
    for extra in (0, 1, 4):
        sequence = random_sequence(coarse.problem, random, extra)
        steps = coarse.expand(sequence)
        # `peak_of` raises where an op runs before what it reads, or a pinned one again.
        assert peak_of(problem, steps) <= peak_of(coarse.problem, sequence)
        once = sum(problem.costs[v] for v in coarse.riders)
        assert problem.cost_of(steps) == pytest.approx(coarse.problem.cost_of(sequence) + once)


def chain(kinds: Sequence[str]) -> RematProblem:
    """Layers of convolution, bias and activation, written in place, with a mean; and a reader."""
    buffers: list[Buffer] = []
    in_place: list[InPlace] = []
    count = 4 * len(kinds)
    for k in range(len(kinds)):
        at = 4 * k  # convolution, mean, bias, activation
        buffers.append(Buffer(10, at, (at + 1, at + 2)))
        buffers.append(Buffer(10, at + 2, (at + 3,)))
        buffers.append(Buffer(10, at + 3, (at + 4,) if at + 4 < count else (), at + 4 == count))
        in_place += [InPlace(at + 2, 3 * k + 1, 3 * k), InPlace(at + 3, 3 * k + 2, 3 * k + 1)]
    return RematProblem(
        num_nodes=count,
        buffers=tuple(buffers),
        costs=tuple(9 if v % 4 == 0 else 1 for v in range(count)),
        budget_bytes=100,
        in_place=tuple(in_place),
    )


def test_a_layer_is_one_group_and_its_mean_rides() -> None:
    problem = chain("ab")
    coarse = coarsen(problem)
    assert coarse.riders == {1, 5}
    assert coarse.problem.num_nodes < 4
    # Written in place all along: a group needs no more than an operand and a result.
    assert peak_of(coarse.problem, coarse.problem.order) == peak_of(problem, problem.order) == 20


def test_a_group_that_needs_more_than_its_ops_is_small() -> None:
    # Two results of 10 that only their sum of 1 reads: together 21, each alone 10 at most.
    problem = RematProblem(
        num_nodes=4,
        buffers=(
            Buffer(1, 0, (1, 2)),
            Buffer(10, 1, (3,)),
            Buffer(10, 2, (3,)),
            Buffer(1, 3, (), True),
        ),
        costs=(1, 1, 1, 1),
        budget_bytes=100,
    )
    assert coarsen(problem, small=1.0).problem.num_nodes < 4
    for small in (0.0, 1.0):
        coarse = coarsen(problem, small=small).problem
        assert peak_of(coarse, coarse.order) <= 23


@pytest.mark.parametrize("layers", [6, 20])
def test_large_steps_are_planned_from_small_ones(layers: int) -> None:
    problem = training_problem(layers, Random(layers))
    found = multilevel(problem, effort=Effort(None, 5_000_000), seed=1)
    assert found.sequence is not None
    assert peak_of(problem, found.sequence) <= problem.budget_bytes
    again = multilevel(problem, effort=Effort(None, 1_000), seed=1, start=(found.sequence,))
    assert again.cost is not None
    assert found.cost is not None
    assert again.cost <= found.cost


def test_a_budget_below_every_op_is_infeasible() -> None:
    problem = training_problem(6, Random(0)).with_budget(5)
    assert multilevel(problem, effort=Effort(None, 1_000)).status is Status.INFEASIBLE
