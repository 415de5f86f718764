"""The anytime solver: annealing over sequences with repeats, in the native core.

It begins with what needs no search: the input order, the peak's bound, and in the free order the
exact scheduler, whose order proves an overhead of 0 % when it meets the budget.  Then sequences are
changed by small moves; the evaluator, the moves and the cooling are described in
`solvers/native/remat/{sequence,search}.hpp`, the bounds in `bounds.py` and `cover.py`.
"""

from __future__ import annotations

import time
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

from lowtide.errors import LowtideError
from lowtide.solvers import _native
from lowtide.solvers.remat.bounds import base_bound, peak_bound, repeat_bound
from lowtide.solvers.remat.check import check, check_stages, peak_of
from lowtide.solvers.remat.cover import cover_bound
from lowtide.solvers.remat.native import native_problem
from lowtide.solvers.remat.problem import OrderScope
from lowtide.solvers.remat.solution import CostBound, RematSolution
from lowtide.solvers.schedule.exact import ExactOptions, schedule
from lowtide.solvers.status import Status

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from lowtide.solvers.remat.problem import Cost, RematProblem

__all__ = ["SearchOptions", "search"]

# Looks at a run, of one walk, where neither a time limit nor a work limit is given.
_DEFAULT_WORK = 2_000_000_000
# The exact scheduler gets this part of the time, and no more work than this.
_SCHEDULE_PART, _SCHEDULE_WORK = 0.05, 20_000_000
# So does the covering program, from this many nodes on and where that part is at least so long.
_COVER_PART, _COVER_NODES, _COVER_LEAST_S, _COVER_MOST_S = 0.3, 24, 1.0, 10.0


@dataclass(frozen=True, slots=True, kw_only=True)
class SearchOptions:
    """Settings of the search.

    Attributes:
        threads: independent walks with seeds of their own; the best wins, the first of equal ones.
        work_limit: of each walk, in looks at a run; unlike a time limit, repeatable.
        schedule: in the free order, ask the exact scheduler first.
        cover: bound the cost by a covering program first, in a child process; a sequence that meets
            the bound ends the search.
        warm: the starts are good already: begin with little heat.
    """

    threads: int = 1
    work_limit: int | None = None
    schedule: bool = True
    cover: bool = True
    warm: bool = False


