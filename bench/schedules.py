"""The table of schedules: peaks, bounds, CPU-seconds, and ratios to every baseline.

    python -m lowtide.bench.schedules [--instances DIR] [--solvers exact,serenity,xla] [--runs 5]

The first solver is ours; the others are what it is compared with. Every answer passes the checker.
bench/README.md has the protocol.
"""

from __future__ import annotations

import argparse
import sys
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from lowtide.bench.instances import FAMILIES, ScheduleCase, family_of, schedule_cases
from lowtide.bench.protocol import end, geometric_mean, markdown, measure, one_core, write
from lowtide.bench.record import Measure, digest
from lowtide.errors import LowtideError
from lowtide.solvers.schedule.check import check
from lowtide.solvers.schedule.registry import available, get_scheduler
from lowtide.solvers.status import Status

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

__all__ = ["Answer", "Row", "main", "measures", "ratio_of", "run", "table", "verdict_of"]

# What is compared by default, as far as it is registered: xla and inductor are the best of theirs.
_SOLVERS = ("exact", "serenity", "file", "ort_default", "xla", "inductor", "kahn", "dfs", "list")


@dataclass(frozen=True, slots=True)
class Answer:
    """What one solver gave on one instance; the peak is the checker's."""

    status: str
    peak_bytes: int | None
    lower_bound_bytes: int
    method: str
    bound_method: str
    cpu_seconds: tuple[float, ...]
    median_cpu_seconds: float
    repeatable: bool


@dataclass(frozen=True, slots=True)
class Row:
    """One instance."""

    name: str
    family: str
    ops: int
    known_peak: int | None
    verdict: str
    answers: dict[str, Answer]


def verdict_of(case: ScheduleCase, peak: int | None, bound: int) -> str:
    """Against what is known: `equal`, `discovery`, `miss`, `contradiction`, or `-`.

    A contradiction is a bound above a peak that was reached, on either side: one of them is wrong.
    """
    if case.known_peak is not None and bound > case.known_peak:
        return "contradiction"
    if case.known_bound is not None and peak is not None and peak < case.known_bound:
        return "contradiction"
    if case.known_peak is None:
        return "-"
    if peak is None or peak > case.known_peak:
        return "miss"
    return "discovery" if peak < case.known_peak else "equal"


def run(
    case: ScheduleCase,
    solvers: Sequence[str],
    *,
    runs: int,
    time_limit_s: float,
    baseline_time_limit_s: float | None = None,
    seed: int = 0,
) -> Row:
    """Every solver on one instance; a run that ends at its time limit is not repeated.

    Raises:
        LowtideError: the checker refutes an answer, or an answer refutes another's bound.
    """
    others = time_limit_s if baseline_time_limit_s is None else baseline_time_limit_s
    limits = dict.fromkeys(solvers, others) | {solvers[0]: time_limit_s}
    answers = {name: _answer(case, name, runs, limits[name], seed) for name in solvers}
    bound = max(answer.lower_bound_bytes for answer in answers.values())
    for name, answer in answers.items():
        if answer.peak_bytes is not None and answer.peak_bytes < bound:
            raise LowtideError(
                f"{case.name}: {name} reaches {answer.peak_bytes}, a bound is {bound}"
            )
    ours = answers[solvers[0]]
    return Row(
        name=case.name,
        family=family_of(case.name),
        ops=case.problem.num_nodes,
        known_peak=case.known_peak,
        verdict=verdict_of(case, ours.peak_bytes, ours.lower_bound_bytes),
        answers=answers,
    )


def _answer(case: ScheduleCase, name: str, runs: int, time_limit_s: float, seed: int) -> Answer:
    scheduler = get_scheduler(name)
    measured = measure(
        lambda: scheduler(case.problem, time_limit_s=time_limit_s, seed=seed),
        runs,
        repeat=lambda solution: solution.status is not Status.TIME_LIMIT,
    )
    for solution in measured.answers:
        check(case.problem, solution)
    solution = measured.answers[-1]
    return Answer(
        status=solution.status,
        peak_bytes=solution.peak_bytes,
        lower_bound_bytes=solution.lower_bound_bytes,
        method=solution.method,
        bound_method=solution.bound_method,
        cpu_seconds=measured.cpu_seconds,
        median_cpu_seconds=measured.median,
        repeatable=len({(s.lower_bound_bytes, s.order) for s in measured.answers}) == 1,
    )


def table(rows: Sequence[Row], solvers: Sequence[str]) -> str:
    """Markdown: one row per instance, means per family, and what differs from what is known."""
    ours, baselines = solvers[0], solvers[1:]
    header = ["instance", "ops", f"{ours} peak", "bound", "status", "known", "CPU-s", *baselines]
    body: list[list[str]] = []
    for row in rows:
        answer = row.answers[ours]
        known = "-" if row.known_peak is None else f"{row.known_peak:,} ({row.verdict})"
        body.append(
            [
                row.name,
                f"{row.ops:,}",
                "-" if answer.peak_bytes is None else f"{answer.peak_bytes:,}",
                f"{answer.lower_bound_bytes:,}",
                answer.status,
                known,
                f"{answer.median_cpu_seconds:.4f}",
                *(_cell(row, ours, name) for name in baselines),
            ]
        )
    parts = [
        f"Columns after CPU-s: the peak over that of `{ours}`; in brackets, the CPU-seconds.",
        markdown(header, body),
        _summary(rows, solvers),
    ]
    for verdict in ("contradiction", "miss", "discovery"):
        names = [row.name for row in rows if row.verdict == verdict]
        if names:
            parts.append(f"**{verdict}**: {', '.join(names)}")
    changing = sorted(
        f"{row.name} ({name})"
        for row in rows
        for name, answer in row.answers.items()
        if not answer.repeatable
    )
    if changing:
        parts.append(f"**not repeatable**: {', '.join(changing)}")
    return "\n\n".join(parts) + "\n"


