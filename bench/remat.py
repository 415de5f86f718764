"""The table of rematerialization: overhead, bound and CPU-seconds per instance and budget.

    python -m lowtide.bench.remat [--instances DIR] [--solver search] [--seeds 5] [--order free]

Budgets are parts of the peak of the input order, rounded down.  The overhead is the median over the
seeds of what recomputations add to the cost of running every op once; every answer passes the
checker.  `--evaluator` measures moves per CPU-second instead.  bench/README.md has the protocol.
"""

from __future__ import annotations

import argparse
import random
import statistics
import sys
import time
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from lowtide.bench.protocol import end, markdown, one_core, write
from lowtide.bench.record import Measure, digest
from lowtide.bench.remat_graphs import resnet_training, transformer_training
from lowtide.errors import InstanceError
from lowtide.solvers.remat.check import check
from lowtide.solvers.remat.instance import read_instance
from lowtide.solvers.remat.problem import OrderScope, RematProblem
from lowtide.solvers.remat.registry import get_solver
from lowtide.solvers.schedule.problem import Buffer

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

__all__ = [
    "FILE_NAMES",
    "RematCase",
    "RematRow",
    "instance_files",
    "main",
    "measures",
    "remat_cases",
    "run",
    "table",
    "training_graph",
]

# The folder's instances by the names of the targets: budget ratio, most overhead in percent, and
# CPU-seconds. Published figures are rounded; so a target is half a unit above its last digit.
FILE_NAMES = {
    "fcn_8_vgg_32_416x608x3": "FCN8",
    "ResNet50_256_224x224x3": "ResNet50",
    "VGG16_256_224x224x3": "VGG16",
    "VGG19_256_224x224x3": "VGG19",
    "MobileNet_512_224x224x3": "MobileNet",
    "vgg_unet_32_416x608x3": "U-Net",
    "segnet_32_416x608x3": "SegNet",
}
_TARGETS: dict[tuple[str, str], tuple[float, float]] = {
    ("RL100", "0.9"): (0.0, 2.0),
    ("RL100", "0.8"): (0.0, 2.0),
    ("RL100", "0.7"): (2.15, 20.0),
    ("RL250", "0.9"): (0.0, 2.0),
    ("RL250", "0.8"): (0.0, 2.0),
    ("RL250", "0.7"): (0.6, 20.0),
    ("RL500", "0.8"): (0.65, 20.0),
    ("RL500", "0.7"): (4.8, 20.0),
    ("RL1000", "0.8"): (1.4, 20.0),
    ("RL1000", "0.7"): (5.0, 20.0),
    ("FCN8", "0.9"): (0.02945, 5.0),
    ("FCN8", "0.8"): (0.13615, 5.0),
    ("FCN8", "0.7"): (0.89165, 5.0),
    ("ResNet50", "0.9"): (0.1095, 5.0),
    ("ResNet50", "0.8"): (0.2795, 5.0),
    ("ResNet50", "0.7"): (0.5655, 5.0),
    ("ResNet50", "0.5"): (1.525, 5.0),
    ("U-Net", "0.7"): (2.96735, 20.0),
    ("U-Net", "0.5"): (6.96665, 20.0),
    ("VGG16", "0.9"): (1.9685, 5.0),
    ("VGG19", "0.8"): (2.7565, 5.0),
    ("MobileNet", "0.7"): (0.6265, 5.0),
    ("MobileNet", "0.5"): (1.6545, 5.0),
    ("SegNet", "0.5"): (40.0, 60.0),
}
_GENERATED_RATIOS = ("0.8", "0.7", "0.5")


@dataclass(frozen=True, slots=True)
class RematCase:
    """A named problem with its budget, and what is to be reached, in percent and CPU-seconds."""

    name: str
    ratio: str
    problem: RematProblem
    target_percent: float | None = None
    limit_s: float = 5.0


@dataclass(frozen=True, slots=True)
class RematRow:
    """One instance at one budget; one entry per seed."""

    name: str
    ratio: str
    ops: int
    budget_bytes: int
    scope: str
    statuses: tuple[str, ...]
    overheads: tuple[float | None, ...]
    bound_percent: float | None
    bound_method: str
    cpu_seconds: tuple[float, ...]
    seconds: tuple[float, ...]
    target_percent: float | None
    limit_s: float

    @property
    def median(self) -> float | None:
        """The median overhead; None where a seed found no plan."""
        found = [o for o in self.overheads if o is not None]
        return statistics.median(found) if len(found) == len(self.overheads) else None

    @property
    def met(self) -> bool | None:
        """Whether the median is at most the target; None without a target."""
        if self.target_percent is None:
            return None
        return self.median is not None and self.median <= self.target_percent


