"""Rewrite rules on TFLite networks: executed in TFLite Micro and LiteRT before and after."""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING

import numpy as np
import pytest

from lowtide.backends.tflite import rebuild
from lowtide.errors import PlanError
from lowtide.frontends.tflite import TfliteDialect
from lowtide.ir import Role, unroll
from lowtide.passes.rewrite.cancel import Cancel
from lowtide.passes.rewrite.constants import Constants
from lowtide.passes.rewrite.flatten import Flatten
from lowtide.passes.rewrite.identity import Identity
from lowtide.passes.rewrite.kernelwise import Kernelwise
from lowtide.passes.rewrite.pad import Pad
from lowtide.passes.rewrite.registry import EXACT, rule
from lowtide.passes.rewrite.rule import Refusal, Rewrite
from lowtide.passes.rewrite.sums import Sums
from tests.tflite_networks import (
    NETWORK_KINDS,
    Network,
    difference,
    exhausted,
    feeds,
    imported,
    in_litert,
    in_tflm,
    network,
)

if TYPE_CHECKING:
    from collections.abc import Sequence

    from lowtide.passes.rewrite.rule import Rule

MOST_PARTS = 10  # that TFLite Micro concatenates
SHAPE = (1, 6, 6, 4)
in_xnnpack = partial(in_litert, kernels="AUTO")


def rewritten(data: bytes, rules: Sequence[Rule]) -> tuple[bytes, list[Rewrite], list[Refusal]]:
    """The file after all that the rules find."""
    source, found = imported(data)
    dialect = TfliteDialect(source, found, most_parts=MOST_PARTS)
    edited, applied, refused = exhausted(found.graph, dialect, rules)
    return rebuild(source, found, edited), applied, refused


def kinds_of(data: bytes) -> list[str]:
    return [op.kind for op in imported(data)[1].graph.ops]


def sites(data: bytes, one: Rule) -> list[Rewrite | Refusal]:
    source, found = imported(data)
    return list(one.sites(found.graph, TfliteDialect(source, found, most_parts=MOST_PARTS)))


# -------------------------------------------------------------------- all rules, random networks


@pytest.mark.parametrize("kind", NETWORK_KINDS)
@pytest.mark.parametrize("seed", range(100, 104))
def test_exact_rules_keep_every_bit(kind: str, seed: int) -> None:
    data = network(kind, seed)
    result, applied, _ = rewritten(data, EXACT)
    assert applied
    for runtime in (in_tflm, in_litert, in_xnnpack):
        assert difference(data, result, runtime) is None


def test_random_networks_have_what_the_rules_look_for() -> None:
    seen: set[str] = set()
    for seed in range(100, 112):
        seen |= {r.rule for r in rewritten(network("int8", seed), EXACT)[1]}
    assert seen == {r.name for r in EXACT}


@pytest.mark.parametrize("seed", range(3))
def test_half_floats_become_floats_that_tflm_runs(seed: int) -> None:
    data = network("float32", seed, half=True)
    assert "DEQUANTIZE" in kinds_of(data)
    with pytest.raises(AssertionError, match="TFLite Micro refused"):
        in_tflm(data)
    result, _, _ = rewritten(data, EXACT)
    assert "DEQUANTIZE" not in kinds_of(result)
    assert difference(data, result, in_litert) is None
    in_tflm(result)(feeds(result)[0])


@pytest.mark.parametrize("seed", range(200, 202))
def test_sums_stay_within_the_tolerance(seed: int) -> None:
    data = network("float32", seed, layers=8)
    source, found = imported(data)
    dialect = TfliteDialect(source, found, most_parts=MOST_PARTS)
    sums = Sums()
    for site in sums.sites(found.graph, dialect):
        assert isinstance(site, Rewrite)
        form = unroll(found.graph, found.graph.ops)
        sums.apply(form, dialect, site)
        edited = unroll(found.graph, found.graph.ops)
        sums.apply(edited, dialect, sums.settled(site, [op.name for op in reversed(form.ops)]))
        result = rebuild(source, found, edited)
        for runtime in (in_tflm, in_litert):
            before, after = runtime(data), runtime(result)
            for arrays in feeds(data):
                for one, other in zip(before(arrays), after(arrays), strict=True):
                    wide, other_wide = one.astype(np.float64), other.astype(np.float64)
                    scale = max(1.0, float(np.abs(wide).max()))
                    assert float(np.abs(wide - other_wide).max()) <= 1e-5 * scale


# -------------------------------------------------------------------- one rule each


