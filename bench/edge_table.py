"""The rows of `edge.py`, and the table of them."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from lowtide.bench.protocol import geometric_mean, markdown
from lowtide.bench.record import Measure

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence

__all__ = ["Arena", "Optimum", "Row", "measures", "table"]

_LOADS = (
    *("model", "ops", "file", "XLA", "order", "file/order", "XLA/order", "in place", "status"),
    *("CPU-s", "inputs outside"),
)
_ARENAS = (
    *("model", "greedy file", "greedy XLA", "greedy order", "head", "file/head", "XLA/head"),
    *("optimal", "required before", "required after", "LiteRT"),
)


@dataclass(frozen=True, slots=True)
class Optimum:
    """What the exact scheduler found: the least load, its bound, and the median of CPU-seconds."""

    peak_bytes: int
    lower_bound_bytes: int
    status: str
    cpu_seconds: tuple[float, ...]
    median_cpu_seconds: float


@dataclass(frozen=True, slots=True)
class Arena:
    """Measured in stock TFLite Micro, original and result, with identical outputs."""

    head_before: int
    head_after: int
    tail_before: int
    tail_after: int
    required_before: int
    required_after: int
    fails_below: bool
    executions: int


@dataclass(frozen=True, slots=True)
class Row:
    """One model.

    Attributes:
        name: of the model.
        family: `generated`, `swiftnet` or `mediapipe`.
        ops: operators of the main subgraph.
        file_peak: load of the file's order.
        xla_peak: of the best of XLA's three orders.
        order: the best order, without in-place results.
        outside: the same with the inputs outside the arena, and the file's order there.
        in_place: the best order with them.
        greedy_file: head that TFLM gives the file's order by its own planner, predicted.
        greedy_xla: likewise XLA's order.
        greedy_order: likewise the best order without in-place results.
        head: of the result, with its offline plan.
        head_proven: no order and layout of these operators, with these in-place results, is lower.
        scratch: how the kernels' scratch was found.
        scratch_unknown: not all of it was measured by execution.
        arena: the measurement; None where TFLM does not run the model.
        litert: whether LiteRT gives identical outputs; None where it does not run the model.
        note: why something is missing.
    """

    name: str
    family: str
    ops: int
    file_peak: int
    xla_peak: int
    order: Optimum
    file_peak_outside: int
    outside: Optimum
    in_place: Optimum
    greedy_file: int
    greedy_xla: int
    greedy_order: int
    head: int
    head_proven: bool
    scratch: str
    scratch_unknown: bool
    arena: Arena | None
    litert: bool | None
    note: str


def measures(rows: Sequence[Row]) -> Iterator[Measure]:
    """Loads under TFLite Micro's accounting, heads, and the arenas that its interpreter needs."""
    for row in rows:
        best = row.in_place
        yield Measure(row.name, "lowtide", "load", "bytes", best.peak_bytes)
        yield Measure(row.name, "lowtide", "gap", "bytes", best.peak_bytes - best.lower_bound_bytes)
        yield Measure(row.name, "lowtide", "CPU", "s", best.median_cpu_seconds)
        yield Measure(row.name, "file order", "load", "bytes", row.file_peak, peer=True)
        yield Measure(row.name, "XLA's orders", "load", "bytes", row.xla_peak, peer=True)
        yield Measure(row.name, "lowtide", "head", "bytes", row.head)
        yield Measure(row.name, "TFLite Micro", "head", "bytes", row.greedy_file, peer=True)
        if row.arena is not None:
            needed = row.arena.required_before, row.arena.required_after
            yield Measure(row.name, "TFLite Micro", "arena", "bytes", needed[0], peer=True)
            yield Measure(row.name, "lowtide", "arena", "bytes", needed[1])