def search(
    problem: RematProblem,
    *,
    scope: OrderScope = OrderScope.FREE,
    time_limit_s: float | None = 30.0,
    seed: int = 0,
    start: Sequence[tuple[int, ...]] = (),
    progress: Callable[[Cost | None, Cost], None] | None = None,
    options: SearchOptions | None = None,
) -> RematSolution:
    """A cheap sequence within the budget; it takes all the time that it is given.

    It ends early only when the cost meets a bound, or no sequence can meet the budget.  Ctrl-C (in
    the main thread) ends it with the best sequence so far; the status is then `time_limit`.  With a
    work limit that ends it before the time limit does, the result is repeatable.

    Args:
        problem: what to run, and within which budget.
        scope: every sequence, or the stages of the input order.
        time_limit_s: wall time; None for none.
        seed: of the walks.
        start: known sequences of the scope, within the budget or not; the result is never worse
            than the best of those that are.
        progress: called about every 50 ms with the incumbent's cost, if there is one, and a bound.
        options: threads, work limit, techniques.

    Returns:
        A checked solution: `optimal` when the cost meets a bound that holds for the scope;
        `infeasible` when the peak's bound exceeds the budget; else, with the best sequence so far
        or none, `feasible` where the work limit ended the search and `time_limit` where the clock
        or Ctrl-C did.

    Raises:
        InstanceError: the problem is too large for the search.
        LowtideError: a start is not valid, the time limit is negative, or the checker refutes the
            result (a bug).
    """
    begin, begin_cpu = time.perf_counter(), time.process_time()
    opts = options or SearchOptions()
    if time_limit_s is not None and not time_limit_s >= 0:
        raise LowtideError(f"the time limit must not be negative, got {time_limit_s}")
    if opts.threads < 1:
        raise LowtideError(f"the number of threads must be positive, got {opts.threads}")
    least_peak, peak_method = peak_bound(problem)
    bound: CostBound | None = base_bound(problem)
    children_s, interrupted = 0.0, False

    def tell(cost: Cost | None) -> bool:
        """Whether to stop: Ctrl-C may land in here, too."""
        if progress is not None:
            try:
                progress(cost, problem.base_cost if bound is None else bound.cost)
            except KeyboardInterrupt:
                return True
        return False

    def left() -> float:
        return -1.0 if time_limit_s is None else time_limit_s - (time.perf_counter() - begin)

    def finish(status: Status, sequence: tuple[int, ...] | None, name: str) -> RematSolution:
        cost = None if sequence is None else problem.cost_of(sequence)
        if bound is not None and cost is not None and bound.cost >= cost:
            status = Status.OPTIMAL
        solution = RematSolution(
            status=status,
            scope=scope,
            sequence=sequence,
            cost=cost,
            base_cost=problem.base_cost,
            peak_bytes=None if sequence is None else peak_of(problem, sequence),
            bounds=() if bound is None else (bound,),
            peak_bound_bytes=least_peak,
            peak_bound_method=peak_method,
            solver=name,
            seconds=time.perf_counter() - begin,
            cpu_seconds=time.process_time() - begin_cpu + children_s,
        )
        check(problem, solution)
        tell(cost)
        return solution

    known = [problem.order]
    for sequence in start:
        peak_of(problem, sequence)
        if scope is OrderScope.FIXED:
            check_stages(problem, sequence)
        known.append(tuple(sequence))
    if least_peak > problem.budget_bytes:
        return finish(Status.INFEASIBLE, None, "bound")
    if peak_of(problem, problem.order) <= problem.budget_bytes:
        return finish(Status.OPTIMAL, problem.order, "input order")
    # The input order misses the budget; so does every order, if the scheduler proves that.
    needs_repeats = scope is OrderScope.FIXED
    if scope is OrderScope.FREE and opts.schedule:
        ordered = schedule(
            problem.once,
            time_limit_s=None if time_limit_s is None else _SCHEDULE_PART * max(0.0, left()),
            options=ExactOptions(work_limit=opts.work_limit or _SCHEDULE_WORK),
        )
        room = problem.budget_bytes - problem.constant_bytes
        if ordered.order is not None:
            known.append(ordered.order)
            if ordered.peak_bytes is not None and ordered.peak_bytes <= room:
                return finish(Status.OPTIMAL, ordered.order, "exact order")
        needs_repeats = ordered.lower_bound_bytes > room
    if needs_repeats:
        bound = repeat_bound(problem, scope)
        if bound is None:
            # Nothing that may be repeated has two uses: repeats cannot help.
            least_peak, peak_method = problem.budget_bytes + 1, "no useful repeat"
            return finish(Status.INFEASIBLE, None, "bound")
    if opts.cover and problem.num_nodes >= _COVER_NODES:
        part = _COVER_MOST_S if time_limit_s is None else _COVER_PART * left()
        if part >= _COVER_LEAST_S:
            try:
                covered = cover_bound(
                    problem, scope, time_limit_s=min(part, _COVER_MOST_S), seed=seed
                )
            except KeyboardInterrupt:
                opts, interrupted = replace(opts, work_limit=1), True
            else:
                children_s += covered.cpu_seconds
                known_bounds = [b for b in (bound, covered.bound) if b is not None]
                bound = max(known_bounds, key=lambda b: b.cost)
    work_limit = opts.work_limit or (_DEFAULT_WORK if time_limit_s is None else 0)
    outcome = _native.search_remat(
        native_problem(problem),
        _ranked(problem, known),
        fixed_order=scope is OrderScope.FIXED,
        warm=opts.warm,
        seed=seed % 2**64,
        target=float(problem.base_cost if bound is None else bound.cost),
        threads=opts.threads,
        time_limit_s=left() if time_limit_s is None else max(0.0, left()),
        work_limit=work_limit,
        progress=lambda best: tell(None if best < 0 else best),
    )
    found = [tuple(outcome.sequence)] if outcome.sequence else []
    found += [s for s in known[1:] if peak_of(problem, s) <= problem.budget_bytes]
    status = Status.TIME_LIMIT if outcome.clock or interrupted else Status.FEASIBLE
    if not found:
        return finish(status, None, "search")
    return finish(status, min(found, key=problem.cost_of), "search")


def _ranked(problem: RematProblem, known: Sequence[tuple[int, ...]]) -> list[list[int]]:
    """The known sequences, those within the budget first by cost, then by peak; each once."""

    def rank(sequence: tuple[int, ...]) -> tuple[int, Cost]:
        over = max(0, peak_of(problem, sequence) - problem.budget_bytes)
        return over, problem.cost_of(sequence)

    return [list(s) for s in sorted(dict.fromkeys(known), key=rank)]
