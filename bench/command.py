"""`lowtide bench`, and `python -m lowtide.bench`: run a suite, compare results.

Every experiment runs as its own command in a process of its own, so that its manifest names a
command that anyone can repeat, and so that nothing that one loads is measured with another.
"""

from __future__ import annotations

import os
import subprocess
import sys
import time
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from lowtide.bench.record import load
from lowtide.bench.suites import SUITES, Experiment, require
from lowtide.errors import InputError, MissingExtraError

if TYPE_CHECKING:
    from collections.abc import Callable

    from lowtide.bench.record import Record

__all__ = ["BASELINE", "RESULTS", "add_to", "run_suite"]

_HERE = Path(__file__).parent
BASELINE = _HERE / "baseline"  # of quick runs
RESULTS = _HERE / "results"  # of whole ones
_GRACE_S = 5.0  # of an experiment that was interrupted, to end what it has started

Quick = Annotated[bool, typer.Option("--quick", help="A part of it, in seconds to a minute.")]
Instances = Annotated[
    Path | None,
    typer.Option(
        help="Instances of your own, for experiments that take them.",
        metavar="DIR",
        exists=True,
        file_okay=False,
    ),
]
Output = Annotated[
    Path, typer.Option("-o", "--output", help="Where results are written.", metavar="DIR")
]
Only = Annotated[
    list[str] | None,
    typer.Option(help="Of the suite's experiments; may be repeated.", metavar="EXPERIMENT"),
]
Check = Annotated[
    bool,
    typer.Option(
        "--check", help="Exit with 1 where a measure is worse, or there is nothing to compare with."
    ),
]
Tolerance = Annotated[
    float, typer.Option(help="Of the mean of CPU-seconds, as a ratio.", metavar="RATIO", min=1.0)
]


def run_suite(
    name: str,
    *,
    quick: bool,
    output: Path,
    instances: Path | None = None,
    only: list[str] | None = None,
    check: bool = False,
    tolerance: float = 1.5,
) -> int:
    """Run a suite's experiments, and compare each with the committed baseline.

    Returns:
        0; 1 where an experiment failed, or with `check` a measure is worse than in the baseline or
        there is no committed result to compare with.

    Raises:
        LowtideError: an option, a missing extra, or a folder that cannot be written; nothing has
            run then.
    """
    known = [each.name for each in SUITES[name].experiments if not quick or each.quick is not None]
    wrong = [each for each in only or () if each not in known]
    if wrong:
        kind = "quick experiment" if quick else "experiment"
        raise typer.BadParameter(
            f"suite {name} has no {kind} {', '.join(wrong)}; it has: {', '.join(known)}"
        )
    chosen = [
        experiment for experiment in SUITES[name].experiments if experiment.name in (only or known)
    ]
    if instances is not None and not any(experiment.instances for experiment in chosen):
        names = ", ".join(experiment.name for experiment in chosen)
        raise InputError(f"--instances {instances}: none is read by {names}; drop the option")
    for experiment in list(chosen):
        try:
            require(name, experiment)
        except MissingExtraError as error:
            if not experiment.optional or only:
                raise
            print(f"left out: {error}", file=sys.stderr)
            chosen.remove(experiment)
    try:
        output.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise InputError(f"{output} cannot be written: {error.strerror or error}") from error
    if not os.access(output, os.W_OK):
        raise InputError(f"{output} cannot be written: no permission")
    print(f"{name}: peak is {SUITES[name].peak}", file=sys.stderr)
    failed, done = False, 0
    for place, experiment in enumerate(chosen, 1):
        stem = output / experiment.name
        begin = time.perf_counter()
        print(f"[{place} of {len(chosen)}] {experiment.name}", file=sys.stderr, flush=True)
        if experiment.peak:
            print(f"{experiment.name}: peak is {experiment.peak}", file=sys.stderr, flush=True)
        try:
            code = _call(_command(experiment, stem, quick=quick, instances=instances))
        except KeyboardInterrupt:
            where = f"results so far ({done} of {len(chosen)}) are in {output}"
            print(f"{experiment.name}: interrupted; {where}", file=sys.stderr, flush=True)
            raise
        seconds = time.perf_counter() - begin
        print(f"{experiment.name}: exit {code}, {seconds:.1f} s", file=sys.stderr, flush=True)
        failed |= code != 0
        done += code == 0
        written = stem.with_name(f"{stem.name}.json")
        baseline = (BASELINE if quick else RESULTS) / written.name
        if code == 0 and baseline.exists():
            failed |= _compared(load(baseline), load(written), tolerance) and check
        elif code == 0:
            print(f"{experiment.name}: there is no committed result of it here", file=sys.stderr)
            failed |= check
    print(f"results are in {output}", file=sys.stderr)
    return 1 if failed else 0


