"""What each budget costs: the fronts of rematerialization, as a table and a picture.

    python -m lowtide.bench.remat_fronts --output bench/results/remat_fronts [--instances DIR]

One front per graph and scope, of `solvers.remat.pareto`; the picture has a panel for each graph,
with the overhead over the budget, every plan drawn down to the peak that it really has.
"""

from __future__ import annotations

import argparse
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from lowtide.bench.protocol import end, markdown, one_core, write
from lowtide.bench.record import Measure, digest
from lowtide.bench.remat import FILE_NAMES, instance_files, training_graph
from lowtide.solvers.remat.instance import read_instance
from lowtide.solvers.remat.pareto import pareto
from lowtide.solvers.remat.problem import OrderScope

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from lowtide.solvers.remat.front import ParetoFront
    from lowtide.solvers.remat.problem import RematProblem

__all__ = ["Front", "draw", "front_of", "main", "measures", "table"]

_WIDTH, _HEIGHT, _COLUMNS = 300, 220, 3
_LEFT, _TOP, _RIGHT, _BOTTOM = 54, 30, 14, 34
_COLORS = {OrderScope.FREE: "#1f6f8b", OrderScope.FIXED: "#c4553b"}
_INK, _GRID = "#57606a", "#d8dee4"


@dataclass(frozen=True, slots=True)
class Front:
    """The trade-off of one graph: parts of the input order's peak, and percent."""

    name: str
    ops: int
    scope: OrderScope
    points: tuple[tuple[float, float, float], ...]  # peak, overhead, proven least of it
    least_bound: float
    least_proven: bool
    cpu_seconds: float


def front_of(name: str, problem: RematProblem, scope: OrderScope, found: ParetoFront) -> Front:
    """A front in parts and percent."""
    peak = found.base_peak_bytes
    return Front(
        name=name,
        ops=problem.num_nodes,
        scope=scope,
        points=tuple(
            (
                (point.solution.peak_bytes or 0) / peak,
                point.solution.overhead_percent or 0.0,
                point.solution.overhead_bound_percent or 0.0,
            )
            for point in found.points
        ),
        least_bound=found.least_bound_bytes / peak,
        least_proven=found.least_proven,
        cpu_seconds=found.cpu_seconds,
    )


def table(fronts: Sequence[Front]) -> str:
    """Markdown: one row per front."""
    body = [
        [
            front.name,
            f"{front.ops:,}",
            front.scope.value.removesuffix("_order"),
            ", ".join(f"{peak:.3f}: {over:.2f} %" for peak, over, _ in front.points),
            f"{front.points[-1][0]:.3f}",
            f"{front.least_bound:.3f}" + " (met)" * front.least_proven,
            f"{front.cpu_seconds:.0f}",
        ]
        for front in fronts
    ]
    header = ["graph", "ops", "order", "peak: overhead", "least peak", "bound on it", "CPU-s"]
    return f"Peaks are parts of the input order's.\n\n{markdown(header, body)}\n"


