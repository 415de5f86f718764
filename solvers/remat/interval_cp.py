"""`interval-cp`: retention intervals with CP-SAT, hinted, in one phase.

MOCCASIN's idea (B. Bartan et al., Moccasin: efficient tensor rematerialization for neural networks,
ICML 2023, arXiv:2304.14463): each op runs a few times, each run keeps its results over an interval
of time, and one cumulative constraint holds the intervals of all buffers within the budget.  Time
is the grid of the fixed order: place k in stage t is the event t (t + 1) / 2 + k.

    run i of op k     its stage (0th: k itself), present or not; cost if i > 0
    buffer b of it    kept from its event to an event `end` of its own
    a run of c        one of the runs of each b that c reads is before it and keeps b until then
    outputs           one of the runs keeps b to the end
    workspace         at the event of the run

Deviations: no first phase that finds a feasible plan (a short search of our own gives a hint
instead), lengths are not restricted, a boolean for each (run, operand's run) instead of reservoirs.

**What is proven.**  A bound holds for plans of at most `runs` runs of each op.  It is a bound for
the fixed order only where nothing cheaper than the incumbent could run an op more often than that,
and where nothing is written in place, which intervals do not know; otherwise none is stated.
"""

from __future__ import annotations

import math
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from fractions import Fraction
from typing import TYPE_CHECKING

from lowtide.errors import InputError
from lowtide.solvers.remat.bounds import peak_bound
from lowtide.solvers.remat.check import check_stages, peak_of
from lowtide.solvers.remat.conclude import Clock, conclude
from lowtide.solvers.remat.extras import cost_with_extra, extra_of
from lowtide.solvers.remat.problem import OrderScope
from lowtide.solvers.remat.search import SearchOptions, search
from lowtide.solvers.remat.solution import CostBound
from lowtide.solvers.remat.stages import runs_of_stages

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from lowtide.solvers.cp_sat import cp_model
    from lowtide.solvers.remat.problem import Cost, RematProblem
    from lowtide.solvers.remat.solution import RematSolution

__all__ = ["CpOptions", "interval_cp"]

# Costs are integers of at most this sum.
_MOST_COST = 1 << 45


@dataclass(frozen=True, slots=True, kw_only=True)
class CpOptions:
    """Settings.

    Attributes:
        runs: of each op, the first one included (MOCCASIN's C); None for as many as may be needed.
        threads: of CP-SAT.
        search_work: look for a hint with `search`, with this much work; 0 for not at all.
        max_nodes: problems with more nodes are refused.
    """

    runs: int | None = 2
    threads: int = 1
    search_work: int = 50_000_000
    max_nodes: int = 1500


def interval_cp(
    problem: RematProblem,
    *,
    scope: OrderScope = OrderScope.FIXED,
    time_limit_s: float | None = 60.0,
    seed: int = 0,
    start: Sequence[tuple[int, ...]] = (),
    progress: Callable[[Cost | None, Cost], None] | None = None,
    options: CpOptions | None = None,
) -> RematSolution:
    """The cheapest stages within the budget of few runs of each op.

    Args:
        problem: what to run, and within which budget.
        scope: of the solution's status; a bound, if there is one, is of the fixed order.
        time_limit_s: wall time.
        seed: of CP-SAT and of the search for a hint.
        start: known sequences of stages.
        progress: called with the cost and the bound at the end.
        options: the number of runs, threads.

    Raises:
        InputError: a start is not of stages, the problem is too large, a time limit is negative.
    """
    opts = options or CpOptions()
    clock = Clock(time_limit_s)
    if time_limit_s is not None and not time_limit_s >= 0:
        raise InputError(f"the time limit must not be negative, got {time_limit_s}")
    if problem.num_nodes > opts.max_nodes:
        raise InputError(
            f"{problem.num_nodes} nodes are over {opts.max_nodes}: "
            f"raise `max_nodes` or use `search`"
        )
    known: list[tuple[int, ...]] = [problem.order, *start]
    for sequence in known:
        check_stages(problem, sequence)
    fits = peak_of(problem, problem.order) <= problem.budget_bytes
    possible = not fits and peak_bound(problem)[0] <= problem.budget_bytes
    if possible and opts.search_work:
        left = clock.left
        found = search(
            problem,
            scope=OrderScope.FIXED,
            time_limit_s=None if left is None else left / 4,
            seed=seed,
            options=SearchOptions(work_limit=opts.search_work),
        )
        known += [found.sequence] if found.sequence is not None else []
    within = [s for s in known if peak_of(problem, s) <= problem.budget_bytes]
    best = min(within, key=lambda s: extra_of(problem, s), default=None)
    bound: CostBound | None = None
    infeasible = timed_out = False
    if possible and (best is None or extra_of(problem, best) > 0):
        plan = _Intervals(problem, best, opts.runs)
        found_sequence, extra, timed_out, none = plan.solve(clock, opts.threads, seed)
        infeasible = none and plan.complete and best is None
        if found_sequence is not None and (
            best is None or extra_of(problem, found_sequence) < extra_of(problem, best)
        ):
            best = found_sequence
        if extra is not None and plan.complete:
            bound = CostBound(OrderScope.FIXED, cost_with_extra(problem, extra), "intervals")
    return conclude(
        problem,
        best,
        solver="interval-cp",
        scope=scope,
        clock=clock,
        fixed_bound=bound,
        infeasible=infeasible,
        timed_out=timed_out,
        progress=progress,
    )


