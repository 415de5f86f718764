"""Figures that several pages tell."""

from __future__ import annotations

from typing import TYPE_CHECKING

from lowtide.bench.book.claim import at_most, holds, spelled
from lowtide.bench.book.tables import rewriting
from lowtide.bench.protocol import geometric_mean

if TYPE_CHECKING:
    from collections.abc import Sequence

    from lowtide.bench.book.claim import Value
    from lowtide.bench.book.results import Record

__all__ = ["checkpoints", "conformance", "example", "gains", "rivals", "seeds", "tvm_plans"]


def example(found: Record) -> Record:
    """The row of `examples/randwire.onnx` in `wirings.json`."""
    row = found.one("rows", network="examples/randwire.onnx")
    holds(row.whole("default") == row.whole("before"), "ONNX Runtime's order needs the same")
    holds(row.whole("after") == row.whole("bound"), "no order needs less")
    return row


def gains(found: Record) -> Sequence[Value]:
    """In ONNX Runtime: how many networks, the gains by rewriting, most more operations."""
    rows = [row for row in found.records("rows") if row.text("target") == "onnxruntime"]
    proven = all(row.numbers("predicted")[0] == row.number("bound") for row in rows)
    holds(proven, "the best orders are proven")
    _, sums, tiles = rewriting.gains(rows)
    more = max(row.numbers("more_flops_percent")[rewriting.TILES] for row in rows)
    return [spelled(len(rows)), sums, tiles, at_most(more)]


def tvm_plans(found: Record) -> Sequence[Value]:
    """How many models, TVM's plan over our arena, first runs of ResNet-50 in MB."""
    rows = found.records("rows")
    for row in rows:
        same = row.whole("arena") == row.whole("peak") and row.text("status") == "optimal"
        holds(same, "the arena is the peak of a proven order")
    ratios = [row.whole("tvm_plan") / row.whole("arena") for row in rows]
    resnet = found.one("rows", model="light_resnet50")
    first = (resnet.whole("lean", "measured"), resnet.whole("measured_tvm"))
    return [spelled(len(rows)), min(ratios), max(ratios), *(count / 1e6 for count in first)]


def checkpoints(found: Record) -> Sequence[Value]:
    """How many networks and settings of TVM's checkpoints; ours is within all of them."""
    rows = [row for row in found.records("rows") if "block" in row.text("plan")]
    for row in rows:
        holds(row.whole("measured") <= row.whole("theirs"), "ours needs no more bytes")
        holds(row.number("flops") <= row.number("their_flops"), "ours needs no more operations")
        holds(row.flag("same"), "bits are the same")
    return [spelled(len({row.text("network") for row in rows})), len(rows)]


def conformance(found: Record) -> Sequence[Value]:
    """Node tests of ONNX that pass, of how many, and of how many operators."""
    rows = found.records("rows")
    passing = [row for row in rows if row.text("outcome") in ("pass", "bound")]
    return [len(passing), len(rows), len({row.text("operator") for row in passing})]


def seeds(found: Record) -> Sequence[Value]:
    """Of recomputation, as a word: the same number in every row."""
    (count,) = {len(row.numbers("overheads")) for row in found.records("rows")}
    return [spelled(count)]


def rivals(found: Record, name: str) -> tuple[int, float]:
    """How many networks, and the geometric mean of our measured time over a rival's."""
    rows = [row for row in found.records("rivals") if row.text("rival") == name]
    ratios = [row.number("our_seconds") / row.number("rival_seconds") for row in rows]
    return len(rows), geometric_mean(ratios)
