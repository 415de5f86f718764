"""SERENITY's scheduler, as a baseline: what the exact method is measured against.

Source: B. H. Ahn et al., "Ordering Chaos: Memory-Aware Scheduling of Irregularly Wired Neural
Networks for Edge Devices", MLSys 2020, arXiv:2003.02369: dynamic programming over the sets of ready
nodes (Algorithm 1), divide and conquer at single-node cuts, adaptive soft budgeting (Algorithm 2).
Not its rewriting, which is not an order.

Beyond the paper, by our model of the bytes (`problem.py`): workspace, in-place reuse, outputs that
live to the end, inputs in the arena, precedence.  The dynamic programme stays exact under all of
them, since they depend on what has run and what runs now, not on the order before.  Deviations from
the paper, which are spelled out in `solvers/native/schedule/serenity.hpp`: a step "times out" by
its number of states, so that runs repeat; the soft budget never falls below what has been proven;
the number of states grows when no budget is left, within the memory allowed; tensors may reach past
a cut node.
"""

from __future__ import annotations

import time
from dataclasses import dataclass
from typing import TYPE_CHECKING

from lowtide.errors import LowtideError
from lowtide.solvers import _native
from lowtide.solvers.schedule.check import check, peak_of
from lowtide.solvers.schedule.exact import native_problem, stopping_hook
from lowtide.solvers.schedule.reference import mem, transient
from lowtide.solvers.schedule.solution import ScheduleSolution
from lowtide.solvers.status import Status

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from lowtide.solvers.schedule.problem import ScheduleProblem

__all__ = ["SerenityOptions", "serenity", "serenity_reference"]


@dataclass(frozen=True, slots=True, kw_only=True)
class SerenityOptions:
    """The parts of SERENITY's method, each a switch, and its limits.

    Attributes:
        divide: solve apart what lies between nodes that are comparable with every other node.
        soft_budget: adaptive soft budgeting; else one run without a budget and a time-out.
        step_states: states of one level before a run counts as timed out.
        memory_bytes: for the states of a run; beyond it the best order known is returned.
        work_limit: stop after about this many looks at a node; unlike a time limit, repeatable.
    """

    divide: bool = True
    soft_budget: bool = True
    step_states: int = 1 << 14
    memory_bytes: int = 1 << 30
    work_limit: int | None = None


def serenity(
    problem: ScheduleProblem,
    *,
    time_limit_s: float | None = None,
    seed: int = 0,
    start: Sequence[tuple[int, ...]] = (),
    progress: Callable[[int | None, int], None] | None = None,
    options: SerenityOptions | None = None,
) -> ScheduleSolution:
    """SERENITY's order. Exponential in the width of the graph, in time and memory.

    Where no run of the dynamic programme ends, the order is the best of Kahn's and those in
    `start`, part by part; `start` changes nothing else.

    Args:
        problem: what to schedule.
        time_limit_s: wall time; None for none.
        seed: part of the signature of every scheduler; this one makes no random choice.
        start: known orders; the result is never worse than the best of them.
        progress: called about every 50 ms with the best order's peak and the bound.
        options: switches and limits.

    Returns:
        A checked solution: `optimal`; or, with the best order and bound so far, `feasible` where
        memory or the work limit ended the search, `time_limit` where the clock or Ctrl-C did.

    Raises:
        LowtideError: an order in `start` is not valid, an option is out of range, or the checker
            refutes the result (a bug).
    """
    del seed
    begin, begin_cpu = time.perf_counter(), time.process_time()
    opts = options or SerenityOptions()
    if time_limit_s is not None and not time_limit_s >= 0:
        raise LowtideError(f"the time limit must not be negative, got {time_limit_s}")
    if opts.step_states < 1 or opts.memory_bytes < 0:
        raise LowtideError(
            f"step_states must be positive and memory_bytes not negative, got {opts.step_states} "
            f"and {opts.memory_bytes}"
        )
    for order in start:
        peak_of(problem, order)  # a clear error for an order that is not valid
    hook = stopping_hook(progress)
    outcome = _native.solve_serenity(
        native_problem(problem),
        [(f"start {index}", list(order)) for index, order in enumerate(start)],
        divide=opts.divide,
        soft_budget=opts.soft_budget,
        step_states=opts.step_states,
        memory_bytes=opts.memory_bytes,
        time_limit_s=-1.0 if time_limit_s is None else time_limit_s,
        work_limit=opts.work_limit or 0,
        progress=hook,
    )
    if hook is not None:
        hook(outcome.peak, outcome.bound)
    limited = opts.work_limit is not None and outcome.work >= opts.work_limit
    if outcome.peak == outcome.bound:
        status = Status.OPTIMAL
    else:
        status = Status.TIME_LIMIT if outcome.stopped and not limited else Status.FEASIBLE
    solution = ScheduleSolution(
        status=status,
        peak_bytes=outcome.peak,
        lower_bound_bytes=outcome.bound,
        order=tuple(outcome.order),
        method=outcome.method,
        bound_method=outcome.bound_method,
        seconds=time.perf_counter() - begin,
        cpu_seconds=time.process_time() - begin_cpu,
    )
    check(problem, solution)
    return solution


def serenity_reference(problem: ScheduleProblem) -> ScheduleSolution:
    """Algorithm 1 of the paper in plain Python: what the native core is tested against.

    Level by level, the order of least peak for each set of ready nodes. Exponential.
    """
    begin, begin_cpu = time.perf_counter(), time.process_time()

    def ready(ran: frozenset[int]) -> frozenset[int]:
        return frozenset(
            v
            for v in range(problem.num_nodes)
            if v not in ran and ran.issuperset(problem.predecessors[v])
        )

    level: dict[frozenset[int], tuple[int, tuple[int, ...]]] = {
        ready(frozenset()): (mem(problem, frozenset()), ())
    }
    for _ in range(problem.num_nodes):
        wider: dict[frozenset[int], tuple[int, tuple[int, ...]]] = {}
        for key, (peak, order) in level.items():
            ran = frozenset(order)
            for node in sorted(key):
                reached = max(peak, transient(problem, ran, node))
                after = ready(ran | {node})
                if after not in wider or reached < wider[after][0]:
                    wider[after] = (reached, (*order, node))
        level = wider
    ((peak, order),) = level.values()
    solution = ScheduleSolution(
        status=Status.OPTIMAL,
        peak_bytes=peak,
        lower_bound_bytes=peak,
        order=order,
        method="serenity reference",
        bound_method="dynamic programming",
        seconds=time.perf_counter() - begin,
        cpu_seconds=time.process_time() - begin_cpu,
    )
    check(problem, solution)
    return solution
