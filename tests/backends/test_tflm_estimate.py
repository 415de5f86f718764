"""Formulas for libraries that are not executed here, against values worked out by hand."""

from __future__ import annotations

import importlib
from typing import Any

import numpy as np
import pytest

from lowtide.backends.tflite.tflm import Kernels, estimate_scratch, measure_scratch
from lowtide.backends.tflite.tflm.scratch import KernelScratch
from lowtide.errors import InputError
from lowtide.frontends.tflite import read
from tests.backends.tflm_models import ModelBuilder, branching_model, scratch_model

fb: Any = importlib.import_module("ai_edge_litert.schema_py_generated")
_NONE = KernelScratch({}, "planner")


def layer(
    kind: str,
    source: tuple[int, ...],
    weights: tuple[int, ...],
    result: tuple[int, ...],
    *,
    dtype: str = "int8",
    stride: int = 1,
    dilation: int = 1,
) -> bytes:
    model = ModelBuilder()
    main = model.subgraph()
    value = main.tensor(source, dtype)
    held = main.tensor(weights, "int8", data=np.ones(weights))
    output = main.tensor(result, dtype)
    options = fb.Conv2DOptionsT() if kind == "CONV_2D" else fb.DepthwiseConv2DOptionsT()
    options.strideH = options.strideW = stride
    options.dilationHFactor = options.dilationWFactor = dilation
    main.op(kind, [value, held], [output], options)
    main.subgraph.inputs, main.subgraph.outputs = [value], [output]
    return model.finish()


def sizes(data: bytes, kernels: Kernels, *, dsp: bool = True) -> dict[tuple[int, int], int]:
    found = estimate_scratch(read(data).model, _NONE, kernels, dsp=dsp)
    assert not found.validated
    assert found.unknown == ()
    return {key: size[0] for key, size in found.sizes.items()}


_CONV = ("CONV_2D", (1, 8, 8, 3), (16, 3, 3, 3), (1, 8, 8, 16))
_POINT = ("CONV_2D", (1, 8, 8, 3), (16, 1, 1, 3), (1, 8, 8, 16))
_DEPTH = ("DEPTHWISE_CONV_2D", (1, 8, 8, 16), (1, 5, 5, 16), (1, 8, 8, 16))
_DEPTH3 = ("DEPTHWISE_CONV_2D", (1, 8, 8, 16), (1, 3, 3, 16), (1, 8, 8, 16))


@pytest.mark.parametrize(
    ("case", "dtype", "dsp", "expected"),
    [
        (_CONV, "int8", True, 4 * 28),  # 27 taps, rounded up to 28, two columns of int16
        (_CONV, "int8", False, 4 * 28),
        (_CONV, "int16", True, 4 * 27),
        (_CONV, "int16", False, 0),
        (_CONV, "float32", True, 0),
        (_POINT, "int8", True, 0),
        (_DEPTH, "int8", True, 2 * 400),
        (_DEPTH, "int8", False, 0),
        (_DEPTH, "int16", True, 2 * 400),
        (_DEPTH3, "int8", True, 0),
    ],
)
def test_cmsis_nn(case: tuple[Any, ...], dtype: str, dsp: bool, expected: int) -> None:
    found = sizes(layer(*case, dtype=dtype), Kernels.CMSIS_NN, dsp=dsp)
    assert found == ({(0, 0): expected} if expected else {})


@pytest.mark.parametrize(
    ("case", "expected"),
    [
        # input padded to 10 x 10 x 3, weights of 16 channels, alignment, one int32 per result
        (_CONV, 10 * 10 * 3 + 9 * 16 * 16 + 32 + 4 * 16),
        # channels padded to 8 in input and weights, eight lines transposed
        (_POINT, 64 * 8 + 8 * 16 + 2 * 8 * 8 + 32),
        (_DEPTH, 32),
        (_DEPTH3, 9 * 16 + 10 * 10 * 16 + 16),
    ],
)
def test_esp_nn(case: tuple[Any, ...], expected: int) -> None:
    assert sizes(layer(*case), Kernels.ESP_NN) == {(0, 0): expected}
    assert sizes(layer(*case, dtype="int16"), Kernels.ESP_NN) == {}


def test_a_dilated_pointwise_convolution_is_no_pointwise_one() -> None:
    data = layer("CONV_2D", (1, 8, 8, 4), (4, 1, 1, 4), (1, 8, 8, 4), dilation=2)
    assert sizes(data, Kernels.CMSIS_NN) == {(0, 0): 16}


def test_operators_without_kernels_of_the_librarys_own_keep_their_scratch() -> None:
    source = read(scratch_model())
    reference = measure_scratch(source)
    kinds = {(0, op.index): op.kind for op in source.model.subgraphs[0].operators}
    cmsis = estimate_scratch(source.model, reference, Kernels.CMSIS_NN)
    assert {kinds[key] for key in cmsis.unknown} == {"TRANSPOSE_CONV"}
    assert {kinds[k]: v for k, v in cmsis.sizes.items()} == {
        kinds[k]: v for k, v in reference.sizes.items() if kinds[k] != "TRANSPOSE_CONV"
    }
    esp = estimate_scratch(source.model, reference, Kernels.ESP_NN)
    assert esp.sizes == reference.sizes
    assert esp.unknown == ()
    with pytest.raises(InputError, match="measured, not estimated"):
        estimate_scratch(source.model, reference, Kernels.REFERENCE)


def test_what_the_reference_probes_left_unknown_stays_unknown() -> None:
    source = read(branching_model())
    adds = tuple((0, op.index) for op in source.model.subgraphs[0].operators if op.kind == "ADD")
    found = estimate_scratch(source.model, KernelScratch({}, "probes", adds), Kernels.CMSIS_NN)
    assert found.unknown == adds
