"""Rewriting .tflite files from the command line's library side: chosen, executed, written."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

import lowtide
from lowtide import optimizer
from lowtide.frontends.tflite import import_graph, read
from tests.tflite_networks import Network, difference, in_litert, in_tflm

if TYPE_CHECKING:
    from pathlib import Path

    from tests.tflite_networks import Value

SHAPE = (1, 8, 8, 4)


def joined(kind: str, *, depthwise: bool = False, half: bool = False) -> bytes:
    """Four branches, put together for one convolution."""
    net = Network(kind, 11)
    data = net.source(SHAPE)

    def branch() -> Value:
        return net.conv(net.conv(data, 2, size=1), 8, size=1)

    whole = net.concat([branch() for _ in range(4)])
    if depthwise:
        whole = net.conv(whole, 32, depthwise=True, stride=2)
    net.conv(whole, 2, half=half)
    return net.data()


def optimized(folder: Path, data: bytes, rewrite: str) -> lowtide.Result:
    (folder / "model.tflite").write_bytes(data)
    return lowtide.optimize(
        folder / "model.tflite", output=folder / f"{rewrite}.tflite", rewrite=rewrite
    )


def test_float_sums_lower_the_arena_that_tflm_needs(tmp_path: Path) -> None:
    result = optimized(tmp_path, joined("float32"), "float")
    assert [text.partition("@")[0] for text in result.plan.rewrites] == ["sums"]
    assert result.report.verification["numerics"] in {"identical", "close"}
    check_gain(result)


def check_gain(result: lowtide.Result) -> None:
    """Measured: less than without rewrites, and what was planned."""
    assert result.report.rewriting is not None
    without = int(str(result.report.rewriting["peak_without"]))
    measured = {k: int(v) for k, v in result.report.measured.items() if isinstance(v, int)}
    assert measured["peak_after"] == result.plan.arena_bytes
    assert measured["peak_after"] < without <= measured["peak_before"]
    assert measured["required_after"] < measured["required_before"]


def test_exact_rewrites_of_int8_keep_every_bit(tmp_path: Path) -> None:
    """And the plan, applied to the file as it came, gives the same file."""
    data = joined("int8", depthwise=True)
    result = optimized(tmp_path, data, "exact")
    assert "kernelwise" in {text.partition("@")[0] for text in result.plan.rewrites}
    assert result.report.verification["numerics"] == "identical"
    check_gain(result)
    written = (tmp_path / "exact.tflite").read_bytes()
    assert difference(data, written, in_tflm) is None
    assert difference(data, written, in_litert) is None
    again = tmp_path / "again.tflite"
    optimizer.apply(result.plan, tmp_path / "model.tflite", output=again, verify=False)
    assert again.read_bytes() == written


def test_a_budget_is_for_the_whole_arena(tmp_path: Path) -> None:
    """Between the arenas with and without rewrites, although the heads of both are below it."""
    data = joined("int8", depthwise=True)
    measured = optimized(tmp_path, data, "exact").report.measured
    before, after = (int(str(measured[f"required_{which}"])) for which in ("before", "after"))
    assert after < before
    result = lowtide.optimize(
        tmp_path / "model.tflite", output=tmp_path / "within.tflite", budget=(before + after) // 2
    )
    assert result.budget_met
    assert result.plan.rewrites
    assert int(str(result.report.measured["required_after"])) <= (before + after) // 2


def test_weights_in_half_are_widened_for_tflm(tmp_path: Path) -> None:
    data = joined("float32", half=True)
    with pytest.raises(AssertionError, match="TFLite Micro refused"):
        in_tflm(data)
    result = optimized(tmp_path, data, "exact")
    assert result.report.verification == {
        "numerics": "identical",
        "max_abs_error": 0.0,
        "order": "executed",
    }
    assert result.report.measured["peak_before"] is None
    assert result.report.measured["peak_after"] == result.plan.arena_bytes
    assert any("weights stored as float16" in note for note in result.report.notes)
    written = read(tmp_path / "exact.tflite")
    assert all(op.kind != "DEQUANTIZE" for op in import_graph(written).graph.ops)
    assert difference(data, bytes(written.data), in_litert) is None
