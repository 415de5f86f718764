"""Plans of hand-made steps, without any framework."""

from __future__ import annotations

import random
import re

import pytest

from lowtide.backends.tensorflow.accounting import ACCOUNTING
from lowtide.errors import BudgetInfeasibleError, BudgetNotMetError
from lowtide.ir import Alias, Graph, Role, Traits, simulate, unroll
from lowtide.passes.costs import CostModel
from lowtide.training.contract import contract
from lowtide.training.effort import Effort
from lowtide.training.planner import find_sequence

UNIT = 1000
WORK = Effort(None, 5_000_000)


def step(layers: int, *, views: bool = True) -> Graph:
    """Forward, backward and updates of a chain; every layer also makes a small statistic."""
    graph = Graph()
    x = graph.add_tensor("x", "uint8", (UNIT,), role=Role.INPUT)
    values = [x]
    for k in range(layers):
        y = graph.add_tensor(f"y{k}", "uint8", (UNIT,))
        graph.add_op(f"forward{k}", "test", "Layer", [values[-1]], [y])
        if views:
            shown = graph.add_tensor(f"v{k}", "uint8", (UNIT // 10, 10), alias=Alias(y, 0))
            graph.add_op(f"view{k}", "test", "Reshape", [y], [shown], traits=Traits(view=True))
            y = shown
        values.append(y)
    gradient = values[-1]
    for k in reversed(range(layers)):
        small = graph.add_tensor(f"s{k}", "uint8", (1,))
        graph.add_op(f"mean{k}", "test", "Mean", [values[k + 1]], [small])
        following = graph.add_tensor(f"g{k}", "uint8", (UNIT,))
        graph.add_op(f"backward{k}", "test", "Grad", [gradient, values[k], small], [following])
        done = graph.add_tensor(f"^update{k}", "opaque", ())
        pinned = Traits(pinned=True)
        graph.add_op(f"update{k}", "test", "Assign", [following], [done], traits=pinned)
        gradient = following
    graph.add_output(gradient)
    return graph


@pytest.mark.parametrize("views", [False, True])
def test_a_chain_is_planned_within_the_budget(views: bool) -> None:
    graph = step(12, views=views)
    before = simulate(graph, ACCOUNTING).peak_bytes
    found = find_sequence(graph, before * 6 // 10, effort=WORK)
    again = simulate(unroll(graph, found.sequence), ACCOUNTING)
    assert again.peak_bytes == found.peak_after_bytes <= before * 6 // 10
    assert found.peak_before_bytes == before
    assert found.cost_after_ns > found.cost_before_ns
    updates = [op.name for op in found.sequence if op.traits.pinned]
    assert updates == [f"update{k}" for k in reversed(range(12))]


def test_without_a_budget_nothing_changes() -> None:
    graph = step(4)
    for budget in (None, 10**9):
        found = find_sequence(graph, budget, effort=WORK)
        assert found.sequence == graph.ops
        assert found.cost_after_ns == found.cost_before_ns


def test_the_smallest_budget_that_was_met_is_named() -> None:
    graph = step(8)
    with pytest.raises((BudgetInfeasibleError, BudgetNotMetError)) as raised:
        find_sequence(graph, UNIT, effort=WORK)
    named = int(re.findall(r"was met is [^(]*\((\d+) bytes", str(raised.value))[0])
    before = simulate(graph, ACCOUNTING).peak_bytes
    assert UNIT < named < before
    assert f"{named / before:.2f} of the" in str(raised.value)
    roomy = (named + before) // 2
    assert find_sequence(graph, roomy, effort=WORK).peak_after_bytes <= roomy


def test_what_is_contracted_expands_to_all_ops() -> None:
    graph = step(6)
    peak = simulate(graph, ACCOUNTING).peak_bytes
    found = contract(graph, CostModel().by_op(graph), peak, peak)
    assert found.problem.num_nodes < len(graph)
    chosen = random.Random(1)
    forward = [i for i, op in enumerate(found.kept) if op.name.startswith("forward")]
    for _ in range(20):
        nodes = list(range(len(found.kept)))
        for _ in range(4):  # a repeat anywhere after the first run
            node = chosen.choice(forward)
            nodes.insert(chosen.randrange(nodes.index(node) + 1, len(nodes) + 1), node)
        steps = found.expand(nodes)
        assert {op.name for op in steps} == {op.name for op in graph.ops}
        unroll(graph, steps)  # raises where an op comes before what it reads
        # Whoever reads a view reads the newest bytes: the view was made again after them.
        made: dict[str, int] = {}
        for index, op in enumerate(steps):
            for tensor in op.operands:
                if tensor.alias is not None:
                    assert made[tensor.name] > made[tensor.storage.name]
            made.update({t.name: index for t in op.outputs})
