"""Tiles in TFLite files: written, planned, executed by TFLite Micro and LiteRT, bit for bit."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import pytest

import lowtide
from lowtide import optimizer
from lowtide.backends.tflite import emit, rebuild
from lowtide.backends.tflite.tflm import (
    ACCOUNTING,
    annotate,
    measure_scratch,
    plan_offsets,
)
from lowtide.frontends.tflite import TfliteDialect, import_graph, read
from lowtide.ir import simulate
from lowtide.passes.rewrite.regions import Limits, heights, regions
from lowtide.passes.rewrite.tiling import Tiling
from tests.tflite_networks import Network, difference, in_litert, in_tflm

if TYPE_CHECKING:
    from pathlib import Path

    from tests.tflite_networks import Value

LIMITS = Limits(ACCOUNTING, elided=True)


def chain(kind: str, seed: int) -> bytes:
    """Convolutions, pooling, and additions of what went before, of random sizes."""
    net = Network(kind, seed)
    rng = np.random.default_rng(seed)
    data: Value = net.source((1, int(rng.integers(9, 17)), 5, 4))
    for _ in range(int(rng.integers(2, 6))):
        choice = int(rng.integers(0, 5))
        size, stride = int(rng.integers(1, 4)), int(rng.integers(1, 3))
        if choice == 0:
            data = net.conv(data, 4, size=size, stride=stride)
        elif choice == 1:
            data = net.conv(data, data.shape[3], depthwise=True, stride=stride)
        elif choice == 2:
            which = "AVERAGE" if rng.random() < 0.5 else "MAX"
            data = net.pool(data, which, size=size + 1, stride=stride, same=True)
        elif choice == 3:
            other = net.conv(data, data.shape[3], size=3)
            data = net.binary("ADD", other, net.conv(data, data.shape[3], size=1))
        else:
            data = net.conv(data, 8, size=1)
    return net.data()


def bottleneck() -> bytes:
    """Narrow, wide, narrow."""
    net = Network("int8", 3)
    data = net.source((1, 24, 24, 4))
    wide = net.conv(net.conv(data, 32, size=1), 32, depthwise=True, stride=2)
    net.conv(net.conv(wide, 4, size=1), 2, size=1, stride=2)
    return net.data()


@pytest.mark.parametrize("seed", range(6))
@pytest.mark.parametrize("kind", ["int8", "float32"])
def test_any_region_in_any_tiles_runs_the_same(kind: str, seed: int) -> None:
    data = chain(kind, seed)
    source = read(data)
    imported = import_graph(source)
    edited = import_graph(source).graph
    dialect = TfliteDialect(source, imported, most_parts=10)
    rng = np.random.default_rng(seed)
    sites = [
        (region, region.even(height), bool(rng.random() < 0.5))
        for region in regions(edited, dialect, LIMITS)
        for height in heights(region)
    ]
    region, sizes, upward = sites[int(rng.integers(len(sites)))]
    rule = Tiling(LIMITS)
    rule.apply(edited, dialect, rule.site(region, sizes, upward=upward))
    tiled = read(rebuild(source, imported, edited))
    assert len(tiled.model.subgraphs[0].operators) == len(edited.ops)
    plan = plan_offsets(tiled.model, scratch=measure_scratch(tiled).sizes, work_limit=100_000)
    result = emit(tiled, range(len(edited.ops)), metadata=plan.metadata)
    assert difference(data, result, in_tflm) is None
    assert difference(data, result, in_litert) is None


def test_the_estimate_is_the_load_of_what_was_built() -> None:
    source = read(bottleneck())
    imported = import_graph(source)
    annotate(imported.graph, source.model, measure_scratch(source))
    dialect = TfliteDialect(source, imported, most_parts=10)
    rule = Tiling(Limits(ACCOUNTING))
    best = rule.choices(imported.graph, dialect)[0]
    edited = import_graph(source).graph
    annotate(edited, source.model, measure_scratch(source))
    for rewrite in rule.rewrites(best):
        rule.apply(edited, dialect, rewrite)
    assert simulate(edited, ACCOUNTING).peak_bytes <= best.peak_bytes < best.before_bytes
    work = sum(op.flops for op in edited.ops) - sum(op.flops for op in imported.graph.ops)
    assert work == best.extra_work


def test_a_network_is_tiled_measured_and_replayed(tmp_path: Path) -> None:
    path, plan = tmp_path / "model.tflite", tmp_path / "plan.json"
    data = bottleneck()
    path.write_bytes(data)
    result = lowtide.optimize(path, output=tmp_path / "tiled.tflite", plan_out=plan)
    rules = {text.partition("@")[0] for text in result.plan.rewrites}
    assert "tiling" in rules
    report = result.report
    assert report.verification["numerics"] == "identical"
    measured = {k: int(v) for k, v in report.measured.items() if isinstance(v, int)}
    assert measured["peak_after"] == result.plan.arena_bytes
    assert 2 * measured["peak_after"] < measured["peak_before"]
    assert measured["required_after"] < measured["required_before"]
    written = (tmp_path / "tiled.tflite").read_bytes()
    assert difference(data, written, in_tflm) is None
    assert difference(data, written, in_litert) is None
    optimizer.apply(plan, path, output=tmp_path / "again.tflite")
    assert (tmp_path / "again.tflite").read_bytes() == written


def test_without_rewrites_nothing_is_tiled(tmp_path: Path) -> None:
    path = tmp_path / "model.tflite"
    path.write_bytes(bottleneck())
    result = lowtide.optimize(path, output=tmp_path / "out.tflite", rewrite="none")
    assert not result.plan.rewrites
