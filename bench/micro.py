"""Micro-benchmarks of the solvers' kernels, for comparisons from commit to commit.

    python -m lowtide.bench.micro [--history FILE] [--compare] [--runs 5] [--only NAME ...]

Each kernel does a fixed amount of work on fixed problems. One JSON line per call is appended to the
history; `--compare` prints the ratios to the entry before it. A kernel's fingerprint changes with
its result: then its time is that of other work, and no ratio is given.
"""

from __future__ import annotations

import argparse
import json
import sys
import time
import zlib
from dataclasses import asdict, dataclass, replace
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING, cast

from lowtide.bench.graphs import branching
from lowtide.bench.instances import cut_rectangle, layered, training
from lowtide.bench.protocol import machine, measure, one_core
from lowtide.errors import InputError
from lowtide.solvers import _native
from lowtide.solvers.allocation.bound import lower_bound
from lowtide.solvers.allocation.check import check as check_allocation
from lowtide.solvers.allocation.exact import ExactAllocationOptions, allocate
from lowtide.solvers.allocation.pack import pack
from lowtide.solvers.allocation.packer import native_packer
from lowtide.solvers.schedule.check import peak_of
from lowtide.solvers.schedule.exact import ExactOptions, native_problem, schedule
from lowtide.solvers.schedule.instance import ScheduleInstance, parse_instance, to_json
from lowtide.solvers.schedule.orders import ORDERS

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

    from lowtide.solvers.allocation.problem import AllocationProblem, AllocationSolution
    from lowtide.solvers.schedule.problem import ScheduleProblem

__all__ = ["KERNELS", "Kernel", "Timing", "compare", "main", "time_kernel"]

# A budget of the wide problem that `deduce` refutes with some work.
_REFUTED = 77

_NOTHING = ExactOptions(
    one_step=True,
    macro=False,
    backward=False,
    min_cut=False,
    reorder=False,
    windows=False,
    cut_nodes=False,
    beam=False,
    heuristics=False,
)


@dataclass(frozen=True, slots=True)
class Timing:
    """Median CPU-seconds of a kernel, and a checksum of what it computed."""

    seconds: float
    fingerprint: int


# Inputs are made once, before the clock starts.
@cache
def _wide() -> ScheduleProblem:
    return layered(12, 30)


@cache
def _training() -> ScheduleProblem:
    return training(1000)


@cache
def _native_wide() -> _native.Schedule:
    return native_problem(_wide())


@cache
def _large() -> ScheduleProblem:
    return branching(5000)


@cache
def _large_text() -> str:
    return to_json(ScheduleInstance(_large()))


@cache
def _cut() -> AllocationProblem:
    return cut_rectangle(0, 1000)


@cache
def _packer() -> _native.Packer:
    return native_packer(_cut())


@cache
def _layout() -> AllocationSolution:
    return pack(replace(_cut(), capacity=None), time_limit_s=0.0)


def _first_fit() -> int:
    return native_packer(_cut()).place(range(len(_cut().blocks)), False)[0]


def _by_size() -> list[int]:
    return sorted(range(len(_cut().blocks)), key=lambda k: (-_cut().blocks[k].size, k))


def _solve(problem: ScheduleProblem, options: ExactOptions) -> object:
    solution = schedule(problem, time_limit_s=None, options=options)
    return solution.peak_bytes, solution.lower_bound_bytes, solution.order


def _check_layout() -> object:
    check_allocation(replace(_cut(), capacity=None), _layout())
    return _layout().height


def _exact_layout() -> object:
    options = ExactAllocationOptions(work_limit=2_000_000)
    solution = allocate(_cut(), time_limit_s=None, options=options)
    return solution.height, solution.lower_bound, solution.offsets


def _search(**switches: bool) -> object:
    return _solve(_wide(), replace(_NOTHING, work_limit=2_000_000, **switches))


@dataclass(frozen=True, slots=True)
class Kernel:
    """A fixed amount of work, and what has to be there before it."""

    work: Callable[[], object]
    prepare: tuple[Callable[[], object], ...] = ()


