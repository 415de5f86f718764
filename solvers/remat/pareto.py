"""The trade-off: what each budget costs, from no recomputation down to the least budget there is.

    order     the best order without repeats (the input order in the fixed one): its peak, at 0 %
    least     the lowest peak that is found with repeats, by bisection with `search`; `peak_bound`,
              and what solvers prove infeasible, bound it from below
    points    budgets in equal steps between the two, each solved, the smallest first; and again,
              while there is time, where the cost is not proven

Points share what they know.  A plan for a budget is a plan for every larger one, so each point
takes the cheapest plan of all that fits it; a bound for a budget is a bound for every smaller one,
where there are fewer plans, so bounds are handed down.  Then a point that costs no less than one of
a smaller budget is dropped: what is left is strictly monotone.

Ratios are parts of the input order's peak.
"""

from __future__ import annotations

import math
import time
from dataclasses import dataclass, replace
from functools import partial
from typing import TYPE_CHECKING

from lowtide.errors import InputError, LowtideError
from lowtide.solvers.remat.auto import AutoOptions, auto
from lowtide.solvers.remat.bounds import base_bound, peak_bound, repeat_bound
from lowtide.solvers.remat.check import check_stages, peak_of
from lowtide.solvers.remat.conclude import Clock
from lowtide.solvers.remat.front import ParetoFront, ParetoPoint, check_front
from lowtide.solvers.remat.problem import OrderScope
from lowtide.solvers.remat.registry import get_solver
from lowtide.solvers.remat.search import SearchOptions, search
from lowtide.solvers.remat.solution import CostBound, RematSolution
from lowtide.solvers.remat.team import INTERRUPTED, Answer, Job, Team
from lowtide.solvers.schedule.exact import ExactOptions, schedule
from lowtide.solvers.status import Status

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence
    from concurrent.futures import Executor

    from lowtide.solvers.remat.problem import Cost, RematProblem

__all__ = ["ParetoOptions", "pareto"]

# Parts of the time: for the best order, and for the least budget.
_ORDER_PART, _LEAST_PART = 0.1, 0.25
# The least budget is bisected at most this often, to this part of it.
_BISECTIONS, _NEAR = 8, 0.002
# Points are solved so often at most, again only with so much time left.
_TURNS, _AGAIN_S = 3, 1.0
_SCHEDULE_WORK, _LEAST_WORK = 200_000_000, 200_000_000


@dataclass(frozen=True, slots=True, kw_only=True)
class ParetoOptions:
    """Settings of the sweep.

    Attributes:
        solver: a named solver of each point.
        threads: how many points at a time, in processes of their own if it is more than one.
        executor: where they run instead; `threads` of them at a time.
        work_limit: of each search, in looks at a run; unlike a time limit, repeatable.
    """

    solver: str = "auto"
    threads: int = 1
    executor: Executor | None = None
    work_limit: int | None = None


def pareto(
    problem: RematProblem,
    *,
    scope: OrderScope = OrderScope.FREE,
    points: int = 8,
    time_limit_s: float | None = 60.0,
    seed: int = 0,
    progress: Callable[[int, int], None] | None = None,
    options: ParetoOptions | None = None,
) -> ParetoFront:
    """The front of budget against cost. The problem's own budget plays no part.

    Args:
        problem: what to run.
        scope: every sequence, or the stages of the input order.
        points: at most so many, both ends included; plans found on the way are not among them.
        time_limit_s: wall time, of all together; None for none.
        seed: of the solvers.
        progress: called with the number of solved points, and of all.
        options: solver, threads, executor.

    Raises:
        InputError: fewer than two points, no thread, a negative time limit, an unknown solver.
        LowtideError: the checker refutes the result (a bug).
    """
    opts = options or ParetoOptions()
    if points < 2:
        raise InputError(f"a front has at least 2 points, not {points}")
    if opts.threads < 1:
        raise InputError(f"the number of threads must be positive, got {opts.threads}")
    if time_limit_s is not None and not time_limit_s >= 0:
        raise InputError(f"the time limit must not be negative, got {time_limit_s}")
    get_solver(opts.solver)
    clock = Clock(time_limit_s)
    team = Team(opts.executor, opts.threads)
    sweep = _Sweep(problem, scope, clock, team, opts, seed)
    with team:
        try:
            sweep.order()
            sweep.least()
            sweep.solve(points, progress)
        except KeyboardInterrupt:
            team.stopped = True
    front = sweep.front(points)
    check_front(problem, front)
    return front


