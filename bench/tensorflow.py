"""Training steps within budgets: what was predicted, and what TensorFlow then did.

    python -m lowtide.bench.tensorflow --output bench/results/tensorflow [--only NAME ...]

The networks of Checkmate's experiments at a scale that a desktop carries (`keras_steps.py`), whole
steps.  Costs and scratch of kernels are measured once for each distinct op; peaks are from
TensorFlow's own log of allocations, times the least CPU-seconds of calls that take turns
(`tensorflow_runs.py`).  Every plan is run for three steps, and loss, gradients, variables and slots
are compared with those of the step that runs every op once, bit for bit.

Three tables: budgets as parts of the step's peak, down to the least that was met; other ways to
choose what is recomputed, each beside ours within the peak that the other was measured to have; and
the largest batch within the peak of the usual one at no more than one extra forward pass.  Of the
plans that are found for the budgets, the cheapest within each is taken: a smaller budget's plan may
be it.  Results are written after each part of each network and merged with those that the file has.
"""

from __future__ import annotations

import argparse
import gc
import os
import re
import sys
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING

from lowtide.bench.protocol import end, write
from lowtide.bench.record import load
from lowtide.bench.tensorflow_table import (
    BatchCell,
    BudgetCell,
    RivalCell,
    Tables,
    measures,
    text_of,
)
from lowtide.errors import LowtideError

if TYPE_CHECKING:
    from collections.abc import Sequence

    from lowtide.bench.keras_steps import Step
    from lowtide.training.step import PlannedFunction

__all__ = ["batch_cell", "budget_cells", "chosen", "main", "rival_cells"]

PARTS = ("budgets", "rivals", "batches")
BUDGETS = (0.9, 0.8, 0.7, 0.6, 0.5, 0.4, 0.3, 0.2)
SOLVERS = ("ap-sqrt", "griewank", "checkmate-lp-rounding")
_RIVALS_AT = 0.6  # of the peak, or the least that the rival meets
_ROOM = 1.03  # a strategy that met a peak under a larger budget may miss it under just that
_FLOOR_PROBES = 2
# What Checkmate's rounding may take, and where its program (the square of the ops) is too large.
_LP_S, _MOST_OPS_OF_LP = 100.0, 4000
_MOST_TIMES = 8  # the usual batch
_MIB = 1 << 20


def _plan(
    step: Step,
    budget: float | int | None,
    limit_s: float,
    solver: str = "search",
    *,
    profile: bool = True,
) -> PlannedFunction:
    import lowtide.tensorflow

    return lowtide.tensorflow.rematerialize(
        step.function, budget=budget, time_limit_s=limit_s, solver=solver, profile=profile
    )


def _tried(
    step: Step,
    budget: float | int,
    limit_s: float,
    solver: str = "search",
    *,
    profile: bool = True,
    least: bool = False,
) -> PlannedFunction | None:
    """A plan, or None; with `least` one near the smallest budget that the error names."""
    try:
        return _plan(step, budget, limit_s, solver, profile=profile)
    except LowtideError as error:
        print(f"  {solver} {budget}: {error}", file=sys.stderr, flush=True)
        met = re.search(r"was met is .*?\((\d+) bytes", str(error)) if least else None
    return None if met is None else _tried(step, int(_ROOM * int(met[1])), limit_s, solver)


def chosen(found: Sequence[PlannedFunction], budget: int) -> PlannedFunction | None:
    """The cheapest plan within a budget, of those the one with the lowest peak."""
    within = [p for p in found if p.plan.peak_after_bytes <= budget]
    return min(within, key=lambda p: (p.plan.cost_after_s, p.plan.peak_after_bytes), default=None)