def training_graph(layers: int, seed: int = 0) -> RematProblem:
    """A residual chain with its backward pass: 2 x `layers` ops, the last a gradient.

    Gradient k reads gradient k + 1 and activation k; every fourth activation is read four layers
    on, too, and the gradient there.
    """
    generator = random.Random(seed)
    readers: list[set[int]] = [set() for _ in range(2 * layers)]
    for v in range(1, 2 * layers):
        readers[v - 1].add(v)
    for k in range(layers):
        back = 2 * layers - 1 - k
        readers[k].add(back)
        if k % 4 == 0 and k + 4 < layers:
            readers[k].add(k + 4)
            readers[2 * layers - 1 - (k + 4)].add(back)
    sizes = [generator.choice((64, 96, 128)) << 10 for _ in range(2 * layers)]
    costs = tuple(generator.randint(5, 100) for _ in range(2 * layers))
    buffers = tuple(
        Buffer(size, v, tuple(sorted(r)), not r)
        for v, (size, r) in enumerate(zip(sizes, readers, strict=True))
    )
    return RematProblem(2 * layers, buffers, costs, 0)


def remat_cases(folder: Path | None) -> Iterator[RematCase]:
    """The instances of a folder at the budgets of the targets; generated ones without a folder.

    Raises:
        InstanceError: the folder has none, or a file is no instance.
    """
    if folder is None:
        for layers in (25, 100, 500, 5000):
            problem = training_graph(layers)
            for ratio in _GENERATED_RATIOS:
                limit_s = 5.0 if layers < 5000 else 30.0
                yield RematCase(
                    f"train_{2 * layers}",
                    ratio,
                    problem.with_budget_ratio(ratio),
                    limit_s=limit_s,
                )
        for name, repeated in (
            ("transformer", transformer_training(100)),
            ("transformer", transformer_training(500)),
            ("resnet", resnet_training(160)),
            ("resnet", resnet_training(700)),
        ):
            size = f"{name}_{repeated.num_nodes}"
            yield RematCase(size, "0.7", repeated.with_budget_ratio("0.7"), limit_s=30.0)
        return
    for path in instance_files(folder):
        name = FILE_NAMES.get(path.stem, path.stem)
        problem = read_instance(path)
        ratios = [ratio for known, ratio in _TARGETS if known == name] or list(_GENERATED_RATIOS)
        for ratio in ratios:
            target, limit_s = _TARGETS.get((name, ratio), (None, 5.0))
            yield RematCase(name, ratio, problem.with_budget_ratio(ratio), target, limit_s)


def instance_files(folder: Path) -> list[Path]:
    """The instance files of a folder, or of its folder `remat`.

    Raises:
        InstanceError: there are none.
    """
    if (folder / "remat").is_dir():
        folder = folder / "remat"
    paths = sorted(folder.glob("*.json"))
    if not paths:
        raise InstanceError(f"{folder}: no instance files (*.json)")
    return paths


def run(
    case: RematCase, solver: str, *, seeds: int, scope: OrderScope, stretch: float = 1.0
) -> RematRow:
    """The solver with seeds 0, 1, ...; its time limit is the target's, times `stretch`.

    A solver's limits are wall time: on a machine that is shared, `stretch` gives it the CPU-seconds
    that it would have alone.  What it used is in the row.

    Raises:
        LowtideError: the checker refutes an answer.
    """
    solve = get_solver(solver)
    answers = [
        solve(case.problem, scope=scope, time_limit_s=case.limit_s * stretch, seed=seed)
        for seed in range(seeds)
    ]
    for answer in answers:
        check(case.problem, answer)
    bounds = [(a.overhead_bound_percent, a.bound) for a in answers]
    best = max((b, bound.method) for b, bound in bounds if b is not None and bound is not None)
    return RematRow(
        name=case.name,
        ratio=case.ratio,
        ops=case.problem.num_nodes,
        budget_bytes=case.problem.budget_bytes,
        scope=scope.value,
        statuses=tuple(a.status.value for a in answers),
        overheads=tuple(a.overhead_percent for a in answers),
        bound_percent=best[0],
        bound_method=best[1],
        cpu_seconds=tuple(a.cpu_seconds for a in answers),
        seconds=tuple(a.seconds for a in answers),
        target_percent=case.target_percent if scope is OrderScope.FREE else None,
        limit_s=case.limit_s,
    )


