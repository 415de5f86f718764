"""What a scheduler returns."""

from __future__ import annotations

from dataclasses import dataclass

from lowtide.solvers.status import Status

__all__ = ["ScheduleSolution"]


@dataclass(frozen=True, slots=True)
class ScheduleSolution:
    """An order, its peak, and the best proven lower bound on the peak of any order.

    Attributes:
        status: `optimal` exactly when `peak_bytes == lower_bound_bytes`.
        peak_bytes: the peak of `order`; None when no order was found.
        lower_bound_bytes: no order has a lower peak.
        order: a permutation of the nodes; None when none was found.
        method: the algorithm that found the order.
        bound_method: the argument behind the bound (`min-cut`, `search`, `trivial`, ...).
        seconds: wall time.
        cpu_seconds: processor time of all threads.
    """

    status: Status
    peak_bytes: int | None
    lower_bound_bytes: int
    order: tuple[int, ...] | None
    method: str = ""
    bound_method: str = ""
    seconds: float = 0.0
    cpu_seconds: float = 0.0