def budget_cells(
    name: str,
    step: Step,
    base: PlannedFunction,
    budgets: Sequence[float],
    limit_s: float,
    probes: int = _FLOOR_PROBES,
) -> list[BudgetCell]:
    """The network at every budget down to the least that is met, as near as some probes find it."""
    from lowtide.bench.keras_steps import step_of
    from lowtide.bench.tensorflow_runs import identical, measured, three_steps, with_gradients

    whole = base.plan.peak_before_bytes
    found: list[PlannedFunction] = []
    wanted: list[float] = []
    unmet = 0.0
    for budget in budgets:
        planned = _tried(step, budget, limit_s)
        if planned is None:
            unmet = budget
            break
        found.append(planned)
        wanted.append(budget)
    least = min([1.0, *wanted])
    bound = max((p.plan.peak_bound_bytes for p in found), default=0)
    unmet = max(unmet, bound / whole)
    for _ in range(probes):  # between the least that was met and what was not
        middle = (unmet + least) / 2
        planned = _tried(step, middle, limit_s)
        if planned is None:
            unmet = middle
        else:
            found.append(planned)
            least = planned.plan.peak_after_bytes / whole
    if least < min([1.0, *wanted]):
        wanted.append(least)
    picks = [chosen([base, *found], round(budget * whole)) for budget in wanted]
    plans = [base, *(p for p in picks if p is not None)]
    runs = measured(plans)
    # Gradients are compared as well, so they are handed out: by the same sequence.
    twin = step_of(name, gradients=True)
    initial = twin.values()
    expected = three_steps(twin, with_gradients(twin, base.plan), initial)
    cells: list[BudgetCell] = []
    for budget, planned, run in zip((1.0, *wanted), plans, runs, strict=True):
        plan = planned.plan
        results = three_steps(twin, with_gradients(twin, plan), initial)
        cells.append(
            BudgetCell(
                network=name,
                budget=budget,
                budget_bytes=round(budget * whole),
                predicted_peak=plan.peak_after_bytes,
                measured_peak=run.peak_bytes,
                bound_bytes=bound,
                predicted_seconds=plan.cost_after_s,
                measured_seconds=run.cpu_seconds,
                recomputed=plan.recomputed,
                identical=identical(results, expected),
            )
        )
        print(f"  {name} {budget:.3f}: {run} {cells[-1].identical}", file=sys.stderr, flush=True)
    return cells


def rival_cells(
    name: str, step: Step, base: PlannedFunction, limit_s: float, solvers: Sequence[str]
) -> list[RivalCell]:
    """Classic strategies within a budget, and blocks by hand; ours beside each at its peak."""
    from lowtide.bench.keras_steps import blocks_of, step_of
    from lowtide.bench.tensorflow_runs import measured

    blocks = step_of(name, forward=blocks_of(name))
    rivals: dict[str, PlannedFunction] = {}
    by_hand = _plan(blocks, None, limit_s)
    rivals["tf.recompute_grad"] = by_hand
    for solver in solvers:
        if "lp" in solver and len(base.plan.sequence) > _MOST_OPS_OF_LP:
            print(f"  {name} {solver}: too many ops", file=sys.stderr, flush=True)
            continue
        limit = _LP_S if "lp" in solver else limit_s
        planned = _tried(step, _RIVALS_AT, limit, solver, least=True)
        if planned is not None and planned.plan.recomputed:
            rivals[solver] = planned
    peaks = [run.peak_bytes for run in measured(list(rivals.values()), rounds=0)]
    ours = [_tried(step, peak, limit_s) for peak in peaks]
    # One plan may serve for several: the cheapest within each peak.
    every = [base, *(p for p in ours if p is not None)]
    picks = [chosen(every, peak) for peak in peaks]
    used = [base, *rivals.values(), *(p for p in picks if p is not None)]
    runs = measured(used)
    times = dict(zip(map(id, used), runs, strict=True))
    cells: list[RivalCell] = []
    for (rival, theirs), peak, mine in zip(rivals.items(), peaks, picks, strict=True):
        our = None if mine is None else times[id(mine)]
        cells.append(
            RivalCell(
                network=name,
                rival=rival,
                measured_peak=peak,
                rival_seconds=times[id(theirs)].cpu_seconds,
                our_measured_peak=None if our is None else our.peak_bytes,
                our_seconds=None if our is None else our.cpu_seconds,
                base_seconds=runs[0].cpu_seconds,
                rival_predicted=theirs.plan.cost_after_s,
                our_predicted=None if mine is None else mine.plan.cost_after_s,
                base_predicted=base.plan.cost_before_s,
            )
        )
        print(f"  {cells[-1]}", file=sys.stderr, flush=True)
    return cells


