"""Commands on models: optimize, analyze, apply."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from lowtide.errors import BudgetInfeasibleError, BudgetNotMetError, InputError
from lowtide.live import show
from lowtide.units import parse_bytes, parse_seconds

if TYPE_CHECKING:
    from lowtide.report import Report

__all__ = ["analyze", "apply", "budget_error", "optimize", "parse_dims"]

Model = Annotated[
    Path,
    typer.Argument(help="An .onnx or .tflite file, or a SavedModel's folder.", metavar="MODEL"),
]
Target = Annotated[
    str | None,
    typer.Option(
        help="What runs the result: onnxruntime (ORT's own optimised graph for this CPU), onnx "
        "(the file's operators, for runtimes that follow the file's order), tensorflow (a "
        "SavedModel), tflite, tvm (a shared library) or c (freestanding C) for an .onnx; tflite "
        "(TensorFlow Lite Micro, LiteRT) or c (the same as C++ sources) for a .tflite. Default: "
        "the first that reads the model's format."
    ),
]
Budget = Annotated[
    str | None,
    typer.Option(help="The most the peak may be: 256KiB, 1.5MiB, 8GB.", metavar="SIZE"),
]
TimeLimit = Annotated[
    str | None,
    typer.Option(
        help="For each solver: 30s, 500ms, 2m. Default: a repeatable amount of work, some seconds.",
        metavar="DURATION",
    ),
]
Seed = Annotated[int, typer.Option(help="For everything random.", min=0)]
Dim = Annotated[
    list[str] | None,
    typer.Option(help="Bind a dynamic dimension: batch=1; '*=1' for all.", metavar="NAME=VALUE"),
]
Pipeline = Annotated[
    str | None, typer.Option(help="The passes: rewrite,inplace,schedule{time_limit_s=10},allocate.")
]
Json = Annotated[bool, typer.Option("--json", help="Print the report as JSON.")]
OrtLevel = Annotated[
    str, typer.Option(help="Optimisation level of ORT's graph: all, extended or basic.")
]
Device = Annotated[
    str | None,
    typer.Option(help="A board (`lowtide devices`) or a profile's file.", metavar="NAME|FILE"),
]
Costs = Annotated[
    str | None,
    typer.Option(
        help="What it costs to run an op: a file (lowtide.costs/1), or `measure` to time each op "
        "here. Default: a model of a core.",
        metavar="FILE|measure",
    ),
]
Quantize = Annotated[
    str,
    typer.Option(
        help="For an .onnx that becomes a .tflite: float16 (weights), int8 (with --representative, "
        "or a model that is quantized already), or none."
    ),
]
Representative = Annotated[
    Path | None,
    typer.Option(
        help="For --quantize int8: an .npz with an array [samples, ...] for each input.",
        metavar="FILE.npz",
    ),
]
Rewrite = Annotated[
    str | None,
    typer.Option(
        help="Rewrites that may lower the peak: exact (they keep every bit), float (also those "
        "that regroup sums of floats) or none. Default: exact.",
        metavar="exact|float|none",
    ),
]
Html = Annotated[
    Path | None,
    typer.Option("--html", help="Write the report as one page for a browser.", metavar="FILE"),
]
Svg = Annotated[
    Path | None,
    typer.Option("--svg", help="Draw live bytes and arena, for papers.", metavar="FILE"),
]
Png = Annotated[
    Path | None,
    typer.Option("--png", help="The same in pixels (extra: lowtide[png]).", metavar="FILE"),
]
Trace = Annotated[
    Path | None,
    typer.Option("--trace", help="Write Chrome trace JSON (Perfetto).", metavar="FILE"),
]
Snapshot = Annotated[
    Path | None,
    typer.Option(
        "--snapshot", help="Write a memory snapshot for pytorch.org/memory_viz.", metavar="FILE"
    ),
]
Threads = Annotated[
    int | None, typer.Option(help="At most this many threads; default: all cores.", min=1)
]


def optimize(
    path: Model,
    peak_mem: Annotated[
        bool, typer.Option("--peak-mem", help="Minimise the peak memory (the default goal).")
    ] = True,
    output: Annotated[
        Path | None,
        typer.Option("-o", "--output", help="Default: beside the model, as in MODEL.lowtide.onnx."),
    ] = None,
    target: Target = None,
    budget: Budget = None,
    time_limit: TimeLimit = None,
    seed: Seed = 0,
    dim: Dim = None,
    pipeline: Pipeline = None,
    ort_level: OrtLevel = "all",
    portable: Annotated[
        bool,
        typer.Option(
            "--portable",
            help="A file that moves between machines and keeps the order in an unmodified session "
            "at basic optimisation.",
        ),
    ] = False,
    plan_out: Annotated[
        Path | None, typer.Option(help="Write the plan as JSON too.", metavar="FILE")
    ] = None,
    as_json: Json = False,
    verify: Annotated[
        bool,
        typer.Option("--verify/--no-verify", help="Execute, compare and measure the result."),
    ] = True,
    threads: Threads = None,
    device: Device = None,
    costs: Costs = None,
    quantize: Quantize = "none",
    representative: Representative = None,
    rewrite: Rewrite = None,
    html: Html = None,
    svg: Svg = None,
    png: Png = None,
    trace: Trace = None,
    snapshot: Snapshot = None,
) -> None:
    """Write a model that needs less memory, and report what was proven and measured."""
    from lowtide import optimizer

    assert peak_mem
    with show() as progress:
        result = optimizer.optimize(
            path,
            output=_output(path, output, target),
            target=target,
            budget=None if budget is None else parse_bytes(budget),
            time_limit_s=None if time_limit is None else parse_seconds(time_limit),
            seed=seed,
            dims=parse_dims(dim),
            pipeline=pipeline,
            ort_level=ort_level,
            portable=portable,
            plan_out=plan_out,
            verify=verify,
            threads=threads,
            device=device,
            costs=costs,
            quantize=quantize,
            representative=representative,
            rewrite=rewrite,
            html=html,
            svg=svg,
            png=png,
            trace=trace,
            snapshot=snapshot,
            progress=progress,
        )
    _print(result.report, as_json=as_json)
    _exit_for_budget(result.report)


def analyze(
    path: Model,
    target: Target = None,
    budget: Budget = None,
    time_limit: TimeLimit = None,
    seed: Seed = 0,
    dim: Dim = None,
    pipeline: Pipeline = None,
    ort_level: OrtLevel = "all",
    as_json: Json = False,
    threads: Threads = None,
    device: Device = None,
    costs: Costs = None,
    quantize: Quantize = "none",
    representative: Representative = None,
    rewrite: Rewrite = None,
    html: Html = None,
    svg: Svg = None,
    png: Png = None,
    trace: Trace = None,
    snapshot: Snapshot = None,
) -> None:
    """Show the peak, what makes it, and what a better order needs. Writes no model."""
    from lowtide import optimizer

    with show() as progress:
        report = optimizer.analyze(
            path,
            target=target,
            budget=None if budget is None else parse_bytes(budget),
            time_limit_s=None if time_limit is None else parse_seconds(time_limit),
            seed=seed,
            dims=parse_dims(dim),
            pipeline=pipeline,
            ort_level=ort_level,
            threads=threads,
            device=device,
            costs=costs,
            quantize=quantize,
            representative=representative,
            rewrite=rewrite,
            html=html,
            svg=svg,
            png=png,
            trace=trace,
            snapshot=snapshot,
            progress=progress,
        )
    _print(report, as_json=as_json, detail=True)
    _exit_for_budget(report)


def apply(
    plan: Annotated[Path, typer.Argument(help="A plan written by --plan-out.", metavar="PLAN")],
    path: Model,
    output: Annotated[
        Path | None,
        typer.Option("-o", "--output", help="Default: beside the model, as in MODEL.lowtide.onnx."),
    ] = None,
    as_json: Json = False,
    verify: Annotated[
        bool,
        typer.Option("--verify/--no-verify", help="Execute, compare and measure the result."),
    ] = True,
    threads: Threads = None,
) -> None:
    """Apply a saved plan to the model that it was made for, and verify it again."""
    from lowtide import optimizer

    target = None if output is not None else optimizer.load_plan(plan).target
    destination = _output(path, output, target)
    with show() as progress:
        result = optimizer.apply(
            plan,
            path,
            output=destination,
            verify=verify,
            threads=threads,
            progress=progress,
        )
    _print(result.report, as_json=as_json)


_ENDINGS = {"c": ".c", "tensorflow": ".savedmodel", "tflite": ".tflite", "tvm": ".so"}


def _output(path: Path, output: Path | None, target: str | None = None) -> Path:
    if output is not None:
        return output
    if path.is_dir():  # a SavedModel
        path, target = path.resolve(), target or "tensorflow"
    suffix = path.suffix if path.suffix.lower() in (".tflite", ".savedmodel") else ".onnx"
    ending = _ENDINGS.get(target or "", suffix)
    return path.with_name(f"{path.name.removesuffix(suffix)}.lowtide{ending}")


def parse_dims(items: list[str] | None) -> dict[str, int]:
    """`--dim` options as values by name.

    Raises:
        InputError: not NAME=VALUE, or a value out of range.
    """
    dims: dict[str, int] = {}
    for item in items or ():
        name, equals, value = item.rpartition("=")
        if not equals or not name or not value.isascii() or not value.isdigit():
            raise InputError(f"--dim {item}: write NAME=VALUE with a whole number, as in batch=1")
        if int(value) > 1 << 40:
            raise InputError(f"--dim {item}: the value is over 2^40")
        if int(value) < 1:
            raise InputError(f"--dim {item}: a dimension is at least 1")
        dims[name] = int(value)
    return dims


def _print(report: Report, *, as_json: bool, detail: bool = False) -> None:
    if as_json:
        print(report.to_json())
        return
    from lowtide.cli.console import console

    report.render(console(), detail=detail)


def budget_error(report: Report) -> BudgetInfeasibleError | BudgetNotMetError | None:
    """What to say where a budget was set and is not met; its exit code is 3 or 4."""
    if report.budget is None or report.budget["excess"] <= 0:
        return None
    needed, available = report.budget["needed"], report.budget["available"]
    text = (
        f"the budget of {available:,} bytes is not met: the best plan needs {needed:,}, "
        f"{report.budget['excess']:,} too many"
    )
    least = report.budget.get("floor", report.peak_bytes.lower_bound)
    if least > available:
        what = (
            "every order, with ops computed again too,"
            if "floor" in report.budget
            else "every order"
        )
        because = ""
        if report.obstacle is not None:
            op = report.obstacle["op"]
            because = f" while `{op}` runs" if op else f" for {report.obstacle['method']} alone"
        return BudgetInfeasibleError(
            f"{text}, and {what} needs at least {least:,}{because} (proven): "
            f"raise --budget to {report.budget['fits_at']:,}"
        )
    if report.proof["scope"] == "order+layout" and "floor" not in report.budget:
        beside = needed - report.arena_bytes.after
        return BudgetNotMetError(
            f"{text}; no order or layout of the tensors needs less, but {beside:,} bytes are the "
            f"runtime's own: raise --budget to {report.budget['fits_at']:,}"
        )
    return BudgetNotMetError(
        f"{text}; less was not excluded: raise --time-limit, or --budget to "
        f"{report.budget['fits_at']:,}"
    )


def _exit_for_budget(report: Report) -> None:
    """Leave with 3 or 4 where a budget was set and is not met."""
    error = budget_error(report)
    if error is not None:
        raise error
