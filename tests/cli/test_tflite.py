"""The main job on TFLite models: planned, executed in stock TFLite Micro, written, applied."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

import lowtide
from lowtide.backends.tflite.tflm import check_plan, measure, measure_scratch
from lowtide.cli import main, optimize_main
from lowtide.frontends.tflite import read
from tests.backends.tflm_models import ModelBuilder, branching_model
from tests.cli.commands import call


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Four branches, written so that all are alive at once."""
    path = tmp_path_factory.mktemp("tflite") / "net.tflite"
    path.write_bytes(branching_model("int8", branches=4))
    return path


@pytest.fixture(scope="module")
def refused(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A model that LiteRT runs and TFLite Micro does not: it has no kernel of COS."""
    builder = ModelBuilder()
    main_graph = builder.subgraph()
    source = main_graph.tensor((1, 8), "float32")
    main_graph.subgraph.inputs = [source]
    result = main_graph.tensor((1, 8), "float32")
    main_graph.op("SIGN", [source], [result])
    main_graph.subgraph.outputs = [result]
    path = tmp_path_factory.mktemp("refused") / "net.tflite"
    path.write_bytes(builder.finish())
    return path


def test_optimize(model: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """What is predicted is what TFLM records, and the file carries the plan."""
    before, output = model.read_bytes(), tmp_path / "out.tflite"
    arguments = ("--peak-mem", model, "-o", output, "--json", "--plan-out", tmp_path / "plan.json")
    code, out, err = call(optimize_main, *arguments, capsys=capsys)
    assert (code, err) == (0, "")
    assert model.read_bytes() == before
    report = json.loads(out)
    assert report["target"] == "tflite"
    assert report["status"] == "optimal"
    assert report["proof"]["scope"] == "order+layout"
    assert report["accounting"] == {
        "inputs_in_arena": True,
        "outputs_live_to_end": True,
        "alignment": 16,
    }
    peak, arena, measured = report["peak_bytes"], report["arena_bytes"], report["measured"]
    assert peak["after"] == peak["lower_bound"] == arena["after"] < arena["before"]
    assert measured["runtime"] == "TensorFlow Lite Micro"
    assert measured["peak_before"] == arena["before"]
    assert measured["peak_after"] == arena["after"]
    assert measured["required_after"] < measured["required_before"]
    assert measured["fails_below"]
    assert report["verification"]["numerics"] == "identical"

    result = read(output)
    found = measure(result)
    assert (found.head_bytes, found.required_bytes) == (
        measured["peak_after"],
        measured["required_after"],
    )
    checked = check_plan(result, scratch=measure_scratch(result).sizes)
    assert checked is not None
    assert checked.head_bytes == arena["after"]

    again = tmp_path / "again.tflite"
    code, _, err = call(
        main, "apply", tmp_path / "plan.json", model, "-o", again, "--no-verify", capsys=capsys
    )
    assert (code, err) == (0, "")
    assert again.read_bytes() == output.read_bytes()


def test_the_result_cannot_be_improved(model: Path, tmp_path: Path) -> None:
    """A planned file is read back, plan included; nothing is better, and it stays as it is."""
    first, second = tmp_path / "first.tflite", tmp_path / "second.tflite"
    lowtide.optimize(model, output=first)
    result = lowtide.optimize(first, output=second)
    assert result.report.arena_bytes.before == result.report.arena_bytes.after
    assert measure(read(first)).required_bytes == measure(read(second)).required_bytes


def test_budgets(model: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """A budget is for the whole arena; what is not met writes nothing and says what would do."""
    output = tmp_path / "out.tflite"
    _, out, _ = call(main, "analyze", model, "--json", "--budget", "1G", capsys=capsys)
    needed = json.loads(out)["budget"]["needed"]
    least = json.loads(out)["peak_bytes"]["lower_bound"]
    for budget, expected in ((needed, 0), (needed - 1, 4), (least - 1, 3)):
        code, _, err = call(
            optimize_main, model, "-o", output, "--budget", str(budget), capsys=capsys
        )
        assert code == expected
        assert output.exists() == (expected == 0)
        if expected:
            assert f"{needed:,}" in err
        else:
            assert measure(read(output)).required_bytes == needed
            output.unlink()


def test_devices(model: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """A board brings its budget, and a library that is not executed here is an estimate."""
    code, out, _ = call(
        optimize_main, model, "-o", tmp_path / "a.tflite", "--device", "stm32h743", capsys=capsys
    )
    assert code == 0
    assert "estimate" in out
    assert "DTCM" in out
    assert "optimal" not in out
    profile = tmp_path / "tiny.yaml"
    profile.write_text(
        "schema: lowtide.device/1\nname: tiny\ntitle: Tiny\nchip: T\nflash: 1MiB\n"
        "memories:\n  - {name: RAM, kind: sram, size: 1KiB}\n"
        "pointer_bytes: 4\nkernels: reference\nsources: [https://example.org]\n"
    )
    output = tmp_path / "b.tflite"
    code, _, err = call(optimize_main, model, "-o", output, "--device", profile, capsys=capsys)
    assert code == 3
    assert "1,024" in err
    assert not output.exists()


def test_the_c_target(model: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """A folder with a header that states the measured arena."""
    folder = tmp_path / "net.lowtide.c"
    arguments = (model, "--target", "c", "-o", folder, "--json")
    code, out, err = call(optimize_main, *arguments, capsys=capsys)
    assert (code, err) == (0, "")
    required = json.loads(out)["measured"]["required_after"]
    header = (folder / "net.h").read_text()
    assert f"{-(-required // 16) * 16}" in header
    assert "measured" in header


def test_what_tflm_refuses(
    refused: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """It is planned, compared in LiteRT, and called neither measured nor optimal."""
    output = tmp_path / "out.tflite"
    code, out, err = call(optimize_main, refused, "-o", output, "--json", capsys=capsys)
    assert (code, err) == (0, "")
    report = json.loads(out)
    assert report["status"] == "feasible"
    assert "runtime" not in report["measured"]
    assert report["measured"]["litert_before"] > 0
    assert report["verification"]["numerics"] == "identical"
    assert any("does not run in TensorFlow Lite Micro" in note for note in report["notes"])
    assert output.exists()


def test_mismatches(model: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Targets, formats and options that do not go together are usage errors."""
    onnx = tmp_path / "m.onnx"
    onnx.write_bytes(b"")
    for arguments, message in (
        ((model, "--target", "onnxruntime"), "does not read .tflite models"),
        ((model, "--target", "tvm"), "does not read .tflite models"),
        ((onnx, "--device", "rp2040"), "--device is for TFLite models"),
        ((model, "--dim", "n=1"), "--dim is for ONNX models"),
        ((model, "--portable"), "--portable belongs to the target onnxruntime"),
        ((model, "--device", "rp2O40"), "did you mean `rp2040`"),
    ):
        code, out, err = call(optimize_main, *arguments, capsys=capsys)
        assert (code, out) == (2, "")
        assert message in err
