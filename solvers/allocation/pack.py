"""Packing: the best of several greedy orders, then a local search over orders.

The lower bound is the greatest load of any moment (`bound.py`); what reaches it is optimal.
The exact search for what is left between the two is not part of this module.
"""

from __future__ import annotations

import time
from typing import TYPE_CHECKING, TypeAlias

from lowtide.errors import LowtideError
from lowtide.solvers.allocation.bound import lower_bound
from lowtide.solvers.allocation.check import check
from lowtide.solvers.allocation.packer import native_packer
from lowtide.solvers.allocation.problem import AllocationProblem, AllocationSolution
from lowtide.solvers.schedule.problem import MAX_BYTES
from lowtide.solvers.status import Status

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

__all__ = ["PACKING_ORDERS", "PACK_WORK", "pack"]

# What a round of the local search may spend: layouts, and looks at a neighbour.
_ROUND_LAYOUTS = 4_000
_ROUND_WORK = 4_000_000
_ROUNDS = 6
PACK_WORK = _ROUNDS * _ROUND_WORK  # at most, of the local search


# The number of blocks that each block meets, and the sum of their sizes.
_Loads: TypeAlias = "Sequence[tuple[int, int]]"


def _by_size(problem: AllocationProblem, loads: _Loads) -> list[tuple[int, ...]]:
    return [(-b.size, b.lower - b.upper, b.lower) for b in problem.blocks]


def _by_lifetime(problem: AllocationProblem, loads: _Loads) -> list[tuple[int, ...]]:
    return [(b.lower - b.upper, -b.size, b.lower) for b in problem.blocks]


def _by_area(problem: AllocationProblem, loads: _Loads) -> list[tuple[int, ...]]:
    return [(-b.size * (b.upper - b.lower), -b.size, b.lower) for b in problem.blocks]


def _by_start(problem: AllocationProblem, loads: _Loads) -> list[tuple[int, ...]]:
    return [(b.lower, -b.size, -b.upper) for b in problem.blocks]


def _by_degree(problem: AllocationProblem, loads: _Loads) -> list[tuple[int, ...]]:
    return [(-n, -b.size, b.lower) for b, (n, _) in zip(problem.blocks, loads, strict=True)]


def _by_load(problem: AllocationProblem, loads: _Loads) -> list[tuple[int, ...]]:
    return [
        (-load - b.size, -b.size, b.lower)
        for b, (_, load) in zip(problem.blocks, loads, strict=True)
    ]


# Each gives one sort key per block. `size` with best fit is TFLite's greedy by size.
PACKING_ORDERS: dict[
    str, Callable[[AllocationProblem, Sequence[tuple[int, int]]], list[tuple[int, ...]]]
] = {
    "size": _by_size,
    "lifetime": _by_lifetime,
    "area": _by_area,
    "start": _by_start,
    "degree": _by_degree,
    "load": _by_load,
}


def pack(
    problem: AllocationProblem,
    *,
    time_limit_s: float | None = 2.0,
    seed: int = 0,
    progress: Callable[[int | None, int], None] | None = None,
) -> AllocationSolution:
    """A layout of small height. Ctrl-C ends it with the best so far.

    With a capacity it ends as soon as the height is within it. The work of the local search is
    bounded, so the result is repeatable unless the time limit strikes.

    Args:
        problem: blocks, alignment, capacity.
        time_limit_s: wall time; None for none. The first greedy order is always finished.
        seed: of the local search.
        progress: called with the best height and the lower bound when they are known.

    Returns:
        A checked solution. `optimal` when the height equals the lower bound; `infeasible`, without
        a layout, when the bound exceeds the capacity or two fixed blocks overlap; `time_limit` when
        the limit struck; else `feasible` (the best layout found, which may exceed the capacity).

    Raises:
        InstanceError: too many pairs of blocks live together (over 2^26).
        LowtideError: the time limit is negative, or the checker refutes the layout (a bug).
    """
    begin, begin_cpu = time.perf_counter(), time.process_time()
    if time_limit_s is not None and not time_limit_s >= 0:
        raise LowtideError(f"the time limit must not be negative, got {time_limit_s}")
    bound = lower_bound(problem)
    target = bound if problem.capacity is None else max(bound, min(problem.capacity, MAX_BYTES))

    def finish(
        status: Status, height: int | None, offsets: Sequence[int] | None, method: str
    ) -> AllocationSolution:
        solution = AllocationSolution(
            status=status,
            height=height,
            lower_bound=bound,
            offsets=None if offsets is None else tuple(offsets),
            method=method,
            seconds=time.perf_counter() - begin,
            cpu_seconds=time.process_time() - begin_cpu,
        )
        check(problem, solution)
        return solution

    if problem.capacity is not None and bound > problem.capacity:
        return finish(Status.INFEASIBLE, None, None, "bound")
    packer = native_packer(problem)
    if packer.fixed_clash():
        return finish(Status.INFEASIBLE, None, None, "fixed offsets")
    loads = packer.loads()
    found: list[tuple[int, list[int], str, list[int], bool]] = []

    def left() -> float:
        if time_limit_s is None:
            return -1.0
        return max(0.0, time_limit_s - (time.perf_counter() - begin))

    struck = False
    for name, keys_of in PACKING_ORDERS.items():
        keys = keys_of(problem, loads)
        order = sorted(range(len(problem.blocks)), key=lambda k: (keys[k], k))
        for best_fit in (True, False):
            if found and (found[0][0] <= target or left() == 0.0):
                struck = struck or found[0][0] > target
                break
            height, offsets = packer.place(order, best_fit)
            kind = "best fit" if best_fit else "first fit"
            found.append((height, offsets, f"{kind} by {name}", order, best_fit))
            found.sort(key=lambda entry: entry[0])
    height, offsets, method = found[0][:3]
    if progress is not None:
        progress(height, bound)
    layout_work = sum(degree for degree, _ in loads) + len(loads)
    round_work = min(_ROUND_WORK, _ROUND_LAYOUTS * layout_work)
    for turn in range(_ROUNDS):
        if height <= target or struck:
            break
        _, _, start_method, order, best_fit = found[turn % min(3, len(found))]
        new, new_offsets, struck, _ = packer.search(
            order, best_fit, target, (seed * _ROUNDS + turn) % 2**64, left(), round_work
        )
        if new < height:
            height, offsets, method = new, new_offsets, f"local search from {start_method}"
            if progress is not None:
                progress(height, bound)
    if height == bound:
        return finish(Status.OPTIMAL, height, offsets, method)
    return finish(Status.TIME_LIMIT if struck else Status.FEASIBLE, height, offsets, method)
