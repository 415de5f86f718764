"""What is drawn of planned steps, without any framework."""

from __future__ import annotations

import json
import pickle
from dataclasses import replace
from typing import TYPE_CHECKING, cast

import pytest

from lowtide.backends.tensorflow.accounting import ACCOUNTING
from lowtide.errors import InputError
from lowtide.ir import Graph, simulate, unroll
from lowtide.live import heard
from lowtide.pictures.page import render_page
from lowtide.pictures.record import Recorder, Unit
from lowtide.pictures.svg import draw
from lowtide.training.drawing import StepDrawing, step_scene
from lowtide.training.effort import Effort
from lowtide.training.plan import TrainingPlan
from lowtide.training.planned import PlannedFunction
from lowtide.training.planner import find_sequence
from tests.training.test_planner import step

if TYPE_CHECKING:
    from pathlib import Path

    from lowtide.tensorflow_types import TfFunction


def planned(
    graph: Graph, budget: int | None, work: int = 5_000_000
) -> tuple[TrainingPlan, Recorder]:
    """A plan as `StepGraph` makes it."""
    recorder = Recorder(None)
    found = find_sequence(graph, budget, effort=Effort(None, work), progress=recorder)
    plan = TrainingPlan(
        sequence=tuple(op.name for op in found.sequence),
        budget_bytes=budget,
        peak_before_bytes=found.peak_before_bytes,
        peak_after_bytes=found.peak_after_bytes,
        peak_bound_bytes=found.peak_bound_bytes,
        cost_before_s=found.cost_before_ns / 1e9,
        cost_after_s=found.cost_after_ns / 1e9,
        recomputed=len(found.sequence) - len(graph),
        variables_bytes=123_456,
        state_bytes=0,
        inputs_bytes=1000,
        scratch_unknown=0,
        measured_costs=False,
    )
    return plan, recorder


@pytest.fixture(scope="module")
def tight() -> tuple[Graph, TrainingPlan, Recorder]:
    """A step within six tenths of its peak."""
    graph = step(12)
    budget = simulate(graph, ACCOUNTING).peak_bytes * 6 // 10
    return graph, *planned(graph, budget)


def test_a_scene_is_the_step_before_and_after(tight: tuple[Graph, TrainingPlan, Recorder]) -> None:
    graph, plan, recorder = tight
    scene = step_scene(plan, StepDrawing(graph, graph, recorder.record))
    steps = [graph.op(name) for name in plan.sequence]
    for run, timeline in (
        (scene.before, simulate(graph, ACCOUNTING)),
        (scene.after, simulate(unroll(graph, steps), ACCOUNTING)),
    ):
        assert [m.live_bytes for m in run.moments] == [s.live_bytes for s in timeline.steps]
        assert run.peak_bytes == timeline.peak_bytes
    assert scene.before.peak_bytes == plan.peak_before_bytes
    assert scene.after.peak_bytes == plan.peak_after_bytes
    assert scene.budget_bytes == plan.budget_bytes
    assert plan.peak_after_bytes <= (plan.budget_bytes or 0)
    again = [moment.op for moment in scene.after.moments if moment.again]
    assert len(again) == plan.recomputed == sum(scene.runs_again.values()) > 0
    assert all("~" in name for name in again)


def test_the_page_says_what_is_so(tight: tuple[Graph, TrainingPlan, Recorder]) -> None:
    graph, plan, recorder = tight
    scene = step_scene(plan, StepDrawing(graph, graph, recorder.record))
    page = render_page(scene)
    for words in (
        "budget met",
        f"{plan.recomputed} of {len(plan.sequence)} steps run an op again",
        "There is no arena: TensorFlow places each tensor",
        f"{plan.peak_after_bytes:,} bytes at step",
        f"trainable variables {plan.variables_bytes:,}",
        "modelled costs",
        "How the solvers got there",
        "recompute within",
    ):
        assert words in page
    for words in ("The arena", "<dt>Arena", ">arena<", "own planner", "kept from an earlier"):
        assert words not in page
    assert "lifetimes, laid out for this picture: TensorFlow has no arena" in draw(scene)


