"""What README says of results."""

from __future__ import annotations

from typing import TYPE_CHECKING

from lowtide.bench.book.claim import Claim, at_most, holds, mib, percent_more, spelled
from lowtide.bench.book.claims.measured import (
    checkpoints,
    conformance,
    example,
    gains,
    rivals,
    seeds,
    tvm_plans,
)
from lowtide.bench.protocol import geometric_mean

if TYPE_CHECKING:
    from collections.abc import Sequence

    from lowtide.bench.book.claim import Value
    from lowtide.bench.book.results import Record

__all__ = ["CLAIMS"]

_PAGE = "README.md"


def _example_stock(found: Record) -> Sequence[Value]:
    row = example(found)
    holds(row.number("latency_ratio") <= 1, "ours is no slower")
    return [mib(row.whole(key)) for key in ("stock", "stock_second", "arena")]


def _edge_means(found: Record) -> Sequence[Value]:
    rows = [r for r in found.records("rows") if r.text("name").startswith("randwire")]
    heads = [r.whole("arena", "head_before") / r.whole("arena", "head_after") for r in rows]
    orders = [r.whole("file_peak") / r.whole("order", "peak_bytes") for r in rows]
    seeds = {row.text("name").rpartition("_")[2] for row in rows}
    words = spelled(len(rows)), spelled(len(seeds))
    return [*words, geometric_mean(heads), geometric_mean(orders)]


def _program(found: Record) -> Sequence[Value]:
    row = found.one("rows", network="mobilenet_v2")
    holds(row.whole("arena") == row.whole("bound"), "the arena is its bound")
    return [row.whole("text") / 1000, row.whole("arena")]


def _saved_model(found: Record) -> Sequence[Value]:
    row = found.one("rows", model="randwire", target="tensorflow")
    holds(row.whole("peak_after") == row.whole("lower_bound"), "it is proven optimal")
    return [row.whole("measured", which) / 1e6 for which in ("stock", "after")]


def _converted(found: Record) -> Sequence[Value]:
    row = found.one("rows", model="randwire", target="tflite")
    return [row.whole("measured", f"required_{which}") / 1e6 for which in ("before", "after")]


def _step(found: Record) -> Sequence[Value]:
    rows = found.records("budgets")
    within = all(row.whole("measured_peak") <= row.whole("budget_bytes") for row in rows)
    holds(within, "every measured peak is within its budget")
    of = {r.number("budget"): r for r in rows if r.text("network") == "ResNet50"}
    whole = of[1.0]
    values: list[Value] = [spelled(len({row.text("network") for row in rows}))]
    for part in (0.4, min(of)):
        values.append(of[part].number("measured_peak") / whole.number("measured_peak"))
        seconds = (row.number("measured_seconds") for row in (of[part], whole))
        values.append(percent_more(*seconds))
    return values


def _recompute_grad(found: Record) -> Sequence[Value]:
    return [rivals(found, "tf.recompute_grad")[1]]


def _compiled(found: Record) -> Sequence[Value]:
    name = "12 convolutions with batch normalisation"
    rows = [row for row in found.records("rows") if row.text("network") == name]
    met = [row.whole("after_bytes") for row in rows if row.get("after_bytes") is not None]
    return [name.partition(" ")[0], mib(rows[0].whole("before_bytes")), mib(min(met))]


def _above(found: Record) -> Sequence[Value]:
    models = found.record("models")
    reports = [models.record(name) for name in models.fields]
    above = [
        percent_more(r.number("measured", "peak_after"), r.number("peak_bytes", "after"))
        for r in reports
    ]
    return [at_most(max(above), 1)]


def _latency(found: Record) -> Sequence[Value]:
    models = found.record("models")
    measured = [models.record(name, "measured") for name in models.fields]
    ratios = [m.number("latency_after") / m.number("latency_stock") for m in measured]
    return [geometric_mean(ratios)]


def _branching(found: Record) -> Sequence[Value]:
    models = found.record("models")
    peaks = [models.record(name, "peak_bytes") for name in models.fields]
    saved = [100 * (1 - p.number("after") / p.number("before")) for p in peaks]
    gained = [percent for percent in saved if percent > 0]
    return [min(gained), max(gained)]


