"""How solvers came to their result: the best value and the bound over time."""

from __future__ import annotations

import time
from dataclasses import dataclass
from enum import StrEnum
from typing import TYPE_CHECKING

from lowtide.planning import CostProgress

if TYPE_CHECKING:
    from collections.abc import Callable

    from lowtide.planning import Progress

__all__ = ["Point", "Record", "Recorder", "Stage", "Unit"]

_MOST_POINTS = 4000  # of one stage; more are thinned out


class Unit(StrEnum):
    """What is minimised."""

    BYTES = "bytes"
    PERCENT = "percent"  # of more time than with every op run once


@dataclass(frozen=True, slots=True)
class Point:
    """What was known at a time: the best value so far, if any, and a bound of every value."""

    seconds: float
    best: float | None
    bound: float


@dataclass(frozen=True, slots=True)
class Stage:
    """Work of one kind: from `start_s` to `stop_s` after the recording began."""

    name: str
    unit: Unit
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


@dataclass(slots=True)
class _Open:
    """A stage that may go on."""

    name: str
    unit: Unit
    start_s: float
    points: list[Point]


class Recorder:
    """Passes on to `progress` what it hears, and keeps what changed."""

    def __init__(
        self, progress: Progress | None, clock: Callable[[], float] = time.perf_counter
    ) -> None:
        self._progress = progress
        self._clock = clock
        self._started = clock()
        self._stages: list[_Open] = []

    def stage(self, text: str) -> None:
        """The work turns to something else."""
        name = text
        if self._stages and self._stages[-1].name == "rewrite" and text == "plan":
            name = "plan of the rewritten model"
        self._begin(name, Unit.BYTES)
        if self._progress is not None:
            self._progress.stage(text)

    def bounds(self, incumbent: int | None, bound: int) -> None:
        """A solver's best value and lower bound so far, in bytes."""
        if not self._stages or self._stages[-1].unit is not Unit.BYTES:
            self._begin("solve", Unit.BYTES)
        self._add(incumbent, bound)
        if self._progress is not None:
            self._progress.bounds(incumbent, bound)

    def costs(self, incumbent: float | None, bound: float, base: float) -> None:
        """A solver's best cost and its bound so far; `base` is every op once."""
        if base > 0:
            last = self._stages[-1] if self._stages else None
            if last is not None and not last.points:
                last.unit = Unit.PERCENT  # what the stage is about is known only now
            elif last is None or last.unit is not Unit.PERCENT:
                self._begin("recompute", Unit.PERCENT)
            best = None if incumbent is None else 100 * (incumbent / base - 1)
            self._add(best, max(100 * (bound / base - 1), 0.0))
        if isinstance(self._progress, CostProgress):
            self._progress.costs(incumbent, bound, base)

    def _begin(self, name: str, unit: Unit) -> None:
        self._stages.append(_Open(name, unit, self._clock() - self._started, []))

    def _add(self, best: float | None, bound: float) -> None:
        points = self._stages[-1].points
        if not points or (points[-1].best, points[-1].bound) != (best, bound):
            points.append(Point(self._clock() - self._started, best, bound))
            if len(points) > _MOST_POINTS:
                del points[1:-1:2]

    @property
    def record(self) -> Record:
        """What was heard so far."""
        ends = [stage.start_s for stage in self._stages[1:]]
        ends.append(self._clock() - self._started)
        return Record(
            tuple(
                Stage(stage.name, stage.unit, stage.start_s, end, tuple(stage.points))
                for stage, end in zip(self._stages, ends, strict=False)
            )
        )
