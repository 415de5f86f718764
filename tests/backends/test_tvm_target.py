"""ONNX models through TVM, from file to library or C: plan, prediction, measurement, guards."""

# pyright: reportUnknownVariableType=false, reportUnknownArgumentType=false
# pyright: reportUnknownParameterType=false, reportMissingTypeArgument=false
# pyright: reportArgumentType=false, reportAttributeAccessIssue=false
# pyright: reportCallIssue=false, reportUnknownLambdaType=false
# TVM has no stubs, and its annotations are narrower than what it takes.

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import onnx
import onnxruntime as ort
import pytest
from onnx import TensorProto, helper, numpy_helper

import lowtide
import lowtide.tvm
from lowtide.backends import meter
from lowtide.backends.tvm.c_run import compiler
from lowtide.backends.tvm.measure import measure
from lowtide.cli import optimize_main
from lowtide.errors import InputError, ModelError, VerificationError
from lowtide.passes.plan import Plan

if TYPE_CHECKING:
    from numpy.typing import NDArray

pytestmark = pytest.mark.tvm


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A wide skip connection over a wider middle; a dynamic batch.

    With a batch of 2 the middle needs 65,536 bytes, and the skip 16,384 more if it is kept.
    """
    rng = np.random.default_rng(0)

    def weight(name: str, *shape: int) -> onnx.TensorProto:
        values = rng.standard_normal(shape) / np.sqrt(np.prod(shape[1:]))
        return numpy_helper.from_array(values.astype(np.float32), name)

    node = helper.make_node
    nodes = [
        node("Conv", ["x", "w0"], ["wide"]),
        node("MaxPool", ["wide"], ["p"], kernel_shape=[4, 4], strides=[4, 4]),
        node("Conv", ["p", "w1"], ["deep"], pads=[1, 1, 1, 1]),
        node("ConvTranspose", ["deep", "w2"], ["up"], strides=[4, 4]),
        node("Conv", ["up", "w3"], ["middle"]),
        node("Conv", ["middle", "w4"], ["low"]),
        node("MaxPool", ["low"], ["q"], kernel_shape=[3, 3], pads=[1, 1, 1, 1]),
        node("Add", ["q", "wide"], ["s"]),
        node("GlobalAveragePool", ["s"], ["g"]),
        node("Flatten", ["g"], ["f"]),
        node("MatMul", ["f", "v"], ["y"]),
    ]
    graph = helper.make_graph(
        nodes,
        "net",
        [helper.make_tensor_value_info("x", TensorProto.FLOAT, ["n", 3, 16, 16])],
        [helper.make_tensor_value_info("y", TensorProto.FLOAT, ["n", 5])],
        [
            weight("w0", 8, 3, 1, 1),
            weight("w1", 4, 8, 3, 3),
            weight("w2", 4, 8, 4, 4),
            weight("w3", 24, 8, 1, 1),
            weight("w4", 8, 24, 1, 1),
            weight("v", 8, 5),
        ],
    )
    path = tmp_path_factory.mktemp("tvm") / "net.onnx"
    opsets = [helper.make_opsetid("", 13)]
    onnx.save(helper.make_model(graph, opset_imports=opsets, ir_version=8), path)
    return path


def reference(model: Path, x: NDArray[np.float32]) -> NDArray[np.float32]:
    session = ort.InferenceSession(model, providers=["CPUExecutionProvider"])
    return np.asarray(session.run(None, {"x": x})[0], np.float32)


def test_a_library_within_a_budget_and_its_plan(model: Path, tmp_path: Path) -> None:
    output = tmp_path / "net.lowtide.so"
    result = lowtide.optimize(model, target="tvm", dims={"n": 2}, budget=65536, output=output)
    report = result.report
    assert (report.arena_bytes.before, report.arena_bytes.after) == (81920, 65536)
    assert report.recomputation is not None
    assert report.recomputation["runs"] == 1
    assert report.verification["numerics"] in ("identical", "close")
    assert report.verification["order"] == "executed"
    written = Plan.from_json(output.with_name("net.lowtide.so.plan.json").read_text())
    assert written == result.plan
    assert written.options["apache-tvm"]
    if meter.library() is not None:
        after, stock = report.measured["peak_after"], report.measured["peak_stock"]
        assert isinstance(after, int)
        assert isinstance(stock, int)
        assert after == report.measured["peak_predicted"]
        assert 65536 <= after < stock

    # An input of the wrong shape is an error of the run, not a crash.
    np.savez(tmp_path / "in.npz", arg0=np.zeros((3, 3, 16, 16), np.float32))
    run = measure(output, tmp_path / "in.npz", tmp_path / "out.npz")
    assert "shape" in run.error.lower()


@pytest.mark.skipif(compiler() is None, reason="no C compiler")
def test_c_sources_within_a_budget_on_the_command_line(
    model: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    folder = tmp_path / "edge.lowtide.c"
    arguments = [model, "--target", "c", "--dim", "n=2", "--budget", "64KiB", "-o", folder]
    with pytest.raises(SystemExit) as exit_:
        optimize_main([*map(str, arguments), "--json"])
    captured = capsys.readouterr()
    assert (exit_.value.code or 0, captured.err) == (0, "")
    report = json.loads(captured.out)
    assert report["target"] == "c"
    assert report["recomputation"]["runs"] == 1
    assert report["arena_bytes"]["after"] == 65536
    assert report["verification"]["numerics"] in ("identical", "close")
    assert report["proof"]["covers"] == ["workspace"]
    assert {path.name for path in folder.iterdir()} == {
        *("edge.h", "edge.c", "edge_data.c", "lowtide.json")
    }
    header = (folder / "edge.h").read_text()
    assert "#define EDGE_ARENA_BYTES 65536\n" in header
    assert "void edge_run(const float *in0, float *out0);" in header
    sources = (folder / "edge.c").read_text()
    assert "#include <tvm" not in sources
    assert "TVM" not in sources


def test_options_that_belong_to_another_format(model: Path) -> None:
    with pytest.raises(InputError, match="--device is for TFLite models"):
        lowtide.optimize(model, target="c", device="rp2040")
    with pytest.raises(InputError, match="add the pass `allocate`"):
        lowtide.optimize(model, target="c", pipeline="schedule")
    with pytest.raises(InputError, match="does not exist: create it first"):
        lowtide.optimize(model, target="c", output=model.parent / "nowhere" / "net.c")


def test_a_dimension_without_a_value_is_refused(model: Path) -> None:
    with pytest.raises(ModelError, match="--dim NAME=VALUE"):
        lowtide.analyze(model, target="tvm")


@pytest.mark.parametrize(
    ("limit", "value", "message"),
    [("_TIMEOUT_S", 0.2, "no answer within 0.2 s"), ("_MEMORY_BYTES", 1 << 25, "TVM fails on")],
)
def test_what_hangs_or_crashes_tvm_does_not_harm_us(
    model: Path, monkeypatch: pytest.MonkeyPatch, limit: str, value: float, message: str
) -> None:
    monkeypatch.setattr(f"lowtide.targets.tvm_child.{limit}", value)
    with pytest.raises(ModelError, match=message):
        lowtide.analyze(model, target="tvm", dims={"n": 2})


def test_what_tvm_does_not_import_is_an_error_with_its_reason(tmp_path: Path) -> None:
    node = helper.make_node("Reshape", ["x", "s"], ["y"])
    info = helper.make_tensor_value_info
    shape = numpy_helper.from_array(np.array([-1, -1], np.int64), "s")
    graph = helper.make_graph(
        [node], "g", [info("x", TensorProto.FLOAT, [4])], [info("y", TensorProto.FLOAT, None)]
    )
    graph.initializer.append(shape)
    onnx.save(helper.make_model(graph, ir_version=8), tmp_path / "bad.onnx")
    with pytest.raises(ModelError, match="TVM's importer does not take this model"):
        lowtide.analyze(tmp_path / "bad.onnx", target="tvm")


def test_sources_that_do_not_compile_are_not_written(
    model: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    if compiler() is None:
        return
    monkeypatch.setattr("lowtide.backends.tvm.c_run.FLAGS", ("-std=c11", "-Dfloat=none"))
    with pytest.raises(VerificationError, match="the C compiler rejects the program"):
        lowtide.optimize(model, target="c", dims={"n": 1}, output=tmp_path / "net.c")
    assert not (tmp_path / "net.c").exists()


def test_a_dynamic_batch_up_to_its_bound_and_a_clean_error_above(model: Path) -> None:
    import tvm
    from tvm import relax

    from lowtide.frontends.tvm.onnx_model import from_onnx

    pipeline = lowtide.tvm.pipeline(bounds={"n": 4})
    executable = tvm.compile(from_onnx(onnx.load(model)), target="llvm", relax_pipeline=pipeline)
    machine = relax.VirtualMachine(executable, tvm.cpu())
    assert pipeline.plans["main"].arena_bytes == 2 * 81920
    rng = np.random.default_rng(0)
    for rows in (1, 2, 3, 4):
        x = rng.standard_normal((rows, 3, 16, 16)).astype(np.float32)
        found = machine["main"](tvm.runtime.tensor(x)).numpy()
        assert np.abs(found - reference(model, x)).max() < 1e-5
    with pytest.raises(ValueError, match=r"`n` is outside of .0, 4.*larger bound"):
        machine["main"](tvm.runtime.tensor(np.zeros((5, 3, 16, 16), np.float32)))


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
