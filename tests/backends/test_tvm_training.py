"""Training steps in Relax within a budget: the same bits, the predicted bytes."""

# pyright: reportUnknownVariableType=false, reportUnknownArgumentType=false
# pyright: reportUnknownParameterType=false, reportMissingTypeArgument=false
# pyright: reportArgumentType=false, reportAttributeAccessIssue=false
# pyright: reportCallIssue=false, reportUnknownLambdaType=false
# TVM has no stubs, and its annotations are narrower than what it takes.

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

import lowtide.tvm
from lowtide.backends import meter
from lowtide.bench.tvm_runs import run_finished
from lowtide.bench.tvm_training_networks import mlp, residual
from lowtide.errors import BudgetInfeasibleError, BudgetNotMetError, InputError, ModelError
from lowtide.frontends.tvm import import_function
from lowtide.ir import simulate
from lowtide.pictures.scene import Kind
from lowtide.targets.tvm_drawing import step_scene
from lowtide.targets.tvm_pipeline import apply, stages
from lowtide.targets.tvm_plan import ACCOUNTING
from lowtide.targets.tvm_training import Rematerialized, TrainingPipeline, rematerialize

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence
    from pathlib import Path

    import numpy as np
    import tvm
    from numpy.typing import NDArray

    from lowtide.bench.tvm_training_networks import Network

pytestmark = pytest.mark.tvm

STEP = "main_adjoint"


def planned_within(module: tvm.IRModule, budget: int | float | None) -> Rematerialized:
    """With little, repeatable effort."""
    import tvm

    pipeline = TrainingPipeline(
        "schedule,rematerialize,allocate", work_limit=1_000_000, function=STEP, budget=budget
    )
    return rematerialize(module, pipeline, tvm.target.Target("llvm"))


def of_tvm(module: tvm.IRModule) -> tuple[tvm.IRModule, int]:
    """A module with TVM's own plan, and the floating point operations of its step."""
    import tvm

    target = tvm.target.Target("llvm")
    cut = stages(target)
    with target:
        lowered = apply(cut.before, module)
        finished = apply(cut.after, cut.planner(lowered))
    return finished, sum(op.flops for op in import_function(lowered, STEP).graph.ops)


def outputs_of(module: tvm.IRModule, arguments: Sequence[NDArray[np.float32]]) -> list[bytes]:
    """Loss and gradients, run in this process."""
    import tvm
    from tvm import relax

    executable = tvm.compile(module, target="llvm", relax_pipeline=None)
    machine = relax.VirtualMachine(executable, tvm.cpu())
    loss, gradients = machine[STEP](*map(tvm.runtime.tensor, arguments))
    return [array.numpy().tobytes() for array in (loss, *gradients)]


@pytest.mark.skipif(meter.library() is None, reason="no meter: bytes are measured on Linux")
@pytest.mark.parametrize(
    "make",
    [
        lambda: mlp(layers=6, batch=128, width=32),
        lambda: residual(blocks=4, batch=1, channels=4, size=16),
    ],
    ids=["mlp", "residual"],
)
def test_no_more_bytes_and_operations_than_tvms_checkpoints(make: Callable[[], Network]) -> None:
    network = make()
    arguments = network.arguments()
    plain, flops = of_tvm(network.module())
    checkpoints, more = of_tvm(network.module(2))
    expected = outputs_of(plain, arguments)
    theirs, _ = run_finished(checkpoints, arguments, function=STEP)
    assert theirs.first_peak_bytes is not None
    planned = planned_within(network.module(), theirs.first_peak_bytes)
    ours, found = run_finished(planned.module, arguments, function=STEP)
    assert [array.tobytes() for array in found] == expected
    assert ours.first_peak_bytes == planned.peak_bytes <= theirs.first_peak_bytes
    assert planned.peak_bytes < planned.peak_before_bytes
    assert planned.plan.repeats > 0
    assert flops == planned.flops_before <= planned.flops <= more
    # What was planned is what the definitions say of the unrolled graph.
    timeline = simulate(planned.plan.graph, ACCOUNTING)
    assert planned.plan.arena_bytes >= timeline.peak_bytes
    report = planned.report()
    assert f"{planned.plan.repeats} of {len(planned.plan.plan.sequence)} kernels" in report


def test_without_a_budget_nothing_runs_again() -> None:
    module = mlp(layers=3, batch=16, width=8).module()
    planned = lowtide.tvm.rematerialize(module, budget=None)
    assert planned.plan.repeats == 0
    assert planned.peak_bytes == planned.peak_before_bytes
    assert planned.flops == planned.flops_before
    part = planned_within(module, 0.9)
    assert part.budget_bytes == int(0.9 * planned.peak_bytes) >= part.peak_bytes