class _Intervals:
    """The model; `complete` tells whether it has every plan up to the incumbent's cost."""

    def __init__(
        self, problem: RematProblem, best: tuple[int, ...] | None, runs: int | None
    ) -> None:
        from lowtide.solvers.cp_sat import cp_model

        self.problem, self.n = problem, problem.num_nodes
        self.model = cp_model.CpModel()
        pinned = set(problem.pinned)
        costs = [Fraction(problem.costs[v]) for v in problem.order]
        extra = None if best is None else extra_of(problem, best)
        self.complete = not problem.in_place
        copies: list[int] = []
        for k, v in enumerate(problem.order):
            most = 1 if v in pinned else self.n - k
            if extra is not None and costs[k]:
                most = min(most, 1 + int(extra / costs[k]))
            copies.append(most if runs is None else min(most, max(1, runs)))
            self.complete &= copies[-1] == most
        below = math.lcm(1, *(c.denominator for c in costs))
        unit = Fraction(math.gcd(*(int(c * below) for c in costs)) or 1, below)
        most_cost = sum(c * m for c, m in zip(costs, copies, strict=True))
        self.unit = max(unit, Fraction(math.ceil(most_cost), _MOST_COST))
        self.price = [int(c / self.unit) for c in costs]  # rounded down: a bound stays one
        self.stage: list[list[cp_model.IntVar]] = []
        self.event: list[list[cp_model.IntVar]] = []
        self.present: list[list[cp_model.IntVar]] = []
        for k in range(self.n):
            self._runs(k, copies[k])
        self._buffers()
        terms = [
            self.price[k] * p for k, ps in enumerate(self.present) for p in ps[1:] if self.price[k]
        ]
        self.model.minimize(sum(terms))
        if extra is not None and terms:
            self.model.add(sum(terms) <= math.floor(extra / self.unit))
        if best is not None:
            self._hint(best)

    def _at(self, t: int, k: int) -> int:
        return t * (t + 1) // 2 + k

    def _runs(self, k: int, copies: int) -> None:
        model, n = self.model, self.n
        stages: list[cp_model.IntVar] = [model.new_constant(k)]
        events: list[cp_model.IntVar] = [model.new_constant(self._at(k, k))]
        present: list[cp_model.IntVar] = [model.new_constant(1)]
        for i in range(1, copies):
            stage = model.new_int_var(k + 1, n - 1, f"t{k}.{i}") if k < n - 1 else None
            if stage is None:
                break
            values = [self._at(t, k) for t in range(n)]
            event = model.new_int_var(values[k + 1], values[n - 1], f"e{k}.{i}")
            model.add_element(stage, values, event)
            here = model.new_bool_var(f"p{k}.{i}")
            model.add_implication(here, present[-1])
            model.add(stage > stages[-1]).only_enforce_if(here)
            stages.append(stage)
            events.append(event)
            present.append(here)
        self.stage.append(stages)
        self.event.append(events)
        self.present.append(present)

    def _buffers(self) -> None:
        model, problem, place = self.model, self.problem, self.problem.position
        horizon = self._at(self.n, 0)
        room = problem.budget_bytes - problem.constant_bytes
        intervals: list[cp_model.IntervalVar] = []
        demands: list[int] = []
        for b, buffer in enumerate(problem.once.buffers):
            inputs = buffer.producer < 0
            if not buffer.size or (inputs and not problem.inputs_in_arena):
                continue
            if inputs and not buffer.consumers and not buffer.output:
                continue
            k = -1 if inputs else place[buffer.producer]
            begins = [model.new_constant(0)] if inputs else self.event[k]
            here = [model.new_constant(1)] if inputs else self.present[k]
            ends: list[cp_model.IntVar] = []
            for i, (begin, present) in enumerate(zip(begins, here, strict=True)):
                end = model.new_int_var(1, horizon, f"k{b}.{i}")
                size = model.new_int_var(1, horizon, f"s{b}.{i}")
                intervals.append(
                    model.new_optional_interval_var(begin, size, end, present, f"i{b}.{i}")
                )
                demands.append(buffer.size)
                ends.append(end)
            for c in (place[c] for c in buffer.consumers):
                for j, read in enumerate(self.present[c]):
                    sources: list[cp_model.IntVar] = []
                    for i, end in enumerate(ends):
                        source = model.new_bool_var(f"r{b}.{i}.{c}.{j}")
                        model.add_implication(source, here[i])
                        model.add(begins[i] <= self.event[c][j]).only_enforce_if(source)
                        model.add(end > self.event[c][j]).only_enforce_if(source)
                        sources.append(source)
                    model.add_bool_or([*sources, read.negated()])
            if buffer.output:
                last: list[cp_model.IntVar] = []
                for i, end in enumerate(ends):
                    to_end = model.new_bool_var(f"o{b}.{i}")
                    model.add_implication(to_end, here[i])
                    model.add(end == horizon).only_enforce_if(to_end)
                    last.append(to_end)
                model.add_bool_or(last)
        for k, v in enumerate(problem.order):
            work = problem.once.workspace[v] if problem.once.workspace else 0
            # What a run makes is there while it runs, so only its scratch is left to count.
            for i, present in enumerate(self.present[k]):
                if work:
                    begin = self.event[k][i]
                    intervals.append(
                        model.new_optional_fixed_size_interval_var(begin, 1, present, f"w{k}.{i}")
                    )
                    demands.append(work)
        unit = math.gcd(*demands) or 1
        if room < 0:
            model.add_bool_or([])
        elif intervals:
            model.add_cumulative(intervals, [d // unit for d in demands], room // unit)

    def _hint(self, best: tuple[int, ...]) -> None:
        stages: list[list[int]] = [[] for _ in range(self.n)]
        for t, ks in enumerate(runs_of_stages(self.problem, best)):
            for k in ks:
                stages[k].append(t)
        for k, ts in enumerate(stages):
            for i in range(1, len(self.present[k])):
                self.model.add_hint(self.present[k][i], i < len(ts))
                if i < len(ts):
                    self.model.add_hint(self.stage[k][i], ts[i])

    def solve(
        self, clock: Clock, threads: int, seed: int
    ) -> tuple[tuple[int, ...] | None, Fraction | None, bool, bool]:
        """(sequence, bound on the extra cost, whether the limit struck, whether there is none)."""
        from lowtide.solvers.cp_sat import cp_model

        solver = cp_model.CpSolver()
        solver.parameters.num_workers = threads
        solver.parameters.random_seed = seed % (1 << 31)
        if clock.left is not None:
            solver.parameters.max_time_in_seconds = clock.left
        status = _solved(solver, self.model)
        if status == cp_model.INFEASIBLE:
            return None, None, False, True
        bound = Fraction(max(0, math.ceil(solver.best_objective_bound - 1e-6))) * self.unit
        if status not in (cp_model.OPTIMAL, cp_model.FEASIBLE):
            return None, bound, True, False
        runs = sorted(
            (solver.value(self.stage[k][i]), k)
            for k, ps in enumerate(self.present)
            for i, p in enumerate(ps)
            if solver.value(p)
        )
        sequence = tuple(self.problem.order[k] for _, k in runs)
        return sequence, bound, status != cp_model.OPTIMAL, False


def _solved(solver: cp_model.CpSolver, model: cp_model.CpModel) -> cp_model.CpSolverStatus:
    """Solve in a thread, so that Ctrl-C is Python's: CP-SAT's handler would not give it back."""
    solver.parameters.catch_sigint_signal = False
    with ThreadPoolExecutor(1) as thread:
        future = thread.submit(solver.solve, model)
        try:
            return future.result()
        except KeyboardInterrupt:
            solver.stop_search()
            return future.result()
