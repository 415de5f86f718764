"""TiGrIS's orders and plans beside ours, on networks and real models, under one definition of peak.

    python -m lowtide.bench.tigris [--only NAME ...] [--output bench/results/tigris]

Three tables, of the models that TiGrIS takes; the others are listed with its reason.

1. *Its graph*: after its fusions, under its own definition (`peers.tigris`). Our evaluation of its
   order must be what TiGrIS says and what its runtime takes; the best order of the same operators
   stands beside it.
2. *The file's operators*: what its depth-first order is worth without its fusions, as ONNX
   Runtime's kernels hold memory (in place, with workspace), inputs counted.
3. *Tiles*: the two memories of its plans within budgets, and one memory of ours, rewritten.

Models are those of `networks` and `onnx_networks` (the onnx package's light models with drawn
weights; what goes into a last softmax is an output too) and `mobilenet` in int8. TiGrIS runs in a
child process; the time limit is our scheduler's.
"""

from __future__ import annotations

import argparse
import sys
import tempfile
import time
from dataclasses import asdict, dataclass, replace
from functools import partial
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING

import onnx

from lowtide.bench.mobilenet import mobilenet_v2
from lowtide.bench.onnx_networks import EVERY
from lowtide.bench.peers.tigris import Answer, Plan, ask, problem_of
from lowtide.bench.protocol import end, geometric_mean, markdown, one_core, write
from lowtide.bench.record import Measure, digest
from lowtide.errors import LowtideError, MissingExtraError
from lowtide.frontends.onnx import import_graph, read
from lowtide.ir import Accounting, simulate
from lowtide.passes.lower import lower
from lowtide.planning import plan
from lowtide.rewriting import improve
from lowtide.settings import Settings
from lowtide.solvers.allocation.check import check as check_layout
from lowtide.solvers.joint import pack_order
from lowtide.solvers.lifetimes import arena_of
from lowtide.solvers.schedule.check import check, peak_of
from lowtide.solvers.schedule.exact import schedule
from lowtide.targets import prepare

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping, Sequence

    from lowtide.ir import Graph, Op
    from lowtide.solvers.schedule.problem import ScheduleProblem

__all__ = [
    "FILE_ACCOUNTING",
    "MODELS",
    "Best",
    "FileOrders",
    "Row",
    "main",
    "measures",
    "ordered",
    "run",
    "text_of",
]

# ONNX Runtime's, with inputs beside everything else, where TiGrIS has them.
FILE_ACCOUNTING = Accounting(inputs_in_arena=True, outputs_live_to_end=True, alignment=64)

_DIMS = {"*": 1}  # what TiGrIS takes for open dimensions

# File name to how it is written.
MODELS: dict[str, Callable[[], onnx.ModelProto | bytes]] = {
    **{f"{name}.onnx": build for name, build in EVERY.items()},
    **{f"mobilenet_v2_{side}_int8.tflite": partial(mobilenet_v2, side) for side in (96, 144)},
}


@dataclass(frozen=True, slots=True)
class Best:
    """Our order of a graph; bytes.

    Attributes:
        peak: of the order.
        bound: that no order is below.
        arena: with fixed offsets.
        cpu_seconds: of ordering and layout.
    """

    peak: int
    bound: int
    arena: int
    cpu_seconds: float


@dataclass(frozen=True, slots=True)
class FileOrders:
    """Peaks of the file's own operators: as written, in TiGrIS's order, in the best."""

    ops: int
    written: int
    tigris: int
    best: Best


@dataclass(frozen=True, slots=True)
class Row:
    """One model; bytes.

    Attributes:
        model: name of the file.
        ops: of TiGrIS's graph.
        peak: what TiGrIS says of its order, and what we find for it.
        best: our order of that graph.
        plans: TiGrIS's, by falling budget; the first has one stage.
        file: the file's operators; None for what TiGrIS converts before it orders.
        rewritten: what our rewritten model needs in one memory, inputs and outputs included.
        workspace: of that, what a kernel's scratch takes at the peak.
        more_operations: that it computes, as a part of the model's.
        not_rewritten: why there is none.
    """

    model: str
    ops: int
    peak: int
    best: Best
    plans: tuple[Plan, ...]
    file: FileOrders | None
    rewritten: int | None = None
    workspace: int | None = None
    more_operations: float | None = None
    not_rewritten: str = ""


