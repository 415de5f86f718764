"""The page's drawings: SVG without colours or sizes of its own; the page's style gives both.

A chart is three layers on one another. What has to stretch (curves, rectangles) is drawn in steps
and parts of the height; lines and labels are placed in percent and keep their size.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from lowtide.pictures.names import clipped, isolated, safe
from lowtide.pictures.scene import Kind
from lowtide.pictures.shapes import Frame, curve, number, rectangles, round_up, tick_label, ticks

if TYPE_CHECKING:
    from lowtide.pictures.hot import HotRegion
    from lowtide.pictures.scene import Run, Scene

__all__ = ["arena_chart", "hot_drawing", "live_chart"]

_UNITS = 4000
_ROW, _BOX, _LABEL = 40, 30, 190


def live_chart(scene: Scene) -> str:
    """Live bytes of both runs, with the bound and the budget."""
    before, after = scene.before, scene.after
    highest = max(before.peak_bytes, after.peak_bytes, scene.lower_bound_bytes, 1)
    budget = scene.budget_bytes
    if budget is not None and budget <= 1.5 * highest:
        highest = max(highest, budget)
    top, distance = round_up(highest)
    steps = max(len(before.moments), len(after.moments), 1)
    frame = Frame(0, 0, steps, _UNITS, steps, top, 0)
    shapes = "".join(
        f'<path class="area line {name}" d="{curve(_live(run), frame)}"/>'
        for name, run in (("before", before), ("after", after))
    )
    shapes += "".join(
        f'<path class="again" d="M{i} {_UNITS}v-136h1v136Z"/>'
        for i, moment in enumerate(after.moments)
        if moment.again
    )
    lines = ""
    for name, count in (("bound", scene.lower_bound_bytes), ("budget", budget)):
        if count and count <= top:
            y = number(100 * (1 - count / top))
            lines += f'<line class="{name}" x1="0" x2="100%" y1="{y}%" y2="{y}%"/>'
    return _stack("live", shapes, lines, steps, top, distance)


def arena_chart(scene: Scene) -> str:
    """The arenas of both runs on the same scale; the page shows one of them."""
    runs = {"before": scene.before, "after": scene.after}
    top, distance = round_up(max(run.arena_bytes or 1 for run in runs.values()))
    steps = max(*(len(run.moments) for run in runs.values()), 1)
    frame = Frame(0, 0, steps, _UNITS, steps, top, 0)
    shapes = ""
    for name, run in runs.items():
        paths = "".join(
            f'<path class="kind-{kind.name.lower().replace("_", "-")}" '
            f'd="{rectangles([b for b in run.blocks if b.kind is kind], frame)}"/>'
            for kind in sorted(Kind, key=lambda kind: kind is Kind.RECOMPUTED)
            if any(b.kind is kind and b.offset is not None for b in run.blocks)
        )
        dense = " dense" if len(run.blocks) > 1500 else ""
        shapes += f'<g class="run-{name}{dense}">{paths}</g>'
    lines = ""
    for name, run in () if scene.own_allocator else runs.items():
        y = number(100 * (1 - (run.arena_bytes or 0) / top))
        lines += f'<line class="height run-{name}" x1="0" x2="100%" y1="{y}%" y2="{y}%"/>'
    return _stack("arena", shapes, lines, steps, top, distance)


def _stack(name: str, shapes: str, lines: str, steps: int, top: int, distance: int) -> str:
    grid = labels = ""
    for count in range(0, top + 1, distance):
        y = number(100 * (1 - count / top))
        grid += f'<line x1="0" x2="100%" y1="{y}%" y2="{y}%"/>'
        text = tick_label(count, top)
        labels += f'<text x="100%" y="{y}%" dx="-8" dy="4">{text}</text>'
    marks = "".join(
        f'<text x="{number(100 * step / steps)}%" y="13">{step:,}</text>'
        for step in ticks(steps, 8)
    )
    return (
        f'<svg class="scale" aria-hidden="true">{labels}</svg>'
        f'<div class="plot" id="plot-{name}" data-top="{top}">'
        f'<svg class="grid" aria-hidden="true">{grid}</svg>'
        f'<svg class="shapes" id="shapes-{name}" viewBox="0 0 {steps} {_UNITS}" '
        f'preserveAspectRatio="none" role="img" aria-labelledby="title-{name}" '
        f'aria-describedby="words-{name}">{shapes}</svg>'
        f'<svg class="levels" aria-hidden="true">{lines}</svg></div>'
        f'<svg class="marks" id="marks-{name}" aria-hidden="true">{marks}</svg>'
    )


def hot_drawing(hot: HotRegion) -> str:
    """Boxes in three columns, and an edge for every tensor that the peak holds."""
    layers = [hot.layer(number) for number in range(3)]
    rows = max(len(layer) for layer in layers)
    height, width = rows * _ROW + 10, 960
    left = (0, (width - _LABEL) // 2, width - _LABEL)
    place = {
        op: (left[k], (index + 0.5 + (rows - len(layer)) / 2) * _ROW + 5)
        for k, layer in enumerate(layers)
        for index, op in enumerate(layer)
    }
    largest = max((edge.nbytes for edge in hot.edges), default=1)
    edges = ""
    for edge in hot.edges:
        (x1, y1), (x2, y2) = place[edge.source], place[edge.target]
        x1 += _LABEL
        passes = hot.ops[edge.source].layer == 0 and hot.ops[edge.target].layer == 2
        bend = (x2 - x1) / 2 if not passes else (x2 - x1) / 2.6
        thick = number(1 + 7 * edge.nbytes / largest)
        more = f", and by {edge.more_readers} more" if edge.more_readers else ""
        words = (
            f"{isolated(clipped(edge.tensor, 120))}, {edge.nbytes:,} bytes: from "
            f"{isolated(clipped(hot.ops[edge.source].name, 80))} to "
            f"{isolated(clipped(hot.ops[edge.target].name, 80))}{more}"
        )
        kind = "passes" if passes else "read"
        edges += (
            f'<path class="{kind}" stroke-width="{thick}" '
            f'd="M{number(x1)} {number(y1)}C{number(x1 + bend)} {number(y1)} '
            f'{number(x2 - bend)} {number(y2)} {number(x2)} {number(y2)}">'
            f"<title>{words}</title></path>"
        )
    boxes = ""
    for index, op in enumerate(hot.ops):
        x, y = place[index]
        when = "" if op.step is None else f", step {op.step:,}"
        kind = op.kind.rpartition(".")[2]
        boxes += (
            f'<g class="layer-{op.layer}"><title>{isolated(clipped(op.name, 200))} '
            f"({isolated(clipped(op.kind, 80))}{when})</title>"
            f'<rect x="{x}" y="{number(y - _BOX / 2)}" width="{_LABEL}" height="{_BOX}" rx="5"/>'
            f'<text x="{x + 9}" y="{number(y - 1)}">{safe(clipped(op.name, 24))}</text>'
            f'<text class="small" x="{x + 9}" y="{number(y + 11)}">'
            f"{safe(clipped(kind, 22))}{when}</text></g>"
        )
    return (
        f'<svg class="hot" viewBox="-2 0 {width + 4} {height}" role="img" '
        f'aria-labelledby="title-hot" aria-describedby="words-hot">{edges}{boxes}</svg>'
    )


def _live(run: Run) -> tuple[int, ...]:
    return tuple(moment.live_bytes for moment in run.moments)
