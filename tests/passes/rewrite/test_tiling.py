"""Regions run tile by tile compute the same, bit for bit, and need less."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from lowtide.errors import PlanError
from lowtide.ir import Accounting, Graph, Role, simulate, verify
from lowtide.ir.semantics import Window
from lowtide.passes.rewrite.regions import Limits, heights, regions
from lowtide.passes.rewrite.rule import Rewrite
from lowtide.passes.rewrite.tiling import Tiling
from tests.passes.rewrite.rowwise import Rowwise, execute, same, window_attributes

if TYPE_CHECKING:
    from lowtide.ir import Tensor

LIMITS = Limits(Accounting(inputs_in_arena=True, alignment=1))


class Network:
    """A graph under construction, with its weights."""

    def __init__(self, rows: int, columns: int, channels: int, *, free: bool, seed: int) -> None:
        self.graph = Graph()
        self.free = free
        self.random = np.random.default_rng(seed)
        self.weights: dict[str, np.ndarray] = {}
        self.input = self.graph.add_tensor(
            "input", "int64", (1, rows, columns, channels), role=Role.INPUT
        )

    def op(
        self, kind: str, inputs: list[Tensor], size: int = 1, stride: int = 1, channels: int = 0
    ) -> Tensor:
        data = inputs[0]
        name = f"{kind}{len(self.graph)}"
        shape = data.shape
        attributes: dict[str, int | tuple[int, ...]] = {}
        operands = list(inputs)
        flops = 0
        if kind in ("conv", "depthwise", "average"):
            windows = {axis: same(size, stride, shape[axis]) for axis in (1, 2)}
            if self.free and size > 1:
                windows[1] = Window(
                    size, stride, 1, *(int(n) for n in self.random.integers(0, 2, 2))
                )
            attributes |= window_attributes(windows)
            channels = channels if kind == "conv" else shape[3]
            shape = (1, windows[1].results(shape[1]), windows[2].results(shape[2]), channels)
            flops = 2 * int(np.prod(shape)) * size * size
        if kind == "conv":
            made = self.random.integers(-9, 9, (size, size, data.shape[3], channels))
            self.weights[f"{name}/weights"] = made
            operands.append(
                self.graph.add_tensor(f"{name}/weights", "int64", made.shape, role=Role.CONSTANT)
            )
            flops *= data.shape[3]
        if kind == "join":
            attributes["axis"] = 3
            shape = (*shape[:3], sum(t.shape[3] for t in inputs))
        result = self.graph.add_tensor(name, "int64", shape)
        self.graph.add_op(
            name, "test", kind, operands, [result], attributes=attributes, flops=flops
        )
        return result

    def run(self) -> list[np.ndarray]:
        data = np.random.default_rng(7).integers(-99, 99, self.input.shape)
        return execute(self.graph, {"input": data}, self.weights)


@st.composite
def networks(draw: st.DrawFn) -> Network:
    network = Network(
        draw(st.integers(6, 20)), 4, 2, free=draw(st.booleans()), seed=draw(st.integers(0, 99))
    )
    value = network.input
    for _ in range(draw(st.integers(1, 5))):
        kind = draw(
            st.sampled_from(["conv", "depthwise", "average", "square", "residual", "branches"])
        )
        size, stride = draw(st.integers(1, 3)), draw(st.integers(1, 2))
        if value.shape[1] < 5:
            stride = 1
        if kind == "residual":
            inner = network.op("square", [value])
            padded = network.op("depthwise", [inner], 1)
            value = network.op("add", [padded, value])
        elif kind == "branches":
            size = 1 if network.free else size
            one = network.op("conv", [value], size, 1, 2)
            two = network.op("average", [value], 1)
            value = network.op("join", [one, two])
        elif kind == "conv":
            value = network.op("conv", [value], size, stride, draw(st.integers(1, 3)))
        elif kind == "square":
            value = network.op("square", [value])
        else:
            value = network.op(kind, [value], size, stride)
    network.graph.add_output(value)
    return network


@given(networks(), st.integers(0, 10**6), st.booleans(), st.booleans())
@settings(max_examples=150, deadline=None)
def test_any_region_in_any_tiles_computes_the_same(
    network: Network, pick: int, elided: bool, upward: bool
) -> None:
    dialect = Rowwise(any_padding=network.free)
    rule = Tiling(Limits(LIMITS.accounting, elided=elided))
    found = list(regions(network.graph, dialect, rule.limits))
    expected = network.run()
    sites = [(region, height) for region in found for height in heights(region)]
    sites = [(r, h) for r, h in sites if r.estimate(r.even(h), upward=upward) is not None]
    if not sites:
        return
    region, height = sites[pick % len(sites)]
    rule.apply(network.graph, dialect, rule.site(region, region.even(height), upward=upward))
    verify(network.graph)
    for one, other in zip(expected, network.run(), strict=True):
        assert np.array_equal(one, other)


def bottleneck() -> Network:
    """A narrow input, a wide middle, a narrow result, twice."""
    network = Network(32, 8, 2, free=False, seed=1)
    value = network.op("conv", [network.input], 1, 1, 12)
    value = network.op("depthwise", [value], 3, 2)
    narrow = network.op("conv", [value], 1, 1, 4)
    value = network.op("conv", [narrow], 1, 1, 24)
    value = network.op("depthwise", [value], 3, 1)
    value = network.op("conv", [value], 1, 1, 4)
    value = network.op("add", [value, narrow])
    network.graph.add_output(value)
    return network


@pytest.mark.parametrize("free", [False, True])
def test_the_chosen_tiles_lower_the_simulated_peak(free: bool) -> None:
    network = bottleneck()
    dialect = Rowwise(any_padding=free)
    rule = Tiling(LIMITS, recompute_limit=0.3)
    expected = network.run()
    before = simulate(network.graph, LIMITS.accounting).peak_bytes
    choices = rule.choices(network.graph, dialect)[0]
    assert choices.before_bytes == before
    work = sum(op.flops for op in network.graph.ops)
    for site in list(rule.sites(network.graph, dialect)):
        assert isinstance(site, Rewrite)
        rule.apply(network.graph, dialect, site)
    verify(network.graph)
    after = simulate(network.graph, LIMITS.accounting).peak_bytes
    assert after < before // 2
    assert after == choices.peak_bytes
    done = sum(op.flops for op in network.graph.ops)
    assert done == work + choices.extra_work
    assert done <= 1.3 * work
    for one, other in zip(expected, network.run(), strict=True):
        assert np.array_equal(one, other)


def test_no_work_may_be_repeated_no_tile_overlaps() -> None:
    network = bottleneck()
    dialect = Rowwise(any_padding=False)
    choices = Tiling(LIMITS, recompute_limit=0.0).choices(network.graph, dialect)
    assert all(each.extra_work == 0 for each in choices)


def test_a_tensor_that_others_read_is_not_inside_a_region() -> None:
    network = Network(16, 4, 2, free=False, seed=0)
    one = network.op("depthwise", [network.input], 3)
    two = network.op("depthwise", [one], 3)
    three = network.op("depthwise", [two], 3)
    network.graph.add_output(one)
    network.graph.add_output(three)
    dialect = Rowwise(any_padding=False)
    found = {(r.entry.name, r.result.name) for r in regions(network.graph, dialect, LIMITS)}
    assert found == {
        ("input", one.name),
        (one.name, two.name),
        (one.name, three.name),
        (two.name, three.name),
    }


@pytest.mark.parametrize(
    "rewrite",
    [
        Rewrite("tiling", "nowhere", "1x16,16"),
        Rewrite("tiling", "conv0", "two"),
        Rewrite("tiling", "conv0", "2x16,16"),
        Rewrite("tiling", "conv0", "1x0,32"),
        Rewrite("tiling", "conv0", "1x16,15"),
        Rewrite("tiling", "conv0", "1x32"),
        Rewrite("tiling", "add6", "1x8,8"),
        Rewrite("other", "conv0", "1x16,16"),
    ],
)
def test_what_is_no_site_is_refused(rewrite: Rewrite) -> None:
    network = bottleneck()
    with pytest.raises(PlanError, match="is no site of this graph"):
        Tiling(LIMITS).apply(network.graph, Rowwise(any_padding=False), rewrite)