def run(path: Path, answer: Answer, *, time_limit_s: float) -> Row:
    """The row of a model without the rewritten one.

    Raises:
        LowtideError: our figure for TiGrIS's order is not TiGrIS's, or not what its runtime took.
    """
    problem = problem_of(answer.graph)
    peak = peak_of(problem, range(problem.num_nodes))
    if peak != answer.graph.peak_bytes:
        raise LowtideError(f"{path.name}: TiGrIS says {answer.graph.peak_bytes}, we say {peak}")
    for whole in answer.plans[:1]:
        if whole.measured_fast not in (None, peak):
            raise LowtideError(f"{path.name}: {peak} expected, it took {whole.measured_fast}")
    return Row(
        model=path.name,
        ops=problem.num_nodes,
        peak=peak,
        best=_best(problem, time_limit_s),
        plans=answer.plans,
        file=_file_orders(path, answer, time_limit_s) if path.suffix == ".onnx" else None,
    )


def _best(problem: ScheduleProblem, time_limit_s: float) -> Best:
    begin = time.process_time()
    found = schedule(problem, time_limit_s=time_limit_s)
    check(problem, found)
    if found.order is None or found.peak_bytes is None:
        raise LowtideError(f"no order within {time_limit_s:g} s")
    layout = pack_order(
        problem,
        found.order,
        lower_bound_bytes=found.lower_bound_bytes,
        time_limit_s=time_limit_s,
    )
    seconds = time.process_time() - begin
    check_layout(arena_of(problem, layout.order), layout.allocation)
    height = layout.allocation.height
    if height is None or peak_of(problem, layout.order) != found.peak_bytes:
        raise LowtideError("the layout is missing, or its order has another peak")
    return Best(found.peak_bytes, found.lower_bound_bytes, height, seconds)


def _file_orders(path: Path, answer: Answer, time_limit_s: float) -> FileOrders:
    graph = import_graph(read(path, dims=_DIMS).model)
    theirs = ordered(graph, answer.order)
    return FileOrders(
        ops=len(graph),
        written=simulate(graph, FILE_ACCOUNTING).peak_bytes,
        tigris=simulate(graph, FILE_ACCOUNTING, theirs).peak_bytes,
        best=_best(lower(graph, FILE_ACCOUNTING).problem, time_limit_s),
    )


def ordered(graph: Graph, results: Sequence[Sequence[str]]) -> list[Op]:
    """The graph's ops in the order in which their results are named.

    Ops that are not named (they make constants, for TiGrIS) run just before their first reader.

    Raises:
        LowtideError: an op is named before one that it reads.
    """
    producer = {t.name: t.producer for t in graph.tensors if t.producer is not None}
    named = [producer[n] for names in results for n in names if n in producer]
    wanted = set(named)
    done: dict[Op, None] = {}

    def add(op: Op, reader: str) -> None:
        if op in done:
            return
        if op in wanted and reader:
            raise LowtideError(f"`{op.name}` comes after `{reader}`, which reads it")
        for operand in op.operands:
            if operand.producer is not None:
                add(operand.producer, op.name)
        done[op] = None

    for op in named:
        add(op, "")
    for op in graph.ops:
        add(op, "")
    return list(done)


def _with_rewritten(row: Row, path: Path) -> Row:
    """The row with one memory for the model rewritten with tiles, or why there is none."""
    onnx_file = path.suffix == ".onnx"
    target = "onnx" if onnx_file else "tflite"
    dims = _DIMS if onnx_file else None
    settings = Settings.of(target=target, dims=dims, rewrite="float", threads=1)
    try:
        planned = improve(plan(prepare(path, settings)))
    except LowtideError as error:
        return replace(row, not_rewritten=str(error))
    # TFLite Micro's accounting counts inputs as it is.
    accounting = FILE_ACCOUNTING if onnx_file else planned.prepared.accounting
    timeline = simulate(planned.prepared.graph, accounting, planned.order)
    return replace(
        row,
        rewritten=timeline.peak_bytes,
        workspace=timeline.steps[timeline.peak_step].workspace_bytes,
        more_operations=planned.more_flops,
    )


