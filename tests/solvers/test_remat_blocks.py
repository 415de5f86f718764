"""Blocks: their structure, their plans, and the program that composes them."""

from __future__ import annotations

from dataclasses import replace
from itertools import pairwise, product
from random import Random
from typing import TYPE_CHECKING

from hypothesis import given, settings
from hypothesis import strategies as st

from lowtide.bench.remat_graphs import resnet_training, transformer_training
from lowtide.solvers.remat.blocks import BlockPlan, blocks, compose, composed, plans_of
from lowtide.solvers.remat.check import check, peak_of
from lowtide.solvers.remat.conclude import Clock
from lowtide.solvers.remat.problem import OrderScope
from lowtide.solvers.remat.registry import get_solver
from lowtide.solvers.remat.structure import alike, structure_of
from lowtide.solvers.status import Status
from tests.solvers.remat_repeats import repeat_problems
from tests.solvers.remat_strategies import remat_problems, training_problem

if TYPE_CHECKING:
    from lowtide.solvers.remat.problem import RematProblem


@settings(max_examples=80, deadline=None)
@given(st.one_of(remat_problems(max_nodes=12), repeat_problems()))
def test_blocks_hold_every_node_once_and_respect_dependencies(problem: RematProblem) -> None:
    structure = structure_of(problem, window=1, least=1)
    order = [v for b in structure.blocks for v in b.forward]
    order += [v for b in reversed(structure.blocks) for v in b.backward]
    assert sorted(order) == list(range(problem.num_nodes))
    peak_of(problem, order)  # raises if a node runs before something that it depends on


@settings(max_examples=25, deadline=None)
@given(st.one_of(remat_problems(max_nodes=12), repeat_problems()))
def test_composed_sequences_are_valid(problem: RematProblem) -> None:
    structure = structure_of(problem, window=1, least=1)
    one, two = (composed(problem, structure, clock=Clock(None)) for _ in range(2))
    assert one == two
    if one is not None:
        peak_of(problem, one)


def _plan(kept: int, peak: int, extra: int) -> BlockPlan:
    return BlockPlan((), (), kept, peak, float(extra))


@settings(max_examples=100, deadline=None)
@given(
    st.lists(
        st.lists(
            st.builds(_plan, st.integers(0, 9), st.integers(0, 12), st.integers(0, 9)),
            min_size=1,
            max_size=3,
        ),
        min_size=1,
        max_size=4,
    ),
    st.integers(0, 30),
)
def test_the_composition_against_brute_force(choices: list[list[BlockPlan]], room: int) -> None:
    def extra(picks: tuple[int, ...]) -> float | None:
        kept, total = 0, 0.0
        for plans, pick in zip(choices, picks, strict=True):
            if kept + plans[pick].peak_bytes > room or kept + plans[pick].kept_bytes > room:
                return None
            kept += plans[pick].kept_bytes
            total += plans[pick].extra
        return total

    every = [extra(picks) for picks in product(*(range(len(plans)) for plans in choices))]
    possible = [e for e in every if e is not None]
    picks = compose(choices, room)
    assert (picks is None) == (not possible)
    if picks is not None:
        assert extra(tuple(picks)) == min(possible)


def test_layers_are_alike() -> None:
    problem = transformer_training(12)
    structure = structure_of(problem)
    keys = alike(problem, structure)
    assert len(keys) >= 6
    # All but the first and the last.
    assert len(set(keys[1:-2])) == 1
    odd = structure.blocks[2].forward[3]
    costs = tuple(7 if v == odd else c for v, c in enumerate(problem.costs))
    changed = replace(problem, costs=costs)
    others = alike(changed, structure_of(changed))
    assert [a == b for a, b in zip(keys, others, strict=True)].count(False) == 1
    assert others[2] not in keys


def test_plans_keep_less_and_less() -> None:
    problem = resnet_training(24)
    structure = structure_of(problem)
    plans = plans_of(problem, structure, structure.blocks[1])
    assert len(plans) >= 3
    assert plans[0].extra == 0
    assert all(a.kept_bytes > b.kept_bytes for a, b in pairwise(plans))
    assert all(p.peak_bytes <= plans[0].peak_bytes for p in plans)
    # Nothing is repeated in the forward part: there is memory.
    assert len(plans[0].forward) == len(structure.blocks[1].forward)


def test_composed_plans_of_a_deep_network() -> None:
    """Without any search of the whole: within the budget, and cheap."""
    problem = transformer_training(24).with_budget_ratio("0.7")
    sequence = composed(problem, structure_of(problem), clock=Clock(None))
    assert sequence is not None
    assert peak_of(problem, sequence) <= problem.budget_bytes
    assert problem.cost_of(sequence) < 1.03 * problem.base_cost


def test_the_solver() -> None:
    problem = transformer_training(24).with_budget_ratio("0.7")
    solution = get_solver("blocks")(problem, time_limit_s=3.0)
    check(problem, solution)
    assert solution.sequence is not None
    # No blocks, or the fixed order: as `search`.
    small = training_problem(6, Random(1))
    assert blocks(small, time_limit_s=1.0).sequence is not None
    fixed = blocks(small, scope=OrderScope.FIXED, time_limit_s=1.0)
    assert fixed.scope is OrderScope.FIXED
    assert blocks(problem.with_budget(1), time_limit_s=10.0).status is Status.INFEASIBLE
