"""Whole models to SavedModel and .tflite, run from the written file beside ONNX Runtime."""

from __future__ import annotations

from pathlib import Path
from typing import cast

import numpy as np
import onnx
import pytest
from onnx import helper

from lowtide.backends.tensorflow import convert
from lowtide.backends.tensorflow.from_onnx import job
from lowtide.backends.tensorflow.from_onnx.conversion import (
    Conversion,
    Format,
    Quantize,
    from_reply,
)
from lowtide.backends.tensorflow.from_onnx.lazy import internal, tf
from lowtide.bench.onnx_networks import light, lstm, mobilenet_v2, transformer, unet
from lowtide.errors import InputError, ModelError, VerificationError
from lowtide.frontends.onnx import read
from tests.backends.onnx_cases import model_of, quantized

pytestmark = [pytest.mark.tensorflow, pytest.mark.filterwarnings("ignore")]


def _here(
    proto: onnx.ModelProto,
    staged: Path,
    kind: Format,
    quantize: Quantize = "none",
    representative: str = "",
    dims: dict[str, int] | None = None,
) -> Conversion:
    """What `convert` does, in this process: it has TensorFlow already."""
    source = staged.parent / "source.onnx"
    onnx.save(proto, source)
    reply = job.run(
        {
            "model": str(source),
            "staged": str(staged),
            "format": kind,
            "dims": dims or {},
            "quantize": quantize,
            "representative": representative,
            "verify": True,
            "seed": 0,
        }
    )
    return from_reply(reply, staged)


@pytest.mark.parametrize("kind", ["savedmodel", "tflite"])
@pytest.mark.parametrize("network", [mobilenet_v2, unet, transformer, lstm])
def test_networks(network: object, kind: Format, tmp_path: Path) -> None:
    assert callable(network)
    proto = cast("onnx.ModelProto", network())
    result = _here(proto, tmp_path / "out", kind)
    assert result.numerics == "close"
    assert 0 < result.max_rel_error < 1e-4
    assert result.inputs == tuple(value.name for value in proto.graph.input)
    inside = sum(t.place == "inside" for t in result.transposes)
    own = sum(node.op_type == "Transpose" for node in proto.graph.node)
    assert inside <= own


def test_a_light_model_keeps_no_transpose_inside(tmp_path: Path) -> None:
    result = _here(light("squeezenet"), tmp_path / "out.tflite", "tflite")
    assert result.max_rel_error < 1e-4
    assert [t.place for t in result.transposes] == ["input"]
    assert result.operators["CONV_2D"] == 26


def _named() -> onnx.ModelProto:
    x = np.zeros((2, 3), np.float32)
    nodes = [
        helper.make_node("Relu", ["gpu_0/data:1"], ["out/relu:0"]),
        helper.make_node("Neg", ["3d"], ["7"]),
    ]
    inputs = {"gpu_0/data:1": x, "3d": x}
    return model_of(nodes, inputs, ["out/relu:0", "7"], open_axes={"3d": [0]})


def test_convert_keeps_names_and_open_dimensions(tmp_path: Path) -> None:
    path = tmp_path / "model.lowtide.savedmodel"
    result = convert(read(_named()).model, path)
    assert result.path == path
    assert set(tmp_path.iterdir()) == {path}
    schema = internal("tensorflow.core.protobuf.saved_model_pb2")
    proto = schema.SavedModel.FromString((path / "saved_model.pb").read_bytes())
    signature = proto.meta_graphs[0].signature_def["serving_default"]
    assert set(signature.inputs) == {"gpu_0/data:1", "3d"}
    assert set(signature.outputs) == {"out/relu:0", "7"}
    assert [d.size for d in signature.inputs["3d"].tensor_shape.dim] == [-1, 3]
    function = tf.saved_model.load(str(path)).signatures["serving_default"]
    found = function(**{name: tf.fill([2, 3], -2.0) for name in signature.inputs})
    assert float(found["7"][0, 0]) == 2.0
    # It is replaced by a second conversion; a folder that is no SavedModel is not.
    assert convert(read(_named()).model, path, verify=False).numerics == "skipped"
    other = tmp_path / "folder"
    other.mkdir()
    (other / "letter.txt").write_text("mine")
    with pytest.raises(InputError, match="no SavedModel"):
        convert(read(_named()).model, other)
    (path / "letter.txt").write_text("mine")
    with pytest.raises(InputError, match=r"more than a SavedModel \(letter.txt\)"):
        convert(read(_named()).model, path)


