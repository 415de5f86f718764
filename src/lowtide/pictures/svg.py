"""The picture for papers: live bytes and the arena over the execution, as plain SVG.

Plain means: elements and attributes that every converter knows, no style sheet, no script, light
colours on white. The same scene gives the same bytes.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from lowtide.pictures.names import clipped, safe
from lowtide.pictures.scene import Kind
from lowtide.pictures.shapes import Frame, curve, number, rectangles, round_up, tick_label, ticks
from lowtide.units import format_bytes

if TYPE_CHECKING:
    from collections.abc import Sequence

    from lowtide.pictures.scene import Run, Scene

__all__ = ["COLORS", "Curve", "draw", "draw_curves"]

# Okabe and Ito's colours, which people of every colour vision tell apart; two of them darkened for
# contrast on white.
COLORS = {
    Kind.ACTIVATION: "#56a0d3",
    Kind.OUTPUT: "#009e73",
    Kind.IN_PLACE: "#e6a700",
    Kind.INPUT: "#cc79a7",
    Kind.WORKSPACE: "#8c959f",
    Kind.RECOMPUTED: "#d55e00",
}
BEFORE, AFTER = "#c4553b", "#0b62a4"
_INK, _DIM, _GRID = "#1f2328", "#57606a", "#d8dee4"
_WIDTH, _LEFT, _RIGHT = 820, 76, 20
_TOP, _CURVE, _ARENA, _GAP = 78, 230, 210, 62


@dataclass(frozen=True, slots=True)
class Curve:
    """Live bytes at every step, under a name."""

    name: str
    values: tuple[int, ...]
    color: str


@dataclass(frozen=True, slots=True)
class _Layout:
    """A run with its layout, and the runtime that places each tensor by itself, if it does."""

    run: Run
    own_allocator: str


@dataclass(frozen=True, slots=True)
class _Heading:
    """What is written above the picture, and what a screen reader or a viewer calls it."""

    shown: str
    accessible: str


def draw(scene: Scene) -> str:
    """Both curves with the bound and the budget, and below them the planned arena."""
    curves = (
        Curve(f"before {format_bytes(scene.before.peak_bytes)}", _live(scene.before), BEFORE),
        Curve(f"after {format_bytes(scene.after.peak_bytes)}", _live(scene.after), AFTER),
    )
    again = [index for index, moment in enumerate(scene.after.moments) if moment.again]
    arena = _Layout(scene.after, scene.own_allocator) if scene.after.arena_bytes else None
    heading = _Heading(scene.name, f"Live bytes while {scene.name} runs")
    return _page(heading, curves, scene.lower_bound_bytes, scene.budget_bytes, arena, again)


def draw_curves(title: str, curves: Sequence[Curve]) -> str:
    """Several executions in one frame; the title says what is drawn."""
    return _page(_Heading(title, title), curves, 0, None, None, ())


def _page(
    heading: _Heading,
    curves: Sequence[Curve],
    bound: int,
    budget: int | None,
    arena: _Layout | None,
    again: Sequence[int],
) -> str:
    height = _TOP + _CURVE + _GAP + (0 if arena is None else _ARENA + _GAP + 16)
    words = "; ".join(each.name for each in curves)
    parts = [
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {_WIDTH} {height}" '
        f'width="{_WIDTH}" height="{height}" font-family="Helvetica, Arial, DejaVu Sans, '
        f'sans-serif" font-size="12" role="img">',
        f"<title>{safe(heading.accessible)}</title>",
        f"<desc>{safe(f'Peaks: {words}')}</desc>",
        f'<rect width="{_WIDTH}" height="{height}" fill="#ffffff"/>',
        _text(_LEFT, 26, clipped(heading.shown, 70), color=_INK, size=16, weight="bold"),
    ]
    lines = [(each.name, each.color, "") for each in curves]
    if bound:
        lines.append((f"lower bound {format_bytes(bound)}", _INK, "6 4"))
    if budget is not None:
        lines.append((f"budget {format_bytes(budget)}", "#7a3e9d", "2 3"))
    parts += _legend(lines)
    steps = max((len(each.values) for each in curves), default=1)
    highest = max((max(each.values, default=0) for each in curves), default=0)
    top, distance = round_up(max(highest, bound, _visible(budget, highest), 1))
    frame = Frame(_LEFT, _TOP, _WIDTH - _LEFT - _RIGHT, _CURVE, max(steps, 1), top)
    parts += _axes(frame, distance, "live bytes")
    for each in curves:
        parts.append(
            f'<path d="{curve(each.values, frame)}" fill="{each.color}" '
            f'fill-opacity="0.13" stroke="{each.color}" stroke-width="1.4" '
            f'stroke-linejoin="round"/>'
        )
    if bound:
        parts.append(_level(frame, bound, _INK, "6 4"))
    if budget is not None and budget <= top:
        parts.append(_level(frame, budget, "#7a3e9d", "2 3"))
    parts += _repeats(frame, again)
    parts.append(_below(frame, "steps, in the order in which the ops run"))
    if arena is not None:
        parts += _arena(arena, frame.steps, _TOP + _CURVE + _GAP + 16)
    return "\n".join([*parts, "</svg>"]) + "\n"


def _arena(layout: _Layout, steps: int, top: float) -> list[str]:
    run = layout.run
    height = run.arena_bytes or 1
    high, distance = round_up(height)
    frame = Frame(_LEFT, top, _WIDTH - _LEFT - _RIGHT, _ARENA, steps, high)
    x = float(_LEFT)
    parts: list[str] = []
    for kind, color in COLORS.items():
        blocks = [block for block in run.blocks if block.kind is kind]
        if not blocks:
            continue
        parts.append(
            f'<rect x="{number(x)}" y="{number(top - 20)}" width="10" height="10" fill="{color}"/>'
        )
        parts.append(_text(x + 14, top - 11, kind.value, color=_DIM))
        x += 30 + 6.4 * len(kind.value)
    parts += _axes(frame, distance, "bytes" if layout.own_allocator else "address")
    for kind, color in COLORS.items():
        path = rectangles([block for block in run.blocks if block.kind is kind], frame)
        if path:
            width = 1.2 if kind is Kind.RECOMPUTED else 0.5
            edge = _INK if kind is Kind.RECOMPUTED else "#ffffff"
            parts.append(
                f'<path d="{path}" fill="{color}" stroke="{edge}" stroke-width="{width}"/>'
            )
    own = " (laid out for this picture)" if run.own_layout else ""
    words = f"the arena, {format_bytes(height)}: who lies where, and when{own}"
    if layout.own_allocator:
        words = f"lifetimes, laid out for this picture: {layout.own_allocator} has no arena"
    parts.append(_below(frame, words))
    return parts


def _axes(frame: Frame, distance: int, title: str) -> list[str]:
    right, floor = frame.left + frame.width, frame.top + frame.height
    parts: list[str] = []
    for count in range(0, frame.bytes + 1, distance):
        y = number(frame.y(count))
        parts.append(f'<path d="M{number(frame.left)} {y}H{number(right)}" stroke="{_GRID}"/>')
        label = tick_label(count, frame.bytes)
        parts.append(_text(frame.left - 8, frame.y(count) + 4, label, anchor="end"))
    for step in ticks(frame.steps, 8):
        x = number(frame.x(step))
        parts.append(f'<path d="M{x} {number(floor)}V{number(floor + 4)}" stroke="{_DIM}"/>')
        parts.append(_text(frame.x(step), floor + 17, f"{step:,}", anchor="middle"))
    middle = number(frame.top + frame.height / 2)
    parts.append(
        f'<text transform="translate(14 {middle}) rotate(-90)" fill="{_DIM}" '
        f'text-anchor="middle">{title}</text>'
    )
    return parts


def _below(frame: Frame, text: str) -> str:
    at = frame.left + frame.width / 2, frame.top + frame.height + 36
    return _text(*at, text, anchor="middle")


def _level(frame: Frame, count: int, color: str, dashes: str) -> str:
    y = number(frame.y(count))
    return (
        f'<path d="M{number(frame.left)} {y}H{number(frame.left + frame.width)}" stroke="{color}" '
        f'stroke-width="1.4" stroke-dasharray="{dashes}"/>'
    )


def _repeats(frame: Frame, again: Sequence[int]) -> list[str]:
    """A mark on the floor for every step that runs an op again."""
    floor = frame.top + frame.height
    path = "".join(
        f"M{number(frame.x(step + 0.5))} {number(floor - 7)}l3.5 7h-7Z" for step in again
    )
    return [f'<path d="{path}" fill="{COLORS[Kind.RECOMPUTED]}"/>'] if path else []


def _legend(lines: Sequence[tuple[str, str, str]]) -> list[str]:
    parts: list[str] = []
    x = float(_LEFT)
    for name, color, dashes in lines:
        dashed = f' stroke-dasharray="{dashes}"' if dashes else ""
        parts.append(f'<path d="M{number(x)} 49h22" stroke="{color}" stroke-width="2.4"{dashed}/>')
        parts.append(_text(x + 28, 53, clipped(name, 48), color=_INK))
        x += 46 + 6.4 * min(len(name), 48)
    return parts


def _text(
    x: float,
    y: float,
    text: str,
    *,
    color: str = _DIM,
    anchor: str = "start",
    size: int = 12,
    weight: str = "normal",
) -> str:
    more = f' font-size="{size}"' if size != 12 else ""
    more += f' font-weight="{weight}"' if weight != "normal" else ""
    return (
        f'<text x="{number(x)}" y="{number(y)}" fill="{color}" text-anchor="{anchor}"{more}>'
        f"{safe(text)}</text>"
    )


def _live(run: Run) -> tuple[int, ...]:
    return tuple(moment.live_bytes for moment in run.moments)


def _visible(budget: int | None, highest: int) -> int:
    """The budget, if the picture need not grow much for it."""
    return budget if budget is not None and budget <= 1.5 * highest else 0