def _seeds(found: Record) -> Sequence[Value]:
    rows = [r for r in found.records("rows") if r.text("network").startswith("RandWire")]
    holds(all(r.whole("arena") == r.whole("after") for r in rows), "arenas are as high as peaks")
    values: list[Value] = [spelled(len(rows)).capitalize()]
    for key in ("before", "default"):
        ratios = [row.number(key) / row.number("after") for row in rows]
        values += [min(ratios), max(ratios)]
    return values


def _schedules(found: Record) -> Sequence[Value]:
    rows = found.records("rows")
    proven = all(row.text("answers", "exact", "status") == "optimal" for row in rows)
    holds(proven, "all are proven optimal")
    ops = [row.whole("ops") for row in rows]
    training = sum(row.text("family") == "training" for row in rows)
    return [len(rows), min(ops), max(ops), spelled(training)]


def _slowest(found: Record) -> Sequence[Value]:
    rows = found.records("rows")
    seconds = [row.number("answers", "exact", "median_cpu_seconds") for row in rows]
    name = rows[seconds.index(max(seconds))].text("name")
    holds(name.startswith("randwire_big"), "the slowest graph is a large random network")
    nodes = int(name.removeprefix("randwire_big").partition("_")[0])
    return [sum(seconds) - max(seconds), sum(seconds), nodes]


def _layouts(found: Record) -> Sequence[Value]:
    rows = found.records("arenas")
    values: list[Value] = []
    for allocator in ("joint", "exact", "tflm_greedy"):
        heights = [row.whole("answers", allocator, "height") for row in rows]
        goals = [row.whole("goal") for row in rows]
        values.append(sum(h == goal for h, goal in zip(heights, goals, strict=True)))
    return [values[0], len(rows), *values[1:]]


def _minimalloc(found: Record) -> Sequence[Value]:
    rows = found.records("instances")
    holds(all(row.whole("goal") == 2**20 for row in rows), "capacities are 1 MiB")
    fits = all(row.whole("answers", "exact", "height") <= row.whole("goal") for row in rows)
    holds(fits, "all are solved")
    seconds = sum(row.number("answers", "exact", "median_cpu_seconds") for row in rows)
    return [spelled(len(rows)), 1, seconds]


def _growth(found: Record) -> Sequence[Value]:
    points = found.records("points")
    most = max(point.whole("ops") for point in points)
    large = [point for point in points if point.whole("ops") == most]
    holds(all(p.text("status") == "optimal" for p in large), "their orders are optimal")
    seconds = at_most(max(point.number("schedule_cpu_s") for point in large))
    return [most, seconds, at_most(mib(max(p.whole("resident_bytes") for p in large)), -1)]


def _blocks(found: Record) -> Sequence[Value]:
    row = found.one("rows", name="transformer_20005")
    (overhead,), (seconds,) = row.numbers("overheads"), row.numbers("cpu_seconds")
    return [row.whole("ops"), overhead, row.text("ratio"), seconds]


