"""The command `fits`: do these models fit a budget? For CI and pre-commit hooks; writes nothing."""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from lowtide.cli.model import Dim, Target, TimeLimit, budget_error, parse_dims
from lowtide.cli.terminal import say
from lowtide.errors import LowtideError
from lowtide.units import parse_bytes, parse_seconds

if TYPE_CHECKING:
    from lowtide.report import Report

__all__ = ["fits"]


def fits(
    models: Annotated[list[Path], typer.Argument(help="The models.", metavar="MODEL...")],
    budget: Annotated[
        str, typer.Option(help="The most that each may need: 256KiB, 64K, 8GB.", metavar="SIZE")
    ],
    target: Target = None,
    time_limit: TimeLimit = None,
    dim: Dim = None,
    as_json: Annotated[
        bool, typer.Option("--json", help="Print one line of JSON for each model.")
    ] = False,
    report_file: Annotated[
        Path | None,
        typer.Option("--report", help="Write the lines of JSON to a file too.", metavar="FILE"),
    ] = None,
) -> None:
    """Check that models still fit a budget, in the best order that is found. Writes nothing.

    The exit code is 0 if all fit, else 2 if one cannot be read, else 3 if one is proven not to fit,
    else 4.
    """
    from lowtide import optimizer
    from lowtide.outputs import SOURCE, refuse, write_text

    available = parse_bytes(budget)
    limit = None if time_limit is None else parse_seconds(time_limit)
    dims = parse_dims(dim)
    for path in models:
        refuse({SOURCE: path}, {"--report": report_file})
    codes: set[int] = set()
    lines: list[str] = []
    for path in models:
        report: Report | None = None
        problem: LowtideError | None
        try:
            report = optimizer.analyze(
                path, target=target, budget=available, time_limit_s=limit, dims=dims
            )
            problem = budget_error(report)
        except LowtideError as error:
            problem = error
        codes.add(0 if problem is None else problem.exit_code)
        lines.append(json.dumps(_row(path, report, problem)))
        if as_json:
            print(lines[-1])
        else:
            _show(path, report, problem)
    if report_file is not None:
        write_text(report_file, "".join(f"{line}\n" for line in lines))
    worst = next((code for code in (1, 2, 3, 4) if code in codes), 0)
    if worst:
        raise typer.Exit(worst)


def _row(path: Path, report: Report | None, problem: LowtideError | None) -> dict[str, object]:
    return {
        "model": str(path),
        "error": None if problem is None else str(problem),
        "budget": None if report is None else report.budget,
        "status": None if report is None else report.status,
    }


def _show(path: Path, report: Report | None, problem: LowtideError | None) -> None:
    if report is None or report.budget is None:
        say(f"{path}: cannot be checked: {problem}")
    elif problem is None:
        needed, available = report.budget["needed"], report.budget["available"]
        spare = available - needed
        say(f"{path}: fits: needs {needed:,} of {available:,} bytes, {spare:,} to spare")
    else:
        from lowtide.cli.console import console
        from lowtide.report import render_live

        say(f"{path}: does not fit: {problem}")
        for peak in report.peak_ops[:1]:
            render_live(console(), peak, "what forces the peak of the best plan")
