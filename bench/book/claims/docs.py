"""What the pages of docs/ say of results."""

from __future__ import annotations

from typing import TYPE_CHECKING

from lowtide.bench.book.claim import Claim, at_most, holds, mib, percent_more, spelled
from lowtide.bench.book.claims.measured import checkpoints, rivals, tvm_plans
from lowtide.bench.book.tables import rewriting

if TYPE_CHECKING:
    from collections.abc import Sequence

    from lowtide.bench.book.claim import Value
    from lowtide.bench.book.results import Record

__all__ = ["CLAIMS"]

_REPORT, _REWRITING = "docs/report.md", "docs/rewriting.md"
_TRAINING, _TVM = "docs/training.md", "docs/tvm.md"


def _budgeted(found: Record) -> Sequence[Value]:
    row = found.one("budgeted", network="examples/randwire.onnx")
    holds(row.whole("budget_bytes") < row.whole("best_order_bytes"), "no order meets the budget")
    return [mib(row.whole("budget_bytes")), row.whole("runs")]


def _networks(found: Record) -> Sequence[Value]:
    rows = [row for row in found.records("rows") if row.text("target").startswith("onnx")]
    proven = all(row.numbers("predicted")[rewriting.BEST] == row.number("bound") for row in rows)
    holds(proven, "the best orders are proven")
    return [spelled(len({row.text("network") for row in rows})).capitalize()]


def _bookkeeping(found: Record) -> Sequence[Value]:
    rows = [row for row in found.records("rows") if row.text("target").startswith("onnx")]
    above = [
        measured - predicted
        for row in rows
        for measured, predicted in zip(
            row.numbers("measured"), row.numbers("predicted"), strict=True
        )
    ]
    return [at_most(max(above) / 1000)]


def _error(found: Record) -> Sequence[Value]:
    rows = [row for row in found.records("rows") if row.text("target").startswith("onnx")]
    most = at_most(max(max(row.numbers("max_abs_error")) for row in rows), 6)
    return [f"{most:.0e}".replace("e-0", "e-")]


