"""The README's figure: live bytes over the execution, before and after, as plain SVG.

python -m lowtide.bench.figure examples/randwire.onnx docs/randwire.svg
"""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import TYPE_CHECKING

from lowtide.planning import plan
from lowtide.settings import Settings
from lowtide.targets import prepare
from lowtide.units import format_bytes

if TYPE_CHECKING:
    from collections.abc import Sequence

    from lowtide.ir import Timeline

__all__ = ["draw", "main"]

_WIDTH, _HEIGHT, _LEFT, _TOP = 820, 300, 70, 34
_PLOT_WIDTH, _PLOT_HEIGHT = _WIDTH - _LEFT - 20, _HEIGHT - _TOP - 46
_BEFORE, _AFTER, _INK = "#c4553b", "#1f6f8b", "#57606a"


def _curve(values: Sequence[int], top: int) -> str:
    """An SVG path: one step per executed op, closed at the floor."""
    points = [f"M{_LEFT},{_TOP + _PLOT_HEIGHT}"]
    for index, value in enumerate(values):
        y = _TOP + _PLOT_HEIGHT * (1 - value / top)
        points += (
            f"L{_LEFT + _PLOT_WIDTH * at / len(values):.1f},{y:.1f}" for at in (index, index + 1)
        )
    points.append(f"L{_LEFT + _PLOT_WIDTH},{_TOP + _PLOT_HEIGHT}Z")
    return "".join(points)


def _text(x: float, y: float, text: str, color: str = _INK, anchor: str = "start") -> str:
    return f'<text x="{x:.0f}" y="{y:.0f}" fill="{color}" text-anchor="{anchor}">{text}</text>'


def draw(name: str, before: Timeline, after: Timeline, lower_bound: int, stock: int | None) -> str:
    """The picture; `stock` is the measured peak of a stock session, said in words only."""
    top = max(before.peak_bytes, 1)
    bound_y = _TOP + _PLOT_HEIGHT * (1 - lower_bound / top)
    parts = [
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {_WIDTH} {_HEIGHT}" '
        f'font-family="system-ui, sans-serif" font-size="13" role="img" '
        f'aria-label="Live bytes while {name} runs, before and after">',
        f'<rect width="{_WIDTH}" height="{_HEIGHT}" fill="#ffffff"/>',
    ]
    for timeline, color in ((before, _BEFORE), (after, _AFTER)):
        path = _curve([step.live_bytes for step in timeline.steps], top)
        parts.append(
            f'<path d="{path}" fill="{color}" fill-opacity="0.14" stroke="{color}" '
            f'stroke-width="1.6" stroke-linejoin="round"/>'
        )
    parts.append(
        f'<line x1="{_LEFT}" x2="{_LEFT + _PLOT_WIDTH}" y1="{bound_y:.1f}" y2="{bound_y:.1f}" '
        f'stroke="{_INK}" stroke-dasharray="5 4"/>'
    )
    legend = [
        (f"before: {format_bytes(before.peak_bytes)}", _BEFORE),
        (f"after: {format_bytes(after.peak_bytes)}", _AFTER),
        (f"proven lower bound: {format_bytes(lower_bound)}", _INK),
    ]
    if stock is not None:
        legend.append((f"stock session allocates {format_bytes(stock)}", _INK))
    for index, (text, color) in enumerate(legend):
        parts.append(_text(_LEFT + (0, 150, 290, 520)[index], 20, text, color))
    for share in (0.0, 0.5, 1.0):
        y = _TOP + _PLOT_HEIGHT * (1 - share)
        parts.append(_text(_LEFT - 8, y + 4, format_bytes(round(top * share)), anchor="end"))
    axis = f"{name}: the ops in the order in which they run"
    parts.append(_text(_LEFT + _PLOT_WIDTH / 2, _HEIGHT - 18, axis, anchor="middle"))
    return "\n".join([*parts, "</svg>"]) + "\n"


def main() -> None:
    """Plan a model and write its figure."""
    parser = argparse.ArgumentParser(description="Live bytes before and after, as SVG.")
    parser.add_argument("model", type=Path)
    parser.add_argument("output", type=Path)
    parser.add_argument("--stock", type=int, help="measured peak of a stock session, in bytes")
    arguments = parser.parse_args()
    settings = Settings.of(
        target="onnxruntime",
        level="all",
        portable=False,
        dims=None,
        budget=None,
        time_limit_s=None,
        seed=0,
        pipeline=None,
        threads=1,
    )
    planned = plan(prepare(arguments.model, settings))
    certificate = planned.plan.certificate
    bound = certificate.lower_bound_bytes if certificate else 0
    picture = draw(
        arguments.model.stem,
        planned.prepared.source_order,
        planned.timeline,
        bound,
        arguments.stock,
    )
    arguments.output.write_text(picture)


if __name__ == "__main__":
    main()