def test_a_plan_from_the_cache_has_no_course(tight: tuple[Graph, TrainingPlan, Recorder]) -> None:
    graph, plan, _ = tight
    page = render_page(step_scene(plan, StepDrawing(graph, graph)))
    assert "How the solvers got there" not in page
    assert "kept from an earlier search" in page


def test_without_a_budget_nothing_is_claimed() -> None:
    graph = step(4)
    plan, _ = planned(graph, None)
    page = render_page(step_scene(plan, StepDrawing(graph, graph)))
    assert "no budget" in page
    assert "No op runs again: the order is the trace&#x27;s own." in page
    assert "not known" in page  # the lower bound
    assert "<dt>Lower bound" not in page
    assert "lower bound" not in page.split("Predicted")[0].split("<body>")[1].split("panel")[0]


def test_for_xla_the_budget_is_in_no_curve(tight: tuple[Graph, TrainingPlan, Recorder]) -> None:
    graph, plan, _ = tight
    measured = replace(
        plan, jit_compile=True, measured_peak_bytes=plan.budget_bytes, measured_before_bytes=77_777
    )
    scene = step_scene(measured, StepDrawing(graph, graph))
    page = render_page(scene)
    assert scene.budget_bytes is None
    assert "the budget is for the buffers that XLA assigns" in page
    assert "Measured in XLA" in page
    missed = replace(measured, measured_peak_bytes=(plan.budget_bytes or 0) + 1)
    assert "budget not met" in render_page(step_scene(missed, StepDrawing(graph, graph)))


def test_the_search_tells_its_best_and_its_bound(
    tight: tuple[Graph, TrainingPlan, Recorder],
) -> None:
    _, plan, recorder = tight
    stages = recorder.record.solving
    assert stages
    for stage in stages:
        assert stage.name.startswith("recompute within")
        assert stage.unit is Unit.PERCENT
        best = [point.best for point in stage.points if point.best is not None]
        assert best == sorted(best, reverse=True)
        assert all(p.bound <= p.best + 1e-9 for p in stage.points if p.best is not None)
    assert stages[-1].points[-1].best == pytest.approx(plan.overhead_percent)


def test_a_function_draws_by_the_ending(
    tight: tuple[Graph, TrainingPlan, Recorder], tmp_path: Path
) -> None:
    graph, plan, recorder = tight
    traced = cast("TfFunction", object())
    function = PlannedFunction(traced, plan, StepDrawing(graph, graph, recorder.record))
    for ending in ("html", "svg", "json", "pickle"):
        assert function.draw(tmp_path / f"step.{ending}").exists()
    assert (tmp_path / "step.html").read_text().startswith("<!doctype html>")
    named = function.draw(tmp_path / "named.html", name="U-Net <3>").read_text()
    assert "<h1>U-Net &lt;3&gt;</h1>" in named
    assert json.loads((tmp_path / "step.json").read_text())["traceEvents"]
    snapshot = pickle.loads((tmp_path / "step.pickle").read_bytes())
    level = highest = 0
    for event in snapshot["device_traces"][0]:
        level += {"alloc": 1, "free_completed": -1}.get(event["action"], 0) * event["size"]
        highest = max(highest, level)
    assert (level, highest) == (0, plan.peak_after_bytes)
    with pytest.raises(InputError, match=r"\.html"):
        function.draw(tmp_path / "step.gif")
    with pytest.raises(InputError, match="plan it anew"):
        PlannedFunction(traced, plan).draw(tmp_path / "other.svg")
    assert not (tmp_path / "other.svg").exists()


def test_a_large_step_has_a_small_page() -> None:
    graph = step(1000)
    plan, _ = planned(graph, None)
    assert len(plan.sequence) > 3000
    page = render_page(step_scene(plan, StepDrawing(graph, graph)))
    assert len(page.encode()) < 1_000_000


def test_who_hears_of_the_search(capsys: pytest.CaptureFixture[str]) -> None:
    recorder = Recorder(None)
    for asked in (True, False, recorder):
        with heard(asked) as listener:
            assert (listener is None) == (asked is False)
            if listener is not None:
                listener.stage("search")
    assert capsys.readouterr().err == ""  # no terminal
    assert [stage.name for stage in recorder.record.stages] == ["search"]