def draw(fronts: Sequence[Front]) -> str:
    """The picture, as SVG: a panel for each graph."""
    names = list(dict.fromkeys(front.name for front in fronts))
    rows = -(-len(names) // _COLUMNS)
    width, height = _COLUMNS * _WIDTH, rows * _HEIGHT + 24
    parts = [
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {width} {height}" '
        f'font-family="system-ui, sans-serif" font-size="11" role="img" '
        f'aria-label="Overhead of recomputation over the memory budget">',
        f'<rect width="{width}" height="{height}" fill="#ffffff"/>',
    ]
    for place, name in enumerate(names):
        left, top = place % _COLUMNS * _WIDTH, place // _COLUMNS * _HEIGHT
        parts += _panel([front for front in fronts if front.name == name], left, top)
    for place, (scope, color) in enumerate(_COLORS.items()):
        x = 44 + 130 * place
        parts.append(
            f'<line x1="{x}" x2="{x + 22}" y1="{height - 12}" y2="{height - 12}" '
            f'stroke="{color}" stroke-width="2"/>'
        )
        parts.append(_text(x + 28, height - 8, scope.value.replace("_", " ")))
    return "\n".join([*parts, "</svg>"]) + "\n"


def _text(x: float, y: float, text: str, anchor: str = "start") -> str:
    return f'<text x="{x:.0f}" y="{y:.0f}" fill="{_INK}" text-anchor="{anchor}">{text}</text>'


def _panel(fronts: Sequence[Front], left: int, top: int) -> Iterator[str]:
    wide, high = _WIDTH - _LEFT - _RIGHT, _HEIGHT - _TOP - _BOTTOM
    most = max(max(over for _, over, _ in front.points) for front in fronts) or 1.0
    least = min(front.points[-1][0] for front in fronts)
    low = min(0.9, least)

    def x(part: float) -> float:
        return left + _LEFT + wide * (part - low) / (1 - low)

    def y(over: float) -> float:
        return top + _TOP + high * (1 - over / most)

    yield _text(left + _LEFT, top + 18, f"{fronts[0].name}, {fronts[0].ops:,} ops")
    for share in (0.0, 0.5, 1.0):
        line = y(share * most)
        yield (
            f'<line x1="{left + _LEFT}" x2="{left + _LEFT + wide}" y1="{line:.1f}" '
            f'y2="{line:.1f}" stroke="{_GRID}"/>'
        )
        yield _text(left + _LEFT - 6, line + 4, f"{share * most:.3g} %", "end")
    for part in (low, (1 + low) / 2, 1.0):
        yield _text(x(part), top + _HEIGHT - 16, f"{part:.2f}", "middle")
    for front in fronts:
        path = [f"M{x(1.0):.1f},{y(0.0):.1f}"]
        for peak, over, _ in front.points:
            path += (f"V{y(over):.1f}", f"H{x(peak):.1f}")
        yield (
            f'<path d="{"".join(path)}" fill="none" stroke="{_COLORS[front.scope]}" '
            f'stroke-width="2"/>'
        )


def measures(fronts: Sequence[Front]) -> Iterator[Measure]:
    """Least peaks as parts of the input order's, their gaps, and CPU-seconds."""
    for front in fronts:
        who = front.scope.value
        least = front.points[-1][0]
        yield Measure(front.name, who, "least peak", "ratio", least)
        yield Measure(front.name, who, "gap", "ratio", max(0.0, least - front.least_bound))
        yield Measure(front.name, who, "CPU", "s", front.cpu_seconds)


def main(arguments: Sequence[str] | None = None) -> int:
    """The command."""
    parser = argparse.ArgumentParser(prog="remat_fronts", description=__doc__)
    parser.add_argument("--instances", type=Path, metavar="DIR", help="else generated ones")
    parser.add_argument("--only", nargs="*", metavar="NAME", help="of the graphs")
    parser.add_argument("--points", type=int, default=8)
    parser.add_argument("--time-limit", type=float, default=60.0, help="seconds, of a front")
    parser.add_argument("--output", type=Path, help="stem of the .md, .json and .svg to write")
    options = parser.parse_args(arguments)
    one_core()
    if options.instances is None:
        graphs = [(f"train_{2 * n}", training_graph(n)) for n in (25, 100, 250)]
    else:
        paths = instance_files(options.instances)
        graphs = [(FILE_NAMES.get(p.stem, p.stem), read_instance(p)) for p in paths]
    fronts: list[Front] = []
    for name, problem in graphs:
        if options.only and name not in options.only:
            continue
        for scope in OrderScope:
            found = pareto(
                problem, scope=scope, points=options.points, time_limit_s=options.time_limit
            )
            fronts.append(front_of(name, problem, scope, found))
            print(f"{name} {scope.value}: {fronts[-1].points}", file=sys.stderr, flush=True)
    text = table(fronts)
    print(text)
    if options.output is not None:
        settings = {"points": options.points, "time_limit_s": options.time_limit, "seed": 0}
        rows = [
            {
                "graph": front.name,
                "ops": front.ops,
                "order": front.scope.value,
                "points": front.points,
                "least_bound": front.least_bound,
                "least_proven": front.least_proven,
                "cpu_seconds": front.cpu_seconds,
            }
            for front in fronts
        ]
        write(
            options.output,
            text,
            {"fronts": rows},
            settings,
            measures=measures(fronts),
            models={name: digest(problem) for name, problem in graphs},
        )
        options.output.with_suffix(".svg").write_text(draw(fronts))
    return 0


if __name__ == "__main__":
    end(main)
