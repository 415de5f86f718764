"""Pipelines: text, options, third parties' passes, never worse."""

from __future__ import annotations

from dataclasses import dataclass, replace

import pytest
from hypothesis import given

from lowtide.errors import InputError
from lowtide.ir import Accounting, Graph, simulate
from lowtide.ir import parse as parse_graph
from lowtide.passes import Plan, Schedule, State, available, parse, print_pipeline, run
from tests.strategies import accountings, graphs


def blank(graph: Graph, accounting: Accounting) -> State:
    order = tuple(op.name for op in graph.ops)
    plan = Plan("0" * 64, "onnx", "none", {"alignment": accounting.alignment}, order)
    return State(graph, accounting, plan)


@pytest.mark.parametrize(
    "text",
    [
        "schedule",
        "inplace,schedule,allocate",
        "inplace{mode=static},schedule{solver=kahn,time_limit_s=1.5},allocate{time_limit_s=0.1}",
    ],
)
def test_text_round_trips(text: str) -> None:
    passes = parse(text)
    assert print_pipeline(passes) == text
    assert parse(print_pipeline(passes)) == passes


def test_options_are_typed() -> None:
    ((_, each),) = parse("schedule{time_limit_s=2}")
    assert each == Schedule(time_limit_s=2.0)
    ((_, each),) = parse("schedule{time_limit_s=none}")
    assert each == Schedule()


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", "cannot be read"),
        ("schedule,", "ends with a comma"),
        ("schedule{", "cannot be read"),
        ("schedule allocate", "cannot be read"),
        ("nothing", "there is no pass `nothing`"),
        ("schedule{speed=1}", "no option `speed=1`"),
        ("schedule{time_limit_s}", "no option `time_limit_s`"),
        ("schedule{time_limit_s=soon}", "is a number"),
        ("inplace{mode=sometimes}", "not one of"),
    ],
)
def test_bad_pipelines(text: str, message: str) -> None:
    with pytest.raises(InputError, match=message):
        parse(text)


@given(graphs(), accountings())
def test_the_plan_is_never_worse_and_its_bound_holds(graph: Graph, accounting: Accounting) -> None:
    before = simulate(graph, accounting).peak_bytes
    state = run(parse("inplace,schedule,allocate"), blank(graph, accounting))
    plan = state.plan
    assert plan.certificate is not None
    after = simulate(state.graph, state.accounting, state.order).peak_bytes
    assert plan.certificate.lower_bound_bytes <= after == plan.certificate.peak_bytes <= before
    assert plan.certificate.status == "optimal"  # graphs this small are always closed
    assert plan.arena_bytes is not None
    assert plan.arena_lower_bound_bytes is not None
    assert plan.arena_bytes >= plan.arena_lower_bound_bytes
    assert set(plan.offsets) >= {
        t.name
        for b in simulate(state.graph, state.accounting, state.order).buffers
        for t in b.tensors
    }


@given(graphs())
def test_static_in_place_never_undercuts_the_runtime(graph: Graph) -> None:
    peaks: list[int] = []
    for mode in ("off", "static", "runtime"):
        copy = parse_graph(_text(graph))
        state = run(parse(f"inplace{{mode={mode}}},schedule"), blank(copy, Accounting()))
        assert state.plan.certificate is not None
        peaks.append(state.plan.certificate.peak_bytes)
    assert peaks == sorted(peaks, reverse=True)


def _text(graph: Graph) -> str:
    from lowtide.ir import print_graph

    return print_graph(graph)


@pytest.mark.usefixtures("plugin")
def test_third_parties_plug_in() -> None:
    graph = parse_graph('graph "g" {\n%x = input uint8[1]\na: (%a uint8[2]) = t.A(%x)\nreturn\n}')
    assert "note" in available()
    passes = parse("note{text=hello},schedule{solver=last_first}")
    assert print_pipeline(passes) == "note{text=hello},schedule{solver=last_first}"
    state = run(passes, blank(graph, Accounting()))
    assert state.plan.rewrites == ("hello",)
    assert state.plan.certificate is not None
    assert state.plan.certificate.status == "feasible"
    with pytest.raises(InputError, match=r"`broken` of lowtide_example:Missing cannot be loaded"):
        parse("broken")


@dataclass(frozen=True)
class Wrong:
    """A pass that returns something else than a state."""

    def __call__(self, state: State) -> State:
        return replace(state.plan)  # type: ignore[return-value]


def test_a_pass_returns_a_state() -> None:
    graph = parse_graph('graph "g" {\nreturn\n}')
    with pytest.raises(InputError, match="returned Plan"):
        run((("wrong", Wrong()),), blank(graph, Accounting()))
