"""Schedulers by name: `exact`, `serenity`, the named orders, and those of other packages.

A package adds one through the entry-point group `lowtide.solvers`:

    [project.entry-points."lowtide.solvers"]
    annealing = "my_package:schedule"        # called as a `Scheduler`

Names that begin with `allocate.` are allocators (lowtide.solvers.allocation.registry), with
`remat.` rematerialization solvers (lowtide.solvers.remat.registry).
It is loaded when it is asked for, so a broken one harms nobody else. Built-in names come first.
"""

from __future__ import annotations

import time
from importlib.metadata import entry_points
from typing import TYPE_CHECKING, Protocol, cast

from lowtide.errors import InputError
from lowtide.solvers.plugins import ENTRY_POINTS, load, named, returned
from lowtide.solvers.schedule.check import check, peak_of
from lowtide.solvers.schedule.exact import schedule
from lowtide.solvers.schedule.orders import ORDERS
from lowtide.solvers.schedule.serenity import serenity
from lowtide.solvers.schedule.solution import ScheduleSolution
from lowtide.solvers.status import Status

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from lowtide.solvers.schedule.problem import ScheduleProblem

__all__ = ["ENTRY_POINTS", "Scheduler", "available", "get_scheduler"]

_OTHERS = ("allocate.", "remat.")  # what other registries own


class Scheduler(Protocol):
    """What every scheduler is called as; see `lowtide.solvers.schedule.exact.schedule`."""

    def __call__(
        self,
        problem: ScheduleProblem,
        *,
        time_limit_s: float | None = ...,
        seed: int = ...,
        start: Sequence[tuple[int, ...]] = ...,
        progress: Callable[[int | None, int], None] | None = ...,
    ) -> ScheduleSolution:
        """A solution that `check` accepts."""
        ...


_SEARCHES: dict[str, Scheduler] = {"exact": schedule, "serenity": serenity}


def available() -> tuple[str, ...]:
    """The names that `get_scheduler` knows, built-in ones first; loads nothing."""
    built_in = [*_SEARCHES, *ORDERS]
    points = entry_points(group=ENTRY_POINTS)
    ours = [point for point in points if not point.name.startswith(_OTHERS)]
    return (*built_in, *named(ours, "", built_in))


def get_scheduler(name: str) -> Scheduler:
    """The scheduler of that name.

    Raises:
        InputError: there is none, or another package's cannot be loaded.
    """
    if name in _SEARCHES:
        return _SEARCHES[name]
    if name in ORDERS:
        return _from_order(name)
    if not name.startswith(_OTHERS):
        loaded = load(entry_points(group=ENTRY_POINTS), name, "scheduler", name)
        if loaded is not None:
            return _checked(name, cast("Scheduler", loaded))
    raise InputError(f"there is no scheduler `{name}`; there are: {', '.join(available())}")


def _from_order(name: str) -> Scheduler:
    def run(
        problem: ScheduleProblem,
        *,
        time_limit_s: float | None = None,
        seed: int = 0,
        start: Sequence[tuple[int, ...]] = (),
        progress: Callable[[int | None, int], None] | None = None,
    ) -> ScheduleSolution:
        """The named order as it is; limits, seed and starts do not change it."""
        del time_limit_s, seed, start
        begin, begin_cpu = time.perf_counter(), time.process_time()
        order = ORDERS[name](problem)
        peak = peak_of(problem, order)
        bound = _trivial_bound(problem)
        if progress is not None:
            progress(peak, bound)
        return ScheduleSolution(
            status=Status.OPTIMAL if peak == bound else Status.FEASIBLE,
            peak_bytes=peak,
            lower_bound_bytes=bound,
            order=order,
            method=name,
            bound_method="trivial",
            seconds=time.perf_counter() - begin,
            cpu_seconds=time.process_time() - begin_cpu,
        )

    return run


def _trivial_bound(problem: ScheduleProblem) -> int:
    """What one node needs while it runs: all it reads, makes and scratches, less what is shared.

    Also the start and the end. A node saves at most the bytes of its in-place candidates' results.
    """
    need = list(problem.workspace) or [0] * problem.num_nodes
    start = end = 0
    for buffer in problem.buffers:
        if buffer.producer >= 0:
            need[buffer.producer] += buffer.size
        elif not problem.inputs_in_arena:
            continue
        stays = buffer.output and problem.outputs_live_to_end
        if buffer.producer < 0 and (buffer.consumers or stays):
            start += buffer.size
        if stays:
            end += buffer.size
        for consumer in buffer.consumers:
            need[consumer] += buffer.size
    for output in {c.output for c in problem.in_place}:
        need[problem.buffers[output].producer] -= problem.buffers[output].size
    last = end if problem.num_nodes and not problem.in_place else 0
    return max(start, last, *need, 0)


def _checked(name: str, scheduler: Scheduler) -> Scheduler:
    """Another package's scheduler, whose solutions are checked before they are believed."""

    def run(
        problem: ScheduleProblem,
        *,
        time_limit_s: float | None = None,
        seed: int = 0,
        start: Sequence[tuple[int, ...]] = (),
        progress: Callable[[int | None, int], None] | None = None,
    ) -> ScheduleSolution:
        answer = scheduler(
            problem, time_limit_s=time_limit_s, seed=seed, start=start, progress=progress
        )
        solution = returned(answer, ScheduleSolution, "scheduler", name)
        check(problem, solution)
        return solution

    return run