def test_a_budget_that_cannot_be_met_says_what_can_be() -> None:
    import tvm

    module = mlp(layers=8, batch=16, width=8).module()
    with pytest.raises(BudgetInfeasibleError, match=r"no plan within it exists.*smallest budget"):
        planned_within(module, 16)
    # Less than any order needs is no proof, while kernels may run again.
    assert planned_within(module, 0.4).peak_bytes < planned_within(module, None).plan.arena_bytes
    with pytest.raises(BudgetNotMetError, match=r"no plan within it was found; the smallest"):
        planned_within(module, 0.3)
    pipeline = lowtide.tvm.pipeline(budget=8640, passes="schedule,allocate")
    with pytest.raises(BudgetInfeasibleError, match=r"no order needs less than 8704"):
        tvm.compile(module, target="llvm", relax_pipeline=pipeline)


def test_measured_kernels_are_what_it_costs_to_run_them_again() -> None:
    network = mlp(layers=3, batch=16, width=8)
    module, arguments = network.module(), network.arguments()
    modelled = lowtide.tvm.rematerialize(module, budget=None)
    measured = lowtide.tvm.rematerialize(module, budget=None, arguments=arguments)
    assert all(op.cost is None for op in modelled.plan.graph.ops)
    kernels = [op for op in measured.plan.graph.ops if not op.traits.view and not op.traits.pinned]
    assert kernels
    assert all(op.cost is not None and op.cost > 0 for op in kernels)


def test_a_planned_step_is_drawn(tmp_path: Path) -> None:
    planned = planned_within(mlp(layers=6, batch=64, width=16).module(), 0.6)
    assert planned.plan.repeats > 0
    scene = step_scene(planned)
    for run, plan in ((scene.before, planned.least), (scene.after, planned.plan)):
        placed = {b.names[0]: b for b in run.blocks if b.offset is not None}
        assert {name: block.offset for name, block in placed.items()} == plan.plan.offsets
        assert run.arena_bytes == plan.arena_bytes
        assert run.own_layout is False
        # What has no place in the arena is handed out, or is workspace.
        assert {b.kind for b in run.blocks if b.offset is None} <= {Kind.OUTPUT, Kind.WORKSPACE}
    assert sum(moment.again for moment in scene.after.moments) == planned.plan.repeats
    assert scene.lower_bound_bytes <= scene.after.peak_bytes <= planned.peak_bytes
    assert scene.after.peak_bytes < scene.before.peak_bytes
    assert planned.peak_bytes <= (planned.budget_bytes or 0) == scene.budget_bytes
    page = planned.draw(tmp_path / "step.html").read_text()
    assert "budget met" in page
    assert f"{planned.plan.repeats:,} of {len(planned.plan.plan.sequence):,} kernels" in page
    assert planned.draw(tmp_path / "step.pickle").stat().st_size > 0


def test_wrong_arguments_are_named() -> None:
    module = mlp(layers=2, batch=4, width=4).module()
    with pytest.raises(InputError, match=r"no part of the peak"):
        lowtide.tvm.rematerialize(module, budget=1.5)
    with pytest.raises(InputError, match=r"at least one byte"):
        lowtide.tvm.rematerialize(module, budget=0)
    with pytest.raises(InputError, match=r"no function `step`"):
        lowtide.tvm.rematerialize(module, budget=None, function="step")


def test_a_step_that_cannot_be_planned_says_why() -> None:
    from tvm import relax

    builder = relax.BlockBuilder()
    x = relax.Var("x", relax.TensorType([4], "float32"))
    flag = relax.Var("flag", relax.TensorType([], "bool"))
    with builder.function("main", [x, flag]):
        left = relax.SeqExpr([], relax.op.add(x, x))
        right = relax.SeqExpr([], relax.op.multiply(x, x))
        builder.emit_func_output(builder.emit(relax.If(flag, left, right)))
    module = relax.transform.Normalize()(builder.get())
    with pytest.raises(ModelError, match=r"`main` is left to TVM's planner.*control flow"):
        lowtide.tvm.rematerialize(module, budget=None, function="main")


def test_the_step_is_found_by_its_name() -> None:
    import tvm

    module = mlp(layers=2, batch=4, width=4).module()
    forward = tvm.IRModule({"main": module["main"]})
    with pytest.raises(InputError, match="has 0 functions that end with `_adjoint`"):
        lowtide.tvm.rematerialize(forward, budget=None)
    named = lowtide.tvm.rematerialize(forward, budget=None, function="main")
    assert named.plan.repeats == 0
