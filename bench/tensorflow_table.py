"""What the benchmark of training steps found, and its tables."""

from __future__ import annotations

from dataclasses import dataclass, field
from itertools import pairwise
from typing import TYPE_CHECKING, Any

from lowtide.bench.protocol import geometric_mean, markdown
from lowtide.bench.record import Measure

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence

__all__ = ["BatchCell", "BudgetCell", "RivalCell", "Tables", "measures", "text_of"]


@dataclass(frozen=True, slots=True)
class BudgetCell:
    """One network at one budget; peaks in bytes; `bound_bytes` is below every plan's peak."""

    network: str
    budget: float
    budget_bytes: int
    predicted_peak: int
    measured_peak: int
    bound_bytes: int
    predicted_seconds: float
    measured_seconds: float | None
    recomputed: int
    identical: bool


@dataclass(frozen=True, slots=True)
class RivalCell:
    """Another way to choose, and ours within the peak that it was measured to have."""

    network: str
    rival: str
    measured_peak: int
    rival_seconds: float | None
    our_measured_peak: int | None
    our_seconds: float | None
    base_seconds: float | None
    rival_predicted: float
    our_predicted: float | None
    base_predicted: float


@dataclass(frozen=True, slots=True)
class BatchCell:
    """The largest batch that meets the peak of the usual one at one extra forward pass.

    `seconds` and `plain_seconds` are of the plan, and of the same batch without recomputation.
    """

    network: str
    batch: int
    budget_bytes: int
    largest: int
    predicted_peak: int
    measured_peak: int | None
    extra_forward_passes: float
    seconds: float | None
    plain_seconds: float | None


@dataclass
class Tables:
    """All rows that were measured, by network in the order of their first one."""

    budgets: list[BudgetCell] = field(default_factory=list[BudgetCell])
    rivals: list[RivalCell] = field(default_factory=list[RivalCell])
    batches: list[BatchCell] = field(default_factory=list[BatchCell])

    def put(self, cells: Sequence[BudgetCell | RivalCell | BatchCell]) -> None:
        """Replace a network's rows of that kind; of rivals, those of the same strategies."""
        new = {_key(cell) for cell in cells}
        self.budgets = [c for c in self.budgets if _key(c) not in new]
        self.rivals = [c for c in self.rivals if _key(c) not in new]
        self.batches = [c for c in self.batches if _key(c) not in new]
        for cell in cells:
            if isinstance(cell, BudgetCell):
                self.budgets.append(cell)
            elif isinstance(cell, RivalCell):
                self.rivals.append(cell)
            else:
                self.batches.append(cell)

    @classmethod
    def from_dict(cls, document: Mapping[str, Any]) -> Tables:
        """From what `dataclasses.asdict` made, and a file kept."""
        return cls(
            [BudgetCell(**row) for row in document["budgets"]],
            [RivalCell(**row) for row in document["rivals"]],
            [BatchCell(**row) for row in document["batches"]],
        )


def measures(tables: Tables) -> Iterator[Measure]:
    """Peaks as measured, and times over those of the same step without recomputation."""
    plain = {c.network: c.measured_seconds for c in tables.budgets if c.budget == 1.0}
    for c in tables.budgets:
        case, base = f"{c.network} {c.budget:.3g}", plain.get(c.network)
        if c.budget == 1.0:
            yield Measure(case, "lowtide", "measured peak", "bytes", c.measured_peak)
        else:  # the plan is one of a search with a limit; what counts is that it is within
            over = max(0, c.measured_peak - c.budget_bytes)
            yield Measure(case, "lowtide", "over the budget", "bytes", over)
        if c.measured_seconds and base:
            ratio = c.measured_seconds / base
            yield Measure(case, "lowtide", "time over plain", "s/s", ratio)
    for r in tables.rivals:
        case = f"{r.network} at the peak of {r.rival}"
        yield Measure(case, r.rival, "measured peak", "bytes", r.measured_peak, peer=True)
        if r.our_seconds and r.rival_seconds:
            ratio = r.our_seconds / r.rival_seconds
            yield Measure(case, "lowtide", "time over the rival's", "s/s", ratio)
    for b in tables.batches:
        ratio = b.batch / b.largest
        yield Measure(b.network, "lowtide", "usual over largest batch", "ratio", ratio)


def _key(cell: BudgetCell | RivalCell | BatchCell) -> tuple[str, str, str]:
    rival = cell.rival if isinstance(cell, RivalCell) else ""
    return type(cell).__name__, cell.network, rival


