"""Refusals before any work: what is not emitted, and options that cannot be met."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import numpy as np
import onnx_ir
import pytest
from onnx import helper

from lowtide.backends.tensorflow import convert
from lowtide.backends.tensorflow.from_onnx.emitter import check
from lowtide.backends.tensorflow.from_onnx.graph import bind
from lowtide.errors import InputError, ModelError
from tests.backends.onnx_cases import model_of

_X = np.zeros((2, 3), np.float32)


def _model(kind: str, **attributes: object) -> onnx_ir.Model:
    node = helper.make_node(kind, ["x"], ["y"], name="odd", **attributes)  # type: ignore[arg-type]
    return onnx_ir.from_proto(model_of([node], {"x": _X}, ["y"], open_axes={"x": [0]}))


def test_unknown_operator_is_named_with_the_nearest() -> None:
    with pytest.raises(ModelError, match=r"Sigmoyd \(opset 17\), first at node `odd`.*`Sigmoid`"):
        check(_model("Sigmoyd"))


def test_sequences_are_refused_with_a_remedy() -> None:
    with pytest.raises(ModelError, match=r"SequenceConstruct .*unrolled into tensors"):
        check(_model("SequenceConstruct"))


def test_unknown_attribute_is_refused() -> None:
    with pytest.raises(ModelError, match=r"Relu .* attribute `slope`, first at node `odd`"):
        check(_model("Relu", slope=1.0))


def test_operators_within_subgraphs_are_checked() -> None:
    inner = helper.make_graph([helper.make_node("Sigmoyd", ["x"], ["z"])], "then", [], [])
    node = helper.make_node("If", ["c"], ["y"], then_branch=inner, else_branch=inner)
    model = model_of([node], {"c": np.array(True), "x": _X}, ["y"])
    with pytest.raises(ModelError, match="Sigmoyd"):
        check(onnx_ir.from_proto(model))


def test_check_works_without_tensorflow() -> None:
    code = (
        "import sys; from lowtide.backends.tensorflow.from_onnx.registry import emitted;"
        "from lowtide.backends.tensorflow import convert;"
        "print(len(emitted()), 'tensorflow' in sys.modules)"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    count, imported = done.stdout.split()
    assert int(count) >= 120
    assert imported == "False"


def test_options_that_contradict_each_other(tmp_path: Path) -> None:
    model = _model("Relu")
    with pytest.raises(InputError, match="does not exist"):
        convert(model, tmp_path / "no" / "model.tflite")
    with pytest.raises(InputError, match="is a folder"):
        convert(model, tmp_path, format="tflite")
    with pytest.raises(InputError, match="keeps its types"):
        convert(model, tmp_path / "model", quantize="float16")
    with pytest.raises(InputError, match="representative dataset"):
        convert(model, tmp_path / "model.tflite", quantize="int8")
    with pytest.raises(InputError, match=r"no\.npz does not exist"):
        convert(model, tmp_path / "m.tflite", quantize="int8", representative=tmp_path / "no.npz")
    assert not list(tmp_path.iterdir())


def test_bind() -> None:
    model = _model("Relu")
    bind(model, {"x_0": 5})
    assert model.graph.inputs[0].shape == onnx_ir.Shape([5, 3])
    other = _model("Relu")
    bind(other, {"x[0]": 6})
    assert other.graph.inputs[0].shape == onnx_ir.Shape([6, 3])
    last = _model("Relu")
    bind(last, {"*": 7})
    assert last.graph.inputs[0].shape == onnx_ir.Shape([7, 3])
    with pytest.raises(InputError, match="--dim nothing"):
        bind(_model("Relu"), {"nothing": 1})