@pytest.mark.parametrize("kind", NETWORK_KINDS)
def test_quantized_sums_are_refused(kind: str) -> None:
    net = Network(kind)
    data = net.source(SHAPE)
    net.conv(net.concat([net.conv(data, 3), net.conv(data, 2)]), 4)
    (site,) = sites(net.data(), Sums())
    if kind == "float32":
        assert site == Rewrite("sums", "CONV_2D_3", "*")
    else:
        assert isinstance(site, Refusal)
        assert site.reason == "partial sums of int8 are rounded one by one: other bits"


@pytest.mark.parametrize("kind", NETWORK_KINDS)
def test_kernelwise_with_scales_by_channel(kind: str) -> None:
    net = Network(kind, 4)
    data = net.source(SHAPE)
    parts = [net.conv(data, 3), data, net.conv(data, 2, scale=0)]
    net.conv(net.concat(parts), 18, depthwise=True, activation=3, stride=2, scale=1)
    model = net.data()
    result, applied, _ = rewritten(model, [Kernelwise()])
    assert applied == [Rewrite("kernelwise", "DEPTHWISE_CONV_2D_3")]
    assert kinds_of(result) == ["CONV_2D"] * 2 + ["DEPTHWISE_CONV_2D"] * 3 + ["CONCATENATION"]
    assert difference(model, result, in_tflm) is None
    assert difference(model, result, in_litert) is None


def test_concatenations_are_not_flattened_beyond_what_the_runtime_takes() -> None:
    net = Network("int8")
    data = net.source(SHAPE)
    inner = net.concat([net.unary("RELU", data) for _ in range(6)])
    net.concat([inner, *(net.unary("RELU", data) for _ in range(5))])
    (site,) = sites(net.data(), Flatten())
    assert isinstance(site, Refusal)
    assert site.reason == "it would have 11 parts, the runtime concatenates 10"


@pytest.mark.parametrize("kind", NETWORK_KINDS)
@pytest.mark.parametrize(("stride", "sizes"), [(1, (1, 1)), (2, (0, 1))])
@pytest.mark.parametrize("depthwise", [False, True])
def test_padding_that_a_convolution_can_do(
    kind: str, stride: int, sizes: tuple[int, int], depthwise: bool
) -> None:
    net = Network(kind, 9)
    padded = net.pad(net.source((1, 8, 8, 2)), [(0, 0), sizes, sizes, (0, 0)])
    net.conv(padded, 4, stride=stride, same=False, depthwise=depthwise)
    net.conv(padded, 2, stride=stride, same=False)
    data = net.data()
    result, applied, _ = rewritten(data, [Pad()])
    assert applied == [Rewrite("pad", "PAD_0")]
    assert "PAD" not in kinds_of(result)
    for runtime in (in_tflm, in_litert, in_xnnpack):
        assert difference(data, result, runtime) is None


def padded(sizes: Sequence[tuple[int, int]], *, same: bool = False) -> Network:
    net = Network("int8", 3)
    net.conv(net.pad(net.source(SHAPE), sizes), 2, same=same)
    return net


def test_padding_that_stays() -> None:
    both = [(0, 0), (1, 1), (1, 1), (0, 0)]
    uneven = padded([(0, 0), (1, 0), (1, 1), (0, 0)])
    deep = padded([(0, 0), (1, 1), (1, 1), (1, 0)])
    twice = padded(both, same=True)
    read_twice = padded(both)
    read_twice.unary("RELU", read_twice.made[0])
    for net, reason in (
        (uneven, "the format's convolutions cannot pad so, as `CONV_2D_1` would have to"),
        (twice, "the format's convolutions cannot pad so, as `CONV_2D_1` would have to"),
        (deep, "it pads axes along which `CONV_2D_1` has no window"),
        (read_twice, "the padded data is read by others too"),
    ):
        assert sites(net.data(), Pad()) == [Refusal("pad", "PAD_0", reason)]
    pooled = Network("int8")
    pooled.pool(pooled.pad(pooled.source(SHAPE), both), "MAX", size=3, stride=1, same=False)
    assert sites(pooled.data(), Pad()) == []


@pytest.mark.parametrize("kind", NETWORK_KINDS)
def test_no_ops_go(kind: str) -> None:
    net = Network(kind)
    value = net.conv(net.source(SHAPE), 4)
    for which in ("RESHAPE", "TRANSPOSE", "PAD", "SLICE", "SPLIT", "CONCATENATION"):
        value = net.no_op(which, value)
    net.conv(value, 2)
    data = net.data()
    result, applied, refused = rewritten(data, [Identity()])
    assert len(applied) == 6
    assert refused == []
    assert kinds_of(result) == ["CONV_2D"] * 2
    assert difference(data, result, in_tflm) is None


