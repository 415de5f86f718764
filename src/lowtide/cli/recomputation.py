"""What `solve remat` prints: a solution, why there is none, or the front of budget against cost."""

from __future__ import annotations

import csv
import json
from dataclasses import replace
from fractions import Fraction
from io import StringIO
from typing import TYPE_CHECKING

from lowtide.cli.terminal import say
from lowtide.errors import InputError
from lowtide.live import show
from lowtide.outputs import SOURCE, refuse, write_text
from lowtide.solvers.remat.explain import explain
from lowtide.solvers.remat.instance import read_named_instance
from lowtide.solvers.remat.pareto import pareto
from lowtide.solvers.status import Status

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

    from lowtide.solvers.remat.explain import Infeasibility
    from lowtide.solvers.remat.front import ParetoFront, ParetoPoint
    from lowtide.solvers.remat.instance import RematInstance
    from lowtide.solvers.remat.pareto import ParetoOptions
    from lowtide.solvers.remat.problem import OrderScope, RematProblem
    from lowtide.solvers.remat.solution import RematSolution

__all__ = [
    "front_as_csv",
    "front_as_json",
    "print_front",
    "print_solution",
    "solution_as_json",
    "trade_off",
]

_MOST_TENSORS = 12  # in a text
_COLUMNS = (
    "budget_bytes",
    "budget_ratio",
    "peak_bytes",
    "cost",
    "overhead_percent",
    "overhead_lower_bound_percent",
    "bound_scope",
    "status",
    "solver",
)


def solution_as_json(
    problem: RematProblem, solution: RematSolution, names: Sequence[str], solver: str
) -> str:
    """The solution of `problem` by the solver of that name, as one JSON object."""
    return json.dumps(_fields(problem, solution, names, solver))


def _fields(
    problem: RematProblem, solution: RematSolution, names: Sequence[str], solver: str
) -> dict[str, object]:
    bound = solution.bound
    found = explain(problem, node_names=names) if solution.status is Status.INFEASIBLE else None
    return {
        "status": solution.status,
        "budget_bytes": problem.budget_bytes,
        "base_cost": solution.base_cost,
        "cost": solution.cost,
        "overhead_percent": solution.overhead_percent,
        "overhead_lower_bound_percent": solution.overhead_bound_percent,
        "bound_scope": None if bound is None else bound.scope,
        "bound_method": None if bound is None else bound.method,
        "bound_solver": None if bound is None else bound.solver or solver,
        "bounds": [
            {
                "scope": b.scope,
                "cost": b.cost,
                "overhead_percent": solution.percent_of(b.cost),
                "method": b.method,
                "solver": b.solver or solver,
            }
            for b in solution.bounds
        ],
        "peak_bytes": solution.peak_bytes,
        "peak_lower_bound_bytes": solution.peak_bound_bytes,
        "peak_bound_method": solution.peak_bound_method,
        "sequence": solution.sequence,
        "solver": solution.solver,
        "infeasibility": None if found is None else _reason(found),
        "notes": solution.notes,
        "seconds": solution.seconds,
        "cpu_seconds": solution.cpu_seconds,
    }


def _reason(found: Infeasibility) -> dict[str, object]:
    return {
        "needed_bytes": found.needed_bytes,
        "excess_bytes": found.excess_bytes,
        "method": found.method,
        "node": found.node,
        "node_name": found.node_name or None,
        "tensors": [
            {"buffer": t.buffer, "name": t.name or None, "bytes": t.size_bytes, "why": t.why}
            for t in found.tensors
        ],
        "workspace_bytes": found.workspace_bytes,
        "constant_bytes": found.constant_bytes,
        "overwritten_bytes": found.overwritten_bytes,
    }


def print_solution(problem: RematProblem, solution: RematSolution, names: Sequence[str]) -> None:
    """The solution as a text on stdout."""
    print(f"status       {solution.status}: {solution.status.message}")
    print(f"budget       {problem.budget_bytes:,} bytes")
    if solution.sequence is None:
        print("no sequence")
    else:
        repeats = len(solution.sequence) - problem.num_nodes
        by = f", {solution.solver}" if solution.solver else ""
        print(f"peak         {solution.peak_bytes:,} bytes")
        print(f"overhead     {solution.overhead_percent:.4f} % ({repeats} repeats{by})")
    for bound in solution.bounds:
        held = bound.scope in (solution.scope, "free_order")
        if held and bound != solution.bound:
            continue  # that one says more
        scope = bound.scope.replace("_", " ")
        by = f", {bound.solver}" if bound.solver not in ("", "bound") else ""
        print(f"lower bound  {solution.percent_of(bound.cost):.4f} % ({scope}, {bound.method}{by})")
    print(f"peak bound   {solution.peak_bound_bytes:,} bytes ({solution.peak_bound_method})")
    if solution.status is Status.INFEASIBLE:
        _print_reason(problem, solution, names)
    for note in solution.notes:
        say(f"note         {note}")
    print(f"time         {solution.seconds:.3f} s ({solution.cpu_seconds:.3f} CPU-s)")


