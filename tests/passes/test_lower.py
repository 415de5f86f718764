"""Lowering: the problem's checker and the graph's simulator agree on every order."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from lowtide.ir import Accounting, Graph, simulate
from lowtide.passes.lower import lower
from lowtide.solvers.schedule.check import peak_of
from tests.strategies import accountings, graphs, topological_orders


@given(st.data(), graphs(), accountings())
def test_two_independent_counts_agree(
    data: st.DataObject, graph: Graph, accounting: Accounting
) -> None:
    lowered = lower(graph, accounting)
    order = data.draw(topological_orders(graph))
    nodes = [lowered.ops.index(op) for op in order]
    assert peak_of(lowered.problem, nodes) == simulate(graph, accounting, order).peak_bytes


@given(graphs())
def test_every_dependency_is_kept(graph: Graph) -> None:
    lowered = lower(graph, Accounting())
    for node, op in enumerate(lowered.ops):
        for operand in op.operands:
            if operand.producer is not None:
                assert lowered.ops.index(operand.producer) in lowered.problem.predecessors[node]
