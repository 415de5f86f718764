"""Allocators by name: `exact`, `pack`, the greedy ones of runtimes, and those of other packages.

    tflm_greedy             TensorFlow Lite Micro: by size, first fit
    tflite_greedy_by_size   TensorFlow Lite: by size, best fit
    first_fit, best_fit     in the order in which lifetimes begin
    pack                    the best of several greedy orders, then a local search
    exact                   the exact search

A package adds one through the entry-point group `lowtide.solvers`, under a name that begins with
`allocate.` (names without are schedulers):

    [project.entry-points."lowtide.solvers"]
    "allocate.annealing" = "my_package:allocate"        # called as an `Allocator`

It is loaded when `get_allocator("annealing")` asks for it, so a broken one harms nobody else, and
what it returns is checked. Built-in names come first.
"""

from __future__ import annotations

import time
from importlib.metadata import entry_points
from typing import TYPE_CHECKING, Protocol, cast

from lowtide.errors import InputError
from lowtide.solvers.allocation.bound import lower_bound
from lowtide.solvers.allocation.check import check
from lowtide.solvers.allocation.exact import allocate
from lowtide.solvers.allocation.pack import pack
from lowtide.solvers.allocation.packer import native_packer
from lowtide.solvers.allocation.problem import AllocationProblem, AllocationSolution
from lowtide.solvers.allocation.tflite_greedy import tflite_greedy_by_size
from lowtide.solvers.allocation.tflm_greedy import tflm_greedy
from lowtide.solvers.plugins import ENTRY_POINTS, load, named, returned
from lowtide.solvers.status import Status

if TYPE_CHECKING:
    from collections.abc import Callable

__all__ = ["ENTRY_POINTS", "PREFIX", "Allocator", "available", "get_allocator"]

PREFIX = "allocate."


class Allocator(Protocol):
    """What every allocator is called as; see `lowtide.solvers.allocation.pack.pack`."""

    def __call__(
        self,
        problem: AllocationProblem,
        *,
        time_limit_s: float | None = ...,
        seed: int = ...,
        progress: Callable[[int | None, int], None] | None = ...,
    ) -> AllocationSolution:
        """A solution that `check` accepts; `progress` hears the best height and the bound."""
        ...


def _first_fit(problem: AllocationProblem) -> tuple[int, ...]:
    """Each buffer, as its lifetime begins, at the lowest place that holds it."""
    return tuple(native_packer(problem).place(_by_begin(problem), False)[1])


def _best_fit(problem: AllocationProblem) -> tuple[int, ...]:
    """Each buffer, as its lifetime begins, in the smallest gap that holds it."""
    return tuple(native_packer(problem).place(_by_begin(problem), True)[1])


def _by_begin(problem: AllocationProblem) -> list[int]:
    return sorted(range(len(problem.blocks)), key=lambda k: (problem.blocks[k].lower, k))


_GREEDY: dict[str, Callable[[AllocationProblem], tuple[int, ...]]] = {
    "tflm_greedy": tflm_greedy,
    "tflite_greedy_by_size": tflite_greedy_by_size,
    "first_fit": _first_fit,
    "best_fit": _best_fit,
}


def available() -> tuple[str, ...]:
    """The names that `get_allocator` knows, built-in ones first; loads nothing."""
    built_in = ("exact", "pack", *_GREEDY)
    return (*built_in, *named(entry_points(group=ENTRY_POINTS), PREFIX, built_in))


def get_allocator(name: str) -> Allocator:
    """The allocator of that name.

    Raises:
        InputError: there is none, or another package's cannot be loaded.
    """
    if name == "exact":
        return allocate
    if name == "pack":
        return pack
    if name in _GREEDY:
        return _from_layout(name)
    loaded = load(entry_points(group=ENTRY_POINTS), PREFIX + name, "allocator", name)
    if loaded is not None:
        return _checked(name, cast("Allocator", loaded))
    raise InputError(f"there is no allocator `{name}`; there are: {', '.join(available())}")


def _from_layout(name: str) -> Allocator:
    def run(
        problem: AllocationProblem,
        *,
        time_limit_s: float | None = None,
        seed: int = 0,
        progress: Callable[[int | None, int], None] | None = None,
    ) -> AllocationSolution:
        """The named layout as it is; limit and seed do not change it."""
        del time_limit_s, seed
        begin, begin_cpu = time.perf_counter(), time.process_time()
        bound = lower_bound(problem)
        height: int | None = None
        offsets: tuple[int, ...] | None = None
        too_high = problem.capacity is not None and bound > problem.capacity
        if too_high or native_packer(problem).fixed_clash():
            status = Status.INFEASIBLE
        else:
            offsets = _GREEDY[name](problem)
            tops = (o + b.size for o, b in zip(offsets, problem.blocks, strict=True))
            height = max(tops, default=0)
            status = Status.OPTIMAL if height == bound else Status.FEASIBLE
        solution = AllocationSolution(
            status=status,
            height=height,
            lower_bound=bound,
            offsets=offsets,
            method=name,
            seconds=time.perf_counter() - begin,
            cpu_seconds=time.process_time() - begin_cpu,
        )
        check(problem, solution)
        if progress is not None:
            progress(height, bound)
        return solution

    return run


def _checked(name: str, allocator: Allocator) -> Allocator:
    """Another package's allocator, whose solutions are checked before they are believed."""

    def run(
        problem: AllocationProblem,
        *,
        time_limit_s: float | None = None,
        seed: int = 0,
        progress: Callable[[int | None, int], None] | None = None,
    ) -> AllocationSolution:
        answer = allocator(problem, time_limit_s=time_limit_s, seed=seed, progress=progress)
        solution = returned(answer, AllocationSolution, "allocator", name)
        check(problem, solution)
        return solution

    return run
