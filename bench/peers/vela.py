"""Arm Vela's tensor allocators (ethos-u-vela) on our allocation problems.

    vela_hillclimb   a greedy layout, then swaps in its order around the highest tensor
    vela_greedy      in the order in which lifetimes begin, best fit

They are called as they are, on `LiveRange` objects of their own, and our checker sees what they
return. The third, `LinearAlloc`, puts one tensor behind the other for good and is left out.

Where the definitions differ, ours holds:

- Lifetimes are half-open; Vela's include their last step. A moment is replaced by the number of
  moments before it at which a lifetime begins, because Vela keeps a list for every step: which
  buffers meet, and so every load, stays the same.
- The alignment is the problem's (a block's own too), not Vela's 16 bytes. The height ends with the
  topmost buffer, not with its rounding.
- Vela knows neither gaps nor sharing: a buffer takes its room for its whole lifetime, alone. It
  cannot keep fixed offsets.
- Vela's stopping rules stay: it climbs until the load is reached; else, once within the capacity,
  for 500 swaps without improvement; else for 99,999 swaps. Its random seed is fixed. Our time limit
  ends it earlier, with the best layout so far; it counts CPU time, so that a busy machine does not
  cut Vela off before its time.
"""

# pyright: reportUnknownVariableType=false, reportUnknownArgumentType=false
# Vela has no stubs, and few annotations.

from __future__ import annotations

import random
import signal
import threading
import time
from bisect import bisect_left
from contextlib import contextmanager
from typing import TYPE_CHECKING, cast

from ethosu.vela.greedy_allocation import GreedyAllocator
from ethosu.vela.hillclimb_allocation import HillClimbAllocator
from ethosu.vela.live_range import LiveRange, LiveRangeGraph

from lowtide.errors import InputError
from lowtide.solvers.allocation.bound import lower_bound
from lowtide.solvers.allocation.check import check
from lowtide.solvers.allocation.problem import AllocationProblem, AllocationSolution
from lowtide.solvers.status import Status

if TYPE_CHECKING:
    from collections.abc import Generator, Sequence
    from types import FrameType

__all__ = ["ALLOCATORS", "vela_greedy", "vela_hillclimb"]

_AGAIN_S = 0.02  # of CPU time, until the limit strikes again


class _Place:
    """The tensor of a live range: all that the greedy allocator asks of it is an address."""

    def __init__(self) -> None:
        self.address = 0


class _LimitReached(BaseException):
    """The time limit struck; no `except Exception` on the way may keep it."""


def vela_hillclimb(
    problem: AllocationProblem, *, time_limit_s: float | None = None, seed: int = 0
) -> AllocationSolution:
    """`HillClimbAllocator`, with the capacity as the memory to fit into.

    Without a capacity it is to reach the load. `seed` changes nothing.

    Raises:
        InputError: offsets are fixed, or a time limit is asked for outside the main thread.
    """
    del seed
    return _run(problem, "vela_hillclimb", time_limit_s)


def vela_greedy(
    problem: AllocationProblem, *, time_limit_s: float | None = None, seed: int = 0
) -> AllocationSolution:
    """`GreedyAllocator`; `seed` changes nothing.

    Raises:
        InputError: offsets are fixed, or a time limit is asked for outside the main thread.
    """
    del seed
    return _run(problem, "vela_greedy", time_limit_s)


ALLOCATORS = {"vela_hillclimb": vela_hillclimb, "vela_greedy": vela_greedy}