def test_tflite_has_the_original_names(tmp_path: Path) -> None:
    path = tmp_path / "model.tflite"
    result = _here(_named(), path, "tflite", dims={"3d_0": 4})
    assert result.outputs == ("out/relu:0", "7")
    interpreter = tf.lite.Interpreter(str(path))
    assert {d["name"] for d in interpreter.get_input_details()} == {"gpu_0/data:1", "3d"}
    assert {d["name"] for d in interpreter.get_output_details()} == {"out/relu:0", "7"}
    shapes = {d["name"]: list(d["shape_signature"]) for d in interpreter.get_input_details()}
    assert shapes["3d"] == [4, 3]


def test_float16_and_int8(tmp_path: Path) -> None:
    proto = unet(32, depth=2)
    plain = _here(proto, tmp_path / "plain.tflite", "tflite")
    half = _here(proto, tmp_path / "half.tflite", "tflite", "float16")
    size = plain.path.stat().st_size
    assert half.path.stat().st_size < 0.7 * size
    samples = np.random.default_rng(3).standard_normal((6, 3, 32, 32)).astype(np.float32)
    np.savez(tmp_path / "data.npz", image=samples)
    whole = _here(proto, tmp_path / "int8.tflite", "tflite", "int8", str(tmp_path / "data.npz"))
    assert whole.path.stat().st_size < 0.6 * size
    details = tf.lite.Interpreter(str(whole.path)).get_input_details()
    assert details[0]["dtype"] == np.int8
    np.savez(tmp_path / "other.npz", other=samples)
    with pytest.raises(InputError, match="no array `image`, it has `other`"):
        _here(proto, tmp_path / "x.tflite", "tflite", "int8", str(tmp_path / "other.npz"))


def test_qdq_becomes_int8(tmp_path: Path) -> None:
    result = _here(quantized(), tmp_path / "q.tflite", "tflite", "qdq")
    assert set(result.operators) == {"CONV_2D", "TRANSPOSE"}
    assert result.max_abs_error < 0.1  # on average within one step of the output


def test_a_wrong_result_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from lowtide.backends.tensorflow.from_onnx import registry
    from lowtide.backends.tensorflow.from_onnx.call import Call
    from lowtide.backends.tensorflow.from_onnx.value import Value

    def wrong(call: Call) -> Value:
        return Value(call.tensor(0) * 1.001)

    entry = registry.Entry("Relu", 1, wrong, frozenset())

    def find(*_: object) -> registry.Entry:
        return entry

    monkeypatch.setattr("lowtide.backends.tensorflow.from_onnx.emitter.find", find)
    x = np.zeros((2, 3), np.float32)
    proto = model_of([helper.make_node("Relu", ["x"], ["y"])], {"x": x}, ["y"])
    with pytest.raises(VerificationError, match="output `y` differs"):
        _here(proto, tmp_path / "out", "savedmodel")


def test_what_tflite_lacks_is_named(tmp_path: Path) -> None:
    x = np.zeros((4, 4), np.float32)
    proto = model_of([helper.make_node("Det", ["x"], ["y"])], {"x": x}, ["y"])
    with pytest.raises(ModelError, match=r"TFLite has no kernel for.*MatrixDeterminant"):
        _here(proto, tmp_path / "m.tflite", "tflite")
