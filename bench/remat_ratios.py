"""Approximation ratios of rematerialization heuristics, after Checkmate's table.

    python -m lowtide.bench.remat_ratios --output bench/results/remat_ratios [--instances DIR]

The graphs are training steps of Keras networks that Lowtide's TensorFlow frontend imports, at the
paper's batch sizes (planned, not run), with costs of the roofline; `--instances` takes graphs from
files instead.  A cell is the geometric mean, over the budgets that the strategy meets, of its cost
over the least cost known; both run every op at least once, in the input order's stages.  The least
cost is the best answer of any strategy or of `auto` in the time given; how often it is proven is in
the table.
"""

from __future__ import annotations

import argparse
import sys
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from lowtide.bench.protocol import end, geometric_mean, markdown, one_core, write
from lowtide.bench.record import Measure, digest
from lowtide.bench.remat import FILE_NAMES, instance_files
from lowtide.ir import simulate
from lowtide.passes.costs import CostModel
from lowtide.solvers.remat.check import check
from lowtide.solvers.remat.instance import read_instance
from lowtide.solvers.remat.problem import OrderScope
from lowtide.solvers.remat.registry import get_solver

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from lowtide.solvers.remat.problem import RematProblem

__all__ = ["CHECKMATE", "RatioCell", "cells", "keras_problems", "main", "measures", "table"]

STRATEGIES = ("ap-sqrt", "ap-greedy", "griewank", "linearised-greedy", "checkmate-lp-rounding")
BUDGETS = ("0.9", "0.8", "0.7", "0.6", "0.5", "0.4")

# The batch sizes and image sides of the paper's experiments.
_PAPER = {
    "MobileNet": (512, 224),
    "VGG16": (256, 224),
    "VGG19": (256, 224),
    "U-Net": (32, 416),
    "ResNet50": (256, 224),
}
# Table 2 of Checkmate's paper (MLSys 2020): cost over its optimum, geometric mean over budgets, of
# AP sqrt(n), AP greedy, Griewank log n, and LP rounding in two phases.
CHECKMATE = {
    "MobileNet": ("1.14", "1.07", "7.07", "1.06"),
    "VGG16": ("1.28", "1.06", "1.44", "1.01"),
    "VGG19": ("1.54", "1.39", "1.75", "1.00"),
    "U-Net": ("1.27", "1.23", "", "1.03"),
    "ResNet50": ("1.20", "1.25", "", "1.05"),
}
_HEURISTIC_S = 20.0
_MOST_OPS_OF_LP = 220  # its program has the square of that many variables


@dataclass(frozen=True, slots=True)
class RatioCell:
    """One strategy on one network at one budget; None where it found no plan."""

    network: str
    ops: int
    ratio: str
    strategy: str
    cost_ratio: float | None
    least_proven: bool
    cpu_seconds: float


def keras_problems() -> Iterator[tuple[str, RematProblem]]:
    """The paper's networks as problems, with the peak of their order as budget."""
    from lowtide.backends.tensorflow.accounting import ACCOUNTING
    from lowtide.bench.keras_networks import training_step
    from lowtide.frontends.tensorflow import import_function
    from lowtide.training.contract import contract

    for name, (batch, size) in _PAPER.items():
        graph = import_function(training_step(name, batch=batch, size=size))
        peak = simulate(graph, ACCOUNTING).peak_bytes
        yield name, contract(graph, CostModel().by_op(graph), peak, peak).problem


