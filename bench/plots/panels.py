"""Small multiples: a panel for each network, with the extra time over the peak that remains."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from lowtide.bench.plots.canvas import Canvas

if TYPE_CHECKING:
    from collections.abc import Sequence

__all__ = ["Panel", "panels"]

_WIDE, _HIGH, _COLUMNS = 273, 200, 3
_LEFT, _TOP, _RIGHT, _BOTTOM = 52, 34, 20, 30
_MARGIN = 0.06  # of the values, above and below them
_HEAD, _FOOT = 56, 26


@dataclass(frozen=True, slots=True)
class Panel:
    """A network: our curve, and the points of others; (part of the peak, extra percent)."""

    name: str
    curve: tuple[tuple[float, float], ...]
    rivals: tuple[tuple[int, str, float, float], ...]  # colour, name, part, percent


def panels(
    title: str, description: str, axis: str, names: Sequence[str], found: Sequence[Panel]
) -> str:
    """The picture, as SVG; the first of `names` is ours, the others are the rivals' colours."""
    rows = -(-len(found) // _COLUMNS)
    canvas = Canvas(_COLUMNS * _WIDE, _HEAD + rows * _HIGH + _FOOT, title, description)
    canvas.text(16, 24, title, kind="head")
    canvas.legend(16, 46, [(name, f"s{k} solid") for k, name in enumerate(names)])
    for place, panel in enumerate(found):
        left, top = place % _COLUMNS * _WIDE, _HEAD + place // _COLUMNS * _HIGH
        _draw(canvas, panel, left, top)
    canvas.text(_COLUMNS * _WIDE / 2, _HEAD + rows * _HIGH + 12, axis, anchor="middle")
    return str(canvas)


def _draw(canvas: Canvas, panel: Panel, left: int, top: int) -> None:
    wide, high = _WIDE - _LEFT - _RIGHT, _HIGH - _TOP - _BOTTOM
    every = [*panel.curve, *((part, more) for _, _, part, more in panel.rivals)]
    highest = max(5.0, *(more for _, more in every))
    lowest = min(0.0, *(more for _, more in every))
    margin = _MARGIN * (highest - lowest)
    most, least = highest + margin, lowest - margin

    def x(part: float) -> float:
        return left + _LEFT + wide * part

    def y(more: float) -> float:
        return top + _TOP + high * (most - more) / (most - least)

    canvas.text(left + _LEFT, top + 20, panel.name, kind="name")
    for part in (0, 0.25, 0.5, 0.75, 1):
        canvas.line(x(part), top + _TOP, x(part), top + _TOP + high, "grid")
        canvas.text(x(part), top + _HIGH - 12, f"{part:.0%}", anchor="middle")
    for more in (0.0, _round(highest)):
        kind = "grid" if more else "axis"
        canvas.line(left + _LEFT, y(more), left + _LEFT + wide, y(more), kind)
        shown = f"{more:+.0f} %" if more else "0"
        canvas.text(left + _LEFT - 6, y(more) + 4, shown, anchor="end")
    canvas.path([(x(part), y(more)) for part, more in panel.curve], "s0")
    for part, more in panel.curve:
        canvas.dot(x(part), y(more), "s0 solid", f"{part:.0%} of the peak: {more:+.1f} %", radius=3)
    for colour, name, part, more in panel.rivals:
        hint = f"{name}, {part:.0%} of the peak: {more:+.1f} %"
        canvas.dot(x(part), y(more), f"s{colour} solid", hint, radius=4)


def _round(value: float) -> float:
    """Down to a multiple of ten, or of five."""
    return float(int(value // 10) * 10) if value >= 10 else 5.0
