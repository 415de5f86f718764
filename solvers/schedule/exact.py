"""The exact scheduler: heuristic orders, then the native search, until the peak meets a bound.

Method: min-cut lower bounds on every node's transient; reordering around the minimum cuts; a
budgeted depth-first search over ideals with one-step commits; where these are not enough,
precedence that all orders within a budget have in common, states pruned by minimum cuts, and cases.
The arguments, in-place reuse included, are in `solvers/native/schedule/*.hpp`; `reference.py` is
the core in plain Python, and `certify.py` makes proofs that others can check.
"""

from __future__ import annotations

import time
from dataclasses import dataclass
from typing import TYPE_CHECKING

from lowtide.errors import LowtideError
from lowtide.solvers import _native
from lowtide.solvers.progress import stopping
from lowtide.solvers.schedule.check import check, peak_of
from lowtide.solvers.schedule.orders import ORDERS
from lowtide.solvers.schedule.solution import ScheduleSolution
from lowtide.solvers.status import Status

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from lowtide.solvers.schedule.problem import ScheduleProblem

__all__ = ["ExactOptions", "native_problem", "schedule"]

# The orders that start the search: cheap, and different from each other.
_STARTS = ("file", "ort_default", "dfs", "list")


@dataclass(frozen=True, slots=True, kw_only=True)
class ExactOptions:
    """The techniques of the exact method, each a switch; any combination proves the same optimum.

    Attributes:
        one_step: run a ready node that frees as much as it makes without branching.
        macro: the same for small sets of nodes (never used where in-place reuse is possible).
        backward: also search from the end.
        min_cut: the min-cut lower bound.
        reorder: reorder incumbents around the minimum cuts.
        windows: reorder windows around the incumbent's highest transients.
        cut_nodes: solve apart what lies between nodes that are comparable with every other node.
        beam: beam search for incumbents.
        deduce: search with the precedence that all orders within the budget have in common.
        probe: split a budget into cases, of two nodes one before the other, and refute each.
        guards: in these searches, prune states by minimum cuts.
        heuristics: start from named orders; else from Kahn's alone.
        visited_bytes: memory for the states visited by one search.
        exact_states: compare visited states, not their 128-bit hashes: no proof rests on chance.
        work_limit: stop after about this many looks at a node; unlike a time limit, repeatable.
    """

    one_step: bool = True
    macro: bool = True
    backward: bool = True
    min_cut: bool = True
    reorder: bool = True
    windows: bool = True
    cut_nodes: bool = True
    beam: bool = True
    deduce: bool = True
    probe: bool = True
    guards: bool = True
    heuristics: bool = True
    visited_bytes: int = 1 << 28
    exact_states: bool = False
    work_limit: int | None = None


def native_problem(problem: ScheduleProblem) -> _native.Schedule:
    """The problem in the native core's form. O(problem)."""
    return _native.Schedule(
        num_nodes=problem.num_nodes,
        sizes=[b.size for b in problem.buffers],
        producers=[b.producer for b in problem.buffers],
        consumers=[list(b.consumers) for b in problem.buffers],
        outputs=[bool(b.output) for b in problem.buffers],
        workspace=list(problem.workspace),
        precedence=[(before, after) for before, after in problem.precedence],
        in_place=[(c.node, c.output, c.input) for c in problem.in_place],
        inputs_in_arena=problem.inputs_in_arena,
        outputs_live_to_end=problem.outputs_live_to_end,
    )


def schedule(
    problem: ScheduleProblem,
    *,
    time_limit_s: float | None = 30.0,
    seed: int = 0,
    start: Sequence[tuple[int, ...]] = (),
    progress: Callable[[int | None, int], None] | None = None,
    options: ExactOptions | None = None,
) -> ScheduleSolution:
    """An order of least peak, with a proven lower bound.

    Without a time limit it ends with a proof, sooner or later.  Ctrl-C (in the main thread) ends it
    with the best order so far; the status is then `time_limit`.

    Args:
        problem: what to schedule.
        time_limit_s: wall time; None for none.
        seed: part of the signature of every scheduler; this one makes no random choice.
        start: known orders; the result is never worse than the best of them.
        progress: called about every 50 ms with the incumbent's peak and the bound.
        options: switches of the techniques.

    Returns:
        A checked solution: `optimal`; or, with the best order and bound so far, `feasible` where
        the work limit ended the search and `time_limit` where the clock or Ctrl-C did.

    Raises:
        LowtideError: an order in `start` is not valid, or the checker refutes the result (a bug).
    """
    del seed
    begin, begin_cpu = time.perf_counter(), time.process_time()
    opts = options or ExactOptions()
    if time_limit_s is not None and not time_limit_s >= 0:
        raise LowtideError(f"the time limit must not be negative, got {time_limit_s}")
    starts = [(f"start {index}", list(order)) for index, order in enumerate(start)]
    for order in start:
        peak_of(problem, order)  # a clear error for an order that is not valid
    if opts.heuristics:
        starts.extend((name, list(ORDERS[name](problem))) for name in _STARTS)
    remaining = -1.0
    if time_limit_s is not None:
        remaining = max(0.0, time_limit_s - (time.perf_counter() - begin))
    techniques = _native.ScheduleTechniques(
        one_step=opts.one_step,
        macro=opts.macro,
        backward=opts.backward,
        min_cut=opts.min_cut,
        reorder=opts.reorder,
        windows=opts.windows,
        cut_nodes=opts.cut_nodes,
        beam=opts.beam,
        deduce=opts.deduce,
        probe=opts.probe,
        guards=opts.guards,
        visited_bytes=opts.visited_bytes,
        exact_states=opts.exact_states,
    )
    hook = stopping(progress)
    outcome = _native.solve_schedule(
        native_problem(problem),
        starts,
        techniques,
        remaining,
        opts.work_limit or 0,
        hook,
    )
    if hook is not None:
        hook(outcome.peak, outcome.bound)
    if outcome.peak == outcome.bound:
        status = Status.OPTIMAL
    elif opts.work_limit is not None and outcome.work >= opts.work_limit:
        status = Status.FEASIBLE
    else:
        status = Status.TIME_LIMIT
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