def cells(
    name: str, problem: RematProblem, ratios: Sequence[str], time_limit_s: float
) -> Iterator[RatioCell]:
    """Every strategy at every budget that anything meets.

    Raises:
        LowtideError: the checker refutes an answer.
    """
    for ratio in ratios:
        within = problem.with_budget_ratio(ratio)
        best = get_solver("auto")(within, scope=OrderScope.FIXED, time_limit_s=time_limit_s)
        check(within, best)
        found = {"auto": best}
        for strategy in STRATEGIES:
            if strategy == "checkmate-lp-rounding" and problem.num_nodes > _MOST_OPS_OF_LP:
                continue
            answer = get_solver(strategy)(
                within, scope=OrderScope.FIXED, time_limit_s=max(_HEURISTIC_S, time_limit_s)
            )
            check(within, answer)
            found[strategy] = answer
        costs = {key: a.cost for key, a in found.items() if a.cost is not None}
        if not costs:
            continue
        least = min(costs.values())
        proven = best.bound is not None and least <= best.bound.cost
        for strategy, answer in found.items():
            yield RatioCell(
                network=name,
                ops=problem.num_nodes,
                ratio=ratio,
                strategy=strategy,
                cost_ratio=None if answer.cost is None else float(answer.cost) / float(least),
                least_proven=proven,
                cpu_seconds=answer.cpu_seconds,
            )


def table(found: Sequence[RatioCell]) -> str:
    """Markdown: one row per network; with each mean the number of budgets that it is of."""
    columns = ("auto", *STRATEGIES)
    body: list[list[str]] = []
    for name in dict.fromkeys(cell.network for cell in found):
        mine = [cell for cell in found if cell.network == name]
        budgets = {cell.ratio for cell in mine}
        proven = {cell.ratio for cell in mine if cell.least_proven}
        row = [name, f"{mine[0].ops:,}", f"{len(proven)}/{len(budgets)}"]
        for strategy in columns:
            tried = [cell for cell in mine if cell.strategy == strategy]
            ratios = [cell.cost_ratio for cell in tried if cell.cost_ratio is not None]
            if not tried:
                row.append("-")
            elif not ratios:
                row.append(f"none (0/{len(budgets)})")
            else:
                row.append(f"{geometric_mean(ratios):.3f} ({len(ratios)}/{len(budgets)})")
        body.append(row)
    header = ["network", "ops", "least proven", *columns]
    return (
        "Cost over the least known, geometric mean over the budgets met (of those that anything "
        f"meets); budgets {', '.join(BUDGETS)} of the input order's peak.\n\n"
        f"{markdown(header, body)}\n"
    )


def measures(found: Sequence[RatioCell]) -> Iterator[Measure]:
    """Costs over the least known, and CPU-seconds."""
    for cell in found:
        case, peer = f"{cell.network} {cell.ratio}", cell.strategy != "auto"
        if cell.cost_ratio is not None:
            yield Measure(case, cell.strategy, "cost", "ratio", cell.cost_ratio, peer)
        yield Measure(case, cell.strategy, "CPU", "s", cell.cpu_seconds, peer)


def main(arguments: Sequence[str] | None = None) -> int:
    """The command."""
    parser = argparse.ArgumentParser(prog="remat_ratios", description=__doc__)
    parser.add_argument("--instances", type=Path, metavar="DIR", help="else Keras networks")
    parser.add_argument("--only", nargs="*", metavar="NAME", help="of the networks")
    parser.add_argument("--time-limit", type=float, default=20.0, help="seconds, of the reference")
    parser.add_argument("--output", type=Path, help="without suffix; .md and .json are written")
    options = parser.parse_args(arguments)
    one_core()
    if options.instances is None:
        problems = keras_problems()
    else:
        problems = (
            (FILE_NAMES[path.stem], read_instance(path))
            for path in instance_files(options.instances)
            if path.stem in FILE_NAMES
        )
    found: list[RatioCell] = []
    models: dict[str, str] = {}
    for name, problem in problems:
        if options.only and name not in options.only:
            continue
        models[name] = digest(problem)
        for cell in cells(name, problem, BUDGETS, options.time_limit):
            found.append(cell)
            print(
                f"{cell.network:10} {cell.ratio} {cell.strategy:22} {cell.cost_ratio or 0:.4f} "
                f"{cell.cpu_seconds:.1f} CPU-s",
                file=sys.stderr,
                flush=True,
            )
    text = table(found)
    print(text)
    if options.output is not None:
        write(
            options.output,
            text,
            {"cells": [asdict(cell) for cell in found]},
            {
                "time_limit_s": options.time_limit,
                "instances": bool(options.instances),
                "seed": 0,
            },
            measures=measures(found),
            models=models,
        )
    return 0


if __name__ == "__main__":
    end(main)
