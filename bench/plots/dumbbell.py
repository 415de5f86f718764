"""A dumbbell plot: for every case the values of some ways on a line, as parts of the first."""

from __future__ import annotations

from typing import TYPE_CHECKING

from lowtide.bench.plots.canvas import Canvas

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

__all__ = ["dumbbells"]

_WIDTH, _LEFT, _RIGHT, _TOP, _ROW, _BOTTOM = 820, 230, 90, 64, 24, 44


def dumbbells(
    title: str,
    description: str,
    axis: str,
    ways: Sequence[str],
    rows: Mapping[str, Sequence[float | None]],
) -> str:
    """The picture, as SVG; every row has a value, or None, for each way.

    The last column says by how much the least value of a row is less than its first.
    """
    height = _TOP + _ROW * len(rows) + _BOTTOM
    canvas = Canvas(_WIDTH, height, title, description)
    canvas.text(16, 24, title, kind="head")
    canvas.legend(16, 46, [(way, f"s{k} solid") for k, way in _colours(ways)])
    plot = _WIDTH - _LEFT - _RIGHT
    most = max(
        1.0,
        *(value / row[0] for row in rows.values() if row[0] for value in row if value is not None),
    )

    def x(part: float) -> float:
        return _LEFT + plot * part / most

    base = _TOP + _ROW * len(rows)
    for k in range(5):
        part = k / 4
        canvas.line(x(part), _TOP - 4, x(part), base, "grid" if k else "axis")
        canvas.text(x(part), base + 16, f"{part:.0%}", anchor="middle")
    canvas.text(_LEFT + plot / 2, base + 34, axis, anchor="middle")
    for place, (name, row) in enumerate(rows.items()):
        y = _TOP + _ROW * place + _ROW / 2
        canvas.text(_LEFT - 12, y + 4, name, anchor="end", kind="name")
        first = row[0]
        if not first:
            continue
        found = [(k, value) for (k, _), value in zip(_colours(ways), row, strict=True)]
        parts = [value / first for _, value in found if value is not None]
        canvas.line(x(min(parts)), y, x(max(parts)), y, "link")
        for (k, value), way in zip(found, ways, strict=True):
            if value is not None:
                hint = f"{name}, {way}: {value:,.0f} bytes"
                canvas.dot(x(value / first), y, f"s{k} solid", hint, radius=5)
        less = first / min(value for _, value in found if value is not None)
        canvas.text(_WIDTH - _RIGHT + 14, y + 4, f"{less:.2f}x less", kind="name")
    return str(canvas)


def _colours(ways: Sequence[str]) -> list[tuple[int, str]]:
    """Numbers of colours: ours, the last, is the first colour of the book."""
    order = [*range(1, len(ways)), 0]
    return list(zip(order, ways, strict=True))
