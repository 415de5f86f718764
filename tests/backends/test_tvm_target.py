"""The target `tvm` from file to library: plan, prediction, measurement, verification."""

# pyright: reportUnknownVariableType=false, reportUnknownArgumentType=false
# pyright: reportUnknownParameterType=false, reportMissingTypeArgument=false
# pyright: reportArgumentType=false, reportAttributeAccessIssue=false
# pyright: reportCallIssue=false, reportUnknownLambdaType=false
# TVM has no stubs, and its annotations are narrower than what it takes.

from __future__ import annotations

import ctypes
from typing import TYPE_CHECKING

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper, numpy_helper

from lowtide.backends import meter
from lowtide.backends.tvm.measure import measure
from lowtide.backends.tvm.predict import first_run_peak
from lowtide.errors import ModelError
from lowtide.passes.plan import Plan
from lowtide.planning import plan
from lowtide.settings import Settings
from lowtide.targets.tvm_plan import FunctionPlan

if TYPE_CHECKING:
    from pathlib import Path

    from numpy.typing import NDArray

pytestmark = pytest.mark.tvm


def settings(**dims: int) -> Settings:
    return Settings(
        target="tvm",
        level="none",
        portable=False,
        dims=dims,
        budget_bytes=None,
        time_limit_s=30.0,
        work_limit=1_000_000,
        seed=0,
        pipeline="schedule,allocate",
        threads=1,
    )


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Two convolutions on branches of different widths, joined; a dynamic batch."""
    rng = np.random.default_rng(0)

    def weight(name: str, *shape: int) -> onnx.TensorProto:
        values = rng.standard_normal(shape) / np.sqrt(np.prod(shape[1:]))
        return numpy_helper.from_array(values.astype(np.float32), name)

    nodes = [
        helper.make_node("Conv", ["x", "w0"], ["wide0"], pads=[1, 1, 1, 1]),
        helper.make_node("Conv", ["x", "w1"], ["wide1"], pads=[1, 1, 1, 1]),
        helper.make_node("MaxPool", ["wide0"], ["p0"], kernel_shape=[4, 4], strides=[4, 4]),
        helper.make_node("MaxPool", ["wide1"], ["p1"], kernel_shape=[4, 4], strides=[4, 4]),
        helper.make_node("Concat", ["p0", "p1"], ["joined"], axis=1),
        helper.make_node("Flatten", ["joined"], ["flat"]),
        helper.make_node("MatMul", ["flat", "v"], ["y"]),
    ]
    graph = helper.make_graph(
        nodes,
        "net",
        [helper.make_tensor_value_info("x", TensorProto.FLOAT, ["n", 3, 16, 16])],
        [helper.make_tensor_value_info("y", TensorProto.FLOAT, ["n", 5])],
        [weight("w0", 8, 3, 3, 3), weight("w1", 12, 3, 3, 3), weight("v", 320, 5)],
    )
    path = tmp_path_factory.mktemp("tvm") / "net.onnx"
    opsets = [helper.make_opsetid("", 13)]
    onnx.save(helper.make_model(graph, opset_imports=opsets, ir_version=8), path)
    return path


def test_from_a_file_to_a_verified_library_and_its_plan(model: Path, tmp_path: Path) -> None:
    from lowtide.targets.tvm import prepare

    planned = plan(prepare(model, settings(n=2)))
    assert planned.timeline.peak_bytes < planned.prepared.source_order.peak_bytes
    assert planned.plan.arena_bytes == planned.timeline.peak_bytes
    destination = tmp_path / "net.lowtide.so"
    (tmp_path / "work").mkdir()
    staged = planned.prepared.stage(planned, destination, tmp_path / "work")
    outcome = staged.verify()
    assert outcome.verification["numerics"] == "identical"
    assert outcome.verification["order"] == "executed"
    assert not outcome.is_worse
    staged.commit()
    ctypes.CDLL(str(destination))
    written = Plan.from_json(destination.with_name("net.lowtide.so.plan.json").read_text())
    assert written == planned.plan
    assert written.options["apache-tvm"]

    if meter.library() is None:
        return
    prepared = planned.prepared
    predicted = first_run_peak(
        FunctionPlan(prepared.imported, planned.prepared.graph, planned.plan)  # type: ignore[attr-defined]
    )
    assert outcome.measured["peak_after"] == predicted
    before = outcome.measured["peak_before"]
    assert isinstance(before, int)
    assert predicted is not None
    assert predicted <= before

    # An input of the wrong shape is an error of the run, not a crash.
    np.savez(tmp_path / "in.npz", arg0=np.zeros((3, 3, 16, 16), np.float32))
    run = measure(destination, tmp_path / "in.npz", tmp_path / "out.npz")
    assert "shape" in run.error.lower()


def test_a_dimension_without_a_value_is_refused(model: Path) -> None:
    from lowtide.targets.tvm import prepare

    with pytest.raises(ModelError, match="--dim NAME=VALUE"):
        prepare(model, settings())


def test_the_pool_exchanges_its_largest_block() -> None:
    from lowtide.backends.tvm.predict import Pool

    pool = Pool()
    assert pool.run((8192, 4096)) == 12288
    assert pool.run((4096,)) == 12288
    assert pool.free == [4096, 8192]
    assert pool.run((16384,)) == 20480  # 8192 goes, 16384 comes
    assert pool.free == [4096, 16384]
    assert pool.run(()) == 20480


def test_lean_kernels_need_no_scratch_and_no_more_operations(model: Path) -> None:
    import tvm

    import lowtide.tvm
    from lowtide.frontends.tvm.onnx_model import from_onnx
    from lowtide.targets.tvm_pipeline import stages

    module = from_onnx(onnx.load(model), {"n": 2})
    target = tvm.target.Target("llvm")
    plain, lean = lowtide.tvm.pipeline(), lowtide.tvm.pipeline(lean=True)
    x = np.random.default_rng(0).standard_normal((2, 3, 16, 16)).astype(np.float32)
    results: list[NDArray[np.float32]] = []
    for pipeline in (plain, lean):
        executable = tvm.compile(module, target=target, relax_pipeline=pipeline)
        machine = tvm.relax.VirtualMachine(executable, tvm.cpu())
        results.append(machine["main"](tvm.runtime.tensor(x)).numpy())
    assert np.allclose(results[0], results[1], rtol=1e-5, atol=1e-6)
    before, after = plain.plans["main"], lean.plans["main"]
    assert before.workspace_bytes > 0
    assert after.workspace_bytes == 0
    flops = [sum(op.flops for op in plan.graph.ops) for plan in (before, after)]
    assert flops[1] <= 1.05 * flops[0]
    with target:
        assert stages(target).host
    assert not stages(tvm.target.Target("nvidia/nvidia-a100")).host


def test_a_kernel_that_would_compute_more_stays_as_it_is() -> None:
    import tvm
    from tvm import relax

    import lowtide.tvm

    builder = relax.BlockBuilder()
    x = relax.Var("x", relax.TensorType([8, 512], "float32"))
    with builder.function("main", [x]):
        builder.emit_func_output(builder.emit(relax.op.nn.softmax(x)))
    plain, lean = lowtide.tvm.pipeline(), lowtide.tvm.pipeline(lean=True)
    for pipeline in (plain, lean):
        tvm.compile(builder.get(), target="llvm", relax_pipeline=pipeline)
    workspace = [pipeline.plans["main"].workspace_bytes for pipeline in (plain, lean)]
    assert workspace[0] == workspace[1] > 0
