"""Measurement: bytes really allocated and time really taken, beside what users run today."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, cast

from lowtide import child
from lowtide.backends import meter
from lowtide.backends.onnx.verify import Verification, ask, interpret
from lowtide.errors import LowtideError

if TYPE_CHECKING:
    from collections.abc import Mapping

    from lowtide.backends.onnx.case import Case

__all__ = ["Column", "Measurement", "examine", "measure"]


@dataclass(frozen=True, slots=True)
class Column:
    """One way to run the model.

    Attributes:
        peak_bytes: allocated by the first run above what was live before it.
        tensor_peak_bytes: of that, what ONNX Runtime asked for tensors, scratch and arenas, as
            requested; the rest is small bookkeeping and the allocator's rounding.
        second_peak_bytes: `peak_bytes` of the second run; less where an arena kept its memory.
        latency_s: median of the runs after the warm-up.
    """

    peak_bytes: int | None = None
    tensor_peak_bytes: int | None = None
    second_peak_bytes: int | None = None
    latency_s: float | None = None


@dataclass(frozen=True, slots=True)
class Measurement:
    """Three columns.

    Attributes:
        stock: the original in a stock session: all optimisations, arena on.
        default: the planned graph in ONNX Runtime's default order, without arena.
        planned: the result, without arena.
        runs: how many runs each latency is the median of.
        arena_bytes: the height of the planned arena in which `planned` was timed; None without.
        notes: why a figure is missing.
    """

    stock: Column = Column()
    default: Column = Column()
    planned: Column = Column()
    runs: int = 0
    arena_bytes: int | None = None
    notes: tuple[str, ...] = ()

    def to_json(self) -> dict[str, object]:
        """The `measured` of `lowtide.report/1`: bytes and seconds, `before` is `default`."""
        return {
            "peak_before": self.default.peak_bytes,
            "peak_stock": self.stock.peak_bytes,
            "peak_after": self.planned.peak_bytes,
            "tensor_peak_before": self.default.tensor_peak_bytes,
            "tensor_peak_stock": self.stock.tensor_peak_bytes,
            "tensor_peak_after": self.planned.tensor_peak_bytes,
            "second_peak_before": self.default.second_peak_bytes,
            "second_peak_stock": self.stock.second_peak_bytes,
            "second_peak_after": self.planned.second_peak_bytes,
            "latency_before": self.default.latency_s,
            "latency_stock": self.stock.latency_s,
            "latency_after": self.planned.latency_s,
            "latency_runs": self.runs,
            "arena_after": self.arena_bytes,
            "notes": list(self.notes),
        }


def measure(
    case: Case,
    *,
    latency_s: float = 0.5,
    timeout_s: float = 300.0,
    memory_limit_bytes: int | None = None,
) -> Measurement:
    """Measure peaks and latencies, each in a child process; never raises for what it finds there.

    Args:
        case: what to run.
        latency_s: time for the latency runs of the three columns together; at least 3 runs each.
        timeout_s: wall time for each child.
        memory_limit_bytes: address space for each child.
    """
    reply: Mapping[str, object]
    try:
        reply = child.run(
            "lowtide.backends.onnx.trial:latencies",
            {**case.request(), "latency_s": latency_s},
            timeout_s=timeout_s,
            memory_limit_bytes=memory_limit_bytes,
        )
    except LowtideError as error:
        reply = {"latency_failure": str(error)}
    return _assemble(reply, _peaks(case, timeout_s, memory_limit_bytes))


def examine(
    case: Case,
    *,
    latency_s: float = 0.5,
    timeout_s: float = 300.0,
    memory_limit_bytes: int | None = None,
) -> tuple[Verification, Measurement]:
    """`verify` and `measure` with one child process less.

    Raises:
        VerificationError: as `verify`.
    """
    request = {**case.request(), "latency_s": latency_s}
    reply = ask(request, timeout_s, memory_limit_bytes)
    verification = interpret(case, reply)
    if "executed" not in reply:
        return verification, Measurement(notes=verification.notes)
    return verification, _assemble(reply, _peaks(case, timeout_s, memory_limit_bytes))


def _peaks(case: Case, timeout_s: float, memory_limit_bytes: int | None) -> dict[str, object]:
    library = meter.library()
    if library is None:
        return {"failure": "there is no allocation meter on this system"}
    try:
        return child.run(
            "lowtide.backends.onnx.trial:peaks",
            case.request(),
            timeout_s=timeout_s,
            memory_limit_bytes=memory_limit_bytes,
            preload=library,
        )
    except LowtideError as error:
        return {"failure": str(error)}


def _assemble(timed: Mapping[str, object], metered: Mapping[str, object]) -> Measurement:
    times = cast("Mapping[str, float]", timed.get("latency", {}))
    notes: list[str] = []
    if not times:
        notes.append(f"latency not measured: {timed.get('latency_failure', 'no reply')}")
    if "failure" in metered:
        notes.append(f"peaks not measured: {metered['failure']}")

    def column(name: str) -> Column:
        first, tensors, second, _ = cast("list[int | None]", metered.get(name, [None] * 4))
        return Column(first, tensors, second, times.get(name))

    return Measurement(
        column("stock"),
        column("default"),
        column("planned"),
        int(times.get("runs", 0)),
        cast("int | None", timed.get("arena")),
        tuple(notes),
    )