def _print_reason(problem: RematProblem, solution: RematSolution, names: Sequence[str]) -> None:
    found = explain(problem, node_names=names)
    if found is None:
        what = "sequence" if solution.scope == "free_order" else "stages of the input order"
        print(f"reason       no single op: no {what} within the budget ({_by(solution)})")
        return
    say(f"reason       {found.message}")
    rows = [
        (t.size_bytes, t.why.value, f"tensor {t.buffer}{f' `{t.name}`' if t.name else ''}")
        for t in found.tensors[:_MOST_TENSORS]
    ]
    rest = found.tensors[_MOST_TENSORS:]
    if rest:
        rows.append((sum(t.size_bytes for t in rest), "", f"{len(rest)} smaller tensors"))
    rows += [
        (size, "", what)
        for size, what in (
            (found.workspace_bytes, "workspace"),
            (found.constant_bytes, "constant memory"),
            (-found.overwritten_bytes, "at most written over its operands"),
        )
        if size
    ]
    width = max(len(f"{size:,}") for size, _, _ in rows)
    for size, why, what in rows:
        say(f"             {size:>{width},}  {what}{f' ({why})' if why else ''}")


def _by(solution: RematSolution) -> str:
    method = solution.peak_bound_method
    return method if method == "no useful repeat" else solution.solver or "exhausted"


def trade_off(
    path: Path,
    output: Path | None,
    scope: OrderScope,
    points: int,
    time_limit_s: float,
    seed: int,
    options: ParetoOptions,
    *,
    as_json: bool,
) -> None:
    """Find, write and print the front of an instance.

    Raises:
        InputError: the output is the instance, cannot be written, or is neither CSV nor JSON.
    """
    refuse({SOURCE: path}, {"-o": output})
    if output is not None and output.suffix not in (".csv", ".json"):
        raise InputError(f"{output}: name it .csv or .json")
    instance = read_named_instance(path)
    with show() as progress:
        progress.stage("trade-off")
        front = pareto(
            instance.problem,
            scope=scope,
            points=points,
            time_limit_s=time_limit_s,
            seed=seed,
            progress=lambda done, total: progress.stage(f"trade-off: {done} of {total} points"),
            options=replace(options, threads=min(options.threads, points)),
        )
    text = front_as_json(instance, front, options.solver)
    if output is not None:
        write_text(output, front_as_csv(front) if output.suffix == ".csv" else text + "\n")
    if as_json:
        print(text)
    else:
        print_front(front)


def print_front(front: ParetoFront) -> None:
    """The front as a table on stdout."""
    header = ["budget", "ratio", "peak", "cost", "overhead %", "bound %", "status", "solver"]
    rows = [header]
    for point in front.points:
        solution = point.solution
        cost = solution.cost
        rows.append(
            [
                f"{point.budget_bytes:,}",
                f"{_ratio(front, point):.4f}",
                f"{solution.peak_bytes:,}",
                f"{cost:,}" if isinstance(cost, int) else f"{cost:.6g}",
                f"{solution.overhead_percent:.4f}",
                f"{solution.overhead_bound_percent:.4f}",
                solution.status.value,
                solution.solver,
            ]
        )
    widths = [max(len(row[column]) for row in rows) for column in range(len(header))]
    for row in rows:
        cells = [
            cell.ljust(width) if column > 5 else cell.rjust(width)
            for column, (cell, width) in enumerate(zip(row, widths, strict=True))
        ]
        print("  ".join(cells).rstrip())
    least = f"{front.least_budget_bytes:,} bytes"
    if front.least_proven:
        print(
            f"least budget {least}: proven, no plan has a lower peak ({front.least_bound_method})"
        )
    else:
        bound = f"{front.least_bound_bytes:,} bytes ({front.least_bound_method})"
        print(f"least budget {least} found; no plan has a lower peak than {bound}")
    print(f"bounds       of the {front.scope.replace('_', ' ')}, by budget")
    for note in front.notes:
        say(f"note         {note}")
    print(f"time         {front.seconds:.3f} s ({front.cpu_seconds:.3f} CPU-s)")


def front_as_json(instance: RematInstance, front: ParetoFront, solver: str) -> str:
    """The front as one JSON object; each point has the keys of a solution, and its ratio."""
    problem = instance.problem
    points: list[dict[str, object]] = []
    for point in front.points:
        at = problem.with_budget(point.budget_bytes)
        fields = _fields(at, point.solution, instance.node_names, solver)
        for key in ("seconds", "cpu_seconds", "notes", "infeasibility"):
            del fields[key]  # of the sweep, not of a point
        points.append({"budget_ratio": _ratio(front, point), **fields})
    return json.dumps(
        {
            "scope": front.scope,
            "base_peak_bytes": front.base_peak_bytes,
            "base_cost": problem.base_cost,
            "least_budget_bytes": front.least_budget_bytes,
            "least_budget_lower_bound_bytes": front.least_bound_bytes,
            "least_budget_bound_method": front.least_bound_method,
            "least_budget_proven": front.least_proven,
            "points": points,
            "notes": front.notes,
            "seconds": front.seconds,
            "cpu_seconds": front.cpu_seconds,
        }
    )


def front_as_csv(front: ParetoFront) -> str:
    """The front as CSV, one line per point."""
    out = StringIO()
    writer = csv.writer(out, lineterminator="\n")
    writer.writerow(_COLUMNS)
    for point in front.points:
        solution = point.solution
        writer.writerow(
            [
                point.budget_bytes,
                f"{_ratio(front, point):.6f}",
                solution.peak_bytes,
                solution.cost,
                solution.overhead_percent,
                solution.overhead_bound_percent,
                "" if solution.bound is None else solution.bound.scope.value,
                solution.status.value,
                solution.solver,
            ]
        )
    return out.getvalue()


def _ratio(front: ParetoFront, point: ParetoPoint) -> float:
    if not front.base_peak_bytes:
        return 1.0
    return float(Fraction(point.budget_bytes, front.base_peak_bytes))