CLAIMS = (
    Claim(
        _PAGE,
        "need {:.2f} MiB for activations in the file's order, and in ONNX Runtime's own. In "
        "Lowtide's order they need {:.2f} MiB, and no order needs less (proven).",
        "wirings.json",
        lambda found: [mib(example(found).whole(key)) for key in ("before", "after")],
    ),
    Claim(
        _PAGE,
        "A stock ONNX Runtime session allocates {:.2f} MiB in its first run and another {:.2f} MiB "
        "in its second; ours stays in one arena of {:.2f} MiB and is no slower.",
        "wirings.json",
        _example_stock,
    ),
    Claim(
        _PAGE,
        "rewriting without bands saves a geometric mean of {1:.2f}x on {0} networks and cells in "
        "ONNX Runtime",
        "rewriting.json",
        gains,
    ),
    Claim(
        _PAGE,
        "with bands {2:.2f}x at up to {3:.0f} % more operations",
        "rewriting.json",
        gains,
    ),
    Claim(
        _PAGE,
        "Geometric mean of {} RandWire models of {} wirings: {:.2f} ({:.2f} by the order alone",
        "edge.json",
        _edge_means,
    ),
    Claim(
        _PAGE,
        "on {} models of the onnx package our arena is the liveness peak of a proven order, TVM's "
        "plan {:.2f} to {:.2f} times that; ResNet-50's first run takes {:.1f} MB instead of {:.1f}",
        "tvm.json",
        tvm_plans,
    ),
    Claim(
        _PAGE,
        "within the bytes and the extra operations of TVM's own checkpoints at all {1} settings",
        "tvm_training.json",
        checkpoints,
    ),
    Claim(
        _PAGE,
        "becomes {:.0f} KB of code with an arena of {:,} bytes, which is its bound",
        "tvm_c.json",
        _program,
    ),
    Claim(
        _PAGE,
        "{:,} of {:,} node tests of ONNX pass, of {} operators",
        "onnx_conformance.json",
        conformance,
    ),
    Claim(
        _PAGE,
        "on a RandWire network its measured peak falls from {:.2f} to {:.2f} MB, proven optimal "
        "for its graph",
        "onnx_targets.json",
        _saved_model,
    ),
    Claim(
        _PAGE,
        "the least arena of the `.tflite` in TensorFlow Lite Micro from {:.2f} to {:.2f} MB",
        "onnx_targets.json",
        _converted,
    ),
    Claim(
        _PAGE,
        "of whole steps of {} networks every measured peak is within its budget; ResNet50's step "
        "runs in {:.2f} of its memory at {:.0f} % and in {:.2f} at {:.0f} % more CPU time",
        "tensorflow.json",
        _step,
    ),
    Claim(
        _PAGE,
        "at equal peak steps take {:.2f} of the time of `tf.recompute_grad`",
        "tensorflow.json",
        _recompute_grad,
    ),
    Claim(
        _PAGE,
        "({} convolutions with Adam on a CPU: {:.1f} to {:.1f} MiB)",
        "xla_steps.json",
        _compiled,
    ),
    Claim(_PAGE, "(at most {:.1f} % above the prediction)", "models.json", _above),
    Claim(_PAGE, "geometric mean {:.2f}.", "models.json", _latency),
    Claim(
        _PAGE,
        "on the branching networks the order saves another {:.0f} to {:.0f} %.",
        "models.json",
        _branching,
    ),
    Claim(
        _PAGE,
        "{} RandWire seeds: {:.2f} to {:.2f} times less than the file's order, {:.2f} to {:.2f} "
        "times less than ONNX Runtime's. The arena is exactly as high as the peak in all of them.",
        "wirings.json",
        _seeds,
    ),
    Claim(
        _PAGE,
        "{} scheduling graphs of published networks and cells ({} to {:,} operators, {} of them "
        "training steps), all proven optimal",
        "schedules.json",
        _schedules,
    ),
    Claim(
        _PAGE,
        "All but {:.1f} of the {:.1f} CPU-seconds go to one graph, a random network of {} nodes.",
        "schedules.json",
        _slowest,
    ),
    Claim(
        _PAGE,
        "Layouts as high as the peak, and no higher: {} of {} when the allocator may choose among "
        "optimal orders, {} without, {} with TFLM's greedy.",
        "allocations.json",
        _layouts,
    ),
    Claim(
        _PAGE,
        "MiniMalloc's {} instances at a capacity of {} MiB: all solved, {:.1f} CPU-seconds "
        "together.",
        "allocations.json",
        _minimalloc,
    ),
    Claim(
        _PAGE,
        "Graphs of {:,} operators: an optimal order in under {:.0f} CPU-seconds and {:.0f} MiB.",
        "growth.json",
        _growth,
    ),
    Claim(_PAGE, "median of {} seeds", "remat.json", seeds),
    Claim(
        _PAGE,
        "A transformer's training graph of {:,} ops, its layers recognised and planned once "
        "(`blocks`): {:.2f} % at {} in {:.0f} CPU-seconds.",
        "remat_blocks.json",
        _blocks,
    ),
)