def batch_cell(name: str, limit_s: float, *, confirm: bool) -> BatchCell:
    """The largest batch within the usual one's peak at one extra forward pass, by bisection.

    Costs there are the model's, and scratch is left out, as profiling every batch would take too
    long. What is confirmed is planned again with measured costs and scratch.
    """
    from lowtide.bench.keras_steps import STEPS, step_of
    from lowtide.bench.tensorflow_runs import measured

    batch = STEPS[name][1]
    usual = step_of(name, batch=batch)
    budget = _plan(usual, None, limit_s, profile=False).plan.peak_before_bytes
    low, high = batch, _MOST_TIMES * batch
    best: tuple[Step, PlannedFunction, float] | None = None
    while high - low > 1:
        middle = (low + high) // 2
        step = step_of(name, batch=middle)
        planned = _tried(step, budget, limit_s, profile=False)
        extra = float("inf")
        if planned is not None:
            plan = planned.plan
            extra = (plan.cost_after_s - plan.cost_before_s) / _forward_seconds(step, profile=False)
        print(f"  {name} batch {middle}: {extra:.2f} forward", file=sys.stderr, flush=True)
        if planned is not None and extra <= 1.0:
            low, best = middle, (step, planned, extra)
        else:
            high = middle
    if best is None:
        return BatchCell(name, batch, budget, batch, budget, None, 0.0, None, None)
    step, planned, extra = best
    peak, seconds, plain = None, None, None
    if confirm:
        again = _tried(step, budget, limit_s)
        if again is not None:
            plan = again.plan
            extra = (plan.cost_after_s - plan.cost_before_s) / _forward_seconds(step, profile=True)
            runs = measured([again, _plan(step, None, limit_s)], rounds=2)
            peak, seconds, plain = runs[0].peak_bytes, runs[0].cpu_seconds, runs[1].cpu_seconds
            planned = again
    predicted = planned.plan.peak_after_bytes
    return BatchCell(name, batch, budget, low, predicted, peak, extra, seconds, plain)


def _forward_seconds(step: Step, *, profile: bool) -> float:
    """What the ops cost that the loss needs, by the costs that planned the step."""
    from lowtide.backends.tensorflow.profile import default_cache, profile_ops
    from lowtide.frontends.tensorflow import import_function
    from lowtide.frontends.tensorflow.inline import inline, is_nested
    from lowtide.passes.costs import CostModel

    graph = import_function(inline(step.function) if is_nested(step.function) else step.function)
    if profile:
        profile_ops(graph, cache=default_cache())
    costs = CostModel().by_op(graph)
    wanted = [graph.outputs[0].producer]
    needed: set[object] = set()
    total = 0
    while wanted:
        op = wanted.pop()
        if op is not None and op not in needed:
            needed.add(op)
            total += costs[op]
            wanted += [t.producer for t in op.operands if not t.name.startswith("^")]
    return max(total, 1) / 1e9


def _read(path: Path | None) -> Tables:
    """What the file has."""
    if path is None or not path.with_suffix(".json").exists():
        return Tables()
    return Tables.from_dict(load(path.with_suffix(".json")).rows)


def main(arguments: Sequence[str] | None = None) -> int:
    """The command."""
    from lowtide.bench.keras_steps import STEPS, step_of

    parser = argparse.ArgumentParser(prog="tensorflow", description=__doc__)
    parser.add_argument("--only", nargs="*", metavar="NAME", default=list(STEPS))
    parser.add_argument("--parts", nargs="*", choices=PARTS, default=list(PARTS))
    parser.add_argument("--budgets", nargs="*", type=float, default=list(BUDGETS))
    parser.add_argument("--solvers", nargs="*", metavar="NAME", default=list(SOLVERS))
    parser.add_argument("--confirm", nargs="*", metavar="NAME", default=["VGG16", "U-Net"])
    parser.add_argument("--probes", type=int, default=_FLOOR_PROBES, help="for the least budget")
    parser.add_argument("--time-limit", type=float, default=16.0, help="seconds, of each search")
    parser.add_argument("--output", type=Path, help="without suffix; .md and .json are written")
    options = parser.parse_args(arguments)
    # One thread, as times are CPU-seconds; for this process and for those that measure.
    os.environ.setdefault("TF_NUM_INTRAOP_THREADS", "1")
    tables = _read(options.output)

    def report() -> None:
        text = text_of(tables)
        if options.output is None:
            print(text, flush=True)
            return
        write(
            options.output,
            text,
            asdict(tables),
            {"time_limit_s": options.time_limit, "seed": 0},
            measures=measures(tables),
        )

    for name in options.only:
        limit_s = options.time_limit
        if {"budgets", "rivals"} & set(options.parts):
            step = step_of(name)
            base = _plan(step, None, limit_s)
            if "budgets" in options.parts:
                budgets, probes = options.budgets, options.probes
                tables.put(budget_cells(name, step, base, budgets, limit_s, probes))
                report()
            if "rivals" in options.parts:
                tables.put(rival_cells(name, step, base, limit_s, options.solvers))
                report()
        if "batches" in options.parts:
            tables.put([batch_cell(name, limit_s, confirm=name in options.confirm)])
            report()
        gc.collect()
    return 0


if __name__ == "__main__":
    end(main)
