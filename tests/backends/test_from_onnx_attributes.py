"""Attributes that are easily misread: scaling values of activations, rounding of open sizes."""

from __future__ import annotations

import numpy as np
import onnx_ir
import pytest
from onnx import helper

from lowtide.backends.tensorflow.from_onnx.graph import build
from lowtide.errors import ModelError
from tests.backends.onnx_cases import agrees, model_of

pytestmark = [pytest.mark.tensorflow, pytest.mark.filterwarnings("ignore")]


def test_alphas_go_to_the_activations_that_have_them() -> None:
    """As in ONNX Runtime: neither Sigmoid nor Tanh takes one."""
    draw = np.random.default_rng(0)
    x = draw.standard_normal((3, 2, 4)).astype(np.float32)
    weights = {
        "w": draw.standard_normal((1, 12, 4)).astype(np.float32),
        "r": draw.standard_normal((1, 12, 3)).astype(np.float32),
    }
    names = ["Sigmoid", "LeakyRelu", "Tanh"]
    node = helper.make_node(
        "LSTM", ["x", "w", "r"], ["y"], hidden_size=3, activations=names, activation_alpha=[0.3]
    )
    agrees(model_of([node], {"x": x}, ["y"], weights), {"x": x})
    node.attribute[1].strings[:] = [b"Sigmoid"]
    model = model_of([node], {"x": x}, ["y"], weights)
    with pytest.raises(ModelError, match="1 activations are given: 3 are needed"):
        build(onnx_ir.from_proto(model))


@pytest.mark.parametrize("rounding", ["round_prefer_floor", "round_prefer_ceil", "floor", "ceil"])
@pytest.mark.parametrize("coordinates", ["half_pixel", "asymmetric"])
@pytest.mark.parametrize("factor", [2, 3])
def test_nearest_of_open_sizes(rounding: str, coordinates: str, factor: int) -> None:
    """It is what ONNX Runtime gives, or refused."""
    x = np.arange(2 * 3 * 5, dtype=np.float32).reshape(1, 2, 3, 5)
    node = helper.make_node(
        "Resize",
        ["x", "", "s"],
        ["y"],
        mode="nearest",
        coordinate_transformation_mode=coordinates,
        nearest_mode=rounding,
    )
    constants = {"s": np.array([1, 1, factor, factor], np.float32)}
    model = model_of([node], {"x": x}, ["y"], constants, open_axes={"x": [2, 3]})
    alike = rounding.startswith("round") if coordinates == "half_pixel" else rounding == "floor"
    if alike:
        agrees(model, {"x": x})
    else:
        with pytest.raises(ModelError, match="bind it with --dim"):
            build(onnx_ir.from_proto(model))
