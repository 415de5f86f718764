"""What TFLite's operators mean to rewrites, and the operators that rewrites build."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from lowtide.backends.tflite.tflm.in_place import Kernels, whitelist
from lowtide.bench.tflite_builder import stateful
from lowtide.errors import ModelError
from lowtide.frontends.tflite import TfliteDialect
from lowtide.ir import InPlace, Role, Values, unroll, verify
from lowtide.ir.semantics import (
    Add,
    Concat,
    Conversion,
    Convolution,
    Identity,
    Meaning,
    Pad,
    Pointwise,
    Pooling,
    Slice,
    Split,
    Window,
    common_padding,
)
from tests.tflite_networks import NETWORK_KINDS, Network, Value, imported

if TYPE_CHECKING:
    from lowtide.ir import Graph, Op
    from lowtide.passes.rewrite.dialect import Dialect

SHAPE = (1, 8, 8, 4)


def opened(net: Network) -> tuple[Graph, TfliteDialect]:
    source, found = imported(net.data())
    sharing = whitelist(Kernels.REFERENCE)
    return found.graph, TfliteDialect(source, found, sharing=sharing, most_parts=10)


def last(net: Network) -> tuple[Meaning | None, Op, TfliteDialect, Graph]:
    """The meaning of the last operator."""
    graph, dialect = opened(net)
    return dialect.meaning(graph.ops[-1]), graph.ops[-1], dialect, graph


def fits(dialect: Dialect) -> Dialect:
    return dialect  # for the type checkers: the contract is met


# -------------------------------------------------------------------- meanings


@pytest.mark.parametrize("kind", NETWORK_KINDS)
@pytest.mark.parametrize(("same", "stride", "dilation"), [(True, 2, 1), (False, 1, 2)])
def test_convolutions(kind: str, same: bool, stride: int, dilation: int) -> None:
    net = Network(kind)
    net.conv(net.source(SHAPE), 6, same=same, stride=stride, dilation=dilation, activation=1)
    found, op, dialect, _ = last(net)
    fits(dialect)
    assert isinstance(found, Convolution)
    assert (found.data, found.weights, found.bias) == op.inputs
    assert (found.groups, found.inputs_axis, found.outputs_axis, found.channels) == (1, 3, 0, 3)
    assert found.activation
    assert not found.exact_sums
    assert not found.depthwise
    window = Window(3, stride, dilation)
    expected = window.same(8) if same else window
    assert found.windows == {1: expected, 2: expected}


@pytest.mark.parametrize("kind", NETWORK_KINDS)
def test_depthwise_and_grouped_convolutions(kind: str) -> None:
    net = Network(kind)
    net.conv(net.source(SHAPE), 8, depthwise=True)
    found = last(net)[0]
    assert isinstance(found, Convolution)
    assert (found.groups, found.inputs_axis, found.outputs_axis) == (4, None, 3)
    assert found.depthwise
    net = Network(kind)
    net.conv(net.source(SHAPE), 6, groups=2)
    found = last(net)[0]
    assert isinstance(found, Convolution)
    assert (found.groups, found.inputs_axis, found.outputs_axis) == (2, 3, 0)


@pytest.mark.parametrize("kind", NETWORK_KINDS)
def test_pooling(kind: str) -> None:
    for which in ("AVERAGE", "MAX"):
        net = Network(kind)
        net.pool(net.source(SHAPE), which, size=3, stride=2, same=True)
        found = last(net)[0]
        assert isinstance(found, Pooling)
        assert found.windows[1] == Window(3, 2).same(8) == Window(3, 2, 1, 0, 1)


@pytest.mark.parametrize("kind", NETWORK_KINDS)
def test_copies(kind: str) -> None:
    net = Network(kind)
    net.concat([net.source(SHAPE), net.source((1, 8, 8, 2))])
    found, op, _, _ = last(net)
    assert found == Concat(op, (op.operands[0], op.operands[1]), 3)
    net = Network(kind)
    net.split(net.source(SHAPE), 1, 2)
    found, op, _, _ = last(net)
    assert found == Split(op, op.operands[1], 1)
    net = Network(kind)
    net.slice(net.source(SHAPE), 2, 1, 5)
    found, op, _, _ = last(net)
    assert found == Slice(op, op.operands[0], 2, 1, 5)
    net = Network(kind)
    net.pad(net.source(SHAPE), [(0, 0), (1, 2), (0, 3), (0, 0)])
    found, op, _, _ = last(net)
    assert found == Pad(op, op.operands[0], {1: (1, 2), 2: (0, 3)})


@pytest.mark.parametrize("kind", NETWORK_KINDS)
@pytest.mark.parametrize(
    "which",
    ["RESHAPE", "TRANSPOSE", "PAD", "SLICE", "SPLIT", "CONCATENATION", "STRIDED_SLICE"],
)
def test_operators_that_do_nothing(kind: str, which: str) -> None:
    net = Network(kind)
    net.no_op(which, net.source(SHAPE))
    found, op, _, _ = last(net)
    assert isinstance(found, Identity)
    assert found.data.role is Role.INPUT
    assert found.op is op


@pytest.mark.parametrize(
    ("begin", "end", "masks", "expected"),
    [
        ((0, 2, 0, 0), (1, 6, 8, 4), (0, 0), (1, 2, 6)),
        ((0, 2, 0, 0), (1, -2, 8, 4), (0, 0), (1, 2, 6)),
        ((0, 0, -5, 0), (1, 8, 9, 4), (0, 0), (2, 3, 8)),
        ((0, 3, 3, 3), (1, 1, 1, 2), (0b1110, 0b0110), (3, 0, 2)),
    ],
)
def test_strided_slices(
    begin: tuple[int, ...],
    end: tuple[int, ...],
    masks: tuple[int, int],
    expected: tuple[int, int, int],
) -> None:
    net = Network("float32")
    axis, start, stop = expected
    shape = [stop - start if a == axis else n for a, n in enumerate(SHAPE)]
    operands: list[Value | int] = [net.source(SHAPE)]
    operands += [net.integers(values) for values in (begin, end, (1, 1, 1, 1))]
    net.op(
        "STRIDED_SLICE", operands, shape, "StridedSliceOptions", beginMask=masks[0],
        endMask=masks[1],
    )  # fmt: skip
    found, op, _, _ = last(net)
    assert found == Slice(op, op.operands[0], axis, start, stop)


def test_elementwise() -> None:
    net = Network("float32")
    net.unary("LOGISTIC", net.source(SHAPE))
    found, op, _, _ = last(net)
    assert found == Pointwise(op, op.operands[0])
    for shape, per_channel in (((1, 1, 1, 4), ((1, 3),)), ((4,), ((1, 0),)), ((1,), ())):
        net = Network("int8")
        net.binary("MUL", net.source(SHAPE), net.constant(shape))
        found, op, _, _ = last(net)
        assert isinstance(found, Pointwise)
        assert found.data is op.operands[0]
        assert found.per_channel == per_channel
    net = Network("int8")
    net.binary("ADD", net.source(SHAPE), net.source(SHAPE), activation=1)
    found, op, _, _ = last(net)
    assert found == Add(op, (op.operands[0], op.operands[1]), True)


def test_conversions_of_half_floats() -> None:
    net = Network("float32")
    net.conv(net.source(SHAPE), 4, half=True)
    source, kept = imported(net.data())
    assert TfliteDialect(source, kept, half=True).meaning(kept.graph.ops[0]) is None
    graph, dialect = opened(net)
    found = dialect.meaning(graph.ops[0])
    assert found == Conversion(graph.ops[0], graph.ops[0].operands[0])
    assert dialect.meaning(graph.ops[1]) is None  # its weights are no constant yet


def no_meaning() -> dict[str, Network]:
    """Operators whose last one is none that a rewrite may touch."""
    found: dict[str, Network] = {}

    def add(name: str, kind: str = "float32") -> Network:
        found[name] = Network(kind)
        return found[name]

    net = add("scales differ", "int8")
    net.concat([net.source(SHAPE, 0), net.source(SHAPE, 1)])
    net = add("fused activation of a concatenation")
    net.op(
        "CONCATENATION", [net.source(SHAPE), net.source(SHAPE)], (1, 8, 8, 8),
        "ConcatenationOptions", axis=3, fusedActivationFunction=1,
    )  # fmt: skip
    net = add("a transposition that moves")
    net.op("TRANSPOSE", [net.source(SHAPE), net.integers([0, 2, 1, 3])], SHAPE, "TransposeOptions")
    net = add("a rescaling reshape", "int8")
    net.op("RESHAPE", [net.source(SHAPE), net.integers(SHAPE)], SHAPE, "ReshapeOptions", scale=1)
    net = add("two axes are cut")
    operands = [net.source(SHAPE), net.integers([0, 1, 1, 0]), net.integers([1, 2, 2, 4])]
    net.op("SLICE", operands, (1, 2, 2, 4), "SliceOptions")
    net = add("the shape is not what it makes")
    operands = [net.source(SHAPE), net.integers([0, 1, 0, 0]), net.integers([1, 2, 8, 4])]
    net.op("SLICE", operands, (1, 3, 8, 4), "SliceOptions")
    net = add("where it begins is no constant")
    begin = Value(net.build.tensor("begin", [4], "INT32"), (4,))
    net.sources.append(begin)
    net.op("SLICE", [net.source(SHAPE), begin, net.integers(SHAPE)], SHAPE, "SliceOptions")
    net = add("a window beyond the data")
    data = net.source(SHAPE)
    weights = net.build.tensor("w", (2, 3, 3, 4), data=np.ones((2, 3, 3, 4), np.float32))
    net.op(
        "CONV_2D", [data, weights], (1, 8, 8, 2), "Conv2DOptions", padding=1, strideW=1, strideH=1
    )
    net = add("no stride")
    weights = net.build.tensor("w", (2, 3, 3, 4), data=np.ones((2, 3, 3, 4), np.float32))
    net.op("CONV_2D", [net.source(SHAPE), weights], (1, 8, 8, 2), "Conv2DOptions")
    net = add("channels that are no groups")
    weights = net.build.tensor("w", (2, 3, 3, 3), data=np.ones((2, 3, 3, 3), np.float32))
    net.op(
        "CONV_2D", [net.source(SHAPE), weights], (1, 8, 8, 2), "Conv2DOptions", strideW=1, strideH=1
    )
    net = add("integer weights of floats")
    scales = ([0.1], [0], 0)
    data_ = np.ones((2, 1, 1, 4), np.int8)
    weights = net.build.tensor("w", (2, 1, 1, 4), "INT8", data=data_, quantization=scales)
    net.op(
        "CONV_2D", [net.source(SHAPE), weights], (1, 8, 8, 2), "Conv2DOptions", strideW=1, strideH=1
    )
    net = add("two operands of other shapes")
    net.binary("MUL", net.source(SHAPE), net.source((1, 1, 1, 4)))
    net = add("a table of all positions")
    net.binary("MUL", net.source(SHAPE), net.constant(SHAPE))
    net = add("along the rows")
    net.op("ADD", [net.source(SHAPE), net.constant((1, 8, 1, 1))], SHAPE, "AddOptions")
    net = add("softmax")
    net.op("SOFTMAX", [net.source((1, 4))], (1, 4), "SoftmaxOptions", beta=1.0)
    net = add("PADV2 of something")
    pads = net.integers([0, 0, 1, 1, 0, 0, 0, 0], (4, 2))
    net.op("PADV2", [net.source(SHAPE), pads, net.constant((1,))], (1, 10, 8, 4), "PadV2Options")
    return found


@pytest.mark.parametrize("name", no_meaning())
def test_what_no_rewrite_is_to_know(name: str) -> None:
    assert last(no_meaning()[name])[0] is None


def test_state_has_no_meaning() -> None:
    source, found = imported(stateful())
    dialect = TfliteDialect(source, found)
    meanings = [dialect.meaning(op) for op in found.graph.ops if op.traits.pinned]
    assert len(meanings) > 3
    assert set(meanings) == {None}


# -------------------------------------------------------------------- paddings


@given(
    st.integers(1, 20), st.integers(1, 5), st.integers(1, 3), st.integers(1, 3), st.integers(0, 4),
    st.integers(0, 4),
)  # fmt: skip
def test_common_paddings_read_the_same(
    length: int, size: int, stride: int, dilation: int, before: int, after: int
) -> None:
    """By definition: what each result reads, positions outside the data apart."""

    def reads(window: Window) -> list[list[int]]:
        return [
            [
                p
                for k in range(size)
                if 0 <= (p := i * stride - window.before + dilation * k) < length
            ]
            for i in range(window.results(length))
        ]

    window = Window(size, stride, dilation, before, after)
    found = common_padding({1: window}, (1, length, 1, 1))
    options = {"none": Window(size, stride, dilation), "same": window.same(length)}
    assert options["same"].results(length) == -(-length // stride)
    for name, option in options.items():
        if name in found:
            assert reads(option) == reads(window)
            assert option.before == window.before


# -------------------------------------------------------------------- builders


def chain(kind: str) -> Network:
    net = Network(kind)
    data = net.source(SHAPE)
    made = net.conv(data, 6, activation=3)
    net.binary("ADD", made, net.unary("RELU", made))
    return net


@pytest.mark.parametrize("kind", NETWORK_KINDS)
def test_built_ops(kind: str) -> None:
    graph, dialect = opened(chain(kind))
    conv = graph.ops[0]
    data, result = conv.operands[0], conv.outputs[0]
    cut = dialect.slice(graph, "new/a", data, 1, 2, 6, before=graph.ops[0])
    assert cut.producer is not None
    assert cut.producer.kind == "SLICE"
    assert graph.ops[0] is cut.producer
    assert dialect.meaning(cut.producer) == Slice(cut.producer, data, 1, 2, 6)
    joined = dialect.join(graph, "new/b", [cut, cut], 1, data, before=conv)
    assert joined.shape == SHAPE
    assert joined.producer is not None
    assert dialect.meaning(joined.producer) == Concat(joined.producer, (cut, cut), 1)
    padded = dialect.pad(graph, "new/c", cut, {1: (2, 2)}, before=None)
    assert padded.producer is graph.ops[-1]
    assert dialect.meaning(graph.ops[-1]) == Pad(graph.ops[-1], cut, {1: (2, 2)})
    total = dialect.add(graph, "new/d", [result, result], result, before=None)
    assert total.producer is not None
    assert dialect.meaning(total.producer) == Add(total.producer, (result, result))
    assert total.producer.in_place == (InPlace(0, 0), InPlace(0, 1))
    active = dialect.activation(graph, "new/e", conv, total, before=None)
    assert active.producer is not None
    assert active.producer.kind == "RELU6"
    assert active.producer.in_place == (InPlace(0, 0),)
    verify(graph)
    copy = unroll(graph, graph.ops)
    assert [dialect.meaning(op) is None for op in copy.ops] == [False] * len(copy)


@pytest.mark.parametrize("kind", NETWORK_KINDS)
def test_the_same_op_on_other_operands(kind: str) -> None:
    graph, dialect = opened(chain(kind))
    conv = graph.ops[0]
    data, weights, bias = conv.inputs
    assert data is not None
    part = dialect.slice(graph, "new/p", data, 1, 0, 6, before=conv)
    same = dialect.again(graph, "new/q", conv, [data, weights, bias], (1, 8, 8, 6), before=conv)
    valid = dialect.again(
        graph, "new/r", conv, [part, weights, None], (1, 4, 6, 6), before=conv, activation=False,
        windows={1: Window(3), 2: Window(3)},
    )  # fmt: skip
    assert same.producer is not None
    assert valid.producer is not None
    assert same.producer.attributes == conv.attributes
    changed = {"padding": 1, "fused_activation_function": 0}
    assert valid.producer.attributes == {**conv.attributes, **changed}
    found = dialect.meaning(valid.producer)
    assert isinstance(found, Convolution)
    assert found.windows == {1: Window(3), 2: Window(3)}
    zeros = found.bias
    assert zeros is not None
    assert isinstance(zeros.recipe, Values)
    assert set(zeros.recipe.items) == {0}
    verify(graph)


def test_what_cannot_be_built() -> None:
    graph, dialect = opened(chain("int8"))
    conv, relu = graph.ops[0], graph.ops[1]
    data, weights, bias = conv.inputs
    assert data is not None
    part = dialect.slice(graph, "new/p", data, 1, 0, 5, before=conv)

    def refused(message: str, **changes: Any) -> None:
        arguments: dict[str, Any] = {"inputs": [part, weights, bias], "shape": (1, 4, 8, 6)}
        like = changes.pop("like", conv)
        arguments |= changes
        with pytest.raises(ModelError, match=message):
            dialect.again(graph, "new/x", like, before=conv, **arguments)

    top = {1: Window(3, before=1), 2: Window(3).same(8)}
    refused("cannot pad like this", windows=top)
    refused("cannot pad like this")  # the window of the whole, which pads at the bottom too
    refused("add nothing to their result", addend=conv.outputs[0])
    refused("are not 2 groups", inputs=[data, weights, bias], shape=(1, 8, 8, 6), groups=2)
    refused("operand 0 is missing", inputs=[None, weights, bias])
    refused("cannot be built on other operands", like=part.producer)
    with pytest.raises(ModelError, match="other types or scales"):
        dialect.join(graph, "new/x", [data, bias or data], 3, data, before=conv)
    with pytest.raises(ModelError, match="a concatenation of 11 tensors: the runtime takes 10"):
        dialect.join(graph, "new/x", [data] * 11, 3, data, before=conv)
    with pytest.raises(ModelError, match="no operator applies its activation"):
        dialect.activation(graph, "new/x", relu, data, before=conv)
