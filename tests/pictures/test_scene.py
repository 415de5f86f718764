"""What is drawn is what the simulator found, and blocks do not overlap."""

from __future__ import annotations

from itertools import pairwise
from typing import TYPE_CHECKING

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from lowtide.ir import Accounting, Graph, InPlace, Role, simulate
from lowtide.pictures.build import run_of
from lowtide.pictures.hot import hot_region
from lowtide.pictures.record import Recorder, Unit
from lowtide.pictures.scene import Kind
from tests.pictures.scenes import network

if TYPE_CHECKING:
    from lowtide.ir import Timeline
    from lowtide.pictures.scene import Run, Scene
    from lowtide.planning import Planned


def _check_run(run: Run, timeline: Timeline) -> None:
    """Bytes as simulated at every step, and a layout in which nothing overlaps."""
    assert [moment.live_bytes for moment in run.moments] == [
        step.live_bytes for step in timeline.steps
    ]
    assert (run.peak_bytes, run.peak_step) == (timeline.peak_bytes, timeline.peak_step)
    for index, step in enumerate(timeline.steps):
        live = run.live_at(index)
        assert sum(block.nbytes for block in live) == step.live_bytes
        placed = sorted(
            (block.offset, block.offset + block.nbytes)
            for block in live
            if block.offset is not None
        )
        assert len(placed) == len(live)
        assert all(one[1] <= two[0] for one, two in pairwise(placed))
        assert all(high <= (run.arena_bytes or 0) for _, high in placed)


@given(seed=st.integers(0, 10_000), ops=st.integers(1, 40))
@settings(max_examples=25, deadline=None)
def test_a_run_is_the_timeline(seed: int, ops: int) -> None:
    timeline = simulate(network(ops, "op{}".format, seed), Accounting(alignment=64))
    run = run_of(timeline, 64)
    assert run.own_layout
    _check_run(run, timeline)


def test_the_plans_own_layout_is_drawn(planned: tuple[Planned, Scene]) -> None:
    made, scene = planned
    assert not scene.after.own_layout
    _check_run(scene.after, made.timeline)
    _check_run(scene.before, made.prepared.source_order)
    assert scene.after.arena_bytes == made.plan.arena_bytes
    assert scene.before.peak_bytes == scene.report.peak_bytes.before
    for block in scene.after.blocks:
        if block.kind is not Kind.WORKSPACE:
            assert block.offset == made.plan.offsets[block.names[0]]


def test_offsets_that_do_not_fit_are_not_drawn() -> None:
    timeline = simulate(network(12, "op{}".format), Accounting(alignment=64))
    wrong = {buffer.tensors[0].name: 0 for buffer in timeline.buffers}
    run = run_of(timeline, 64, offsets=wrong)
    assert run.own_layout
    _check_run(run, timeline)


def test_repeats_are_marked(repeated: tuple[Planned, Scene]) -> None:
    made, scene = repeated
    again = [index for index, moment in enumerate(scene.after.moments) if moment.again]
    sequence = made.plan.sequence
    assert again == [i for i, name in enumerate(sequence) if name in sequence[:i]]
    assert again
    assert sum(scene.runs_again.values()) == len(again)
    _check_run(scene.after, made.timeline)
    again_blocks = [block for block in scene.after.blocks if block.kind is Kind.RECOMPUTED]
    assert {block.start for block in again_blocks} <= set(range(len(sequence)))
    assert all(set(block.births) & set(again) for block in again_blocks)
    assert not any(block.kind is Kind.RECOMPUTED for block in scene.before.blocks)


def test_kinds_and_names_of_blocks() -> None:
    graph = Graph("kinds")
    given_ = graph.add_tensor("given", "float32", (16,), role=Role.INPUT)
    first = graph.add_tensor("first", "float32", (16,))
    second = graph.add_tensor("second", "float32", (16,))
    result = graph.add_tensor("result", "float32", (4,))
    graph.add_op("make", "onnx", "Exp", [given_], [first])
    graph.add_op(
        "over", "onnx", "Relu", [first], [second], in_place=(InPlace(0, 0),), workspace_bytes=8
    )
    graph.add_op("end", "onnx", "Sum", [second], [result])
    graph.add_output(result)
    run = run_of(simulate(graph, Accounting(inputs_in_arena=True)), 1)
    kinds = {block.names: block.kind for block in run.blocks}
    assert kinds == {
        ("given",): Kind.INPUT,
        ("first", "second"): Kind.IN_PLACE,
        ("over",): Kind.WORKSPACE,
        ("result",): Kind.OUTPUT,
    }
    shared = next(block for block in run.blocks if len(block.names) == 2)
    assert [shared.name_at(step) for step in (0, 1, 2)] == ["first", "second", "second"]
    assert shared.types == ("float32[16]", "float32[16]")