def _run(problem: AllocationProblem, method: str, time_limit_s: float | None) -> AllocationSolution:
    for block in problem.blocks:
        if block.offset is not None:
            raise InputError(
                f"buffer `{block.id}` is fixed at {block.offset}, which Vela's allocators cannot "
                f"keep: use `exact` or `pack`"
            )
    begin, begin_cpu = time.perf_counter(), time.process_time()
    bound = lower_bound(problem)
    offsets: tuple[int, ...] | None = None
    height: int | None = None
    complete = True
    if problem.capacity is not None and bound > problem.capacity:
        status = Status.INFEASIBLE
    else:
        limit = problem.capacity if problem.capacity is not None else bound
        offsets, complete = _offsets(problem, method, limit, time_limit_s)
        status = Status.TIME_LIMIT
        if offsets is not None:
            tops = (o + b.size for o, b in zip(offsets, problem.blocks, strict=True))
            height = max(tops, default=0)
            if complete:
                status = Status.FEASIBLE
            if height == bound:
                status = Status.OPTIMAL
    solution = AllocationSolution(
        status=status,
        height=height,
        lower_bound=bound,
        offsets=offsets,
        method=method,
        seconds=time.perf_counter() - begin,
        cpu_seconds=time.process_time() - begin_cpu,
    )
    check(problem, solution)
    return solution


def _offsets(
    problem: AllocationProblem, method: str, limit: int, time_limit_s: float | None
) -> tuple[tuple[int, ...] | None, bool]:
    """The layout, if there was time for one, and whether the allocator came to its own end."""
    used = [index for index, block in enumerate(problem.blocks) if block.size]
    if not used:
        return (0,) * len(problem.blocks), True
    addresses: Sequence[int] | None = None
    climber: HillClimbAllocator | None = None
    complete = False
    state = random.getstate()  # Vela seeds the generator that all share
    try:
        with _limit(time_limit_s):
            ranges = _live_ranges(problem, used)
            if method == "vela_greedy":
                graph = LiveRangeGraph()
                graph.lrs = ranges
                GreedyAllocator(graph).allocate_live_ranges(problem.alignment)
                addresses = [cast("_Place", lr.tensors[0]).address for lr in ranges]
            else:
                most = HillClimbAllocator.MAX_ITERATIONS
                climber = HillClimbAllocator(ranges, most, limit)
                addresses = climber.allocate()
            complete = True
    except _LimitReached:
        if not complete:  # the list of the best layout is replaced as a whole: it is always valid
            addresses = getattr(climber, "allocated_addresses", None)
    finally:
        random.setstate(state)
    if addresses is None:
        return None, False
    offsets = [0] * len(problem.blocks)
    for index, address in zip(used, addresses, strict=True):
        offsets[index] = int(address)
    return tuple(offsets), complete


def _live_ranges(problem: AllocationProblem, used: Sequence[int]) -> list[LiveRange]:
    """One for each of the blocks, over the ranks of the moments at which lifetimes begin."""
    blocks = [problem.blocks[index] for index in used]
    moments = sorted({block.lower for block in blocks})
    ranges: list[LiveRange] = []
    for block in blocks:
        live = LiveRange(None, problem.alignment_of(block))
        live.start_time = bisect_left(moments, block.lower)
        live.end_time = bisect_left(moments, block.upper) - 1  # inclusive
        live.size = block.size
        live.name = block.id
        live.tensors.append(_Place())
        ranges.append(live)
    return ranges


@contextmanager
def _limit(seconds: float | None) -> Generator[None]:
    """Raise `_LimitReached` in the block after so much CPU time; Vela has no limit of its own.

    It is raised again and again until it leaves the block: one that strikes in a destructor, or in
    a callback of the garbage collector, is swallowed there.
    """
    if seconds is None:
        yield
        return
    if threading.current_thread() is not threading.main_thread():
        raise InputError("Vela's allocators take a time limit in the main thread only")
    if seconds <= 0:
        raise _LimitReached

    def strike(number: int, frame: FrameType | None) -> None:
        raise _LimitReached

    before = signal.signal(signal.SIGPROF, strike)
    try:
        signal.setitimer(signal.ITIMER_PROF, seconds, _AGAIN_S)
        try:
            yield
        finally:
            signal.setitimer(signal.ITIMER_PROF, 0.0)
    finally:  # even where the signal came after the block
        signal.setitimer(signal.ITIMER_PROF, 0.0)
        signal.signal(signal.SIGPROF, before)
