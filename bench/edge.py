"""The table of edge models: what order, layout and in-place results bring in TFLite Micro.

    python -m lowtide.bench.edge [--swiftnet FILE] [--mediapipe DIR] [--output bench/results/edge]

The generated models (`edge_models.py`) are always part of it; `--swiftnet` adds the published uint8
file, which TFLite Micro refuses, and its int8 twin; `--mediapipe` every .tflite below a folder.

Peaks are loads under TFLM's accounting: tensors in steps of 16 bytes, inputs and outputs in the
arena, the kernels' scratch. `file`, `XLA` and `order` have no in-place results; `in place` has
those of kernels that were executed. Heads are measured in the stock interpreter where it runs the
model.
"""

from __future__ import annotations

import argparse
import sys
from dataclasses import asdict, dataclass, replace
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import TYPE_CHECKING

from lowtide.backends.tflite import emit
from lowtide.backends.tflite.tflm import (
    ACCOUNTING,
    KernelScratch,
    annotate,
    greedy_head,
    measure_scratch,
    plan_offsets,
    stored_offsets,
    verify_in_tflm,
)
from lowtide.backends.tflite.tflm.feeds import feeds_for
from lowtide.backends.tflite.tflm.verify import litert_difference
from lowtide.bench.edge_convert import convert
from lowtide.bench.edge_models import NETWORKS
from lowtide.bench.protocol import geometric_mean, markdown, measure, one_core, write
from lowtide.bench.swiftnet_twin import twin
from lowtide.errors import LowtideError
from lowtide.frontends.tflite import import_graph, read
from lowtide.passes.lower import lower
from lowtide.solvers.schedule.check import check, peak_of
from lowtide.solvers.schedule.exact import schedule
from lowtide.solvers.schedule.orders.xla import xla
from lowtide.solvers.status import Status

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence

    from lowtide.frontends.tflite import TfliteSource
    from lowtide.solvers.schedule.problem import ScheduleProblem
    from lowtide.solvers.schedule.solution import ScheduleSolution

__all__ = ["Arena", "Optimum", "Row", "cases", "main", "run", "table"]


_LOADS = (
    *("model", "ops", "file", "XLA", "order", "file/order", "XLA/order", "in place", "status"),
    *("CPU-s", "inputs outside"),
)
_ARENAS = (
    *("model", "greedy file", "greedy XLA", "greedy order", "head", "file/head", "XLA/head"),
    *("optimal", "required before", "required after", "LiteRT"),
)


@dataclass(frozen=True, slots=True)
class Optimum:
    """What the exact scheduler found: the least load, its bound, and the median of CPU-seconds."""

    peak_bytes: int
    lower_bound_bytes: int
    status: str
    cpu_seconds: tuple[float, ...]
    median_cpu_seconds: float


@dataclass(frozen=True, slots=True)
class Arena:
    """Measured in stock TFLite Micro, original and result, with identical outputs."""

    head_before: int
    head_after: int
    tail_before: int
    tail_after: int
    required_before: int
    required_after: int
    fails_below: bool
    executions: int


@dataclass(frozen=True, slots=True)
class Row:
    """One model.

    Attributes:
        name: of the model.
        family: `generated`, `swiftnet` or `mediapipe`.
        ops: operators of the main subgraph.
        file_peak: load of the file's order.
        xla_peak: of the best of XLA's three orders.
        order: the best order, without in-place results.
        outside: the same with the inputs outside the arena, and the file's order there.
        in_place: the best order with them.
        greedy_file: head that TFLM gives the file's order by its own planner, predicted.
        greedy_xla: likewise XLA's order.
        greedy_order: likewise the best order without in-place results.
        head: of the result, with its offline plan.
        head_proven: no order and layout of these operators, with these in-place results, is lower.
        scratch: how the kernels' scratch was found.
        scratch_unknown: not all of it was measured by execution.
        arena: the measurement; None where TFLM does not run the model.
        litert: whether LiteRT gives identical outputs; None where it does not run the model.
        note: why something is missing.
    """

    name: str
    family: str
    ops: int
    file_peak: int
    xla_peak: int
    order: Optimum
    file_peak_outside: int
    outside: Optimum
    in_place: Optimum
    greedy_file: int
    greedy_xla: int
    greedy_order: int
    head: int
    head_proven: bool
    scratch: str
    scratch_unknown: bool
    arena: Arena | None
    litert: bool | None
    note: str


