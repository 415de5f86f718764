"""The command line: `optimize` and `lowtide`.

Reports go to stdout, progress and errors to stderr. Exit codes: 0 done, 1 internal error, 2 usage
or unreadable input, 3 budget proven infeasible, 4 budget not met and not proven, 5 verification
failed (nothing written); 130 interrupted before there was a plan.
"""

from __future__ import annotations

import os
import sys
from typing import TYPE_CHECKING

import typer

from lowtide import __version__
from lowtide.bench import command as bench
from lowtide.cli import devices, fits, information, model, pictures, solve
from lowtide.cli.terminal import warn
from lowtide.errors import LowtideError

if TYPE_CHECKING:
    from collections.abc import Sequence

__all__ = ["app", "bench_main", "main", "optimize_app", "optimize_main"]

_INTERRUPTED = 130
_SETTINGS = {"help_option_names": ["-h", "--help"]}


def _typer(help_text: str, *, no_args_is_help: bool = False) -> typer.Typer:
    return typer.Typer(
        help=help_text,
        add_completion=False,
        rich_markup_mode=None,
        pretty_exceptions_enable=False,
        context_settings=_SETTINGS,
        no_args_is_help=no_args_is_help,
    )


app = _typer("The smallest provable peak, for the runtime you already use.", no_args_is_help=True)
optimize_app = _typer("Bring a model's memory high-water mark down.")
bench_app = _typer("Run benchmarks, and compare their results.", no_args_is_help=True)
solve_app = _typer("Run a solver on an instance file.", no_args_is_help=True)

optimize_app.command(no_args_is_help=True)(model.optimize)
app.command(no_args_is_help=True)(model.optimize)
app.command(no_args_is_help=True)(model.analyze)
app.command(no_args_is_help=True)(model.apply)
app.command(no_args_is_help=True)(pictures.plot)
app.command(no_args_is_help=True)(pictures.diff)
app.command(no_args_is_help=True)(fits.fits)
solve_app.command("schedule", no_args_is_help=True)(solve.schedule)
solve_app.command("allocate", no_args_is_help=True)(solve.allocate)
solve_app.command("remat", no_args_is_help=True)(solve.remat)
app.add_typer(solve_app, name="solve")
app.command(no_args_is_help=True)(solve.check)
bench.add_to(bench_app)
app.add_typer(bench_app, name="bench")
app.command()(devices.devices)
app.command()(information.passes)
app.command()(information.doctor)
app.command()(information.cite)


def _print_version(value: bool) -> None:
    if value:
        print(f"lowtide {__version__}")
        raise typer.Exit


@app.callback()
def _root(
    version: bool = typer.Option(
        False, "--version", help="Print the version.", callback=_print_version, is_eager=True
    ),
) -> None:
    pass


def main(arguments: Sequence[str] | None = None) -> None:
    """The command `lowtide`."""
    _run(app, "lowtide", arguments)


def optimize_main(arguments: Sequence[str] | None = None) -> None:
    """The command `optimize`."""
    _run(optimize_app, "optimize", arguments)


def bench_main(arguments: Sequence[str] | None = None) -> None:
    """The command `python -m lowtide.bench`."""
    _run(bench_app, "python -m lowtide.bench", arguments)


def _run(application: typer.Typer, name: str, arguments: Sequence[str] | None) -> None:
    """Run, and turn whatever happens into one message and the right exit code."""
    command = typer.main.get_command(application)
    try:
        code = command.main(args=arguments, prog_name=name, standalone_mode=False)
        if code == _INTERRUPTED:  # typer makes this of Ctrl-C
            warn("interrupted")
    except (typer.Abort, KeyboardInterrupt):
        warn("interrupted")
        code = _INTERRUPTED
    except BrokenPipeError:
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        code = 0
    except LowtideError as error:
        warn(f"error: {error}")
        code = error.exit_code
    except Exception as error:
        if _shown(error):
            raise SystemExit(2) from None
        if os.environ.get("LOWTIDE_DEBUG"):
            raise
        warn(
            f"internal error: {type(error).__name__}: {error}\n"
            f"Set LOWTIDE_DEBUG=1 for the traceback; please report it with the model."
        )
        code = 1
    raise SystemExit(code if isinstance(code, int) else 0)


def _shown(error: Exception) -> bool:
    """Show a usage error of click's; typer brings a copy of click whose classes are private."""
    show: object = getattr(error, "show", None)
    if not callable(show) or not hasattr(error, "exit_code"):
        return False
    show()
    return True
