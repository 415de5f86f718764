"""The exact allocator: greedy descents, the load bound, then the native search for a layout.

Branch on a buffer: all that meet it lie above it, or one of them lies below it. Refute by the loads
of moments over the buffers' lowest offsets. Trace every refutation to the branches behind it.
The argument is in `solvers/native/allocation/search.hpp`.
"""

from __future__ import annotations

import time
from dataclasses import dataclass
from typing import TYPE_CHECKING

from lowtide.errors import LowtideError
from lowtide.solvers import _native
from lowtide.solvers.allocation.bound import lower_bound
from lowtide.solvers.allocation.check import check
from lowtide.solvers.allocation.pack import pack
from lowtide.solvers.allocation.problem import AllocationSolution
from lowtide.solvers.progress import stopping
from lowtide.solvers.schedule.problem import MAX_BYTES
from lowtide.solvers.status import Status

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from lowtide.solvers.allocation.problem import AllocationProblem

__all__ = ["ExactAllocationOptions", "allocate"]


@dataclass(frozen=True, slots=True, kw_only=True)
class ExactAllocationOptions:
    """The techniques, each a switch; any combination proves the same height, sooner or later.

    Attributes:
        wait_bound: what must lie on another buffer lies on the lowest of them at least.
        release: refute a moment by all of its buffers' lowest offsets, not by the least alone.
        twins: equal buffers keep one order.
        backjump: skip branches that a refutation does not rest on.
        work_limit: stop after about this many looks at a buffer; unlike a time limit, repeatable.
    """

    wait_bound: bool = True
    release: bool = True
    twins: bool = True
    backjump: bool = True
    work_limit: int | None = None


def allocate(
    problem: AllocationProblem,
    *,
    time_limit_s: float | None = 10.0,
    seed: int = 0,
    start: Sequence[tuple[int, ...]] = (),
    progress: Callable[[int | None, int], None] | None = None,
    options: ExactAllocationOptions | None = None,
) -> AllocationSolution:
    """A layout of least height, with a proven lower bound; or one within the capacity.

    With a capacity it ends as soon as a layout fits, or it is proven that none does. Without limits
    it ends with a proof, sooner or later. Ctrl-C (in the main thread) ends it with the best so far.
    Where over 2^23 pairs of blocks are alive together, it packs without a search, and without
    `start`.

    Args:
        problem: blocks, alignment, capacity.
        time_limit_s: wall time; None for none.
        seed: of the orders of preference that are tried after the built-in ones.
        start: known layouts; the result is never higher than the lowest of them.
        progress: called about every 50 ms with the height so far and the bound.
        options: switches of the techniques.

    Returns:
        A checked solution. `optimal` when the height equals the lower bound; `feasible` when it
        is within the capacity, or the work limit ended the search; `infeasible`, without a layout,
        when the bound exceeds the capacity or fixed blocks overlap; `time_limit` when the clock or
        Ctrl-C ended it, with the best layout so far or none.

    Raises:
        LowtideError: the time limit is negative, a start is no layout, more buffers are alive
            together than fit in memory (over 2^26 pairs), or the checker refutes the result (a
            bug).
    """
    begin, begin_cpu = time.perf_counter(), time.process_time()
    opts = options or ExactAllocationOptions()
    if time_limit_s is not None and not time_limit_s >= 0:
        raise LowtideError(f"the time limit must not be negative, got {time_limit_s}")
    for offsets in start:
        height = max((o + b.size for o, b in zip(offsets, problem.blocks, strict=False)), default=0)
        check(problem, AllocationSolution(Status.FEASIBLE, height, 0, offsets))
    items = [
        ([(b.lower, b.upper, b.size)], problem.alignment, -1 if b.offset is None else b.offset)
        for b in problem.blocks
    ]
    try:
        native = _native.Allocation(items)
    except ValueError:  # all but too many contacts was refused by the problem itself
        return pack(problem, time_limit_s=time_limit_s, seed=seed)
    hook = stopping(progress)
    outcome = _native.solve_allocation(
        native,
        [(f"start {index}", list(offsets)) for index, offsets in enumerate(start)],
        _native.AllocationTechniques(
            wait_bound=opts.wait_bound,
            release=opts.release,
            twins=opts.twins,
            backjump=opts.backjump,
        ),
        seed % 2**64,
        -1 if problem.capacity is None else max(0, min(problem.capacity, MAX_BYTES)),
        -1.0 if time_limit_s is None else max(0.0, time_limit_s - (time.perf_counter() - begin)),
        opts.work_limit or 0,
        hook,
    )
    bound = lower_bound(problem)
    if not native.contradictory:  # else the native bound is beyond all numbers
        bound = max(bound, outcome.bound)
    found = outcome.offsets is not None
    if hook is not None and found:
        hook(outcome.height, bound)
    fits = problem.capacity is not None and found and outcome.height <= problem.capacity
    tired = opts.work_limit is not None and outcome.work >= opts.work_limit
    if native.contradictory or (problem.capacity is not None and bound > problem.capacity):
        status, found = Status.INFEASIBLE, False
    elif found and outcome.height == bound:
        status = Status.OPTIMAL
    else:
        status = Status.FEASIBLE if fits or tired else Status.TIME_LIMIT
    solution = AllocationSolution(
        status=status,
        height=outcome.height if found else None,
        lower_bound=bound,
        offsets=tuple(outcome.offsets) if found and outcome.offsets is not None else None,
        method=outcome.method,
        seconds=time.perf_counter() - begin,
        cpu_seconds=time.process_time() - begin_cpu,
    )
    check(problem, solution)
    return solution
