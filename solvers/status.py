"""How a solve ended. A status is a value, never an exception."""

from __future__ import annotations

from enum import StrEnum

__all__ = ["Status"]


class Status(StrEnum):
    """The outcome of a solver; `message` is what a user reads, with the next step."""

    OPTIMAL = "optimal"  # the value equals a proven lower bound
    FEASIBLE = "feasible"  # finished without a proof
    INFEASIBLE = "infeasible"  # proven: no solution meets the limit that was asked for
    TIME_LIMIT = "time_limit"  # the limit struck; the best solution so far, possibly none

    @property
    def message(self) -> str:
        """One sentence for the user, with the next step."""
        return {
            Status.OPTIMAL: "proven optimal",
            Status.FEASIBLE: "found, not proven optimal",
            Status.INFEASIBLE: "proven impossible: raise the budget",
            Status.TIME_LIMIT: "stopped at the time limit: raise --time-limit for a proof",
        }[self]
