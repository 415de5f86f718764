"""A strip plot: rows of dots over a logarithmic axis of ratios, with the geometric mean of each."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING

from lowtide.bench.plots.canvas import Canvas
from lowtide.bench.protocol import geometric_mean

if TYPE_CHECKING:
    from collections.abc import Sequence

__all__ = ["Strip", "strips"]

_WIDTH, _LEFT, _RIGHT, _TOP, _ROW, _BOTTOM = 820, 172, 70, 64, 34, 44
_SPREAD = 9  # pixels that equal dots are spread over, up and down
_TICKS = (1, 1.1, 1.25, 1.5, 2, 3, 4, 6, 10)


@dataclass(frozen=True, slots=True)
class Strip:
    """A row: its name, and for every dot its case, its group and its ratio."""

    name: str
    dots: tuple[tuple[str, int, float], ...]


def strips(
    title: str, description: str, axis: str, groups: Sequence[str], rows: Sequence[Strip]
) -> str:
    """The picture, as SVG; groups are colours, in their order."""
    height = _TOP + _ROW * len(rows) + _BOTTOM
    canvas = Canvas(_WIDTH, height, title, description)
    canvas.text(16, 24, title, kind="head")
    canvas.legend(16, 46, [(name, f"s{k} dot") for k, name in enumerate(groups) if len(groups) > 1])
    most = max(1.1, *(ratio for row in rows for _, _, ratio in row.dots))
    plot = _WIDTH - _LEFT - _RIGHT

    def x(ratio: float) -> float:
        return _LEFT + plot * math.log(ratio) / math.log(most)

    base = _TOP + _ROW * len(rows)
    for tick in _TICKS:
        if tick <= most:
            canvas.line(x(tick), _TOP - 4, x(tick), base, "axis" if tick == 1 else "grid")
            canvas.text(x(tick), base + 16, f"{tick:g}x", anchor="middle")
    canvas.text(_LEFT + plot / 2, base + 34, axis, anchor="middle")
    for place, row in enumerate(rows):
        y = _TOP + _ROW * place + _ROW / 2
        canvas.text(_LEFT - 12, y + 4, row.name, anchor="end", kind="name")
        count = len(row.dots)
        for k, (case, group, ratio) in enumerate(sorted(row.dots, key=lambda dot: dot[2])):
            # Spread by a low-discrepancy sequence, so that equal dots stay apart.
            shift = (k * 0.618034) % 1 * 2 - 1 if count > 1 else 0.0
            hint = f"{case}: {ratio:.3f}x"
            canvas.dot(x(ratio), y + _SPREAD * shift, f"s{group} dot", hint, radius=3.5)
        mean = geometric_mean(ratio for _, _, ratio in row.dots)
        canvas.line(x(mean), y - 13, x(mean), y + 13, "axis mean")
        canvas.text(_WIDTH - _RIGHT + 14, y + 4, f"{mean:.3f}x", kind="name")
    canvas.text(_WIDTH - _RIGHT + 14, _TOP - 10, "mean")
    return str(canvas)
