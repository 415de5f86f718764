"""Unrolled sequences: every step an op of its own, reading the newest results."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from lowtide.errors import PlanError
from lowtide.ir import (
    Accounting,
    Alias,
    Graph,
    Op,
    Role,
    Traits,
    refresh_views,
    simulate,
    unroll,
    verify,
)
from tests.strategies import accountings, graphs, topological_orders


@st.composite
def sequences(draw: st.DrawFn, graph: Graph) -> list[Op]:
    """A valid order with repeats of ops that may be repeated."""
    steps: list[Op] = []
    for op in draw(topological_orders(graph)):
        steps.append(op)
        others = draw(st.lists(st.sampled_from(steps), max_size=2))
        steps.extend(other for other in others if not other.traits.pinned)
    return steps


@given(st.data())
def test_every_step_is_an_op(data: st.DataObject) -> None:
    """Names, kinds and sources follow the sequence; so are the outputs."""
    graph = data.draw(graphs())
    steps = data.draw(sequences(graph))
    unrolled = unroll(graph, steps)
    verify(unrolled)
    assert [op.name.rstrip("'").partition("~")[0] for op in unrolled.ops] == [o.name for o in steps]
    written: dict[str, str] = {t.name: t.name for t in graph.tensors if t.producer is None}
    for step, op in zip(steps, unrolled.ops, strict=True):
        operands = [None if t is None else t.name for t in op.inputs]
        assert operands == [None if t is None else written[t.name] for t in step.inputs]
        written.update((a.name, b.name) for a, b in zip(step.outputs, op.outputs, strict=True))
    assert [t.name for t in unrolled.outputs] == [written[t.name] for t in graph.outputs]


@given(st.data())
def test_without_repeats_nothing_changes(data: st.DataObject) -> None:
    """An order alone has the timeline that it has without unrolling."""
    graph = data.draw(graphs())
    order = data.draw(topological_orders(graph))
    accounting = data.draw(accountings())
    before, after = simulate(graph, accounting, order), simulate(unroll(graph, order), accounting)
    assert [step.live_bytes for step in before.steps] == [step.live_bytes for step in after.steps]
    assert before.peak_bytes == after.peak_bytes


def chain() -> Graph:
    """x -> a (8 bytes) -> b (1) -> c (8) -> d = c + a."""
    graph = Graph("chain")
    x = graph.add_tensor("x", "uint8", [1], role=Role.INPUT)
    a, b, c, d = (
        graph.add_tensor(n, "uint8", [s]) for n, s in zip("abcd", (8, 1, 8, 1), strict=True)
    )
    graph.add_op("fa", "test", "Any", [x], [a])
    graph.add_op("fb", "test", "Any", [a], [b])
    graph.add_op("fc", "test", "Any", [b], [c], workspace_bytes=8)
    graph.add_op("fd", "test", "Any", [c, a], [d])
    graph.add_output(d)
    return graph


def test_recomputing_saves() -> None:
    """The large result is freed while another large one is made."""
    graph = chain()
    a, b, c, d = graph.ops
    plain = simulate(graph, Accounting())
    again = simulate(unroll(graph, [a, b, c, a, d]), Accounting())
    assert (plain.peak_bytes, again.peak_bytes) == (25, 17)


@pytest.mark.parametrize(
    ("traits", "picks", "message"),
    [
        (Traits(), "abd", "leaves out op `fc`"),
        (Traits(), "bacd", "`fb` runs before `fa`"),
        (Traits(pinned=True), "abcad", "`fa` is computed twice"),
        (Traits(random=True), "abcad", "`fa` is computed twice"),
        (Traits(once=True), "abcad", "`fa` is computed twice"),
    ],
)
def test_what_is_no_sequence(traits: Traits, picks: str, message: str) -> None:
    """Missing ops, broken dependencies and forbidden repeats are refused."""
    graph = chain()
    graph.ops[0].traits = traits
    with pytest.raises(PlanError, match=message):
        unroll(graph, [graph.op(f"f{pick}") for pick in picks])


def test_names_do_not_clash() -> None:
    """A name that looks like a repeat's is left to its owner."""
    graph = Graph("clash")
    x = graph.add_tensor("x", "uint8", [1], role=Role.INPUT)
    a = graph.add_tensor("a", "uint8", [1])
    first = graph.add_op("f", "test", "Any", [x], [a])
    graph.add_op("f~2", "test", "Any", [a], [graph.add_tensor("a~2", "uint8", [1])])
    unrolled = unroll(graph, [first, first, graph.op("f~2")])
    verify(unrolled)
    assert [op.name for op in unrolled.ops] == ["f", "f~2'", "f~2"]
    assert [t.name for t in unrolled.tensors] == ["x", "a", "a~2'", "a~2"]


def test_views_follow() -> None:
    """A view of a view is made again when its bytes were made again, and only then."""
    graph = Graph("views")
    x = graph.add_tensor("x", "uint8", [4], role=Role.INPUT)
    a = graph.add_tensor("a", "uint8", [4])
    v = graph.add_tensor("v", "uint8", [2, 2], alias=Alias(a, 0))
    w = graph.add_tensor("w", "uint8", [4, 1], alias=Alias(v, 0))
    b, c = (graph.add_tensor(name, "uint8", [4]) for name in "bc")
    view = Traits(view=True)
    make = graph.add_op("make", "test", "Any", [x], [a])
    first = graph.add_op("first", "test", "View", [a], [v], traits=view)
    second = graph.add_op("second", "test", "View", [v], [w], traits=view)
    read = graph.add_op("read", "test", "Any", [w], [b])
    last = graph.add_op("last", "test", "Any", [w, b], [c])
    graph.add_output(c)
    once = [make, first, second, read, last]
    assert refresh_views(once) == tuple(once)
    again = refresh_views([make, first, second, read, make, last])
    assert again == (make, first, second, read, make, first, second, last)
    unrolled = unroll(graph, again)
    verify(unrolled)
    assert unrolled.op("last").inputs[0] is unrolled.tensor("w~2")
    assert unrolled.tensor("w~2").storage is unrolled.tensor("a~2")