def test_the_hot_region_has_what_the_peak_holds(planned: tuple[Planned, Scene]) -> None:
    made, _ = planned
    timeline = made.timeline
    hot = hot_region(timeline)
    assert hot is not None
    at = timeline.peak_step
    assert hot.ops[0].name == timeline.steps[at].op.name
    buffers = {edge.tensor: edge.nbytes for edge in hot.edges}
    assert sum(buffers.values()) + hot.left_out_bytes == sum(
        buffer.nbytes for buffer in timeline.live_at(at)
    )
    for edge in hot.edges:
        source, target = hot.ops[edge.source], hot.ops[edge.target]
        assert source.layer < target.layer
        assert source.step is None or source.step <= at
        assert target.step is None or target.step >= at
    assert sorted(sum((hot.layer(number) for number in range(3)), ())) == list(range(len(hot.ops)))


def test_no_ops_no_hot_region() -> None:
    graph = Graph("empty")
    given_ = graph.add_tensor("given", "float32", (16,), role=Role.INPUT)
    graph.add_output(given_)
    timeline = simulate(graph, Accounting(inputs_in_arena=True))
    assert hot_region(timeline) is None
    assert run_of(timeline, 1).peak_bytes == 64


def test_a_record_keeps_what_changed() -> None:
    now = iter(range(100))
    heard: list[object] = []

    class Heard:
        def stage(self, text: str) -> None:
            heard.append(text)

        def bounds(self, incumbent: int | None, bound: int) -> None:
            heard.append((incumbent, bound))

    recorder = Recorder(Heard(), clock=lambda: float(next(now)))
    recorder.stage("load")
    recorder.stage("plan")
    for pair in ((None, 5), (None, 5), (9, 5), (7, 7)):
        recorder.bounds(*pair)
    recorder.stage("rewrite")
    recorder.stage("plan")
    recorder.bounds(6, 6)
    record = recorder.record
    assert heard[:3] == ["load", "plan", (None, 5)]
    assert [stage.name for stage in record.stages] == [
        "load",
        "plan",
        "rewrite",
        "plan of the rewritten model",
    ]
    points = record.solving[0].points
    assert [(p.best, p.bound) for p in points] == [(None, 5), (9, 5), (7, 7)]
    assert all(
        stage.start_s <= p.seconds <= stage.stop_s for stage in record.stages for p in stage.points
    )


def test_costs_are_recorded_in_percent_in_a_stage_of_their_own() -> None:
    recorder = Recorder(None)
    recorder.stage("plan")
    recorder.bounds(9, 9)
    recorder.costs(None, 100.0, 100.0)
    recorder.costs(150.0, 100.0, 100.0)
    recorder.costs(125.0, 110.0, 100.0)
    stages = recorder.record.solving
    assert [(stage.name, stage.unit) for stage in stages] == [
        ("plan", Unit.BYTES),
        ("recompute", Unit.PERCENT),
    ]
    points = [(p.best, p.bound) for p in stages[1].points]
    assert points[:2] == [(None, 0.0), (50.0, 0.0)]
    assert points[2] == pytest.approx((25.0, 10.0))


def test_a_stage_is_about_what_is_told_of_it_first() -> None:
    recorder = Recorder(None)
    recorder.stage("recompute within 1 MiB")
    recorder.costs(150.0, 100.0, 100.0)
    recorder.stage("recompute within 1 MiB, attempt 2")
    recorder.costs(125.0, 100.0, 100.0)
    recorder.bounds(9, 8)  # bytes are no percent
    stages = recorder.record.solving
    assert [(stage.name, stage.unit, stage.points[-1].best) for stage in stages] == [
        ("recompute within 1 MiB", Unit.PERCENT, 50.0),
        ("recompute within 1 MiB, attempt 2", Unit.PERCENT, 25.0),
        ("solve", Unit.BYTES, 9),
    ]


def test_a_plan_with_repeats_records_its_costs(repeated: tuple[Planned, Scene]) -> None:
    scene = repeated[1]
    assert scene.record is not None
    last = scene.record.solving[-1]
    assert last.unit is Unit.PERCENT
    assert last.points[-1].best is not None
    assert last.points[-1].bound <= last.points[-1].best


@pytest.mark.parametrize("count", [5_000, 100_000])
def test_a_record_stays_small(count: int) -> None:
    recorder = Recorder(None)
    recorder.stage("plan")
    for value in range(count, 0, -1):
        recorder.bounds(value, 0)
    points = recorder.record.stages[0].points
    assert len(points) <= 4001
    assert (points[0].best, points[-1].best) == (count, 1)
