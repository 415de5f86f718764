"""The exact allocator: greedy descents, the load bound, then the native search for a layout.

Branch on a buffer: all that meet it lie above it, or one of them lies below it. Refute by the loads
of moments over the buffers' lowest offsets. Trace every refutation to the branches behind it.
The argument is in `solvers/native/allocation/search.hpp`. Blocks that may share an offset are
merged before the search: in every way if there are few (`merges.py`); with many such pairs only a
height at the load bound is proven.
"""

from __future__ import annotations

import time
from dataclasses import dataclass
from itertools import chain
from typing import TYPE_CHECKING

from lowtide.errors import LowtideError
from lowtide.solvers import _native
from lowtide.solvers.allocation.bound import lower_bound
from lowtide.solvers.allocation.check import check
from lowtide.solvers.allocation.merges import groupings, item_of
from lowtide.solvers.allocation.pack import PACK_WORK, pack
from lowtide.solvers.allocation.problem import AllocationSolution
from lowtide.solvers.progress import stopping
from lowtide.solvers.schedule.problem import MAX_BYTES
from lowtide.solvers.status import Status

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence

    from lowtide.solvers.allocation.merges import Groups
    from lowtide.solvers.allocation.problem import AllocationProblem

__all__ = ["ExactAllocationOptions", "allocate"]