KERNELS: dict[str, Kernel] = {
    "min_cut": Kernel(lambda: [_native_wide().min_cut(v) for v in range(360)], (_native_wide,)),
    "search_forward": Kernel(_search, (_wide,)),
    "search_macro": Kernel(lambda: _search(macro=True), (_wide,)),
    "search_both_ways": Kernel(lambda: _search(backward=True), (_wide,)),
    "beam": Kernel(lambda: _search(beam=True), (_wide,)),
    "windows": Kernel(lambda: _search(windows=True, beam=True, min_cut=True), (_wide,)),
    "solve_training": Kernel(lambda: _solve(_training(), ExactOptions()), (_training,)),
    "order_xla": Kernel(lambda: ORDERS["xla"](_wide()), (_wide,)),
    "check_schedule": Kernel(lambda: peak_of(_large(), range(5000)), (_large,)),
    "problem": Kernel(
        lambda: [replace(_large()).num_nodes for _ in range(5)],
        (_large,),
    ),
    "parse_instance": Kernel(
        lambda: parse_instance(_large_text()).problem.num_nodes, (_large_text,)
    ),
    "native_problem": Kernel(
        lambda: [native_problem(_large()).peak(range(5000)) for _ in range(5)], (_large,)
    ),
    "packer": Kernel(lambda: [_first_fit() for _ in range(20)], (_cut,)),
    "place": Kernel(
        lambda: [_packer().place(_by_size(), k % 2 == 0)[0] for k in range(100)], (_packer,)
    ),
    "local_search": Kernel(
        lambda: _packer().search(_by_size(), True, 0, 0, -1.0, 10_000_000)[:2], (_packer,)
    ),
    "exact_layout": Kernel(_exact_layout, (_cut,)),
    "deduce": Kernel(lambda: _native_wide().deduce(_REFUTED), (_native_wide,)),
    "check_layout": Kernel(
        lambda: [_check_layout() for _ in range(20)],
        (_layout,),
    ),
    "load_bound": Kernel(lambda: [lower_bound(_cut()) for _ in range(20)], (_cut,)),
}


def time_kernel(kernel: Kernel, runs: int) -> Timing:
    """The median of `runs` runs, after one that is not timed."""
    for prepare in kernel.prepare:
        prepare()
    fingerprint = zlib.crc32(repr(kernel.work()).encode())
    return Timing(measure(kernel.work, runs).median, fingerprint)


def compare(before: Mapping[str, Timing], now: Mapping[str, Timing]) -> str:
    """One line per kernel: seconds, and the ratio to before (above 1: slower now)."""
    lines: list[str] = []
    for name, timing in now.items():
        text = f"{name:18} {timing.seconds:9.5f} s"
        if name not in before:
            lines.append(f"{text}   new")
        elif before[name].fingerprint != timing.fingerprint:
            lines.append(f"{text}   another result, no ratio")
        else:
            old = before[name].seconds
            lines.append(f"{text}   x {timing.seconds / old:.3f}" if old > 0 else text)
    lines += [f"{name:18} gone" for name in before if name not in now]
    return "\n".join(lines)


def main(arguments: Sequence[str] | None = None) -> int:
    """The command."""
    parser = argparse.ArgumentParser(prog="micro", description=__doc__)
    parser.add_argument("--history", type=Path, default=Path("bench/results/micro.jsonl"))
    parser.add_argument("--compare", action="store_true", help="with the last entry")
    parser.add_argument("--runs", type=int, default=5)
    parser.add_argument("--only", nargs="*", metavar="NAME", choices=KERNELS)
    options = parser.parse_args(arguments)
    one_core()
    timings = {
        name: time_kernel(kernel, options.runs)
        for name, kernel in KERNELS.items()
        if not options.only or name in options.only
    }
    here = machine()
    last = _last(options.history) if options.compare else None
    if last is not None:
        before = cast("dict[str, str]", last["machine"])
        kernels = cast("dict[str, dict[str, float]]", last["kernels"])
        print(f"compared with {before.get('commit', 'an unknown commit')}, {last['time']}")
        if before["cpu"] != here["cpu"]:
            print(f"another machine ({before['cpu']}): the ratios say little about the code")
        print(
            compare(
                {k: Timing(v["seconds"], int(v["fingerprint"])) for k, v in kernels.items()},
                timings,
            )
        )
    else:
        print(compare({}, timings))
    entry = {
        "time": time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime()),
        "machine": here,
        "runs": options.runs,
        "kernels": {name: asdict(timing) for name, timing in timings.items()},
    }
    options.history.parent.mkdir(parents=True, exist_ok=True)
    with options.history.open("a") as file:
        file.write(json.dumps(entry) + "\n")
    return 0


def _last(path: Path) -> dict[str, object] | None:
    """The last entry of a history; None if there is none.

    Raises:
        InputError: the last line is no entry.
    """
    lines = path.read_text().splitlines() if path.exists() else []
    if not lines:
        return None
    try:
        entry: object = json.loads(lines[-1])
    except ValueError as error:
        raise InputError(f"{path}: the last line is no entry: {error}") from error
    if not isinstance(entry, dict) or not {"time", "machine", "kernels"} <= entry.keys():
        raise InputError(f"{path}: the last line is no entry")
    return cast("dict[str, object]", entry)


if __name__ == "__main__":
    sys.exit(main())