def table(rows: Sequence[RematRow]) -> str:
    """Markdown: one row per instance and budget."""
    header = ["instance", "ops", "budget", "overhead %", "best", "worst", "bound %", "CPU-s"]
    header += ["target %", "within", "met"]
    body: list[list[str]] = []
    for row in rows:
        found = [o for o in row.overheads if o is not None]
        missing = len(row.overheads) - len(found)
        body.append(
            [
                row.name,
                f"{row.ops:,}",
                row.ratio,
                _percent(row.median) if not missing else f"no plan ({missing} seeds)",
                _percent(min(found, default=None)),
                _percent(max(found, default=None)),
                _percent(row.bound_percent),
                f"{statistics.median(row.cpu_seconds):.2f}",
                _percent(row.target_percent),
                f"{row.limit_s:g} s",
                {None: "-", True: "yes", False: "**no**"}[row.met],
            ]
        )
    scope = rows[0].scope.replace("_", " ") if rows else "-"
    return (
        f"Sequences: {scope}. Overhead: median, best and worst of the seeds; budgets are parts of "
        f"the input order's peak, rounded down.\n\n{markdown(header, body)}\n"
    )


def _percent(value: float | None) -> str:
    return "-" if value is None else f"{value:.4f}"


def _evaluator(folder: Path | None) -> str:
    """Moves of the search per CPU-second, one row per instance."""
    from lowtide.solvers import _native
    from lowtide.solvers.remat.native import native_problem

    body: list[list[str]] = []
    for case in remat_cases(folder):
        if case.ratio != "0.7":
            continue
        native = native_problem(case.problem)
        begin = time.process_time()
        outcome = _native.search_remat(
            native,
            [case.problem.order],
            fixed_order=False,
            seed=0,
            target=-1.0,
            threads=1,
            time_limit_s=-1.0,
            work_limit=200_000_000,
            progress=None,
        )
        spent = time.process_time() - begin
        body.append([case.name, f"{case.problem.num_nodes:,}", f"{outcome.moves / spent:,.0f}"])
    return "Budget 0.7, free order.\n\n" + markdown(["instance", "ops", "moves/CPU-s"], body) + "\n"


def measures(rows: Sequence[RematRow], solver: str) -> Iterator[Measure]:
    """Median overheads, what is unproven of them, and CPU-seconds."""
    for row in rows:
        case = f"{row.name} {row.ratio}"
        if row.median is not None:
            yield Measure(case, solver, "overhead", "%", row.median)
            if row.bound_percent is not None:
                yield Measure(case, solver, "gap", "%", max(0.0, row.median - row.bound_percent))
        yield Measure(case, solver, "CPU", "s", statistics.median(row.cpu_seconds))


def main(arguments: Sequence[str] | None = None) -> int:
    """The command; 1 where a target is missed."""
    parser = argparse.ArgumentParser(prog="remat", description=__doc__)
    parser.add_argument("--instances", type=Path, metavar="DIR", help="else generated ones")
    parser.add_argument("--solver", default="search")
    parser.add_argument("--seeds", type=int, default=5)
    parser.add_argument("--order", choices=("free", "fixed"), default="free")
    parser.add_argument("--stretch", type=float, default=1.0, help="of the time limits")
    parser.add_argument("--only", nargs="*", metavar="NAME", help="instances, or NAME:RATIO")
    parser.add_argument("--evaluator", action="store_true", help="measure moves per CPU-second")
    parser.add_argument("--output", type=Path, help="without suffix; .md and .json are written")
    options = parser.parse_args(arguments)
    one_core()
    if options.evaluator:
        print(_evaluator(options.instances))
        return 0
    scope = OrderScope.FREE if options.order == "free" else OrderScope.FIXED
    rows: list[RematRow] = []
    models: dict[str, str] = {}
    for case in remat_cases(options.instances):
        if options.only and not {case.name, f"{case.name}:{case.ratio}"} & set(options.only):
            continue
        row = run(case, options.solver, seeds=options.seeds, scope=scope, stretch=options.stretch)
        rows.append(row)
        models[f"{case.name} {case.ratio}"] = digest(case.problem)
        print(
            f"{row.name:12} {row.ratio:4} {_percent(row.median):>9} % "
            f"{statistics.median(row.cpu_seconds):7.2f} CPU-s  "
            f"{ {None: '-', True: 'met', False: 'missed'}[row.met] }",
            file=sys.stderr,
            flush=True,
        )
    text = table(rows)
    print(text)
    if options.output is not None:
        settings = {
            "solver": options.solver,
            "seeds": options.seeds,
            "order": options.order,
            "stretch": options.stretch,
        }
        write(
            options.output,
            text,
            {"rows": [asdict(row) for row in rows]},
            settings,
            measures=measures(rows, options.solver),
            models=models,
        )
    return 1 if any(row.met is False for row in rows) else 0


if __name__ == "__main__":
    end(main)