def _cell(row: Row, ours: str, name: str) -> str:
    ratio = ratio_of(row, ours, name)
    seconds = f"({row.answers[name].median_cpu_seconds:.3f})"
    return f"- {seconds}" if ratio is None else f"{ratio:.3f} {seconds}"


def ratio_of(row: Row, ours: str, name: str) -> float | None:
    """The peak of a solver over that of ours; None if one of them has none, or ours is zero."""
    top, bottom = row.answers[name].peak_bytes, row.answers[ours].peak_bytes
    return None if top is None or not bottom else top / bottom


def _summary(rows: Sequence[Row], solvers: Sequence[str]) -> str:
    """Per family: how many are proven, CPU-seconds, and mean (highest) ratio of every baseline."""
    ours, baselines = solvers[0], solvers[1:]
    header = ["family", "instances", "optimal", "CPU-s, sum", "CPU-s, most", *baselines]
    body: list[list[str]] = []
    for family in (*FAMILIES, "all"):
        members = [row for row in rows if family in (row.family, "all")]
        if not members:
            continue
        seconds = [row.answers[ours].median_cpu_seconds for row in members]
        optimal = sum(row.answers[ours].status == Status.OPTIMAL for row in members)
        cells = [family, str(len(members)), str(optimal), f"{sum(seconds):.3f}"]
        cells.append(f"{max(seconds):.3f}")
        for name in baselines:
            found = [ratio_of(row, ours, name) for row in members]
            ratios = [ratio for ratio in found if ratio is not None]
            mean = f"{geometric_mean(ratios):.3f} ({max(ratios):.2f})" if ratios else "-"
            cells.append(mean if len(ratios) == len(members) else f"{mean} on {len(ratios)}")
        body.append(cells)
    return markdown(header, body)


def measures(rows: Sequence[Row], solvers: Sequence[str]) -> Iterator[Measure]:
    """Peaks and CPU-seconds of every solver, and what ours leaves unproven."""
    for row in rows:
        for name, answer in row.answers.items():
            peer = name != solvers[0]
            if answer.peak_bytes is not None:
                yield Measure(row.name, name, "peak", "bytes", answer.peak_bytes, peer)
                if not peer:
                    gap = answer.peak_bytes - answer.lower_bound_bytes
                    yield Measure(row.name, name, "gap", "bytes", gap)
            yield Measure(row.name, name, "CPU", "s", answer.median_cpu_seconds, peer)


def main(arguments: Sequence[str] | None = None) -> int:
    """The command; 1 where a value contradicts what is known, or misses it."""
    parser = argparse.ArgumentParser(prog="schedules", description=__doc__)
    parser.add_argument("--instances", type=Path, metavar="DIR", help="else generated ones")
    parser.add_argument("--solvers", help="comma-separated; the first is ours")
    parser.add_argument("--runs", type=int, default=5)
    parser.add_argument("--time-limit", type=float, default=60.0, metavar="S", help="of one run")
    parser.add_argument(
        "--baseline-time-limit", type=float, metavar="S", help="of a run of the others"
    )
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--only", nargs="*", metavar="NAME", help="instances")
    parser.add_argument("--output", type=Path, help="without suffix; .md and .json are written")
    options = parser.parse_args(arguments)
    known = available()
    solvers: list[str] = (
        options.solvers.split(",") if options.solvers else [s for s in _SOLVERS if s in known]
    )
    one_core()
    rows: list[Row] = []
    models: dict[str, str] = {}
    for case in schedule_cases(options.instances):
        if options.only and case.name not in options.only:
            continue
        row = run(
            case,
            solvers,
            runs=options.runs,
            time_limit_s=options.time_limit,
            baseline_time_limit_s=options.baseline_time_limit,
            seed=options.seed,
        )
        rows.append(row)
        models[case.name] = digest(case.problem)
        ours = row.answers[solvers[0]]
        print(
            f"{row.name:36} {ours.status:10} {ours.median_cpu_seconds:8.3f} CPU-s  {row.verdict}",
            file=sys.stderr,
            flush=True,
        )
    text = table(rows, solvers)
    print(text)
    if options.output is not None:
        settings = {
            "runs": options.runs,
            "time_limit_s": options.time_limit,
            "baseline_time_limit_s": options.baseline_time_limit or options.time_limit,
            "seed": options.seed,
        }
        write(
            options.output,
            text,
            {"rows": [asdict(row) for row in rows]},
            settings,
            measures=measures(rows, solvers),
            models=models,
        )
    return 1 if any(row.verdict in ("contradiction", "miss") for row in rows) else 0


if __name__ == "__main__":
    end(main)
