"""The pass that computes again what a budget leaves no room to keep."""

from __future__ import annotations

from dataclasses import replace
from itertools import pairwise

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from lowtide.errors import InputError
from lowtide.ir import Accounting, Graph, Role, Traits, refresh_views, simulate, unroll, verify
from lowtide.passes.pipeline import parse, run
from lowtide.passes.plan import Plan
from lowtide.passes.recompute import recomputed, remat_problem
from lowtide.passes.rematerialize import Rematerialize
from lowtide.passes.state import State
from lowtide.solvers.remat.problem import OrderScope
from lowtide.solvers.remat.reference import solve_reference
from lowtide.solvers.remat.registry import available, get_solver
from tests.strategies import accountings, graphs

PIPELINE = "inplace,schedule,rematerialize,allocate"


def state_of(graph: Graph, accounting: Accounting, budget: int | None) -> State:
    """A state before any pass."""
    blank = Plan("0" * 64, "onnx", "none", {}, tuple(op.name for op in graph.ops))
    return State(
        graph=graph,
        accounting=accounting,
        plan=blank,
        time_limit_s=None,
        work_limit=200_000,
        budget_bytes=budget,
        repeats=True,
    )


@given(st.data())
@settings(max_examples=60)
def test_what_is_found_fits(data: st.DataObject) -> None:
    """Peak and arena are within the budget, and nothing is repeated that must not be."""
    graph = data.draw(graphs(max_ops=7))
    accounting = replace(data.draw(accountings()), outputs_live_to_end=True)
    peak = simulate(graph, accounting).peak_bytes
    budget = data.draw(st.integers(1, max(peak, 1)))
    state = run(parse(PIPELINE), state_of(graph, accounting, budget))
    steps = refresh_views([graph.op(name) for name in state.plan.sequence])
    assert [op.name for op in steps] == list(state.plan.sequence)
    unrolled = unroll(graph, steps)
    verify(unrolled)
    found = simulate(unrolled, state.accounting).peak_bytes
    assert found == state.peak_bytes
    if found > budget:
        assert state.peak_floor_bytes is None or state.peak_floor_bytes <= found
        return
    if len(steps) > len(graph):
        assert state.plan.arena_bytes is not None
        assert state.plan.arena_bytes <= budget


