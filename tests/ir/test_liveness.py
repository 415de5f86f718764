"""The simulator against hand-made cases and its own laws."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from lowtide.errors import PlanError
from lowtide.ir import Accounting, Graph, parse, simulate
from tests.strategies import accountings, graphs, topological_orders


def graph_of(*lines: str) -> Graph:
    return parse('graph "g" {\n%x = input uint8[10]\n' + "\n".join(lines) + "\n}")


def peak(graph: Graph, **accounting: bool | int) -> int:
    return simulate(graph, Accounting(**accounting)).peak_bytes  # type: ignore[arg-type]


DIAMOND = (
    "a: (%a uint8[10]) = t.A(%x)",
    "b: (%b uint8[10]) = t.B(%a) in_place(0<-0)",
    "c: (%c uint8[10]) = t.C(%a) in_place(0<-0)",
    "d: (%d uint8[2]) = t.D(%b, %c)",
    "return %d",
)


def test_in_place_happens_only_at_the_last_reader() -> None:
    graph = graph_of(*DIAMOND)
    assert peak(graph) == 22  # b beside a; c over a; d beside both
    assert peak(graph, in_place=False) == 30
    timeline = simulate(graph, Accounting())
    assert [tuple(t.name for t in b.tensors) for b in timeline.buffers] == [
        ("a", "c"),
        ("b",),
        ("d",),
    ]
    assert [s.live_bytes for s in timeline.steps] == [10, 20, 20, 22]
    assert timeline.peak_step == 3
    assert [b.tensors[0].name for b in timeline.live_at(3)] == ["a", "b", "d"]


def test_inputs_count_only_where_the_runtime_keeps_them() -> None:
    graph = graph_of("a: (%a uint8[3]) = t.A(%x)", "return %a")
    assert peak(graph) == 3
    assert peak(graph, inputs_in_arena=True) == 13


def test_outputs_live_to_the_end_or_not() -> None:
    graph = graph_of(
        "a: (%a uint8[5]) = t.A(%x)",
        "b: (%b uint8[5]) = t.B(%x)",
        "c: (%c uint8[7]) = t.C(%b)",
        "return %a, %c",
    )
    assert peak(graph) == 17
    assert peak(graph, outputs_live_to_end=False) == 12


def test_a_view_keeps_its_base_alive_and_costs_nothing() -> None:
    graph = graph_of(
        "a: (%a uint8[8]) = t.A(%x)",
        "v: (%v uint8[8] alias %a+0) = t.View(%a) view",
        "b: (%b uint8[1]) = t.B(%x)",
        "c: (%c uint8[1]) = t.C(%v, %b)",
        "return %c",
    )
    assert [s.live_bytes for s in simulate(graph, Accounting()).steps] == [8, 8, 9, 10]


def test_outputs_and_inputs_are_never_overwritten() -> None:
    graph = graph_of(
        "a: (%a uint8[10]) = t.A(%x) in_place(0<-0)",
        "b: (%b uint8[10]) = t.B(%a) in_place(0<-0)",
        "c: (%c uint8[10]) = t.C(%b) in_place(0<-0)",
        "return %a, %c",
    )
    # a is an output, c is one: only nothing can be shared but b's bytes, which nobody may take
    assert peak(graph) == 30


def test_dead_results_and_workspace_count_in_their_step_only() -> None:
    graph = graph_of(
        "a: (%a uint8[4], %dead uint8[50]) = t.A(%x)",
        "b: (%b uint8[4]) = t.B(%a) workspace(30)",
        "return %b",
    )
    assert [s.live_bytes for s in simulate(graph, Accounting()).steps] == [54, 38]


def test_alignment_rounds_every_buffer_up() -> None:
    graph = graph_of("a: (%a uint8[3]) = t.A(%x)", "b: (%b uint8[5]) = t.B(%a)", "return %b")
    assert peak(graph, alignment=4) == 12


def test_an_empty_graph_holds_its_inputs() -> None:
    graph = graph_of("return %x")
    assert peak(graph) == 0
    assert peak(graph, inputs_in_arena=True) == 10


def test_broken_orders_are_refused() -> None:
    graph = graph_of(*DIAMOND)
    ops = graph.ops
    with pytest.raises(PlanError, match="permutation"):
        simulate(graph, Accounting(), ops[:-1])
    with pytest.raises(PlanError, match="`b` runs before `a`"):
        simulate(graph, Accounting(), (ops[1], ops[0], *ops[2:]))


@given(st.data(), graphs(), accountings())
def test_laws(data: st.DataObject, graph: Graph, accounting: Accounting) -> None:
    order = data.draw(topological_orders(graph))
    timeline = simulate(graph, accounting, order)
    # The steps are what the buffers and the workspace add up to.
    for index, step in enumerate(timeline.steps):
        live = sum(b.nbytes for b in timeline.buffers if b.start <= index < b.stop)
        assert step.live_bytes == live + step.workspace_bytes
    if timeline.steps:
        assert (
            timeline.peak_bytes
            == max(timeline.steps[0].live_bytes, *(s.live_bytes for s in timeline.steps))
            or accounting.inputs_in_arena
        )
    # Overwriting in place never costs.
    without = Accounting(
        accounting.inputs_in_arena, accounting.outputs_live_to_end, accounting.alignment, False
    )
    assert timeline.peak_bytes <= simulate(graph, without, order).peak_bytes
