"""How much a search may take: of time, of work, or of both, whichever ends first.

Work is counted in looks at a run, about fifty million of which take a second of a core.  A search
that only work limits finds the same plan each time, on a busy machine, too.
"""

from __future__ import annotations

import time
from dataclasses import dataclass

from lowtide.errors import InputError

__all__ = ["Allowance", "Effort"]

_DEFAULT_WORK = 1_000_000_000


@dataclass(frozen=True, slots=True)
class Effort:
    """Limits of one search, or of several together, about.

    Attributes:
        time_limit_s: wall time; None for none.
        work_limit: in looks at a run; None for none.
    """

    time_limit_s: float | None
    work_limit: int | None = None

    @classmethod
    def of(cls, time_limit_s: float | None, work_limit: int | None) -> Effort:
        """What a user asks for: without any limit a fixed amount of work.

        Raises:
            InputError: the time is negative, or there is no work.
        """
        if time_limit_s is not None and not time_limit_s >= 0:
            raise InputError(f"the time limit must not be negative, got {time_limit_s}")
        if work_limit is not None and work_limit < 1:
            raise InputError(f"the work limit must be positive, got {work_limit}")
        unlimited = time_limit_s is None and work_limit is None
        return cls(time_limit_s, _DEFAULT_WORK if unlimited else work_limit)

    def part(self, share: float) -> Effort:
        """A share of it, from 0 to 1."""
        return Effort(
            None if self.time_limit_s is None else share * self.time_limit_s,
            None if self.work_limit is None else max(1, int(share * self.work_limit)),
        )

    def at_least(self, time_limit_s: float) -> Effort:
        """The same with so much time."""
        limit_s = self.time_limit_s
        return self if limit_s is None else Effort(max(limit_s, time_limit_s), self.work_limit)


class Allowance:
    """An effort that several searches share, one after another.

    Time is what the clock says; of work, a search counts as what it was given.
    """

    def __init__(self, effort: Effort) -> None:
        self._effort, self._begin, self._share = effort, time.monotonic(), 1.0

    def take(self, share: float) -> Effort:
        """A share of all there was at first, whether it is left or not."""
        self._share = max(0.0, self._share - share)
        return self._effort.part(share)

    def left(self) -> Effort:
        """What is left."""
        limit_s = self._effort.time_limit_s
        spent = time.monotonic() - self._begin
        return Effort(
            None if limit_s is None else max(0.0, limit_s - spent),
            self._effort.part(self._share).work_limit,
        )

    def take_left(self, share: float) -> Effort:
        """A share of what is left."""
        found = self.left().part(share)
        self._share *= 1.0 - share
        return found

    @property
    def spent(self) -> bool:
        """Whether no time is left."""
        limit_s = self.left().time_limit_s
        return limit_s is not None and limit_s <= 0