def named(name: str, problem: RematProblem, **arguments: object) -> RematSolution:
    """The solver of that name, called; unlike the solver itself it can always be pickled."""
    return get_solver(name)(problem, **arguments)  # type: ignore[arg-type]


@dataclass(frozen=True, slots=True)
class _Plan:
    sequence: tuple[int, ...]
    peak: int
    cost: Cost
    solver: str


class _Sweep:
    """What is known of all budgets, and the work that is left."""

    def __init__(
        self,
        problem: RematProblem,
        scope: OrderScope,
        clock: Clock,
        team: Team,
        options: ParetoOptions,
        seed: int,
    ) -> None:
        self.problem, self.scope, self.clock, self.team = problem, scope, clock, team
        self.options, self.seed = options, seed
        self.plans: list[_Plan] = []
        self.bounds: list[tuple[int, CostBound]] = []  # for this budget and all below it
        self.limited: set[int] = set()  # budgets where a limit struck
        self.floor, self.floor_method = peak_bound(problem)
        self.notes: list[str] = []
        self.base_peak = peak_of(problem, problem.order)
        self.top = self.base_peak  # of the best order
        self.offer(problem.order, "input order")

    def offer(self, sequence: tuple[int, ...], solver: str) -> None:
        """A plan of the scope. Raises `LowtideError` if it is not valid."""
        peak = peak_of(self.problem, sequence)
        if self.scope is OrderScope.FIXED:
            check_stages(self.problem, sequence)
        self.plans.append(_Plan(sequence, peak, self.problem.cost_of(sequence), solver))

    @property
    def lowest(self) -> _Plan:
        """The plan of the least peak, the cheapest of those."""
        return min(self.plans, key=lambda plan: (plan.peak, plan.cost))

    @property
    def over(self) -> bool:
        """Whether there is no time left."""
        return self.team.interrupted or self.clock.left == 0

    def order(self) -> None:
        """The best order without repeats."""
        if self.scope is OrderScope.FIXED:
            return
        left = self.clock.left
        ordered = schedule(
            self.problem.once,
            time_limit_s=None if left is None else _ORDER_PART * left,
            options=ExactOptions(work_limit=self.options.work_limit or _SCHEDULE_WORK),
        )
        if ordered.order is not None:
            self.offer(ordered.order, "exact order")
            self.top = min(plan.peak for plan in self.plans)
        # Within fewer bytes than every order needs, something has to be repeated.
        least = ordered.lower_bound_bytes + self.problem.constant_bytes
        bound = repeat_bound(self.problem, OrderScope.FREE)
        if bound is not None:
            self.bounds.append((least - 1, bound._replace(solver="bound")))
        elif least > self.floor:
            self.floor, self.floor_method = least, "no useful repeat"

    def least(self) -> None:
        """The lowest peak: the bound itself first, then halfway between failures and plans."""
        left = self.clock.left
        until = None if left is None else time.time() + left * _LEAST_PART
        failed = self.floor - 1
        for attempt in range(_BISECTIONS):
            high = self.lowest.peak
            if self.over or high <= max(failed + 1, self.floor) or high - failed <= _NEAR * high:
                return
            now = time.time()
            if until is not None and now >= until:
                return
            part = None if until is None else (until - now) / max(1, min(4, _BISECTIONS - attempt))
            count = self.team.workers
            step = (high - 1 - max(failed + 1, self.floor)) / (count + (attempt > 0))
            first = self.floor if attempt == 0 else failed + 1
            steps = range(count) if attempt == 0 else range(1, count + 1)
            budgets = sorted({min(high - 1, first + math.floor(step * k)) for k in steps})
            answers: dict[int, Answer] = {}
            self._ask([self._lower(budget, part) for budget in budgets], answers)
            tried = [b for b in budgets if b in answers and b < self.lowest.peak]
            failed = max([failed, *tried])

    def _lower(self, budget: int, part: float | None) -> Job:
        """A search for any plan within the budget."""
        work = self.options.work_limit or (_LEAST_WORK if part is None else None)
        known = sorted(self.plans, key=lambda plan: plan.peak)[:3]
        return Job(
            name="search",
            solve=partial(
                search,
                start=tuple(dict.fromkeys(plan.sequence for plan in known)),
                options=SearchOptions(work_limit=work, schedule=False, cover=False),
            ),
            problem=self.problem.with_budget(budget),
            scope=self.scope,
            time_limit_s=part,
            until=None if part is None else time.time() + part,
            seed=self.seed,
            enough=math.inf,
            listens=True,
            key=budget,
        )

    def solve(self, points: int, progress: Callable[[int, int], None] | None) -> None:
        """The points but for the one that costs nothing, the smallest budget first; and again."""
        budgets = self.budgets(points)[:-1]
        for turn in range(_TURNS):
            waiting = [b for b in budgets if not self._met(b)]
            left = self.clock.left
            if turn and (left is None or self.options.work_limit is not None or left < _AGAIN_S):
                return
            while waiting and not self.over:
                if progress is not None and not turn:
                    progress(len(budgets) - len(waiting), len(budgets))
                left, rounds = self.clock.left, -(-len(waiting) // self.team.workers)
                part = None if left is None else left / rounds
                now, waiting = waiting[: self.team.workers], waiting[self.team.workers :]
                answers: dict[int, Answer] = {}
                jobs = [self._point(b, part, self.seed + turn) for b in now if not self._met(b)]
                self._ask(jobs, answers)
                self.limited.update({job.key for job in jobs} - set(answers))
            self.limited.update(waiting)

    def _met(self, budget: int) -> bool:
        """Whether the cheapest plan known for the budget is proven to be the cheapest."""
        plan = self._cheapest(budget)
        held = [
            bound.cost
            for at, bound in self.bounds
            if at >= budget and bound.scope in (self.scope, OrderScope.FREE)
        ]
        return plan is not None and plan.cost <= max(held, default=self.problem.base_cost)

    def _cheapest(self, budget: int) -> _Plan | None:
        fits = [plan for plan in self.plans if plan.peak <= budget]
        return min(fits, key=lambda plan: (plan.cost, plan.peak), default=None)

    def budgets(self, points: int) -> list[int]:
        """In equal steps from the lowest peak known to that of the best order."""
        low, high = self.lowest.peak, self.top
        steps = points - 1
        return sorted({low + (high - low) * k // steps for k in range(points)})

    def _point(self, budget: int, part: float | None, seed: int) -> Job:
        fits = [plan for plan in self.plans if plan.peak <= budget]
        near = [plan for plan in self.plans if plan.peak > budget]
        known = sorted(fits, key=lambda plan: plan.cost)[:2]
        known += sorted(near, key=lambda plan: plan.peak)[:1]
        start = tuple(dict.fromkeys(plan.sequence for plan in known))
        name, work = self.options.solver, self.options.work_limit
        solve: Callable[..., RematSolution] = partial(named, name)
        if name == "auto":
            # The scheduler has been asked, and of the free order the exact solvers bound nothing.
            fixed = self.scope is OrderScope.FIXED
            options = AutoOptions(order=False, exact=fixed, work_limit=work)
            solve = partial(auto, start=start, options=options)
        elif name == "search":
            solve = partial(search, start=start, options=SearchOptions(work_limit=work))
        return Job(
            name=name,
            solve=solve,
            problem=self.problem.with_budget(budget),
            scope=self.scope,
            time_limit_s=part,
            until=None if part is None else time.time() + part,
            seed=seed,
            key=budget,
        )

    def _ask(self, jobs: Sequence[Job], answers: dict[int, Answer]) -> None:
        def done(answer: Answer) -> bool:
            answers[answer.key] = answer
            self._take(answer)
            return False

        self.team.run(jobs, done)

    def _take(self, answer: Answer) -> None:
        budget, solution = answer.key, answer.solution
        if answer.failure and answer.failure != INTERRUPTED:
            self.notes.append(f"{answer.name}: {answer.failure}")
        if solution is None:
            self.limited.add(budget)
            return
        self.notes += [note for note in solution.notes if note != INTERRUPTED]
        if solution.status is Status.TIME_LIMIT:
            self.limited.add(budget)
        if solution.sequence is not None:
            try:
                self.offer(solution.sequence, solution.solver or answer.name)
            except LowtideError as error:
                self.notes.append(f"{answer.name}: {error}")
        for bound in solution.bounds:
            self.bounds.append((budget, bound._replace(solver=bound.solver or answer.name)))
        if solution.scope in (self.scope, OrderScope.FREE):
            if solution.status is Status.INFEASIBLE and self.floor <= budget < self.lowest.peak:
                self.floor, self.floor_method = budget + 1, answer.name
            elif self.floor < solution.peak_bound_bytes <= self.lowest.peak:
                self.floor, self.floor_method = (
                    solution.peak_bound_bytes,
                    solution.peak_bound_method,
                )

    def front(self, points: int) -> ParetoFront:
        """The points that are not dominated, with all that is known."""
        chosen: list[ParetoPoint] = []
        cheapest: Cost | None = None
        for budget in self.budgets(points):
            plan = self._cheapest(budget)
            if plan is not None and (cheapest is None or plan.cost < cheapest):
                cheapest = plan.cost
                chosen.append(ParetoPoint(budget, self._solution(budget, plan)))
        notes = [*self.notes, *self.team.notes, *([INTERRUPTED] if self.team.interrupted else [])]
        return ParetoFront(
            points=tuple(reversed(chosen)),
            scope=self.scope,
            base_peak_bytes=self.base_peak,
            least_budget_bytes=self.lowest.peak,
            least_bound_bytes=self.floor,
            least_bound_method=self.floor_method,
            seconds=self.clock.seconds,
            cpu_seconds=self.team.cpu_seconds,
            notes=tuple(dict.fromkeys(notes)),
        )

    def _solution(self, budget: int, plan: _Plan) -> RematSolution:
        problem = self.problem.with_budget(budget)
        best: dict[OrderScope, CostBound] = {OrderScope.FREE: base_bound(problem)}
        for at, bound in self.bounds:
            held = best.get(bound.scope)
            refuted = bound.scope in (self.scope, OrderScope.FREE) and any(
                other.cost < bound.cost and other.peak <= at for other in self.plans
            )
            if refuted:
                self.notes.append(f"{bound.solver}: its bound {bound.cost} is refuted")
            elif at >= budget and (held is None or bound.cost > held.cost):
                best[bound.scope] = bound
        free, fixed = best[OrderScope.FREE], best.get(OrderScope.FIXED)
        if fixed is not None and fixed.cost <= free.cost:
            del best[OrderScope.FIXED]
        solution = RematSolution(
            status=Status.TIME_LIMIT if budget in self.limited else Status.FEASIBLE,
            scope=self.scope,
            sequence=plan.sequence,
            cost=plan.cost,
            base_cost=problem.base_cost,
            peak_bytes=plan.peak,
            bounds=tuple(best.values()),
            peak_bound_bytes=min(self.floor, plan.peak),
            peak_bound_method=self.floor_method,
            solver=plan.solver,
        )
        if solution.bound is not None and solution.bound.cost >= plan.cost:
            solution = replace(solution, status=Status.OPTIMAL)
        return solution
