"""The page's drawing of a search: the best value and the bound over time."""

from __future__ import annotations

from typing import TYPE_CHECKING

from lowtide.pictures.names import safe
from lowtide.pictures.record import Unit
from lowtide.pictures.shapes import number
from lowtide.units import format_bytes

if TYPE_CHECKING:
    from lowtide.pictures.record import Record, Stage

__all__ = ["solver_chart"]


def solver_chart(record: Record) -> str:
    """Best value and bound over the time of each solver, side by side, each on its own scale.

    The scales do not begin at zero: the distance of the two is what counts.
    """
    return "".join(_stage(stage) for stage in record.solving)


def _stage(stage: Stage) -> str:
    points = stage.points
    values = [p.best for p in points if p.best is not None]
    known = [*values, *(p.bound for p in points)]
    room = max((max(known) - min(known)) * 0.15, max(known) * 0.02, 0.1)
    low, top = max(min(known) - room, 0), max(known) + room
    start, stop = stage.start_s, max(stage.stop_s, points[-1].seconds, stage.start_s + 1e-6)

    def x(seconds: float) -> str:
        return number(1000 * (seconds - start) / (stop - start))

    def y(count: float) -> float:
        return 300 * (1 - (count - low) / (top - low))

    def stair(pairs: list[tuple[float, float]]) -> str:
        if not pairs:
            return ""
        path = f"M{x(pairs[0][0])} {number(y(pairs[0][1]))}"
        for seconds, count in pairs[1:]:
            path += f"H{x(seconds)}V{number(y(count))}"
        return f"{path}H1000"

    best = stair([(p.seconds, p.best) for p in points if p.best is not None])
    bound = stair([(p.seconds, p.bound) for p in points])
    last = points[-1]
    words = (
        f"{stage.name}: best {_said(stage, last.best)}, bound "
        f"{_said(stage, last.bound)}, {_gap(stage)}, after "
        f"{last.seconds - start:.2f} s of {stop - start:.2f} s"
    )
    scale = "".join(
        f'<text x="100%" y="{number(y(count) / 3)}%" dx="-8" dy="4">{_said(stage, count)}</text>'
        for count in sorted({last.bound, last.bound if last.best is None else last.best})
        if count == last.bound or abs(y(count) - y(last.bound)) > 30
    )
    marks = "".join(
        f'<text x="{at}%" y="13">{number(share * (stop - start))} s</text>'
        for at, share in ((0, 0.0), (50, 0.5), (100, 1.0))
    )
    return (
        f'<figure class="stage"><div class="chart"><svg class="scale" aria-hidden="true">{scale}'
        f'</svg><div class="plot"><svg class="shapes" viewBox="0 0 1000 300" '
        f'preserveAspectRatio="none" role="img" aria-label="{safe(words)}">'
        f'<path class="line before" d="{best}"/><path class="line bound" d="{bound}"/></svg></div>'
        f'<svg class="marks" aria-hidden="true">{marks}</svg></div>'
        f"<figcaption>{safe(words)}</figcaption></figure>"
    )


def _said(stage: Stage, value: float | None) -> str:
    """A value in the stage's unit."""
    if value is None:
        return "none"
    if stage.unit is Unit.PERCENT:
        return f"{value:.2f} %"
    return format_bytes(round(value))


def _gap(stage: Stage) -> str:
    """The distance of the last value from its bound: in points of a percentage, or as its part."""
    last = stage.points[-1]
    if last.best is None:
        return "nothing found"
    distance = last.best - last.bound
    if distance <= 0:
        return "no gap"
    if stage.unit is Unit.PERCENT:
        return f"gap {distance:.2f} points"
    return f"gap {100 * distance / last.best:.1f} %"