def measures(rows: Sequence[Row]) -> Iterator[Measure]:
    """Peaks of both on both graphs; the memories of tiles."""
    for row in rows:
        yield Measure(row.model, "TiGrIS", "peak", "bytes", row.peak, peer=True)
        yield Measure(row.model, "lowtide", "peak", "bytes", row.best.peak)
        yield Measure(row.model, "lowtide", "arena", "bytes", row.best.arena)
        yield Measure(row.model, "lowtide", "CPU", "s", row.best.cpu_seconds)
        if row.file is not None:
            what = "peak of the file's operators"
            yield Measure(row.model, "TiGrIS", what, "bytes", row.file.tigris, peer=True)
            yield Measure(row.model, "lowtide", what, "bytes", row.file.best.peak)
        if row.plans:
            fast = row.plans[-1]
            yield Measure(row.model, "TiGrIS", "least fast", "bytes", fast.fast, peer=True)
            least = min(each.total for each in row.plans)
            yield Measure(row.model, "TiGrIS", "least sum", "bytes", least, peer=True)
        if row.rewritten is not None:
            yield Measure(row.model, "lowtide", "rewritten", "bytes", row.rewritten)


def text_of(rows: Sequence[Row], refused: Mapping[str, str]) -> str:
    """The three tables as Markdown."""
    graphs = markdown(
        ("model", "ops", "TiGrIS says", "its runtime", "best order", "bound", "", "arena", "CPU s"),
        [
            (
                *(row.model, str(row.ops), _bytes(row.peak)),
                _bytes(row.plans[0].measured_fast if row.plans else None),
                *(_bytes(row.best.peak), _bytes(row.best.bound)),
                f"{row.peak / row.best.peak:.3f}x",
                *(_bytes(row.best.arena), f"{row.best.cpu_seconds:.2f}"),
            )
            for row in rows
        ],
    )
    with_files = [(row, row.file) for row in rows if row.file is not None]
    files = markdown(
        ("model", "ops", "as written", "TiGrIS's order", "best order", "bound", "", "CPU s"),
        [
            (
                *(row.model, str(file.ops), _bytes(file.written), _bytes(file.tigris)),
                *(_bytes(file.best.peak), _bytes(file.best.bound)),
                f"{file.tigris / file.best.peak:.3f}x",
                f"{file.best.cpu_seconds:.2f}",
            )
            for row, file in with_files
        ],
    )
    tiles = markdown(
        (
            *("model", "one stage: fast + slow", "least fast", "slow then", "moved"),
            *("least sum", "fast", "slow", "moved"),
            *("ours, rewritten", "workspace", "more operations"),
        ),
        [_tiles(row) for row in rows if row.plans],
    )
    own = geometric_mean(row.peak / row.best.peak for row in rows)
    equal = sum(row.peak == row.best.peak for row in rows)
    mean = geometric_mean(file.tigris / file.best.peak for _, file in with_files)
    lines = [
        "# TiGrIS",
        "## Its graph, its definition",
        "Fused as TiGrIS does it; inputs count to their last reader, outputs to the end, sizes are "
        "rounded up to 32 bytes, nothing is in place. `its runtime`: the fast memory that a run of "
        "one stage took. It moves tensors to fit; `arena` has fixed offsets.",
        graphs,
        f"TiGrIS's order over the best: {own:.3f}x (geometric mean of {len(rows)}), equal in "
        f"{equal}.",
        "## The file's operators, ONNX Runtime's kernels",
        "No fusions. Inputs count, results are in place where the kernels can do it, workspace "
        "counts, sizes are rounded up to 64 bytes.",
        files,
        f"TiGrIS's order over the best: {mean:.3f}x (geometric mean of {len(with_files)}).",
        "## Tiles",
        "TiGrIS spills to a slow memory and tiles within a budget of fast memory; tried were its "
        "own peak, its half, and so on. `least fast`: the lowest of those budgets that it could "
        "meet, with the slow memory that the plan needs then; `least sum`: of both memories. "
        "Inputs and outputs lie in the slow one. Figures are those of a run, `moved` is what it "
        "copied between the two; in brackets, what the plan says where it was not run. Ours is one "
        "memory for the model rewritten with tiles and with regrouped sums (TiGrIS leaves sums "
        "alone), with inputs, outputs, and the scratch of ONNX Runtime's or TFLite Micro's "
        "kernels, of which `workspace` is at the peak (TiGrIS's kernels have none); it is to be "
        "compared with the sums. Lowtide does not plan for two memories: `least fast` has no "
        "counterpart. TiGrIS does not say what its tiles compute twice.",
        tiles,
        _verdict(rows),
    ]
    lines += _notes("Not taken by TiGrIS", refused)
    lines += _notes("Not rewritten", {row.model: row.not_rewritten for row in rows})
    lines += _notes(
        "Not run",
        {
            f"{row.model}, budget {each.budget:,}": each.not_executed
            for row in rows
            for each in row.plans
        },
    )
    return "\n\n".join(lines) + "\n"