def test_no_ops_between_what_the_caller_sees_stay() -> None:
    net = Network("float32")
    data = net.source(SHAPE)
    net.no_op("RESHAPE", data)
    made = net.unary("RELU", data)
    second = net.no_op("RESHAPE", made)
    model = net.data(net.made[0], made, second)
    found = sites(model, Identity())
    assert [site.op for site in found] == ["RESHAPE_0", "RESHAPE_2"]
    for site in found:
        assert isinstance(site, Refusal)
        assert site.reason == "it makes an output of something that the caller has already"
    source, graph = imported(model)
    with pytest.raises(PlanError, match="identity@RESHAPE_0"):
        Identity().apply(
            graph.graph, TfliteDialect(source, graph), Rewrite("identity", "RESHAPE_0")
        )


def test_what_undoes_what_was_done() -> None:
    net = Network("int8")
    data = net.source((1, 6, 6, 4))
    halves = net.split(data, 3, 2)
    joined = net.concat(halves)  # the operand of the split
    other = net.concat([net.unary("RELU", joined), net.unary("RELU6", joined)], axis=1)
    first, second = net.split(other, 1, 2)  # what was put together
    one = net.slice(other, 1, 0, 6)  # the first of them
    inner = net.slice(other, 1, 7, 11)  # within the second of them
    cut = net.slice(net.slice(other, 2, 1, 6), 2, 2, 4)  # a slice of a slice
    for value in (first, second, one, inner, cut):
        net.conv(value, 2, size=1)
    model = net.data()
    result, applied, _ = rewritten(model, [Cancel()])
    assert len(applied) == 5
    left = kinds_of(result)
    assert [left.count(k) for k in ("SPLIT", "SLICE", "CONCATENATION")] == [0, 2, 1]
    assert difference(model, result, in_tflm) is None
    assert difference(model, result, in_litert) is None


def test_what_does_not_undo_it_stays() -> None:
    net = Network("int8")
    data = net.source((1, 6, 6, 4))
    halves = net.split(data, 3, 2)
    net.concat(halves[::-1])  # the other way round
    other = net.concat([net.unary("RELU", data), net.unary("RELU6", data)], axis=1)
    net.split(other, 1, 3)  # elsewhere
    net.slice(other, 1, 5, 7)  # of both parts
    net.slice(other, 2, 0, 3)  # along another axis
    assert sites(net.data(), Cancel()) == []


def test_constants_of_constants() -> None:
    net = Network("int8")
    data = net.source((1, 6, 6, 4))
    row = net.concat([net.constant((1, 1, 1, 2)), net.constant((1, 1, 1, 4))])
    first, second = net.split(row, 3, 2)
    part = net.slice(row, 3, 1, 5)
    value = net.binary("ADD", data, part)
    short = net.source((1, 6, 6, 3))
    net.binary("MUL", net.binary("ADD", short, first), second)
    net.binary("MUL", value, part)
    model = net.data()
    result, applied, _ = rewritten(model, [Constants()])
    assert len(applied) == 3
    assert sorted(kinds_of(result)) == ["ADD", "ADD", "MUL", "MUL"]
    assert difference(model, result, in_tflm) is None
    constants = [t for t in imported(result)[1].graph.tensors if t.role is Role.CONSTANT]
    assert sorted(t.shape[3] for t in constants) == [3, 3, 4]


def test_a_constant_that_the_caller_gets_is_computed() -> None:
    net = Network("int8")
    row = net.concat([net.constant((1, 1, 1, 2)), net.constant((1, 1, 1, 4))])
    other = net.unary("RELU", net.source((1, 1, 1, 4)))
    (site,) = sites(net.data(row, other), Constants())
    assert site == Refusal("constants", "CONCATENATION_0", "its result is an output")


def test_rules_refuse_what_is_no_site() -> None:
    net = Network("float32")
    net.unary("RELU", net.source(SHAPE))
    source, found = imported(net.data())
    dialect = TfliteDialect(source, found)
    for name in ("cancel", "constants", "identity", "pad"):
        with pytest.raises(PlanError, match=f"{name}@RELU_0"):
            rule(name).apply(found.graph, dialect, Rewrite(name, "RELU_0"))