# Of the search before the packer is asked for a better start, in looks at a buffer.
_FIRST_WORK = 4_000_000


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
        InstanceError: even a greedy layout would take too much memory.
        LowtideError: the time limit is negative, a start is no layout, or the checker refutes the
            result (a bug).
    """
    begin, begin_cpu = time.perf_counter(), time.process_time()
    opts = options or ExactAllocationOptions()
    if time_limit_s is not None and not time_limit_s >= 0:
        raise LowtideError(f"the time limit must not be negative, got {time_limit_s}")
    bound = lower_bound(problem)
    enough = -1 if problem.capacity is None else min(problem.capacity, MAX_BYTES)

    def left() -> float | None:
        if time_limit_s is None:
            return None
        return max(0.0, time_limit_s - (time.perf_counter() - begin))

    best = _Best(problem, bound, start)
    search = _Search(problem, opts, best, max(bound, enough), seed, left, stopping(progress))
    limit = opts.work_limit
    try:
        search.run(enough, _FIRST_WORK if limit is None else min(_FIRST_WORK, limit))
        if search.is_open and (limit is None or search.work < limit):
            if limit is None or search.work + PACK_WORK < limit:
                packed = pack(problem, time_limit_s=left(), seed=seed)
                best.offer(packed.offsets, packed.height, packed.method)
                search.work += PACK_WORK
            search.run(enough, limit)
    except _TooManyPairsError:  # more live together than fit in memory: a greedy layout at least
        return pack(problem, time_limit_s=left(), seed=seed)
    bound = max(bound, search.bound())
    fits = best.height is not None and best.height <= enough
    tired = limit is not None and search.work >= limit
    if bound > MAX_BYTES or 0 <= enough < bound:
        status = Status.INFEASIBLE
        bound = lower_bound(problem) if bound > MAX_BYTES else bound  # no height at all will do
        best.drop()
    elif best.height == bound:
        status = Status.OPTIMAL
    elif fits or tired or not search.complete:
        status = Status.FEASIBLE
    else:
        status = Status.TIME_LIMIT
    solution = AllocationSolution(
        status=status,
        height=best.height,
        lower_bound=bound,
        offsets=best.offsets,
        method=best.method,
        seconds=time.perf_counter() - begin,
        cpu_seconds=time.process_time() - begin_cpu,
    )
    check(problem, solution)
    return solution


class _TooManyPairsError(Exception):
    """The native problem does not fit in memory."""


class _Search:
    """The native search over every choice of groups, with what was proven of each."""

    def __init__(
        self,
        problem: AllocationProblem,
        options: ExactAllocationOptions,
        best: _Best,
        target: int,
        seed: int,
        left: Callable[[], float | None],
        hook: Callable[[int, int], bool] | None,
    ) -> None:
        self.problem, self.best, self.target, self.seed = problem, best, target, seed
        self.left, self.hook = left, hook
        self.choices, self.complete = groupings(problem)
        self.bounds = [0] * len(self.choices)
        self.closed: set[int] = set()
        self.work = 0
        self.interrupted = False
        self.techniques = _native.AllocationTechniques(
            wait_bound=options.wait_bound,
            release=options.release,
            twins=options.twins,
            backjump=options.backjump,
        )

    @property
    def is_open(self) -> bool:
        """Whether to search on."""
        if self.interrupted or len(self.closed) == len(self.choices) or self.left() == 0.0:
            return False
        return self.best.height is None or self.best.height > self.target

    def run(self, enough: int, work_limit: int | None) -> None:
        """Search until nothing is open, or `work_limit` is spent.

        Raises:
            _TooManyPairsError: more pairs meet than fit in memory.
        """
        for index, groups in enumerate(self.choices):
            if index in self.closed or (self.work and not self.is_open):
                continue
            try:
                native = _native.Allocation([item_of(self.problem, group) for group in groups])
            except ValueError:
                raise _TooManyPairsError from None
            remaining = self.left()
            outcome = _native.solve_allocation(
                native,
                self.best.starts(groups),
                self.techniques,
                self.seed % 2**64,
                enough,
                -1.0 if remaining is None else remaining,
                0 if work_limit is None else max(1, work_limit - self.work),
                self.hook,
            )
            self.work += outcome.work
            self.bounds[index] = max(self.bounds[index], outcome.bound)
            self.interrupted = outcome.interrupted
            if not outcome.stopped:
                self.closed.add(index)
            if outcome.offsets is not None:
                self.best.take(groups, outcome.offsets, outcome.height, outcome.method)
                if self.hook is not None and self.best.height is not None:
                    self.hook(self.best.height, max(self.best.floor, self.bound()))

    def bound(self) -> int:
        """What was proven of every layout: the least over the choices, where these are all."""
        if self.complete:
            return min(self.bounds)
        # Of an incomplete choice, only that its fixed blocks overlap says something of the others.
        return self.bounds[-1] if self.bounds[-1] > MAX_BYTES else 0


class _Best:
    """The lowest layout so far."""

    def __init__(
        self, problem: AllocationProblem, bound: int, start: Sequence[tuple[int, ...]]
    ) -> None:
        self.problem, self.floor = problem, bound
        self.offsets: tuple[int, ...] | None = None
        self.height: int | None = None
        self.method = ""
        for index, offsets in enumerate(start):
            height = max(
                (o + b.size for o, b in zip(offsets, problem.blocks, strict=False)), default=0
            )
            check(problem, AllocationSolution(Status.FEASIBLE, height, min(bound, height), offsets))
            if self.height is None or height < self.height:
                self.offsets, self.height, self.method = tuple(offsets), height, f"start {index}"

    def starts(self, groups: Groups) -> list[tuple[str, list[int]]]:
        """The layout in the form of the native core, where it has these groups and no others."""
        if self.offsets is None or any(len(group) > 1 for group in groups) or self.problem.shares:
            return []
        return [(self.method, list(self.offsets))]

    def offer(self, offsets: tuple[int, ...] | None, height: int | None, method: str) -> None:
        """Take a layout that was checked."""
        if height is not None and (self.height is None or height < self.height):
            self.offsets, self.height, self.method = offsets, height, method

    def take(self, groups: Groups, offsets: Sequence[int], height: int, method: str) -> None:
        if self.height is not None and self.height <= height:
            return
        placed = dict(zip(chain(*groups), _spread(groups, offsets), strict=True))
        self.offsets = tuple(placed[k] for k in range(len(self.problem.blocks)))
        self.height, self.method = height, method

    def drop(self) -> None:
        self.offsets = self.height = None


def _spread(groups: Groups, offsets: Sequence[int]) -> Iterator[int]:
    for group, offset in zip(groups, offsets, strict=True):
        yield from (offset for _ in group)
