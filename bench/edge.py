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
from dataclasses import asdict, replace
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
from lowtide.bench.edge_table import Arena, Optimum, Row, measures, table
from lowtide.bench.protocol import end, measure, one_core, write
from lowtide.bench.record import digest
from lowtide.bench.swiftnet_twin import twin
from lowtide.errors import LowtideError
from lowtide.frontends.tflite import import_graph, read
from lowtide.passes.lower import lower
from lowtide.solvers.schedule.check import check, peak_of
from lowtide.solvers.schedule.exact import schedule
from lowtide.solvers.schedule.orders.xla import xla
from lowtide.solvers.status import Status

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from lowtide.frontends.tflite import TfliteSource
    from lowtide.solvers.schedule.problem import ScheduleProblem
    from lowtide.solvers.schedule.solution import ScheduleSolution

__all__ = ["cases", "main", "run"]


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
    models: dict[str, str] = {}
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
        models[name] = digest(data)
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
        }
        write(
            options.output,
            text,
            {"rows": [asdict(row) for row in rows]},
            settings,
            measures=measures(rows),
            models=models,
        )
    return 1 if failed else 0


if __name__ == "__main__":
    end(main)
