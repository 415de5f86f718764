"""ONNX models for TensorFlow and TFLite, by the command line: planned, executed, written."""

from __future__ import annotations

import importlib
import json
from pathlib import Path
from typing import TYPE_CHECKING, Any, cast

import numpy as np
import onnx
import pytest
from onnx import helper

import lowtide
from lowtide import child
from lowtide.backends.tensorflow import measure
from lowtide.backends.tensorflow.from_onnx.lazy import tf
from lowtide.backends.tensorflow.from_onnx.verify import run_lite
from lowtide.backends.tensorflow.measure import Allocation, Measurement
from lowtide.bench.networks import randwire
from lowtide.child import ChildError
from lowtide.cli import main, optimize_main
from lowtide.errors import InputError, LowtideError
from tests.backends.onnx_cases import expected, model_of, quantized
from tests.cli.commands import call

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

pytestmark = [pytest.mark.tensorflow, pytest.mark.filterwarnings("ignore")]

_HERE = ("targets.tensorflow_job", "from_onnx.job", "tensorflow.profile")


@pytest.fixture(autouse=True)
def _near(monkeypatch: pytest.MonkeyPatch, tmp_path_factory: pytest.TempPathFactory) -> None:  # pyright: ignore[reportUnusedFunction]
    """Children that need nothing but TensorFlow run in this process, which has it already."""
    apart = child.run

    def run(target: str, request: Mapping[str, object], **options: Any) -> dict[str, object]:
        module, _, name = target.partition(":")
        if not module.endswith(_HERE):
            return apart(target, request, **options)
        try:
            function: Any = getattr(importlib.import_module(module), name)
            reply = function(json.loads(json.dumps(dict(request))))
        except LowtideError:
            raise
        except Exception as error:
            raise ChildError(f"{type(error).__name__}: {error}") from None
        return cast("dict[str, object]", json.loads(json.dumps(reply)))

    monkeypatch.setattr(child, "run", run)
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path_factory.getbasetemp() / "cache"))


@pytest.fixture
def model(tmp_path: Path) -> Path:
    """A branching network whose own order is not the best."""
    path = tmp_path / "net.onnx"
    onnx.save(randwire(5, nodes=12, channels=8, side=16), path)
    return path


def _feeds(model: Path) -> dict[str, Any]:
    draw = np.random.default_rng(7)
    value = onnx.load(model).graph.input[0]
    shape = [dim.dim_value for dim in value.type.tensor_type.shape.dim]
    return {value.name: draw.standard_normal(shape).astype(np.float32)}