@pytest.mark.parametrize("name", available())
@given(data=st.data())
@settings(max_examples=8)
def test_the_simulator_agrees_with_every_solver(name: str, data: st.DataObject) -> None:
    """The peak of each solver's sequence, simulated on the unrolled graph, is what it states."""
    graph = data.draw(graphs(max_ops=6))
    state = state_of(graph, Accounting(inputs_in_arena=data.draw(st.booleans())), None)
    peak = max(state.peak_bytes, 1)
    budget = data.draw(st.integers(max(peak // 2, 1), peak))
    solution = get_solver(name)(
        remat_problem(state, budget), scope=OrderScope.FIXED, time_limit_s=5.0
    )
    found = recomputed(state, solution)  # raises where the two disagree
    if found is not None:
        assert found.peak_bytes <= budget
        assert found.peak_bytes == simulate(unroll(graph, found.steps), state.accounting).peak_bytes


@given(st.data())
@settings(max_examples=30)
def test_the_front(data: st.DataObject) -> None:
    """Strictly monotone, and no price is below what an exhaustive search pays for that peak."""
    graph = data.draw(graphs(max_ops=5))
    state = state_of(graph, Accounting(inputs_in_arena=data.draw(st.booleans())), None)
    points = data.draw(st.integers(2, 4))
    after = Rematerialize(pareto=points)(state)
    assert after.plan == state.plan
    front = after.trade_off
    assert front is not None
    assert 1 <= len(front.points) <= points
    assert front.points[0].cost_percent == 0
    for larger, smaller in pairwise(front.points):
        assert larger.budget_bytes > smaller.budget_bytes
        assert larger.cost_percent < smaller.cost_percent
    base = sum(state.costs.of_all(graph))
    for point in front.points:
        assert front.least_bound_bytes <= point.peak_bytes <= point.budget_bytes
        problem = remat_problem(state, point.peak_bytes)
        least = solve_reference(problem, OrderScope.FREE)
        assert least is not None
        percent = 100 * (least[0] - base) / max(base, 1)
        assert point.bound_percent <= percent + 1e-3
        assert percent <= point.cost_percent + 1e-3


@given(st.data())
@settings(max_examples=30)
def test_against_the_exhaustive_search(data: st.DataObject) -> None:
    """A floor is never above what is possible; what the reference finds, the pass finds too."""
    graph = data.draw(graphs(max_ops=5))
    accounting = Accounting(inputs_in_arena=data.draw(st.booleans()))
    before = state_of(graph, accounting, None)
    budget = data.draw(st.integers(1, max(before.peak_bytes - 1, 1)))
    problem = remat_problem(before, budget)
    least = solve_reference(problem, OrderScope.FREE)
    state = Rematerialize()(replace(before, budget_bytes=budget))
    if least is None:
        assert state.peak_bytes > budget
    else:
        assert state.peak_bytes <= budget
        assert state.peak_floor_bytes is None or state.peak_floor_bytes <= budget


def chain(traits: Traits = Traits()) -> Graph:  # noqa: B008 - frozen
    """x -> a (8 bytes) -> b (1) -> c (8) -> d = c + a."""
    graph = Graph("chain")
    x = graph.add_tensor("x", "uint8", [1], role=Role.INPUT)
    sizes = {"a": 8, "b": 1, "c": 8, "d": 1}
    a, b, c, d = (graph.add_tensor(name, "uint8", [size]) for name, size in sizes.items())
    graph.add_op("fa", "test", "Any", [x], [a], traits=traits)
    graph.add_op("fb", "test", "Any", [a], [b])
    graph.add_op("fc", "test", "Any", [b], [c], workspace_bytes=8)
    graph.add_op("fd", "test", "Any", [c, a], [d])
    graph.add_output(d)
    return graph


def test_the_price_is_paid_only_when_needed() -> None:
    """Without a budget, or with enough, every op runs once; else one runs again."""
    for budget, expected in ((None, 4), (25, 4), (24, 5), (17, 5)):
        state = run(parse(PIPELINE), state_of(chain(), Accounting(), budget))
        assert len(state.plan.sequence) == expected
    assert state.plan.sequence == ("fa", "fb", "fc", "fa", "fd")
    assert state.plan.certificate is not None
    assert state.plan.certificate.status == "feasible"
    assert (state.peak_bytes, state.plan.arena_bytes) == (17, 17)
    assert set(state.plan.offsets) == {"a", "b", "c", "d", "a~2"}


@pytest.mark.parametrize("traits", [Traits(pinned=True), Traits(random=True), Traits(once=True)])
def test_what_must_not_run_again(traits: Traits) -> None:
    """Then the budget is proven to be out of reach."""
    state = run(parse(PIPELINE), state_of(chain(traits), Accounting(), 24))
    assert len(state.plan.sequence) == 4
    assert state.peak_floor_bytes == 25


def test_targets_that_cannot_repeat() -> None:
    """Nothing changes for them."""
    state = replace(state_of(chain(), Accounting(), 20), repeats=False)
    assert run(parse(PIPELINE), state).plan.sequence == ("fa", "fb", "fc", "fd")


def test_the_best_below_the_order_is_shown() -> None:
    """A budget that is out of reach: the least peak that was found is planned."""
    state = run(parse(PIPELINE), state_of(chain(), Accounting(), 5))
    assert state.peak_bytes == 17
    assert state.peak_floor_bytes == 17


def test_options() -> None:
    """A named solver; an unknown one is an error."""
    with pytest.raises(InputError, match="there is no remat solver `magic`"):
        Rematerialize(solver="magic")(state_of(chain(), Accounting(), 20))
    fixed = Rematerialize(order="fixed")(state_of(chain(), Accounting(), 20))
    assert fixed.plan.sequence == ("fa", "fb", "fc", "fa", "fd")
