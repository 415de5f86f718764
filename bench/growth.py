"""How time and memory grow: generated graphs of a thousand to a hundred thousand ops.

    python -m lowtide.bench.growth --output bench/results/growth

Each graph is solved in a process of its own, that ends with this one: CPU-seconds of the scheduler
alone, of the layout of its order, and the peak of the process's resident memory, Python and its
problem included.
"""

from __future__ import annotations

import argparse
import math
import resource
import sys
import time
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, cast

from lowtide import child
from lowtide.bench.graphs import branching, chain, wide
from lowtide.bench.protocol import end, markdown, one_core, write
from lowtide.bench.record import Measure
from lowtide.solvers.joint import pack_order
from lowtide.solvers.schedule.exact import schedule

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence

__all__ = ["Point", "draw", "main", "measures", "solve_here", "solve_one"]

KINDS = {"chain": chain, "branching": branching, "wide": wide}
SIZES = (1_000, 3_000, 10_000, 30_000, 100_000)
_COLORS = {"chain": "#c4553b", "branching": "#1f6f8b", "wide": "#7a5ea8"}
_INK = "#57606a"
_SPARE_S, _MOST_S = 3600.0, 1e6  # of wall time beyond the limits of a graph's solves; of all
_WIDTH, _HEIGHT, _SIDE, _TOP, _BOTTOM = 820, 320, 64, 40, 44


@dataclass(frozen=True, slots=True)
class Point:
    """One graph, solved."""

    kind: str
    ops: int
    status: str
    peak_bytes: int
    lower_bound_bytes: int
    arena_bytes: int
    schedule_cpu_s: float
    layout_cpu_s: float
    resident_bytes: int


def solve_one(kind: str, ops: int, time_limit_s: float, seed: int = 0) -> Point:
    """Schedule and lay out one generated graph in this process."""
    problem = KINDS[kind](ops, seed)
    begin = time.process_time()
    solution = schedule(problem, time_limit_s=time_limit_s)
    scheduled = time.process_time()
    assert solution.order is not None
    layout = pack_order(
        problem,
        solution.order,
        lower_bound_bytes=solution.lower_bound_bytes,
        time_limit_s=time_limit_s,
        rounds=1,
    )
    done = time.process_time()
    return Point(
        kind=kind,
        ops=ops,
        status=str(solution.status),
        peak_bytes=solution.peak_bytes or 0,
        lower_bound_bytes=solution.lower_bound_bytes,
        arena_bytes=layout.allocation.height or 0,
        schedule_cpu_s=round(scheduled - begin, 3),
        layout_cpu_s=round(done - scheduled, 3),
        resident_bytes=resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024,
    )


def solve_here(request: Mapping[str, Any]) -> dict[str, object]:
    """The child's side of `main`: one point."""
    return asdict(solve_one(request["kind"], request["ops"], request["time_limit_s"]))


def _solve(kind: str, ops: int, time_limit_s: float) -> Point:
    reply = child.run(
        "lowtide.bench.growth:solve_here",
        {"kind": kind, "ops": ops, "time_limit_s": time_limit_s},
        timeout_s=min(_MOST_S, 2 * time_limit_s + _SPARE_S),
    )
    return Point(**cast("dict[str, Any]", reply))


def draw(points: list[Point]) -> str:
    """Two log-log charts beside each other: CPU-seconds and resident memory over ops."""
    parts = [
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {_WIDTH} {_HEIGHT}" '
        f'font-family="system-ui, sans-serif" font-size="13" role="img" '
        f'aria-label="CPU-seconds and memory over the number of ops">',
        f'<rect width="{_WIDTH}" height="{_HEIGHT}" fill="#ffffff"/>',
    ]
    for at, (kind, color) in enumerate(_COLORS.items()):
        parts.append(f'<text x="{_SIDE + 110 * at}" y="20" fill="{color}">{kind}</text>')
    seconds = [(p.kind, p.ops, max(p.schedule_cpu_s, 0.001)) for p in points]
    memory = [(p.kind, p.ops, p.resident_bytes / 2**20) for p in points]
    half = _WIDTH // 2
    parts += _chart(seconds, 0, half, "CPU-seconds to schedule", 0.001, 100.0)
    parts += _chart(memory, half, half, "MiB resident", 10.0, 2048.0)
    return "\n".join([*parts, "</svg>"]) + "\n"


