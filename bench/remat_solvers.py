"""Every named solver of rematerialization on the same graphs, beside the published figures.

    python -m lowtide.bench.remat_solvers --instances DIR --output bench/results/remat_solvers

Overhead in percent and CPU-seconds; every answer passes the checker.  Published: Checkmate with
Gurobi, MOCCASIN (both fixed order, as MOCCASIN's paper has them) and FastSA (free order), each with
its seconds on its own machine.  Solvers get the same time limit, on one core.
"""

from __future__ import annotations

import argparse
import sys
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from lowtide.bench.protocol import end, markdown, one_core, write
from lowtide.bench.record import Measure, digest
from lowtide.bench.remat import FILE_NAMES, instance_files, training_graph
from lowtide.solvers.remat.check import check
from lowtide.solvers.remat.instance import read_instance
from lowtide.solvers.remat.problem import OrderScope
from lowtide.solvers.remat.registry import available, get_solver

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from lowtide.solvers.remat.problem import RematProblem

__all__ = ["PUBLISHED", "SolverCell", "cells", "main", "measures", "table"]

# One budget for each graph: those of the published tables where there is one.
_BUDGETS = {
    "RL100": "0.8",
    "RL250": "0.8",
    "FCN8": "0.8",
    "ResNet50": "0.8",
    "U-Net": "0.7",
    "VGG16": "0.9",
}
# Overhead in percent / seconds; `-`: no plan, or a limit struck.
PUBLISHED: dict[tuple[str, str], dict[str, str]] = {
    ("RL100", "0.8"): {"Checkmate": "2.3 / 22.7", "MOCCASIN": "2.3 / 9.5", "FastSA": "0.3 / 12"},
    ("RL250", "0.8"): {"Checkmate": "-", "MOCCASIN": "4.9 / 640", "FastSA": "0.0 / 15"},
    ("FCN8", "0.8"): {"Checkmate": "0.1 / 5.6", "MOCCASIN": "0.1 / 3.1", "FastSA": "0.1 / 9.6"},
    ("ResNet50", "0.8"): {"Checkmate": "0.3 / 485", "MOCCASIN": "0.3 / 69", "FastSA": "0.4 / 11"},
}
_OURS = ("auto", "search", "blocks")  # the others are published methods
_SYSTEMS = ("Checkmate", "MOCCASIN", "FastSA")
# Its program has the square of that many variables.
_MOST_OPS_OF_STAGES = 260


@dataclass(frozen=True, slots=True)
class SolverCell:
    """One solver on one graph: percent (None: no plan), what is proven, CPU-seconds."""

    graph: str
    ops: int
    ratio: str
    solver: str
    scope: str
    status: str
    overhead_percent: float | None
    bound_percent: float | None
    cpu_seconds: float


def cells(
    name: str, problem: RematProblem, ratio: str, time_limit_s: float, solvers: Sequence[str]
) -> Iterator[SolverCell]:
    """Every solver in the fixed order, and those that know it in the free one too.

    Raises:
        LowtideError: the checker refutes an answer.
    """
    within = problem.with_budget_ratio(ratio)
    for solver in solvers:
        if solver.startswith("checkmate") and problem.num_nodes > _MOST_OPS_OF_STAGES:
            continue
        for scope in (OrderScope.FIXED, OrderScope.FREE):
            if scope is OrderScope.FREE and solver not in ("auto", "search", "blocks"):
                continue
            answer = get_solver(solver)(within, scope=scope, time_limit_s=time_limit_s)
            check(within, answer)
            yield SolverCell(
                graph=name,
                ops=problem.num_nodes,
                ratio=ratio,
                solver=solver,
                scope=scope.value,
                status=answer.status.value,
                overhead_percent=answer.overhead_percent,
                bound_percent=answer.overhead_bound_percent,
                cpu_seconds=answer.cpu_seconds,
            )


def table(found: Sequence[SolverCell]) -> str:
    """Markdown: a row for each solver and scope, a column for each graph."""
    graphs = list(dict.fromkeys((cell.graph, cell.ops, cell.ratio) for cell in found))
    solvers = dict.fromkeys((cell.scope, cell.solver) for cell in found)
    known = {(cell.graph, cell.scope, cell.solver): cell for cell in found}
    body: list[list[str]] = []
    for scope, solver in sorted(solvers, key=lambda key: key[0]):
        row = [solver, scope.removesuffix("_order")]
        for graph, _, _ in graphs:
            row.append(_shown(known.get((graph, scope, solver))))
        body.append(row)
    for system in _SYSTEMS:
        order = "free" if system == "FastSA" else "fixed"
        row = [f"{system} (published)", order]
        row += [PUBLISHED.get((graph, ratio), {}).get(system, "") for graph, _, ratio in graphs]
        body.append(row)
    header = ["solver", "order", *(f"{graph} ({ops:,}) {ratio}" for graph, ops, ratio in graphs)]
    return (
        "Overhead in percent / seconds (CPU-seconds for ours); *: proven to be the least of its "
        "scope; `-`: no plan within the budget; empty: not run, or nothing published. Graphs with "
        f"their ops and the budget as a part of the input order's peak.\n\n{markdown(header, body)}"
        "\n"
    )


def _shown(cell: SolverCell | None) -> str:
    if cell is None:
        return ""
    if cell.overhead_percent is None:
        return f"- / {cell.cpu_seconds:.1f}"
    star = "*" if cell.status == "optimal" else ""
    return f"{cell.overhead_percent:.4g}{star} / {cell.cpu_seconds:.1f}"


def measures(found: Sequence[SolverCell]) -> Iterator[Measure]:
    """Overheads and CPU-seconds of every solver in each scope."""
    for cell in found:
        case, who = f"{cell.graph} {cell.ratio}", f"{cell.solver}, {cell.scope}"
        peer = cell.solver not in _OURS
        if cell.overhead_percent is not None:
            yield Measure(case, who, "overhead", "%", cell.overhead_percent, peer)
        yield Measure(case, who, "CPU", "s", cell.cpu_seconds, peer)


def main(arguments: Sequence[str] | None = None) -> int:
    """The command."""
    parser = argparse.ArgumentParser(prog="remat_solvers", description=__doc__)
    parser.add_argument("--instances", type=Path, metavar="DIR", help="else a generated one")
    parser.add_argument("--only", nargs="*", metavar="NAME", help="of the graphs")
    parser.add_argument("--solvers", nargs="*", metavar="NAME", default=list(available()))
    parser.add_argument("--time-limit", type=float, default=20.0, help="seconds, of each solver")
    parser.add_argument("--output", type=Path, help="without suffix; .md and .json are written")
    options = parser.parse_args(arguments)
    one_core()
    graphs: list[tuple[str, RematProblem, str]] = []
    if options.instances is None:
        graphs.append(("train_50", training_graph(25), "0.8"))
    else:
        for path in instance_files(options.instances):
            name = FILE_NAMES.get(path.stem, path.stem)
            if name in _BUDGETS:
                graphs.append((name, read_instance(path), _BUDGETS[name]))
    found: list[SolverCell] = []
    for name, problem, ratio in graphs:
        if options.only and name not in options.only:
            continue
        for cell in cells(name, problem, ratio, options.time_limit, options.solvers):
            found.append(cell)
            print(
                f"{name:9} {ratio} {cell.solver:22} {cell.scope:11} {_shown(cell)} CPU-s",
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
            {"time_limit_s": options.time_limit, "seed": 0},
            measures=measures(found),
            models={name: digest(problem) for name, problem, _ in graphs},
        )
    return 0


if __name__ == "__main__":
    end(main)
