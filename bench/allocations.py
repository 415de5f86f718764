"""The table of layouts: heights, bounds and CPU-seconds of every allocator.

    python -m lowtide.bench.allocations [--instances DIR] [--allocators NAME,...] [--runs 5]

Two parts: allocation instances at their capacity (MiniMalloc's), and the arenas of optimal
schedules, whose height is to be the schedule's peak; `joint` may take another order of that peak.
Arm Vela's allocators take part where `lowtide[peers]` is installed.
Every layout passes the checker.
bench/README.md has the protocol.
"""

from __future__ import annotations

import argparse
import importlib
import sys
from dataclasses import asdict, dataclass, replace
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING, Protocol, cast

from lowtide.bench.instances import allocation_cases, schedule_cases
from lowtide.bench.protocol import end, geometric_mean, markdown, measure, one_core, write
from lowtide.bench.record import Measure, digest
from lowtide.errors import InputError, LowtideError
from lowtide.solvers.allocation.bound import lower_bound
from lowtide.solvers.allocation.check import check
from lowtide.solvers.allocation.exact import allocate
from lowtide.solvers.allocation.pack import pack
from lowtide.solvers.allocation.problem import AllocationProblem, AllocationSolution
from lowtide.solvers.joint import pack_order
from lowtide.solvers.lifetimes import arena_of
from lowtide.solvers.schedule.check import peak_of
from lowtide.solvers.schedule.exact import schedule
from lowtide.solvers.status import Status

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping, Sequence

    from lowtide.solvers.schedule.problem import ScheduleProblem

__all__ = ["Answer", "Row", "allocators", "joint", "main", "measures", "run", "table"]

_OURS = ("exact", "pack", "joint")
_REGISTRY = "lowtide.solvers.allocation.registry"


class Allocator(Protocol):
    """What every allocator is called as."""

    def __call__(
        self, problem: AllocationProblem, *, time_limit_s: float | None = ..., seed: int = ...
    ) -> AllocationSolution:
        """A solution that `check` accepts."""
        ...


class _Registry(Protocol):
    """The registry's module."""

    def available(self) -> tuple[str, ...]: ...
    def get_allocator(self, name: str) -> Allocator: ...


@dataclass(frozen=True, slots=True)
class Answer:
    """What one allocator gave on one problem."""

    status: str
    height: int | None
    lower_bound: int
    method: str
    cpu_seconds: tuple[float, ...]
    median_cpu_seconds: float
    repeatable: bool


@dataclass(frozen=True, slots=True)
class Row:
    """One problem. `goal` is the capacity, or the peak of the schedule that the arena is of."""

    name: str
    blocks: int
    goal: int | None
    answers: dict[str, Answer]


def allocators() -> dict[str, Allocator]:
    """By name: those of the registry, or else the two of this package; Vela's where it is."""
    found: dict[str, Allocator] = {"exact": allocate, "pack": pack}
    if find_spec(_REGISTRY) is not None:
        registry = cast("_Registry", importlib.import_module(_REGISTRY))
        found = {name: registry.get_allocator(name) for name in registry.available()}
    if find_spec("ethosu") is not None:
        from lowtide.bench.peers import vela

        found.update(vela.ALLOCATORS)
    return found


def run(
    name: str,
    problem: AllocationProblem,
    names: Iterable[str],
    *,
    runs: int,
    time_limit_s: float,
    seed: int = 0,
) -> Row:
    """Every allocator on one problem; a run that ends at its time limit is not repeated.

    Raises:
        LowtideError: the checker refutes a layout, or a layout refutes another's bound.
    """
    known = allocators()
    answers = {key: _answer(known[key], problem, runs, time_limit_s, seed) for key in names}
    bound = max(answer.lower_bound for answer in answers.values())
    for key, answer in answers.items():
        if answer.height is not None and answer.height < bound:
            raise LowtideError(f"{name}: {key} reaches {answer.height}, a bound is {bound}")
    return Row(name, len(problem.blocks), problem.capacity, answers)