def _cells(found: Record) -> Sequence[Value]:
    rows = [found.one("rows", network=f"SwiftNet {c}", target="onnxruntime") for c in "ABC"]
    return [int(row.numbers("predicted")[rewriting.SUMS]) // 4 for row in rows]


def _tiled_heads(found: Record) -> Sequence[Value]:
    values: list[Value] = []
    for side in (144, 96):
        before, after = _tiled(found, side, "head")
        counts = before.whole("head_bytes"), after.whole("head_bytes")
        more = 100 * after.number("more_operations")
        values += [*counts, side, counts[0] / counts[1], more]
    return values


def _tiled_arenas(found: Record) -> Sequence[Value]:
    values: list[Value] = []
    for side in (144, 96):
        before, after = _tiled(found, side, "arena")
        values += [before.whole("arena_bytes"), after.whole("arena_bytes")]
        values.append(100 * after.number("more_operations"))
    return values


def _tiled(found: Record, side: int, way: str) -> tuple[Record, Record]:
    name = f"MobileNetV2 0.35, {side}x{side}"
    return found.one("rows", network=name, way="file"), found.one("rows", network=name, way=way)


def _noise(found: Record) -> Sequence[Value]:
    rows = found.records("budgets")
    whole = {row.text("network"): row for row in rows if row.number("budget") == 1}
    extra = [
        percent_more(
            row.number("measured_seconds"), whole[row.text("network")].number("measured_seconds")
        )
        for row in rows
        if row.number("budget") < 1 and row.whole("recomputed") == 0
    ]
    return [min(extra), max(extra)]


def _rivals(found: Record) -> Sequence[Value]:
    blocks, program = rivals(found, "tf.recompute_grad"), rivals(found, "checkmate-lp-rounding")
    others = [rivals(found, name)[1] for name in ("griewank", "ap-sqrt")]
    return [blocks[1], spelled(blocks[0]), program[1], spelled(program[0]), *others]


def _batches(found: Record) -> Sequence[Value]:
    values: list[Value] = []
    for name in ("VGG16", "MobileNet", "VGG19"):
        row = found.one("batches", network=name)
        holds((row.get("measured_peak") is None) == (name == "VGG19"), "only VGG19 is simulated")
        ratio = row.whole("largest") / row.whole("batch")
        values += [ratio, row.number("extra_forward_passes")]
    return values


def _executed(found: Record) -> Sequence[Value]:
    rows = [row for row in found.records("rows") if row.get("measured") is not None]
    exact = all(row.whole("measured") == row.whole("predicted") for row in rows)
    holds(exact, "what the first run takes is predicted exactly")
    return [spelled(len(rows))]


CLAIMS = (
    Claim(
        _REPORT,
        "within a budget of {:.1f} MiB, below the least peak of any order: {} runs of ops are "
        "repeated",
        "wirings.json",
        _budgeted,
    ),
    Claim(
        _REWRITING,
        "{} networks and cells in ONNX Runtime, peaks relative to the best order of the ops as "
        "they are (proven for all)",
        "rewriting.json",
        _networks,
    ),
    Claim(
        _REWRITING,
        "A session allocates at most {:.0f} KB more than predicted",
        "rewriting.json",
        _bookkeeping,
    ),
    Claim(
        _REWRITING,
        "Results of regrouped sums differ by at most {} there",
        "rewriting.json",
        _error,
    ),
    Claim(_REWRITING, "the cells need {:,}, {:,} and {:,}.", "rewriting.json", _cells),
    Claim(
        _REWRITING,
        "{:,} to {:,} bytes at {} px ({:.2f}x, {:.1f} % more operations), {:,} to {:,} at {} px "
        "({:.2f}x, {:.1f} %)",
        "tiling.json",
        _tiled_heads,
    ),
    Claim(
        _REWRITING,
        "the whole arena falls from {:,} to {:,} ({:.1f} % more operations) and from {:,} to {:,} "
        "bytes ({:.1f} %).",
        "tiling.json",
        _tiled_arenas,
    ),
    Claim(
        _TRAINING,
        "where nothing is computed again, it is {:.1f} to {:.1f}, so that differences of this size "
        "mean nothing",
        "tensorflow.json",
        _noise,
    ),
    Claim(
        _TRAINING,
        "At equal measured peak a step takes {:.2f} of the time of `tf.recompute_grad` on blocks "
        "cut by hand ({} networks), {:.2f} of that of Checkmate's rounded linear program ({}, with "
        "a minute for U-Net; not run on ResNet50), {:.2f} of Griewank's and {:.2f} of Chen's.",
        "tensorflow.json",
        _rivals,
    ),
    Claim(
        _TRAINING,
        "VGG16 trains with {:.2f} times the batch for {:.2f} of a forward pass, MobileNet with "
        "{:.2f} times for {:.2f} (both measured), VGG19 with {:.2f} times for {:.2f} (simulated).",
        "tensorflow.json",
        _batches,
    ),
    Claim(
        _TVM,
        "On {} models of the onnx package the arena is exactly the liveness peak of a proven "
        "order, where TVM's own plan is {:.2f} to {:.2f} times as large",
        "tvm.json",
        tvm_plans,
    ),
    Claim(
        _TVM,
        "the bytes that the first run of a fresh process takes are predicted exactly on the {} "
        "that were executed",
        "tvm.json",
        _executed,
    ),
    Claim(
        _TVM,
        "ResNet-50's first run takes {3:.1f} MB where TVM's takes {4:.1f}.",
        "tvm.json",
        tvm_plans,
    ),
    Claim(
        _TVM,
        "On {} networks and {} settings of TVM's own",
        "tvm_training.json",
        checkpoints,
    ),
)
