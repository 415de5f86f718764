"""Rewrites from the command line: emitted, executed, measured, applied again, or left alone."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import onnxruntime
import pytest
from onnx import helper, numpy_helper

import lowtide
from lowtide import optimizer
from lowtide.bench.networks import darts
from lowtide.bench.onnx_networks import mobilenet_v2
from lowtide.cli import main, optimize_main
from lowtide.errors import PlanError
from lowtide.onnxruntime import create_session
from lowtide.passes.rewrite.registry import RULES
from tests.cli.commands import call

# A run's own bookkeeping.
NOISE_BYTES = 1 << 15


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Cells whose inputs are convolutions of concatenations."""
    path = tmp_path_factory.mktemp("rewrite") / "net.onnx"
    onnx.save(darts(0, cells=2, channels=16, side=64), path)
    return path


def optimized(
    model: Path, output: Path, *arguments: object, capsys: pytest.CaptureFixture[str]
) -> dict[str, Any]:
    """The report of a run that went well."""
    command = ("--peak-mem", model, "-o", output, "--json", *arguments)
    code, out, err = call(optimize_main, *command, capsys=capsys)
    assert code == 0, err
    found: dict[str, Any] = json.loads(out)
    return found


def test_rewritten(model: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Below the proven optimum of any order, as predicted; the plan makes the same file again."""
    before, target = model.read_bytes(), ("--target", "onnx")
    plain = optimized(model, tmp_path / "plain.onnx", *target, "--rewrite", "none", capsys=capsys)
    assert plain["status"] == "optimal"
    assert plain["rewriting"] is None
    output, plan = tmp_path / "out.onnx", tmp_path / "plan.json"
    found = optimized(
        model, output, *target, "--rewrite", "float", "--plan-out", plan, capsys=capsys
    )
    assert found["peak_bytes"]["after"] < plain["peak_bytes"]["lower_bound"]
    assert found["peak_bytes"]["before"] == plain["peak_bytes"]["before"]
    assert found["verification"]["numerics"] == "close"
    assert found["verification"]["order"] == "executed"
    assert found["measured"]["peak_after"] < plain["measured"]["peak_after"]
    assert abs(found["measured"]["peak_after"] - found["peak_bytes"]["after"]) < NOISE_BYTES
    rewriting = found["rewriting"]
    assert rewriting["peak_without"] == plain["peak_bytes"]["after"]
    assert any(name.startswith("sums@") for name in rewriting["applied"])
    assert optimizer.load_plan(plan).rewrites == tuple(rewriting["applied"])
    assert model.read_bytes() == before

    again = tmp_path / "again.onnx"
    code, _, err = call(main, "apply", plan, model, "-o", again, capsys=capsys)
    assert code == 0, err
    assert again.read_bytes() == output.read_bytes()

    image = np.random.default_rng(0).standard_normal((1, 3, 64, 64)).astype(np.float32)
    stock: Any = onnxruntime.InferenceSession(model)
    found, expected = (
        np.asarray(session.run(None, {"image": image})[0])
        for session in (create_session(output), stock)
    )
    assert np.allclose(found, expected, rtol=1e-4, atol=1e-5)


def test_exact_by_default(model: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Sums are not regrouped unless asked for."""
    found = optimized(model, tmp_path / "out.onnx", capsys=capsys)
    assert found["verification"]["numerics"] == "identical"
    assert not (found["rewriting"] or {"applied": []})["applied"]


def test_taken_back(model: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A rewritten model that gives other bits than promised gives way to the one as it was."""
    monkeypatch.setattr("lowtide.passes.rewrite.stage.EXACT", RULES)
    output = tmp_path / "out.onnx"
    result = lowtide.optimize(model, target="onnx", rewrite="exact", output=output)
    assert result.report.verification["numerics"] == "identical"
    assert result.plan.rewrites == ()
    assert any("taken back" in note for note in result.report.notes)
    assert output.exists()


def test_a_budget_that_needs_no_rewriting(
    model: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """A model that fits stays as it is; one that does not is rewritten before ops run again."""
    plain = lowtide.analyze(model, target="onnx", rewrite="none")
    for budget, rewritten in ((plain.peak_bytes.after, False), (plain.peak_bytes.after - 1, True)):
        found = optimized(
            model,
            tmp_path / f"{budget}.onnx",
            *("--target", "onnx", "--rewrite", "float", "--budget", budget),
            capsys=capsys,
        )
        assert found["peak_bytes"]["after"] <= budget
        assert bool(found["rewriting"]) == rewritten
        assert found["recomputation"] is None


def test_errors(model: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Unknown rules, and plans whose rewrites do not apply."""
    code, _, err = call(optimize_main, "--peak-mem", model, "--rewrite", "fast", capsys=capsys)
    assert code == 2
    assert "fast" in err
    output, plan = tmp_path / "out.onnx", tmp_path / "plan.json"
    optimized(
        model,
        output,
        *("--target", "onnx", "--rewrite", "float", "--no-verify", "--plan-out", plan),
        capsys=capsys,
    )
    text = plan.read_text()
    for wrong in ("nothing@", "sums@missing_", "sums"):
        bad = tmp_path / "bad.json"
        bad.write_text(text.replace("sums@", wrong, 1))
        with pytest.raises(PlanError):
            optimizer.apply(bad, model, output=tmp_path / "bad.onnx")
    assert not (tmp_path / "bad.onnx").exists()


def wide(path: Path, side: int = 32) -> Path:
    """Branches that are joined before a depthwise convolution makes them smaller."""
    random = np.random.default_rng(0)
    weights: list[onnx.TensorProto] = []

    def weight(*shape: int) -> str:
        values = random.standard_normal(shape) / np.sqrt(np.prod(shape[1:]))
        name = f"w{len(weights)}"
        weights.append(numpy_helper.from_array(values.astype(np.float32), name))
        return name

    def conv(x: str, name: str, *operands: str, **attributes: Any) -> onnx.NodeProto:
        return helper.make_node("Conv", [x, *operands], [name], name=name, **attributes)

    parts = [f"branch{index}" for index in range(4)]
    nodes = [conv("image", part, weight(8, 3, 3, 3), pads=[1] * 4) for part in parts]
    nodes.append(helper.make_node("Concat", parts, ["joined"], name="joined", axis=1))
    deep = {"pads": [1] * 4, "strides": [2, 2], "group": 32}
    nodes.append(conv("joined", "deep", weight(32, 1, 3, 3), weight(32), **deep))
    nodes.append(helper.make_node("Relu", ["deep"], ["deeper"], name="deeper"))
    nodes.append(conv("deeper", "out", weight(8, 32, 1, 1)))
    value = helper.make_tensor_value_info
    graph = helper.make_graph(
        nodes,
        "wide",
        [value("image", onnx.TensorProto.FLOAT, [1, 3, side, side])],
        [value("out", onnx.TensorProto.FLOAT, [1, 8, side // 2, side // 2])],
        weights,
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8)
    onnx.save(model, path)
    return path


@pytest.mark.parametrize("target", ["onnx", "onnxruntime", "tensorflow", "tflite", "tvm", "c"])
def test_every_target(target: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Kernel-wise partitioning by default: executed, and below the best order of any ops."""
    model = wide(tmp_path / "wide.onnx")
    plain = lowtide.analyze(model, target=target, rewrite="none")
    output = tmp_path / f"out.{target}"
    found = optimized(model, output, "--target", target, capsys=capsys)
    assert found["verification"]["order"] == "executed"
    assert any(name.startswith("kernelwise@") for name in found["rewriting"]["applied"])
    assert 4 * found["peak_bytes"]["after"] < 3 * plain.peak_bytes.after
    assert 4 * found["measured"]["peak_after"] < 3 * plain.peak_bytes.after
    if target in ("onnx", "onnxruntime"):
        assert found["verification"]["numerics"] == "identical"
    assert output.exists()


@pytest.mark.parametrize("target", ["onnx", "onnxruntime"])
def test_tiles(target: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """A chain without branches, which no order helps: in tiles it needs less than half."""
    model = tmp_path / "mobile.onnx"
    onnx.save(mobilenet_v2(96), model)
    plain = lowtide.analyze(model, target=target, rewrite="none")
    output = tmp_path / "out.onnx"
    found = optimized(model, output, "--target", target, "--rewrite", "float", capsys=capsys)
    assert any(name.startswith("tiling@") for name in found["rewriting"]["applied"])
    assert 2 * found["peak_bytes"]["after"] < plain.peak_bytes.lower_bound
    assert 2 * found["measured"]["peak_after"] < plain.peak_bytes.lower_bound
    assert found["verification"] == {
        **found["verification"],
        "numerics": "close",
        "order": "executed",
    }
    assert 0 < found["rewriting"]["flops_percent"] < 20