def joint(
    problem: ScheduleProblem, order: tuple[int, ...], runs: int, time_limit_s: float, seed: int = 0
) -> Answer:
    """An optimal order packed with leave to take another one of its peak.

    Raises:
        LowtideError: the checker refutes the layout, or the order's peak is higher.
    """
    peak = peak_of(problem, order)
    measured = measure(
        lambda: pack_order(
            problem, order, lower_bound_bytes=peak, time_limit_s=time_limit_s, seed=seed
        ),
        runs,
        repeat=lambda layout: layout.allocation.status is not Status.TIME_LIMIT,
    )
    for layout in measured.answers:
        check(arena_of(problem, layout.order), layout.allocation)
        if peak_of(problem, layout.order) != peak:
            raise LowtideError(f"the peak {peak} became {peak_of(problem, layout.order)}")
    layout = measured.answers[-1]
    return Answer(
        status=layout.allocation.status,
        height=layout.allocation.height,
        lower_bound=layout.allocation.lower_bound,
        method=f"{layout.orders_tried} orders, {layout.allocation.method}",
        cpu_seconds=measured.cpu_seconds,
        median_cpu_seconds=measured.median,
        repeatable=len({(a.order, a.allocation.offsets) for a in measured.answers}) == 1,
    )


def _answer(
    allocator: Allocator, problem: AllocationProblem, runs: int, time_limit_s: float, seed: int
) -> Answer:
    measured = measure(
        lambda: allocator(problem, time_limit_s=time_limit_s, seed=seed),
        runs,
        repeat=lambda solution: solution.status is not Status.TIME_LIMIT,
    )
    for solution in measured.answers:
        check(problem, solution)
    solution = measured.answers[-1]
    return Answer(
        status=solution.status,
        height=solution.height,
        lower_bound=solution.lower_bound,
        method=solution.method,
        cpu_seconds=measured.cpu_seconds,
        median_cpu_seconds=measured.median,
        repeatable=len({(s.lower_bound, s.offsets) for s in measured.answers}) == 1,
    )


def table(rows: Sequence[Row], names: Sequence[str], goal: str) -> str:
    """Markdown: height over the goal, by allocator, and how often and how fast it is reached."""
    header = ["instance", "blocks", goal, "bound", *names]
    body = [
        [
            row.name,
            f"{row.blocks:,}",
            "-" if row.goal is None else f"{row.goal:,}",
            f"{max(a.lower_bound for a in row.answers.values()):,}",
            *(_cell(row, row.answers[name]) for name in names),
        ]
        for row in rows
    ]
    summary: list[list[str]] = []
    for name in names:
        answers = [(row, row.answers[name]) for row in rows]
        reached = [row for row, a in answers if _ratio(row, a) is not None and _reached(row, a)]
        ratios = [r for row, a in answers if (r := _ratio(row, a)) is not None]
        seconds = [a.median_cpu_seconds for _, a in answers]
        summary.append(
            [
                name,
                f"{len(reached)} of {len(rows)}",
                str(sum(a.status == Status.OPTIMAL for _, a in answers)),
                f"{geometric_mean(ratios):.4f}",
                f"{max(ratios):.4f}" if ratios else "-",
                f"{sum(seconds):.3f}",
                f"{max(seconds):.3f}",
                "yes" if all(a.repeatable for _, a in answers) else "no",
            ]
        )
    columns = ["allocator", f"within the {goal}", "optimal", "mean", "most", "CPU-s, sum"]
    columns += ["CPU-s, most", "repeatable"]
    note = f"Cells: height over the {goal} (over the bound where there is none); CPU-seconds."
    return "\n\n".join([note, markdown(header, body), markdown(columns, summary)]) + "\n"


def _cell(row: Row, answer: Answer) -> str:
    ratio = _ratio(row, answer)
    shown = "-" if ratio is None else f"{ratio:.4f}"
    return f"{shown} {answer.status} ({answer.median_cpu_seconds:.3f})"