def _verdict(rows: Sequence[Row]) -> str:
    """How often one memory of ours is less than both of TiGrIS's."""
    ratios = [
        min(each.total for each in row.plans) / row.rewritten
        for row in rows
        if row.plans and row.rewritten
    ]
    less, more = sum(r > 1 for r in ratios), sum(r < 1 for r in ratios)
    return (
        f"Least sum over ours, rewritten: {geometric_mean(ratios):.3f}x (geometric mean of "
        f"{len(ratios)}); ours is less in {less}, TiGrIS's in {more}."
    )


def _notes(title: str, reasons: Mapping[str, str]) -> list[str]:
    """A list of names with reasons; nothing where there are none."""
    shown = "\n".join(f"- {name}: {reason}" for name, reason in reasons.items() if reason)
    return [f"{title}:\n\n{shown}"] if shown else []


def _tiles(row: Row) -> tuple[str, ...]:
    fast, least = row.plans[-1], min(row.plans, key=lambda each: each.total)
    return (
        row.model,
        _measured(row.plans[0], "total"),
        *(_measured(fast, "fast"), _measured(fast, "slow"), _bytes(fast.moved)),
        *(_measured(least, part) for part in ("total", "fast", "slow")),
        _bytes(least.moved),
        *(_bytes(row.rewritten), _bytes(row.workspace)),
        "-" if row.more_operations is None else f"{100 * row.more_operations:+.1f} %",
    )


def _measured(of: Plan, part: str) -> str:
    """Bytes of a run, or in brackets those of the plan."""
    if of.measured_fast is None or of.measured_slow is None:
        said = {"fast": of.fast, "slow": of.slow, "total": of.total}
        return f"({said[part]:,})"
    found = {"fast": of.measured_fast, "slow": of.measured_slow, "total": of.total}
    return f"{found[part]:,}"


def _bytes(count: int | None) -> str:
    return "-" if count is None else f"{count:,}"


def _reason(refused: Sequence[str]) -> str:
    more = f" and {len(refused) - 3} more" if len(refused) > 3 else ""
    return "; ".join(refused[:3]) + more


def main(arguments: Sequence[str] | None = None) -> int:
    """The command; fails where TiGrIS's figure is not ours."""
    parser = argparse.ArgumentParser(prog="tigris", description=__doc__)
    parser.add_argument("--only", nargs="*", choices=list(MODELS), help="names of files")
    parser.add_argument("--time-limit", type=float, default=60.0, metavar="S", help="of a solver")
    parser.add_argument("--output", type=Path, help="without suffix; .md and .json are written")
    options = parser.parse_args(arguments)
    if find_spec("tigris") is None:
        raise MissingExtraError('TiGrIS is not installed: pip install "lowtide[peers]"')
    one_core()
    rows: list[Row] = []
    models: dict[str, str] = {}
    refused: dict[str, str] = {}
    wrong: list[str] = []
    with tempfile.TemporaryDirectory(prefix="lowtide-") as name:
        folder = Path(name)
        for model in options.only or MODELS:
            path = folder / model
            built = MODELS[model]()
            if isinstance(built, bytes):
                path.write_bytes(built)
            else:
                onnx.save(built, path)
            del built
            models[model] = digest(path.read_bytes())
            try:
                answer = ask(path)
            except LowtideError as error:
                refused[model] = str(error)
                continue
            if answer.refused:
                refused[model] = _reason(answer.refused)
                continue
            try:
                row = run(path, answer, time_limit_s=options.time_limit)
            except LowtideError as error:
                wrong.append(str(error))
                print(f"{model}: {error}", file=sys.stderr, flush=True)
                continue
            row = _with_rewritten(row, path)
            rows.append(row)
            path.unlink()
            print(
                f"{model}: {row.peak} {row.best.peak} {row.rewritten}", file=sys.stderr, flush=True
            )
    text = text_of(rows, refused)
    print(text)
    if options.output is not None:
        document = {"rows": [asdict(row) for row in rows], "refused": refused, "wrong": wrong}
        settings = {"time_limit_s": options.time_limit, "seed": 0}
        write(options.output, text, document, settings, measures=measures(rows), models=models)
    return 1 if wrong else 0


if __name__ == "__main__":
    end(main)
