"""Orders of axes: reshaping in place, transposes that meet and cancel, and what is left."""

from __future__ import annotations

import itertools
import math
from collections.abc import Callable

import numpy as np
import onnx
import onnx_ir
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from onnx import helper

from lowtide.backends.tensorflow.from_onnx import layout
from lowtide.backends.tensorflow.from_onnx.graph import build
from lowtide.backends.tensorflow.from_onnx.lazy import tf
from lowtide.backends.tensorflow.from_onnx.reshape import blocks, flattened, through
from lowtide.backends.tensorflow.from_onnx.value import Value, agree
from lowtide.bench.onnx_networks import mobilenet_v2, unet
from tests.backends.onnx_cases import agrees, model_of

pytestmark = [pytest.mark.tensorflow, pytest.mark.filterwarnings("ignore")]

_SHAPES = st.lists(st.integers(1, 4), min_size=1, max_size=4)


def _lying(array: np.ndarray[tuple[int, ...], np.dtype[np.int64]], order: tuple[int, ...]) -> Value:
    return Value(tf.constant(array.transpose(order)), order)


@given(st.data(), _SHAPES)
@settings(max_examples=80)
def test_reshape_in_any_order_is_numpys(data: st.DataObject, shape: list[int]) -> None:
    array = np.arange(math.prod(shape), dtype=np.int64).reshape(shape)
    order = tuple(data.draw(st.permutations(range(len(shape)))))
    # A new shape: factors of the old one, joined at drawn places.
    factors = [f for size in shape for f in ([2, 2] if size == 4 else [size])]
    factors += [1] * data.draw(st.integers(0, 2))
    cuts = sorted(data.draw(st.sets(st.integers(1, len(factors)), max_size=3)))
    edges = [0, *cuts, len(factors)]
    new = [math.prod(factors[a:b]) for a, b in itertools.pairwise(edges)]
    moved = through(_lying(array, order), new)
    if moved is not None:
        assert moved.shape == tuple(new)
        assert np.array_equal(np.asarray(moved.tensor), array.reshape(new))
    flat = flattened(_lying(array, order), [shape[0], -1])
    if flat is not None:
        rows = array.reshape(shape[0], -1)
        assert np.array_equal(np.asarray(flat.tensor), rows)
        assert np.array_equal(np.asarray(flat.lying), rows[:, flat.places])


def test_blocks() -> None:
    assert blocks([2, 6, 5], [2, 3, 2, 5]) == [([0], [0]), ([1], [1, 2]), ([2], [3])]
    assert blocks([2, 3, 5], [6, 5]) == [([0, 1], [0]), ([2], [1])]
    assert blocks([None, 4], [None, 2, 2]) == [([0], [0]), ([1], [1, 2])]
    assert blocks([None, 4], [4, None]) is None
    assert blocks([4, 3], [6, 2]) == [([0, 1], [0, 1])]


@given(st.data())
@settings(max_examples=40)
def test_operands_agree_on_an_order(data: st.DataObject) -> None:
    shape = data.draw(st.lists(st.integers(1, 3), min_size=2, max_size=4))
    arrays: list[np.ndarray[tuple[int, ...], np.dtype[np.int64]]] = []
    values: list[Value] = []
    for _ in range(2):
        short = data.draw(st.integers(0, len(shape)))
        own = [data.draw(st.sampled_from([1, size])) for size in shape[short:]]
        array = np.arange(math.prod(own), dtype=np.int64).reshape(own) + 1
        arrays.append(array)
        if data.draw(st.booleans()):
            values.append(Value(None, array=array))
        else:
            values.append(_lying(array, tuple(data.draw(st.permutations(range(len(own)))))))
    tensors, order = agree(values)
    total = Value(tf.add(*tensors), order)
    assert np.array_equal(np.asarray(total.tensor), arrays[0] + arrays[1])


def test_moving_axes_of_size_one_is_a_reshape() -> None:
    value = Value(tf.constant(np.zeros((2, 1, 1, 3), np.float32)), (0, 2, 3, 1))

    @tf.function
    def native() -> object:
        return value.again().tensor

    graph = native.get_concrete_function().graph
    assert [op.type for op in graph.get_operations()].count("Transpose") == 0
    assert value.tensor.shape.as_list() == [2, 3, 1, 1]


@pytest.mark.parametrize("network", [mobilenet_v2, unet])
def test_no_transpose_inside_of_a_cnn(network: Callable[[], onnx.ModelProto]) -> None:
    built = build(onnx_ir.from_proto(network()))
    assert [t.place for t in layout.in_graph(built.function)] == ["input"]


def test_flatten_before_gemm_costs_no_transpose() -> None:
    x = np.random.default_rng(0).standard_normal((2, 3, 6, 5)).astype(np.float32)
    draw = np.random.default_rng(1)
    nodes = [
        helper.make_node("Conv", ["x", "w"], ["a"]),
        helper.make_node("Flatten", ["a"], ["b"]),
        helper.make_node("Gemm", ["b", "m"], ["y"], transB=1),
    ]
    constants = {
        "w": draw.standard_normal((4, 3, 3, 3)).astype(np.float32),
        "m": draw.standard_normal((7, 4 * 4 * 3)).astype(np.float32),
    }
    built = agrees(model_of(nodes, {"x": x}, ["y"], constants), {"x": x})
    assert [t.place for t in layout.in_graph(built.function)] == ["input"]


def test_what_is_left_inside_is_reported() -> None:
    x = np.random.default_rng(0).standard_normal((1, 4, 5, 6)).astype(np.float32)
    nodes = [
        helper.make_node("Conv", ["x", "w"], ["a"], name="conv"),
        helper.make_node("CumSum", ["a", "axis"], ["b"], name="sum"),
        helper.make_node("Conv", ["b", "w"], ["y"], name="again"),
    ]
    constants = {
        "w": np.random.default_rng(1).standard_normal((4, 4, 1, 1)).astype(np.float32),
        "axis": np.array(2, np.int64),
    }
    built = agrees(model_of(nodes, {"x": x}, ["y"], constants), {"x": x})
    left = layout.in_graph(built.function)
    assert [(t.name.partition("/")[0], t.place) for t in left] == [
        ("conv", "input"),
        ("sum", "inside"),
        ("again", "inside"),
        ("layout", "output"),
    ]