def _ratio(row: Row, answer: Answer) -> float | None:
    goal = row.goal if row.goal is not None else answer.lower_bound
    return None if answer.height is None or not goal else answer.height / goal


def _reached(row: Row, answer: Answer) -> bool:
    goal = row.goal if row.goal is not None else answer.lower_bound
    return answer.height is not None and answer.height <= goal


def measures(parts: Mapping[str, Sequence[Row]]) -> Iterator[Measure]:
    """Heights and CPU-seconds of every allocator."""
    for row in (row for rows in parts.values() for row in rows):
        for name, answer in row.answers.items():
            peer = name not in _OURS
            if answer.height is not None:
                yield Measure(row.name, name, "height", "bytes", answer.height, peer)
            yield Measure(row.name, name, "CPU", "s", answer.median_cpu_seconds, peer)


def main(arguments: Sequence[str] | None = None) -> int:
    """The command."""
    parser = argparse.ArgumentParser(prog="allocations", description=__doc__)
    parser.add_argument("--instances", type=Path, metavar="DIR", help="else generated ones")
    parser.add_argument("--allocators", help="comma-separated; all by default")
    parser.add_argument("--runs", type=int, default=5)
    parser.add_argument("--time-limit", type=float, default=30.0, metavar="S", help="of one run")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--only", choices=("instances", "arenas"))
    parser.add_argument("--output", type=Path, help="without suffix; .md and .json are written")
    options = parser.parse_args(arguments)
    known = allocators()
    names: list[str] = options.allocators.split(",") if options.allocators else list(known)
    for name in names:
        if name not in known:
            raise InputError(f"there is no allocator `{name}`; there are: {', '.join(known)}")
    one_core()
    settings = {"runs": options.runs, "time_limit_s": options.time_limit, "seed": options.seed}
    parts: dict[str, list[Row]] = {"instances": [], "arenas": []}
    models: dict[str, str] = {}

    def add(part: str, name: str, problem: AllocationProblem) -> None:
        row = run(
            name,
            problem,
            names,
            runs=options.runs,
            time_limit_s=options.time_limit,
            seed=options.seed,
        )
        parts[part].append(row)
        models[name] = digest(problem)
        shown = ", ".join(f"{key} {_cell(row, a)}" for key, a in row.answers.items())
        print(f"{name:36} {shown}", file=sys.stderr, flush=True)

    if options.only != "arenas":
        for case in allocation_cases(options.instances):
            add("instances", case.name, case.problem)
    skipped: list[str] = []
    if options.only != "instances":
        for graph in schedule_cases(options.instances):
            solution = schedule(graph.problem, time_limit_s=options.time_limit, seed=options.seed)
            if solution.status is not Status.OPTIMAL or solution.order is None:
                skipped.append(graph.name)
                continue
            arena = arena_of(graph.problem, solution.order)
            peak = peak_of(graph.problem, solution.order)
            if lower_bound(arena) != peak:
                raise LowtideError(f"{graph.name}: the arena's load is not the peak {peak}")
            add("arenas", graph.name, replace(arena, capacity=peak))
            if options.allocators is None:
                row = parts["arenas"][-1]
                row.answers["joint"] = joint(
                    graph.problem, solution.order, options.runs, options.time_limit, options.seed
                )
                print(f"{'':36} joint {_cell(row, row.answers['joint'])}", file=sys.stderr)
    text = ""
    if parts["instances"]:
        text += "## Instances\n\n" + table(parts["instances"], names, "capacity")
    if parts["arenas"]:
        text += "\n## Arenas of optimal schedules\n\n" + table(
            parts["arenas"], list(parts["arenas"][0].answers), "peak"
        )
    if skipped:
        text += f"\nNo optimal schedule within the limit: {', '.join(skipped)}\n"
    print(text)
    if options.output is not None:
        document = {part: [asdict(row) for row in rows] for part, rows in parts.items()}
        write(
            options.output,
            text,
            {**document, "skipped": skipped},
            settings,
            measures=measures(parts),
            models=models,
        )
    return 0


if __name__ == "__main__":
    end(main)
