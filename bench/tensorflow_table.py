"""What the benchmark of training steps found, and its tables."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from lowtide.bench.protocol import geometric_mean, markdown

if TYPE_CHECKING:
    from collections.abc import Sequence

__all__ = ["BatchCell", "BudgetCell", "RivalCell", "text_of"]


@dataclass(frozen=True, slots=True)
class BudgetCell:
    """One network at one budget; peaks in bytes.

    Where no plan met the budget, `predicted_peak` is the smallest that one was found for.
    """

    network: str
    budget: float
    budget_bytes: int
    predicted_peak: int | None
    measured_peak: int | None
    predicted_seconds: float | None
    measured_seconds: float | None
    recomputed: int | None
    identical: bool | None


@dataclass(frozen=True, slots=True)
class RivalCell:
    """Another way to choose, and ours within the peak that it was measured to have."""

    network: str
    rival: str
    measured_peak: int
    rival_seconds: float
    our_measured_peak: int | None
    our_seconds: float | None
    base_seconds: float
    rival_predicted: float | None
    our_predicted: float | None
    base_predicted: float


@dataclass(frozen=True, slots=True)
class BatchCell:
    """The largest batch tried that meets the peak of the usual one."""

    network: str
    batch: int
    budget_bytes: int
    largest: int
    predicted_peak: int
    measured_peak: int | None
    extra_forward_passes: float


def _mib(value: int | None) -> str:
    return "-" if value is None else f"{value / (1 << 20):.1f}"


def _milliseconds(value: float | None) -> str:
    return "-" if value is None else f"{1000 * value:.0f}"


def text_of(
    budgets: Sequence[BudgetCell], rivals: Sequence[RivalCell], batches: Sequence[BatchCell]
) -> str:
    """The tables as Markdown."""
    rows = [
        [
            f"{c.network} {c.budget:g}",
            _mib(c.budget_bytes),
            _mib(c.predicted_peak) if c.measured_peak else f"not met; {_mib(c.predicted_peak)} is",
            _mib(c.measured_peak),
            _milliseconds(c.predicted_seconds),
            _milliseconds(c.measured_seconds),
            "-" if c.recomputed is None else str(c.recomputed),
            {True: "yes", False: "NO", None: "-"}[c.identical],
        ]
        for c in budgets
    ]
    header = ["budget", "MiB", "predicted peak", "measured peak", "predicted ms", "CPU-ms"]
    parts = [markdown([*header, "recomputed", "same bits"], rows)]
    if rivals:
        rows = [
            [
                f"{c.network} {c.rival}",
                _mib(c.measured_peak),
                _mib(c.our_measured_peak),
                *map(_milliseconds, (c.base_seconds, c.rival_seconds, c.our_seconds)),
                *map(_milliseconds, (c.base_predicted, c.rival_predicted, c.our_predicted)),
            ]
            for c in rivals
        ]
        header = ["at equal measured peak", "its MiB", "our MiB", "plain CPU-ms", "its", "ours"]
        header += ["plain predicted ms", "its", "ours"]
        parts.append(markdown(header, rows))
        ratios = [
            c.our_predicted / c.rival_predicted
            for c in rivals
            if c.our_predicted and c.rival_predicted
        ]
        seconds = [c.our_seconds / c.rival_seconds for c in rivals if c.our_seconds]
        parts.append(
            f"Ours over the rival's, geometric mean of {len(rivals)}: "
            f"{geometric_mean(ratios):.3f} predicted, {geometric_mean(seconds):.3f} measured."
        )
    if batches:
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
            ]
            for c in batches
        ]
        header = ["largest batch", "budget MiB", "usual", "largest", "ratio", "predicted peak"]
        parts.append(markdown([*header, "measured peak", "extra forward passes"], rows))
    return "\n\n".join(parts) + "\n"
