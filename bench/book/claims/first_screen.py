"""What README's first screen says: a figure for each kind of user."""

from __future__ import annotations

from typing import TYPE_CHECKING

from lowtide.bench.book.claim import Claim, holds, mib, percent_more

if TYPE_CHECKING:
    from collections.abc import Sequence

    from lowtide.bench.book.claim import Value
    from lowtide.bench.book.results import Record

__all__ = ["CLAIMS"]

_PAGE = "README.md"
_SRAM = 256 << 10


def _arenas(found: Record) -> Sequence[Value]:
    before, after = (
        found.one("rows", network="MobileNetV2 0.35, 144x144", way=way).whole("arena_bytes")
        for way in ("file", "arena")
    )
    holds(before > _SRAM >= after, "the file does not fit into 256 KiB, and the result does")
    return [before, after, _SRAM >> 10]


def _nasnet(found: Record) -> Sequence[Value]:
    measured = found.record("models", "nasnet", "measured")
    ratio = measured.number("latency_after") / measured.number("latency_stock")
    return [*(mib(measured.whole(key)) for key in ("arena_after", "peak_stock")), ratio]


def _resnet(found: Record) -> Sequence[Value]:
    whole, part = (found.one("budgets", network="ResNet50", budget=budget) for budget in (1.0, 0.4))
    holds(part.flag("identical"), "the bits are the same")
    seconds = (row.number("measured_seconds") for row in (part, whole))
    memory = part.whole("measured_peak") / whole.whole("measured_peak")
    return [memory, percent_more(*seconds)]


def _densenet(found: Record) -> Sequence[Value]:
    row = found.one("rows", model="light_densenet121")
    return [row.whole("tvm_plan") / row.whole("arena")]


def _proven(found: Record) -> Sequence[Value]:
    rows = [row.record("answers", "exact") for row in found.records("rows")]
    seconds = sum(row.number("median_cpu_seconds") for row in rows)
    return [sum(row.text("status") == "optimal" for row in rows), len(rows), seconds]


CLAIMS = (
    Claim(
        _PAGE,
        "{0:,} bytes do not fit into {2} KiB, Lowtide's {1:,} bytes do",
        "tiling.json",
        _arenas,
    ),
    Claim(_PAGE, "falls from {:,} to {:,} bytes, same bits", "tiling.json", _arenas),
    Claim(
        _PAGE,
        "nasnet: {:.2f} MiB instead of {:.2f} in a stock session, {:.2f} of its latency",
        "models.json",
        _nasnet,
    ),
    Claim(
        _PAGE,
        "a step of ResNet50 in {:.2f} of its memory for {:.0f} % more CPU time",
        "tensorflow.json",
        _resnet,
    ),
    Claim(
        _PAGE,
        "densenet121: TVM's plan needs {:.2f} times the bytes of ours",
        "tvm.json",
        _densenet,
    ),
    Claim(
        _PAGE,
        "{} of {} scheduling graphs proven optimal, in {:.1f} CPU-seconds",
        "schedules.json",
        _proven,
    ),
)
