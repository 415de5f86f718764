"""How solvers came to their result: the best value and the bound over time."""

from __future__ import annotations

import time
from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable

    from lowtide.planning import Progress

__all__ = ["Point", "Record", "Recorder", "Stage"]

_MOST_POINTS = 4000  # of one stage; more are thinned out


@dataclass(frozen=True, slots=True)
class Point:
    """What was known at a time: the best value so far, if any, and a bound of every value."""

    seconds: float
    best_bytes: int | None
    bound_bytes: int


@dataclass(frozen=True, slots=True)
class Stage:
    """Work of one kind: from `start_s` to `stop_s` after the recording began."""

    name: str
    start_s: float
    stop_s: float
    points: tuple[Point, ...]


@dataclass(frozen=True, slots=True)
class Record:
    """The stages of a run, in order."""

    stages: tuple[Stage, ...]

    @property
    def solving(self) -> tuple[Stage, ...]:
        """The stages in which a solver said how far it was."""
        return tuple(stage for stage in self.stages if stage.points)


class Recorder:
    """Passes on to `progress` what it hears, and keeps what changed."""

    def __init__(
        self, progress: Progress | None, clock: Callable[[], float] = time.perf_counter
    ) -> None:
        self._progress = progress
        self._clock = clock
        self._started = clock()
        self._stages: list[tuple[str, float, list[Point]]] = []

    def stage(self, text: str) -> None:
        """The work turns to something else."""
        if self._stages and self._stages[-1][0] == "rewrite" and text == "plan":
            text = "plan of the rewritten model"
        self._stages.append((text, self._clock() - self._started, []))
        if self._progress is not None:
            self._progress.stage(text)

    def bounds(self, incumbent: int | None, bound: int) -> None:
        """A solver's best value and lower bound so far, in bytes."""
        if not self._stages:
            self._stages.append(("solve", 0.0, []))
        points = self._stages[-1][2]
        if not points or (points[-1].best_bytes, points[-1].bound_bytes) != (incumbent, bound):
            points.append(Point(self._clock() - self._started, incumbent, bound))
            if len(points) > _MOST_POINTS:
                del points[1:-1:2]
        if self._progress is not None:
            self._progress.bounds(incumbent, bound)

    @property
    def record(self) -> Record:
        """What was heard so far."""
        ends = [start for _, start, _ in self._stages[1:]]
        ends.append(self._clock() - self._started)
        return Record(
            tuple(
                Stage(name, start, end, tuple(points))
                for (name, start, points), end in zip(self._stages, ends, strict=True)
            )
        )