def table(rows: Sequence[Row]) -> str:
    """Markdown: loads and proofs, arenas, what does not run, means."""
    parts = [
        "Loads: `file`, `XLA` (the best of its three orders) and `order` (ours) without in-place "
        "results, `in place` (ours) with them; inputs are in the arena, but for the last column "
        "(file, then ours). Optimal: both loads equal their bounds. CPU-s: the slower of both "
        f"solves; the most is {_most_seconds(rows):.4f}. Where TFLite Micro does not run a model, "
        "its kernels' scratch is not known and not counted. The float16 weights of mediapipe's "
        "models are made float32 by operators, whose results count as activations here.",
        markdown(_LOADS, [_loads(row) for row in rows]),
        "Arenas in stock TFLite Micro: the head (tensors and scratch), measured before and after; "
        "`greedy` is TFLM's own planner on the file's, XLA's and our order. Required: the least "
        "arena that works, head, tail and initialisation, with 64-bit pointers. Outputs identical "
        "in TFLite Micro, and in LiteRT where it says so.",
        markdown(_ARENAS, [_arenas(row) for row in rows if row.arena is not None]),
    ]
    missing = [row for row in rows if row.arena is None]
    if missing:
        parts += [
            "TFLite Micro does not run these; heads are what its planner would give, scratch is "
            "not known, and nothing is called optimal.",
            markdown(
                ["model", "greedy file", "head", "ratio", "LiteRT", "why"],
                [
                    [
                        row.name,
                        f"{row.greedy_file:,}",
                        f"{row.head:,}",
                        f"{row.greedy_file / max(row.head, 1):.3f}",
                        _same(row.litert),
                        row.note[:160].replace("|", "/").replace("\n", " "),
                    ]
                    for row in missing
                ],
            ),
        ]
    parts.append(_means(rows))
    return "\n\n".join(parts) + "\n"


def _loads(row: Row) -> list[str]:
    seconds = max(row.order.median_cpu_seconds, row.in_place.median_cpu_seconds)
    proven = ", ".join(dict.fromkeys((row.order.status, row.in_place.status)))
    if row.scratch_unknown:
        proven += " without scratch"
    return [
        row.name,
        str(row.ops),
        f"{row.file_peak:,}",
        f"{row.xla_peak:,}",
        f"{row.order.peak_bytes:,}",
        f"{row.file_peak / max(row.order.peak_bytes, 1):.3f}",
        f"{row.xla_peak / max(row.order.peak_bytes, 1):.3f}",
        f"{row.in_place.peak_bytes:,}",
        proven,
        f"{seconds:.4f}",
        f"{row.file_peak_outside:,} {row.outside.peak_bytes:,}",
    ]


def _most_seconds(rows: Sequence[Row]) -> float:
    both = [(row.order, row.in_place) for row in rows]
    return max((o.median_cpu_seconds for pair in both for o in pair), default=0.0)


def _arenas(row: Row) -> list[str]:
    assert row.arena is not None
    return [
        row.name,
        f"{row.arena.head_before:,}",
        f"{row.greedy_xla:,}",
        f"{row.greedy_order:,}",
        f"{row.arena.head_after:,}",
        f"{row.arena.head_before / max(row.arena.head_after, 1):.3f}",
        f"{row.greedy_xla / max(row.arena.head_after, 1):.3f}",
        "yes" if row.head_proven else f"bound {row.in_place.lower_bound_bytes:,}",
        f"{row.arena.required_before:,}",
        f"{row.arena.required_after:,}",
        _same(row.litert),
    ]


def _same(value: bool | None) -> str:
    return {True: "identical", False: "DIFFERENT", None: "does not run"}[value]


def _means(rows: Sequence[Row]) -> str:
    groups: dict[str, list[Row]] = {}
    for row in rows:
        name = row.name.split("_")[0] if row.family == "generated" else row.family
        if row.arena is not None:
            groups.setdefault(name, []).append(row)
            if row.family == "generated":
                groups.setdefault("all generated", []).append(row)
    header = ["family", "models", "file/order", "file/in place", "head before/after", "XLA/head"]
    body: list[list[str]] = []
    for name, members in groups.items():
        columns: Mapping[str, list[float]] = {
            "order": [row.file_peak / row.order.peak_bytes for row in members],
            "in_place": [row.file_peak / row.in_place.peak_bytes for row in members],
            "head": [r.arena.head_before / r.arena.head_after for r in members if r.arena],
            "xla": [row.greedy_xla / row.head for row in members],
        }
        means = [f"{geometric_mean(ratios):.3f}" for ratios in columns.values()]
        body.append([name, str(len(members)), *means])
    text = (
        "Geometric means, of the models that TFLite Micro runs. The two sizes of a RandWire seed "
        "share the wiring of the first stage, where the peak is, as the two of a cell network "
        "share their cells: equal ratios to the file's order, no independent evidence. SERENITY "
        "states 1.68x (its order, over TFLite's, on its own nine cells); it is quoted, and not "
        "what was aimed at."
    )
    return f"{text}\n\n{markdown(header, body)}"