def cases(
    swiftnet: Path | None, mediapipe: Path | None, only: Sequence[str]
) -> Iterator[tuple[str, str, bytes]]:
    """Names, families and files."""
    for name, build in NETWORKS.items():
        if not only or name in only:
            yield name, "generated", convert(build())
    if swiftnet is not None:
        data = swiftnet.read_bytes()
        if not only or "swiftnet_uint8" in only:
            yield "swiftnet_uint8", "swiftnet", data
        if not only or "swiftnet_int8_twin" in only:
            yield "swiftnet_int8_twin", "swiftnet", twin(data)
    if mediapipe is not None:
        for path in sorted(mediapipe.rglob("*.tflite"), key=lambda path: path.stem):
            if not only or path.stem in only:
                yield path.stem, "mediapipe", path.read_bytes()


def run(
    name: str, family: str, data: bytes, *, runs: int = 5, time_limit_s: float = 60.0, seed: int = 0
) -> Row:
    """Plan one model, and execute it where that is possible.

    Raises:
        LowtideError: the model cannot be read, or a result is not what was predicted.
    """
    source = read(data)
    scratch, note = _scratch(source)
    executed = not note
    graph = import_graph(source).graph
    # In-place results are for kernels that were executed: of a model that does not run, none.
    annotate(graph, source.model, scratch, in_place=executed)
    accounting = replace(ACCOUNTING, in_place=False)
    plain = lower(graph, accounting).problem
    shared = lower(graph, ACCOUNTING).problem
    outside = lower(graph, replace(accounting, inputs_in_arena=False)).problem
    order, best = _optimum(plain, runs, time_limit_s, seed)
    order_outside, _ = _optimum(outside, runs, time_limit_s, seed)
    order_shared, best_shared = _optimum(shared, runs, time_limit_s, seed)
    file_order = tuple(range(plain.num_nodes))
    xla_order = xla(plain)
    sizes = scratch.sizes
    greedy = greedy_head(source.model, sizes)
    plan, sequence = None, file_order
    for candidate in (best_shared, best, file_order):
        made = plan_offsets(
            source.model, scratch=sizes, order=candidate, in_place=executed, seed=seed
        )
        if plan is None or made.head_bytes < plan.head_bytes:
            plan, sequence = made, candidate
        if plan.head_bytes == order_shared.lower_bound_bytes:
            break
    assert plan is not None
    result = read(emit(source, sequence, metadata=plan.metadata))
    arena, litert = None, None
    if executed:
        try:
            done = verify_in_tflm(
                source, result, predicted_head_bytes=plan.head_bytes, random=2, seed=seed
            )
        except LowtideError as error:
            note = str(error)
        else:
            arena = Arena(
                head_before=done.before.head_bytes,
                head_after=done.after.head_bytes,
                tail_before=done.before.tail_bytes,
                tail_after=done.after.tail_bytes,
                required_before=done.before.required_bytes,
                required_after=done.after.required_bytes,
                fails_below=done.after.fails_below,
                executions=done.executions,
            )
            litert = done.litert
            own = stored_offsets(source)
            if own is None and arena.head_before != greedy:
                raise LowtideError(
                    f"{name}: TFLM's head is {arena.head_before}, the simulated planner's {greedy}"
                )
    else:
        litert = _litert(source, result, seed)
    return Row(
        name=name,
        family=family,
        ops=plain.num_nodes,
        file_peak=peak_of(plain, file_order),
        xla_peak=peak_of(plain, xla_order),
        order=order,
        file_peak_outside=peak_of(outside, file_order),
        outside=order_outside,
        in_place=order_shared,
        greedy_file=greedy,
        greedy_xla=greedy_head(source.model, sizes, xla_order),
        greedy_order=greedy_head(source.model, sizes, best),
        head=plan.head_bytes,
        head_proven=scratch.validated and plan.head_bytes == order_shared.lower_bound_bytes,
        scratch=scratch.method,
        scratch_unknown=not scratch.validated,
        arena=arena,
        litert=litert,
        note=note,
    )