def _chart(
    values: list[tuple[str, int, float]], left: int, width: int, title: str, low: float, high: float
) -> list[str]:
    plot_width, plot_height = width - _SIDE - 28, _HEIGHT - _TOP - _BOTTOM
    sizes = [ops for _, ops, _ in values]
    first, last = min(sizes), max(*sizes, min(sizes) + 1)

    def x(ops: int) -> float:
        return left + _SIDE + plot_width * math.log(ops / first) / math.log(last / first)

    def y(value: float) -> float:
        share = math.log(min(max(value, low), high) / low) / math.log(high / low)
        return _TOP + plot_height * (1 - share)

    def text(at: float, height: float, label: str, anchor: str) -> str:
        return (
            f'<text x="{at:.0f}" y="{height:.0f}" fill="{_INK}" text-anchor="{anchor}">'
            f"{label}</text>"
        )

    parts: list[str] = []
    tick = low
    while tick <= high:
        parts.append(
            f'<line x1="{left + _SIDE}" x2="{left + _SIDE + plot_width}" y1="{y(tick):.1f}" '
            f'y2="{y(tick):.1f}" stroke="#d8dee4"/>'
        )
        parts.append(text(left + _SIDE - 8, y(tick) + 4, f"{tick:g}", "end"))
        tick *= 10
    parts += (
        text(x(ops), _HEIGHT - 26, f"{ops:,}", "middle")
        for ops in sorted(set(sizes))
        if str(ops).startswith("1")
    )
    parts.append(text(left + _SIDE + plot_width / 2, _HEIGHT - 8, f"{title}, over ops", "middle"))
    for kind, color in _COLORS.items():
        path = " ".join(f"{x(ops):.1f},{y(value):.1f}" for k, ops, value in values if k == kind)
        parts.append(f'<polyline points="{path}" fill="none" stroke="{color}" stroke-width="2"/>')
    return parts


def measures(points: Sequence[Point]) -> Iterator[Measure]:
    """Peaks, arenas, what is unproven, and CPU-seconds."""
    for p in points:
        case = f"{p.kind} {p.ops}"
        yield Measure(case, "exact", "peak", "bytes", p.peak_bytes)
        yield Measure(case, "exact", "gap", "bytes", p.peak_bytes - p.lower_bound_bytes)
        yield Measure(case, "pack", "arena", "bytes", p.arena_bytes)
        yield Measure(case, "exact", "CPU", "s", p.schedule_cpu_s)
        yield Measure(case, "pack", "CPU", "s", p.layout_cpu_s)


def main(arguments: Sequence[str] | None = None) -> int:
    """Run every size in a process of its own; write a table, JSON and a figure."""
    parser = argparse.ArgumentParser(description="Time and memory over the size of the graph.")
    parser.add_argument("--output", type=Path, help="stem of the .md, .json and .svg to write")
    parser.add_argument("--sizes", type=int, nargs="+", default=list(SIZES))
    parser.add_argument("--time-limit", type=float, default=60.0, help="seconds of each solve")
    options = parser.parse_args(arguments)
    one_core()
    points: list[Point] = []
    for kind in KINDS:
        for ops in options.sizes:
            points.append(_solve(kind, ops, options.time_limit))
            print(points[-1], file=sys.stderr)
    rows = [
        [
            p.kind,
            f"{p.ops:,}",
            p.status,
            f"{p.peak_bytes:,}",
            f"{p.lower_bound_bytes:,}",
            f"{p.arena_bytes:,}",
            f"{p.schedule_cpu_s:.3f}",
            f"{p.layout_cpu_s:.3f}",
            f"{p.resident_bytes / 2**20:.0f}",
        ]
        for p in points
    ]
    head = ["graph", "ops", "status", "peak", "bound", "arena", "CPU-s", "layout CPU-s", "MiB"]
    table = markdown(head, rows)
    print(table)
    if options.output is not None:
        stem: Path = options.output
        settings = {"sizes": options.sizes, "time_limit_s": options.time_limit, "seed": 0}
        document = {"points": [asdict(p) for p in points]}
        write(stem, f"{table}\n", document, settings, measures=measures(points))
        stem.with_suffix(".svg").write_text(draw(points))
    return 0


if __name__ == "__main__":
    end(main)