def _mib(value: int | None) -> str:
    return "-" if value is None else f"{value / (1 << 20):.1f}"


def _milliseconds(value: float | None) -> str:
    return "-" if value is None else f"{1000 * value:.0f}"


def _percent(value: float | None, base: float | None) -> str:
    return "-" if value is None or not base else f"{100 * (value / base - 1):.1f}"


def text_of(tables: Tables) -> str:
    """The tables as Markdown."""
    parts: list[str] = []
    if tables.budgets:
        parts += _budgets(tables.budgets)
    if tables.rivals:
        parts += _rivals(tables.rivals)
    if tables.batches:
        parts.append(_batches(tables.batches))
    return "\n\n".join(parts) + "\n"


def _budgets(cells: Sequence[BudgetCell]) -> list[str]:
    plain = {c.network: c for c in cells if c.budget == 1.0}
    rows: list[list[str]] = []
    for c in cells:
        base = plain.get(c.network, c)
        rows.append(
            [
                f"{c.network} {c.budget:.3g}",
                _mib(c.budget_bytes),
                _mib(c.predicted_peak),
                _mib(c.measured_peak),
                "yes" if c.measured_peak <= c.budget_bytes else "NO",
                _percent(c.predicted_seconds, base.predicted_seconds),
                _milliseconds(c.measured_seconds),
                _percent(c.measured_seconds, base.measured_seconds),
                str(c.recomputed),
                "yes" if c.identical else "NO",
            ]
        )
    header = ["budget", "MiB", "predicted peak", "measured peak", "within", "predicted extra %"]
    header += ["CPU-ms", "extra %", "recomputed", "same bits"]
    text = [markdown(header, rows)]
    rising = [
        f"{b.network} {b.budget:.3g}"
        for a, b in pairwise(cells)
        if a.network == b.network and b.measured_peak > a.measured_peak
    ]
    text.append(
        f"Measured peaks that rise as the budget falls: {', '.join(rising) or 'none'}. "
        f"The last row of a network is the least peak that was met; no plan can have less than "
        + ", ".join(f"{_mib(c.bound_bytes)} ({n})" for n, c in plain.items())
        + "."
    )
    return text


def _rivals(cells: Sequence[RivalCell]) -> list[str]:
    cells = sorted(cells, key=lambda c: (c.network, c.rival))
    rows = [
        [
            f"{c.network} {c.rival}",
            _mib(c.measured_peak),
            _mib(c.our_measured_peak),
            *map(_milliseconds, (c.base_seconds, c.rival_seconds, c.our_seconds)),
            _percent(c.rival_seconds, c.base_seconds),
            _percent(c.our_seconds, c.base_seconds),
            _percent(c.rival_predicted, c.base_predicted),
            _percent(c.our_predicted, c.base_predicted),
        ]
        for c in cells
    ]
    header = ["at equal measured peak", "its MiB", "our MiB", "plain CPU-ms", "its", "ours"]
    header += ["its extra %", "ours", "its predicted extra %", "ours"]
    text = [markdown(header, rows)]
    for rival in dict.fromkeys(c.rival for c in cells):
        same = [c for c in cells if c.rival == rival]
        predicted = [c.our_predicted / c.rival_predicted for c in same if c.our_predicted]
        seconds = [
            c.our_seconds / c.rival_seconds for c in same if c.our_seconds and c.rival_seconds
        ]
        text.append(
            f"Our time over that of {rival}, geometric mean of {len(predicted)}: "
            f"{geometric_mean(predicted):.3f} predicted, {geometric_mean(seconds):.3f} measured."
        )
    return text


def _batches(cells: Sequence[BatchCell]) -> str:
    rows = [
        [
            c.network,
            _mib(c.budget_bytes),
            str(c.batch),
            str(c.largest),
            f"{c.largest / c.batch:.2f}x",
            _mib(c.predicted_peak),
            _mib(c.measured_peak),
            f"{c.extra_forward_passes:.2f}",
            _milliseconds(c.seconds),
            _milliseconds(c.plain_seconds),
        ]
        for c in cells
    ]
    header = ["largest batch", "budget MiB", "usual", "largest", "ratio", "predicted peak"]
    header += ["measured peak", "extra forward passes", "CPU-ms", "plain CPU-ms"]
    return markdown(header, rows)