def _scratch(source: TfliteSource) -> tuple[KernelScratch, str]:
    """The kernels' scratch, and why TFLM does not run the model; empty if it does."""
    try:
        scratch = measure_scratch(source)
    except LowtideError as error:
        return KernelScratch({}, "none"), str(error)
    if scratch.method == "planner":
        return scratch, ""
    try:
        measure_scratch(source, method="planner")
    except LowtideError as error:
        return scratch, str(error)
    return scratch, ""


def _litert(source: TfliteSource, result: TfliteSource, seed: int) -> bool | None:
    feeds = feeds_for(source.model, random=2, seed=seed)
    try:
        return litert_difference(source, result.data, feeds) is None
    except LowtideError:
        return None


def _optimum(
    problem: ScheduleProblem, runs: int, time_limit_s: float, seed: int
) -> tuple[Optimum, tuple[int, ...]]:
    """The best order, checked, and how long it took."""
    start = (tuple(range(problem.num_nodes)),)

    def again(solution: ScheduleSolution) -> bool:
        return solution.status is not Status.TIME_LIMIT

    measured = measure(
        lambda: schedule(problem, time_limit_s=time_limit_s, seed=seed, start=start),
        runs,
        repeat=again,
    )
    solution = measured.answers[-1]
    check(problem, solution)
    order = start[0] if solution.order is None else solution.order
    peak = peak_of(problem, order)
    found = Optimum(
        peak_bytes=peak,
        lower_bound_bytes=solution.lower_bound_bytes,
        status=str(solution.status),
        cpu_seconds=measured.cpu_seconds,
        median_cpu_seconds=measured.median,
    )
    return found, tuple(order)


def table(rows: Sequence[Row]) -> str:
    """Markdown: loads and proofs, arenas, what does not run, means."""
    parts = [
        "Loads: `file`, `XLA` (the best of its three orders) and `order` (ours) without in-place "
        "results, `in place` (ours) with them; inputs are in the arena, but for the last column "
        "(file, then ours). Optimal: both loads equal their bounds. CPU-s: the slower of both "
        f"solves; the most is {_most_seconds(rows):.4f}. Where TFLite Micro does not run a model, "
        "its kernels' scratch is not known and not counted. The float16 weights of mediapipe's "
        "models are made float32 by operators, whose results count as activations here.",
        markdown(_LOADS, [_loads(row) for row in rows]),
        "Arenas in stock TFLite Micro: the head (tensors and scratch), measured before and after; "
        "`greedy` is TFLM's own planner on the file's, XLA's and our order. Required: the least "
        "arena that works, head, tail and initialisation, with 64-bit pointers. Outputs identical "
        "in TFLite Micro, and in LiteRT where it says so.",
        markdown(_ARENAS, [_arenas(row) for row in rows if row.arena is not None]),
    ]
    missing = [row for row in rows if row.arena is None]
    if missing:
        parts += [
            "TFLite Micro does not run these; heads are what its planner would give, scratch is "
            "not known, and nothing is called optimal.",
            markdown(
                ["model", "greedy file", "head", "ratio", "LiteRT", "why"],
                [
                    [
                        row.name,
                        f"{row.greedy_file:,}",
                        f"{row.head:,}",
                        f"{row.greedy_file / max(row.head, 1):.3f}",
                        _same(row.litert),
                        row.note[:160].replace("|", "/").replace("\n", " "),
                    ]
                    for row in missing
                ],
            ),
        ]
    parts.append(_means(rows))
    return "\n\n".join(parts) + "\n"


def _loads(row: Row) -> list[str]:
    seconds = max(row.order.median_cpu_seconds, row.in_place.median_cpu_seconds)
    proven = ", ".join(dict.fromkeys((row.order.status, row.in_place.status)))
    if row.scratch_unknown:
        proven += " without scratch"
    return [
        row.name,
        str(row.ops),
        f"{row.file_peak:,}",
        f"{row.xla_peak:,}",
        f"{row.order.peak_bytes:,}",
        f"{row.file_peak / max(row.order.peak_bytes, 1):.3f}",
        f"{row.xla_peak / max(row.order.peak_bytes, 1):.3f}",
        f"{row.in_place.peak_bytes:,}",
        proven,
        f"{seconds:.4f}",
        f"{row.file_peak_outside:,} {row.outside.peak_bytes:,}",
    ]


def _most_seconds(rows: Sequence[Row]) -> float:
    both = [(row.order, row.in_place) for row in rows]
    return max((o.median_cpu_seconds for pair in both for o in pair), default=0.0)


