"""Joint order and layout: an order of least peak whose buffers pack to that peak.

A layout of an order is at least as high as its peak, so one as high as a lower bound on every
order's peak is optimal over orders and layouts together. Most orders of least peak pack to it at
once. Where the exact search for a layout does not end soon, the order is often the reason: a search
for the least peak may shuffle nodes far from the peak and so keep buffers alive for longer. Other
orders of the same peak then pack with ease: those that a natural order (depth first, the file's,
...) turns into when only the windows around its peak are reordered. They are tried in turns, with
growing effort.
"""

from __future__ import annotations

import time
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

from lowtide.solvers.allocation.exact import ExactAllocationOptions, allocate
from lowtide.solvers.lifetimes import arena_of
from lowtide.solvers.schedule.check import peak_of
from lowtide.solvers.schedule.exact import ExactOptions, schedule
from lowtide.solvers.schedule.orders import ORDERS
from lowtide.solvers.status import Status

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence

    from lowtide.solvers.allocation.problem import AllocationSolution
    from lowtide.solvers.schedule.problem import ScheduleProblem

__all__ = ["Layout", "pack_order"]

# Natural orders to start from; the exact scheduler keeps what it need not change.
_NATURAL = ("ort_default", "dfs", "file", "list", "kahn")
_GENTLE = ExactOptions(reorder=False, beam=False, heuristics=False)
_FIRST_WORK = 20_000_000


@dataclass(frozen=True, slots=True)
class Layout:
    """An order with a layout of its buffers.

    Attributes:
        order: of the nodes.
        peak_bytes: of the order.
        allocation: of the blocks of `arena_of(problem, order)`. Its bound is on every layout of
            every order, so `optimal` is over orders and layouts together.
        orders_tried: how many orders a layout was searched for.
    """

    order: tuple[int, ...]
    peak_bytes: int
    allocation: AllocationSolution
    orders_tried: int


def pack_order(
    problem: ScheduleProblem,
    order: Sequence[int],
    *,
    lower_bound_bytes: int = 0,
    alignment: int = 1,
    time_limit_s: float | None = 30.0,
    other_orders: bool = True,
    work: int = _FIRST_WORK,
    rounds: int = 3,
    seed: int = 0,
    progress: Callable[[int | None, int], None] | None = None,
) -> Layout:
    """The lowest layout found of `order`, or of another order whose peak is not higher.

    It ends when a layout reaches the peak of `order`, or after a bounded amount of work, which is
    repeatable unless the time limit strikes.

    Args:
        problem: what was scheduled.
        order: a valid order, best one of least peak.
        lower_bound_bytes: a proven bound on every order's peak.
        alignment: of offsets.
        time_limit_s: wall time; None for none.
        other_orders: whether another order may be taken.
        work: what the first round may spend on one order, in looks at a buffer.
        rounds: each may spend four times what the one before it could.
        seed: of the allocator.
        progress: called now and then with the height so far and the bound.

    Raises:
        LowtideError: `order` is not valid.
    """
    begin, begin_cpu = time.perf_counter(), time.process_time()
    peak = peak_of(problem, order)
    orders: list[tuple[int, ...]] = [tuple(order)]
    best: tuple[tuple[int, ...], AllocationSolution] | None = None
    known: dict[int, tuple[int, ...]] = {}  # the best layout of each order tried
    struck, tried = False, 0

    def left() -> float | None:
        if time_limit_s is None:
            return None
        return max(0.0, time_limit_s - (time.perf_counter() - begin))

    others = _others(problem, order, peak, left) if other_orders else iter(())
    for turn in range(max(rounds, 1)):
        for index in range(len(orders) if turn else len(_NATURAL) + 1):
            if index >= len(orders):
                another = next(others, None)
                if another is None:
                    break
                orders.append(another)
            if best is not None and left() == 0.0:
                struck = True
                break
            tried = max(tried, index + 1)
            arena = replace(arena_of(problem, orders[index], alignment=alignment), capacity=peak)
            found = allocate(
                arena,
                time_limit_s=left(),
                seed=seed,
                start=(known[index],) if index in known else (),
                progress=progress,
                options=ExactAllocationOptions(work_limit=work << (2 * turn)),
            )
            struck = found.status is Status.TIME_LIMIT  # or Ctrl-C
            if found.offsets is None or found.height is None:
                continue
            known[index] = found.offsets
            if best is None or best[1].height is None or found.height < best[1].height:
                best = (orders[index], found)
            if struck or found.height <= peak:
                break
        if struck or (best is not None and (best[1].height or 0) <= peak):
            break
    if best is None:  # peak below the load: sizes that alignment enlarges
        free = arena_of(problem, order, alignment=alignment)
        best = (tuple(order), allocate(free, time_limit_s=left(), seed=seed))
    chosen, solution = best
    return Layout(
        order=chosen,
        peak_bytes=peak_of(problem, chosen),
        allocation=replace(
            solution,
            status=Status.OPTIMAL
            if solution.height == lower_bound_bytes
            else (Status.TIME_LIMIT if struck else Status.FEASIBLE),
            lower_bound=lower_bound_bytes,
            seconds=time.perf_counter() - begin,
            cpu_seconds=time.process_time() - begin_cpu,
        ),
        orders_tried=tried,
    )


def _others(
    problem: ScheduleProblem, order: Sequence[int], peak: int, left: Callable[[], float | None]
) -> Iterator[tuple[int, ...]]:
    """Other orders with a peak of at most `peak`, each made from a natural one."""
    seen = {tuple(order)}
    for name in _NATURAL:
        natural = ORDERS[name](problem)
        solution = schedule(
            problem,
            time_limit_s=left(),
            start=(natural,),
            options=replace(_GENTLE, work_limit=_FIRST_WORK),
        )
        found = solution.order
        if found is None or found in seen or (solution.peak_bytes or 0) > peak:
            continue
        seen.add(found)
        yield found