def _command(
    experiment: Experiment, stem: Path, *, quick: bool, instances: Path | None
) -> list[str]:
    arguments = [*((experiment.quick or ()) if quick else experiment.full)]
    if instances is not None and experiment.instances:
        arguments += ["--instances", str(instances)]
    return [sys.executable, "-m", experiment.module, *arguments, "--output", str(stem)]


def _call(command: list[str]) -> int:
    """Its exit code; on Ctrl-C, which it has from the terminal, too, it has time to clean up."""
    process = subprocess.Popen(command)
    try:
        return process.wait()
    except BaseException:
        try:
            with suppress(subprocess.TimeoutExpired):
                process.wait(_GRACE_S)
        finally:
            process.kill()
            process.wait()
        raise


def _compared(before: Record, now: Record, tolerance: float) -> bool:
    """Print a comparison; whether anything is worse."""
    from lowtide.bench.compare import compare, text_of

    found = compare(before, now, tolerance=tolerance)
    print(text_of(found))
    return found.worse


def _suite_command(name: str) -> Callable[..., None]:
    def run(
        quick: Quick = False,
        instances: Instances = None,
        output: Output = Path("lowtide-bench"),
        only: Only = None,
        check: Check = False,
        tolerance: Tolerance = 1.5,
    ) -> None:
        code = run_suite(
            name,
            quick=quick,
            output=output,
            instances=instances,
            only=only,
            check=check,
            tolerance=tolerance,
        )
        raise typer.Exit(code)

    run.__doc__ = f"{SUITES[name].summary[0].upper()}{SUITES[name].summary[1:]}."
    return run


def compare(
    now: Annotated[Path, typer.Argument(help="A result (.json).", metavar="NOW")],
    before: Annotated[
        Path | None,
        typer.Argument(help="An earlier one; the committed result by default.", metavar="BEFORE"),
    ] = None,
    tolerance: Tolerance = 1.5,
) -> None:
    """Compare two results of an experiment; exits with 1 where a measure is worse."""
    result = load(now)
    earlier = _committed(result) if before is None else load(before)
    raise typer.Exit(int(_compared(earlier, result, tolerance)))


def _committed(now: Record) -> Record:
    """The committed result of the same experiment: that with the same settings, or the whole run's.

    Raises:
        InputError: there is none.
    """
    name = now.manifest.experiment
    found = [
        load(path)
        for folder in (RESULTS, BASELINE)
        for path in folder.glob("*.json")
        if path.stem == name
    ]
    if not found:
        raise InputError(f"there is no committed result of {name}: name an earlier one")
    return next(
        (each for each in found if each.manifest.settings == now.manifest.settings), found[0]
    )


def list_suites() -> None:
    """The suites and their experiments; * where there is a quick part."""
    for name, suite in SUITES.items():
        names = " ".join(f"{e.name}{'*' * (e.quick is not None)}" for e in suite.experiments)
        print(f"{name:12} {suite.summary}\n{'':12} {names}")


def add_to(app: typer.Typer) -> None:
    """Put the commands into an application."""
    for name in SUITES:
        app.command(name)(_suite_command(name))
    app.command("compare", no_args_is_help=True)(compare)
    app.command("list")(list_suites)