def _arenas(row: Row) -> list[str]:
    assert row.arena is not None
    return [
        row.name,
        f"{row.arena.head_before:,}",
        f"{row.greedy_xla:,}",
        f"{row.greedy_order:,}",
        f"{row.arena.head_after:,}",
        f"{row.arena.head_before / max(row.arena.head_after, 1):.3f}",
        f"{row.greedy_xla / max(row.arena.head_after, 1):.3f}",
        "yes" if row.head_proven else f"bound {row.in_place.lower_bound_bytes:,}",
        f"{row.arena.required_before:,}",
        f"{row.arena.required_after:,}",
        _same(row.litert),
    ]


def _same(value: bool | None) -> str:
    return {True: "identical", False: "DIFFERENT", None: "does not run"}[value]


def _means(rows: Sequence[Row]) -> str:
    groups: dict[str, list[Row]] = {}
    for row in rows:
        name = row.name.split("_")[0] if row.family == "generated" else row.family
        if row.arena is not None:
            groups.setdefault(name, []).append(row)
            if row.family == "generated":
                groups.setdefault("all generated", []).append(row)
    header = ["family", "models", "file/order", "file/in place", "head before/after", "XLA/head"]
    body: list[list[str]] = []
    for name, members in groups.items():
        columns: Mapping[str, list[float]] = {
            "order": [row.file_peak / row.order.peak_bytes for row in members],
            "in_place": [row.file_peak / row.in_place.peak_bytes for row in members],
            "head": [r.arena.head_before / r.arena.head_after for r in members if r.arena],
            "xla": [row.greedy_xla / row.head for row in members],
        }
        means = [f"{geometric_mean(ratios):.3f}" for ratios in columns.values()]
        body.append([name, str(len(members)), *means])
    text = (
        "Geometric means, of the models that TFLite Micro runs. The two sizes of a RandWire seed "
        "share the wiring of the first stage, where the peak is, as the two sizes of a cell network "
        "share their cells: their ratios are equal, and are no independent evidence. SERENITY states 1.68x (its order, "
        "over TFLite's, on its own nine cells); it is quoted, and not what was aimed at."
    )
    return f"{text}\n\n{markdown(header, body)}"


def _versions() -> dict[str, str]:
    """Of the runtimes, and of the converter."""
    found: dict[str, str] = {}
    for package in ("tensorflow-cpu", "tflite-micro", "ai-edge-litert", "ortools"):
        try:
            found[package] = version(package)
        except PackageNotFoundError:
            found[package] = "-"
    return found


def main(arguments: Sequence[str] | None = None) -> int:
    """Run every model, print and write the table; 1 where a model failed."""
    parser = argparse.ArgumentParser(prog="edge", description=__doc__)
    parser.add_argument("--swiftnet", type=Path, metavar="FILE", help="the uint8 file")
    parser.add_argument("--mediapipe", type=Path, metavar="DIR", help="a folder of .tflite files")
    parser.add_argument("--only", nargs="*", default=[], metavar="NAME")
    parser.add_argument("--runs", type=int, default=5)
    parser.add_argument("--time-limit", type=float, default=60.0, metavar="S")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--output", type=Path, help="without suffix; .md and .json are written")
    options = parser.parse_args(arguments)
    one_core()
    rows: list[Row] = []
    failed: list[str] = []
    for name, family, data in cases(options.swiftnet, options.mediapipe, options.only):
        try:
            row = run(
                name,
                family,
                data,
                runs=options.runs,
                time_limit_s=options.time_limit,
                seed=options.seed,
            )
        except LowtideError as error:
            failed.append(f"{name}: {error}")
            print(failed[-1], file=sys.stderr, flush=True)
            continue
        rows.append(row)
        arena = row.arena
        heads = f"{arena.head_before:,} -> {arena.head_after:,}" if arena else row.note[:80]
        print(f"{name:36} {row.in_place.status:10} {heads}", file=sys.stderr, flush=True)
    text = table(rows)
    if failed:
        text += "\nFailed:\n\n" + "".join(f"- {line}\n" for line in failed)
    print(text)
    if options.output is not None:
        settings: dict[str, object] = {
            "runs": options.runs,
            "time_limit_s": options.time_limit,
            "seed": options.seed,
            **_versions(),
        }
        write(options.output, text, {"rows": [asdict(row) for row in rows]}, settings)
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main())