def test_tensorflow(model: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """What is predicted is what a loaded SavedModel allocates."""
    before, plan = model.read_bytes(), tmp_path / "plan.json"
    arguments = ("--peak-mem", model, "--target", "tensorflow", "--json", "--plan-out", plan)
    code, out, err = call(optimize_main, *arguments, capsys=capsys)
    assert (code, err) == (0, "")
    assert model.read_bytes() == before
    report = json.loads(out)
    peak, measured = report["peak_bytes"], report["measured"]
    assert peak["lower_bound"] <= peak["after"] < peak["before"]
    assert measured["peak_after"] == peak["after"] < measured["peak_stock"]
    assert min(measured["latency_stock"], measured["latency_after"]) > 0
    assert report["verification"]["numerics"] == "close"
    assert report["verification"]["max_rel_error"] < 1e-4
    assert report["verification"]["order"] == "executed"
    assert report["breakdown_bytes"]["weights"] > 0
    folder = tmp_path / "net.lowtide.savedmodel"
    assert Path(report["output"]) == folder
    assert set(tmp_path.iterdir()) == {model, plan, folder}
    _agrees(model, folder)

    # The saved plan gives the same order; another model's is refused.
    command = ("apply", plan, model, "--no-verify", "-o", tmp_path / "again")
    code, out, err = call(main, *command, capsys=capsys)
    assert (code, err) == (0, "")
    _agrees(model, tmp_path / "again")
    onnx.save(randwire(6, nodes=12, channels=8, side=16), model)
    code, _, err = call(main, *command, capsys=capsys)
    assert code == 2
    assert "was made for the model" in err


def _agrees(model: Path, folder: Path) -> None:
    feeds = _feeds(model)
    function = tf.saved_model.load(str(folder)).signatures["serving_default"]
    found = function(**{name: tf.constant(value) for name, value in feeds.items()})
    proto = onnx.load(model)
    for value, want in zip(proto.graph.output, expected(proto, feeds), strict=True):
        np.testing.assert_allclose(found[value.name], want, rtol=0, atol=1e-4 * np.abs(want).max())


def test_a_result_that_needs_more_is_not_kept(
    model: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """TensorFlow's own order is written instead, unless even that exceeds the budget."""
    peaks = iter([500, 400, 450] * 2)

    def measured(*_: object, **__: object) -> Measurement:
        return Measurement(next(peaks), "op", 0, ())

    monkeypatch.setattr(measure, "measure_function", measured)
    arguments = (model, "--target", "tensorflow", "--json")
    code, out, _ = call(optimize_main, *arguments, capsys=capsys)
    assert code == 0
    report = json.loads(out)
    assert report["measured"]["peak_after"] == 450
    assert report["order"]["method"] == "tensorflow"
    assert any("TensorFlow's own, which is kept" in note for note in report["notes"])
    _agrees(model, model.with_name("net.lowtide.savedmodel"))


def test_another_order_is_not_written(
    model: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    done = lowtide.optimize(model, target="tensorflow", verify=False)
    last = [Allocation(name, 8) for name in reversed(done.plan.sequence)]

    def measured(*_: object, **__: object) -> Measurement:
        return Measurement(1, "op", 0, tuple(last))

    monkeypatch.setattr(measure, "measure_function", measured)
    code, _, err = call(optimize_main, model, "--target", "tensorflow", capsys=capsys)
    assert code == 5
    assert "which is not the planned order" in err
    assert list(model.parent.iterdir()) == [model]


def test_tflite_int8(model: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Converted with a dataset, planned, and executed in TFLite Micro and LiteRT."""
    feeds, data, output = _feeds(model), tmp_path / "data.npz", tmp_path / "small.tflite"
    arrays: dict[str, Any] = {name: np.stack([v, v / 2]) for name, v in feeds.items()}
    np.savez(data, **arrays)
    options = ("--quantize", "int8", "--representative", data, "--json", "-o", output)
    code, out, err = call(optimize_main, model, "--target", "tflite", *options, capsys=capsys)
    assert (code, err) == (0, "")
    report = json.loads(out)
    assert report["model"]["format"] == "onnx"
    assert report["measured"]["required_after"] <= report["measured"]["required_before"]
    assert report["measured"]["litert_identical"] is True
    assert report["verification"]["numerics"] == "close"
    assert report["verification"]["order"] == "executed"
    assert "tflite-micro" in report["versions"]
    found = run_lite(output, feeds)
    proto = onnx.load(model)
    for value, want in zip(proto.graph.output, expected(proto, feeds), strict=True):
        assert np.abs(found[value.name] - want).mean() < 0.05 * np.abs(want).max()
    assert set(tmp_path.iterdir()) == {model, data, output}


def test_a_quantized_model_needs_no_dataset(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path, output = tmp_path / "net.onnx", tmp_path / "net.lowtide.tflite"
    onnx.save(quantized(), path)
    arguments = ("--target", "tflite", "--quantize", "int8", "--json")
    code, out, err = call(optimize_main, path, *arguments, capsys=capsys)
    assert (code, err) == (0, "")
    assert json.loads(out)["verification"]["numerics"] == "close"
    details = tf.lite.Interpreter(str(output)).get_input_details()
    assert [detail["dtype"] for detail in details] == [np.int8]


@pytest.mark.parametrize(
    ("options", "code", "message"),
    [
        (("--target", "onnx", "--quantize", "float16"), 2, "is for what becomes a .tflite"),
        (("--target", "tflite", "--quantize", "int4"), 2, "one of none, float16, int8"),
        (("--target", "tflite", "--quantize", "int8"), 2, "needs --representative DATA.npz"),
        (("--target", "tflite", "--representative", "x.npz"), 2, "belongs to --quantize int8"),
        (
            ("--target", "tflite", "--quantize", "int8", "--representative", "none.npz"),
            2,
            "none.npz does not exist",
        ),
        (("--target", "tensorflow", "--device", "rp2040"), 2, "--device is for TFLite models"),
        (("--target", "tensorflow", "--budget", "1KiB"), 3, "is not met"),
        (("--target", "tensorflow", "-o", "{here}"), 2, "is a folder that the source is in"),
        (("--target", "tensorflow", "-o", "{here}/other"), 2, "is no SavedModel"),
        (("--target", "tflite", "-o", "{here}"), 2, "is a folder: name a"),
        (("--target", "tensorflow", "-o", "{here}/net.onnx"), 2, "never written to"),
    ],
)
def test_refusals(
    options: Sequence[str], code: int, message: str, model: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    other = model.parent / "other"
    other.mkdir()
    (other / "notes.txt").write_text("kept")
    given = [option.replace("{here}", str(model.parent)) for option in options]
    found, _, err = call(optimize_main, model, *given, capsys=capsys)
    assert (found, message in err) == (code, True), err
    assert sorted(model.parent.iterdir()) == [model, other]
    assert (other / "notes.txt").read_text() == "kept"


def _small(nodes: Sequence[onnx.NodeProto], **options: Any) -> onnx.ModelProto:
    return model_of(nodes, {"x": np.zeros((2, 3), np.float32)}, ["y"], **options)


@pytest.mark.parametrize("target", ["tensorflow", "tflite"])
@pytest.mark.parametrize(
    ("nodes", "options", "message"),
    [
        ([helper.make_node("Relu", ["x"], ["y"])], {"open_axes": {"x": [0]}}, "--dim x_0=VALUE"),
        ([helper.make_node("DeformConv", ["x", "x", "x"], ["y"])], {"opset": 19}, "is not emitted"),
        ([helper.make_node("Softmax", ["x"], ["y"], axis=7)], {}, "axis 7 of a tensor of rank 2"),
        ([helper.make_node("Add", ["x", "w"], ["y"])], {}, "which nobody makes"),
    ],
)
def test_models_that_are_refused(
    target: str,
    nodes: Sequence[onnx.NodeProto],
    options: dict[str, Any],
    message: str,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
) -> None:
    path = tmp_path / "net.onnx"
    onnx.save(_small(nodes, **options), path)
    code, _, err = call(optimize_main, path, "--target", target, capsys=capsys)
    assert (code, message in err) == (2, True), err
    assert list(tmp_path.iterdir()) == [path]


def test_options_of_onnx_models(
    tmp_path: Path, model: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path = tmp_path / "net.tflite"
    path.write_bytes(b"no model")
    for option in (("--dim", "n=1"), ("--quantize", "float16")):
        code, _, err = call(optimize_main, path, *option, capsys=capsys)
        assert (code, "is for ONNX models" in err) == (2, True)
    result = lowtide.optimize(model, target="tensorflow", verify=False)
    with pytest.raises(InputError, match="never written to"):
        result.save(model)
    assert result.save(tmp_path / "later").is_dir()
    text = _small([helper.make_node("RandomNormalLike", ["x"], ["y"])])
    onnx.save(text, model)
    done = lowtide.optimize(model, target="tensorflow", verify=False)
    assert done.report.verification["numerics"] == "skipped"
