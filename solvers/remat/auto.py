"""`auto`: several solvers under one time limit; the best plan and the best bounds of all.

    trivial     the input order, the peak's bound
    order       free order: the exact scheduler, whose order may prove an overhead of 0 %
    seeds       the classic heuristics, as far as they are quick, to begin from
    short       a short search of the fixed order, for an incumbent of the exact solvers
    exact       `checkmate-milp`, with the incumbent: it bounds the fixed order, maybe improves it
    search      `search`, from the best so far, in all the time that is left

One after another in this process; with several workers `exact` and as many searches as there are
workers beside it run at once.  It ends early when the cost meets a bound that holds for the scope.

**What is proven.**  The bounds are the members' own, each kept for the scope that its member proved
it for: what the exact solvers prove of the fixed order is stated as that, and never makes a plan of
the free order `optimal`.  A bound that a known plan refutes is dropped and noted.
"""

from __future__ import annotations

import time
from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING

from lowtide.errors import InputError, LowtideError
from lowtide.solvers.remat.bounds import base_bound, peak_bound, repeat_bound
from lowtide.solvers.remat.chain import chain
from lowtide.solvers.remat.check import check, check_stages, peak_of
from lowtide.solvers.remat.checkmate_milp import MilpOptions, checkmate_milp
from lowtide.solvers.remat.chen import checkpoint
from lowtide.solvers.remat.conclude import Clock
from lowtide.solvers.remat.griewank import griewank
from lowtide.solvers.remat.interval_cp import CpOptions, interval_cp
from lowtide.solvers.remat.problem import OrderScope
from lowtide.solvers.remat.replay import Turn
from lowtide.solvers.remat.search import SearchOptions, search
from lowtide.solvers.remat.solution import CostBound, RematSolution
from lowtide.solvers.remat.team import INTERRUPTED, Answer, Job, Team
from lowtide.solvers.schedule.exact import ExactOptions, schedule
from lowtide.solvers.status import Status

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence
    from concurrent.futures import Executor

    from lowtide.solvers.remat.problem import Cost, RematProblem

__all__ = ["AutoOptions", "auto"]

# Parts of the time that is left when a stage begins.
_ORDER_PART, _SEEDS_PART, _SHORT_PART = 0.1, 0.08, 0.1
_EXACT_PART = {OrderScope.FREE: 0.3, OrderScope.FIXED: 0.55}
# Work where there is no time limit: of the scheduler in looks at a node, of a search in looks at
# a run; the short search gets this part of it.
_SCHEDULE_WORK, _SEARCH_WORK, _SHORT_WORK = 200_000_000, 1_000_000_000, 0.1
# Seconds of one plan of a heuristic, per square of the nodes; of the dynamic program of chains.
_PLAN_S, _CHAIN_S, _CHAIN_LEVELS = 3e-7, 1e-6, 160
# A second wave of searches is worth this much time.
_AGAIN_S = 0.2
# Nodes: checkmate-milp's own limit; the seconds per square of them below which it is not worth
# beginning; where intervals have been of use.
_MILP_NODES, _MILP_S, _CP_NODES = 600, 1e-4, 60
_SEEDS = ("linearised-sqrt", "chen-sqrt", "ap-sqrt", "chen-greedy", "linearised-greedy")


@dataclass(frozen=True, slots=True, kw_only=True)
class AutoOptions:
    """Settings of the portfolio.

    Attributes:
        threads: how many solvers run at a time, in processes of their own if it is more than one.
        executor: where they run instead; `threads` of them at a time.
        work_limit: of each search, in looks at a run; unlike a time limit, repeatable.
        heuristics: begin from the classic heuristics.
        exact: ask the exact solvers; in the free order their bound is of the fixed one only, so
            without a time limit they are not asked there.
    """

    threads: int = 1
    executor: Executor | None = None
    work_limit: int | None = None
    heuristics: bool = True
    exact: bool = True


def auto(
    problem: RematProblem,
    *,
    scope: OrderScope = OrderScope.FREE,
    time_limit_s: float | None = 30.0,
    seed: int = 0,
    start: Sequence[tuple[int, ...]] = (),
    progress: Callable[[Cost | None, Cost], None] | None = None,
    options: AutoOptions | None = None,
) -> RematSolution:
    """The best plan that the named solvers find together, with the best bounds that they prove.

    A solver that fails is in the solution's `notes`; the others go on.  Ctrl-C (in the main thread)
    ends it with the best so far; the status is then `time_limit`, and `notes` say so.

    Args:
        problem: what to run, and within which budget.
        scope: every sequence, or the stages of the input order.
        time_limit_s: wall time, of all together; None for none.
        seed: of everything random.
        start: known sequences of the scope, within the budget or not.
        progress: called with the best cost, if there is one, and the scope's bound.
        options: threads, executor, members.

    Returns:
        A checked solution.  `solver` found the sequence; each of `bounds` names its own.

    Raises:
        InputError: the time limit is negative, or there is no thread.
        LowtideError: a start is not valid, or the checker refutes the result (a bug).
    """
    opts = options or AutoOptions()
    if time_limit_s is not None and not time_limit_s >= 0:
        raise InputError(f"the time limit must not be negative, got {time_limit_s}")
    if opts.threads < 1:
        raise InputError(f"the number of threads must be positive, got {opts.threads}")
    board = _Board(problem, scope, progress)
    board.clock = Clock(time_limit_s)
    for sequence in start:
        board.offer(tuple(sequence), "start")
        board.starts.append(tuple(sequence))
    team = Team(opts.executor, opts.threads, board.tell)
    with team:
        try:
            _Stages(board, team, opts, seed).run()
        except KeyboardInterrupt:
            team.stopped = True
    return board.solution(team)


class _Board:
    """What is known so far."""

    def __init__(
        self,
        problem: RematProblem,
        scope: OrderScope,
        progress: Callable[[Cost | None, Cost], None] | None,
    ) -> None:
        self.problem, self.scope, self.progress = problem, scope, progress
        self.clock = Clock(None)
        self.best: tuple[int, ...] | None = None
        self.cost: Cost | None = None
        self.by = ""
        self.stages: tuple[int, ...] | None = None  # the best of the fixed order
        self.stages_cost: Cost | None = None
        self.starts: list[tuple[int, ...]] = []
        self.bounds: dict[OrderScope, CostBound] = {}
        self.least_peak, self.peak_method = peak_bound(problem)
        self.infeasible = self.stages_infeasible = False
        self.notes: list[str] = []
        self.claim(base_bound(problem), "bound")

    def offer(self, sequence: tuple[int, ...], name: str) -> None:
        """A sequence, kept if it is the best; it need not be within the budget.

        Raises:
            LowtideError: it is not valid.
        """
        peak = peak_of(self.problem, sequence)
        try:
            check_stages(self.problem, sequence)
            of_stages = True
        except LowtideError:
            of_stages = False
            if self.scope is OrderScope.FIXED:
                raise
        if peak > self.problem.budget_bytes:
            return
        cost = self.problem.cost_of(sequence)
        if self.cost is None or cost < self.cost:
            self.best, self.cost, self.by = sequence, cost, name
        if of_stages and (self.stages_cost is None or cost < self.stages_cost):
            self.stages, self.stages_cost = sequence, cost
        for bound in list(self.bounds.values()):
            self.claim(bound, bound.solver)

    def claim(self, bound: CostBound, name: str) -> None:
        """A bound, kept if it is the best of its scope and no known sequence refutes it."""
        known = self.stages_cost if bound.scope is OrderScope.FIXED else self.cost
        if known is not None and bound.cost > known:
            self.notes.append(f"{name}: its bound {bound.cost} ({bound.method}) is refuted")
            if self.bounds.get(bound.scope) == bound:
                del self.bounds[bound.scope]
                self.claim(base_bound(self.problem), "bound")
            return
        held = self.bounds.get(bound.scope)
        if held is None or bound.cost > held.cost:
            self.bounds[bound.scope] = bound._replace(solver=name)

    def take(self, answer: Answer) -> bool:
        """What a solver has to say; whether nothing more is needed."""
        solution = answer.solution
        if answer.failure and answer.failure != INTERRUPTED:
            self.notes.append(f"{answer.name}: {answer.failure}")
        if solution is None:
            return self.done
        try:
            if solution.sequence is not None:
                self.offer(solution.sequence, solution.solver or answer.name)
        except LowtideError as error:
            self.notes.append(f"{answer.name}: {error}")
        for bound in solution.bounds:
            self.claim(bound, answer.name)
        held = solution.scope in (self.scope, OrderScope.FREE)
        if held and solution.peak_bound_bytes > self.least_peak:
            self.least_peak = solution.peak_bound_bytes
            self.peak_method = solution.peak_bound_method
        if solution.status is Status.INFEASIBLE:
            if self.stages is not None or (held and self.best is not None):
                self.notes.append(f"{answer.name}: its proof that there is no plan is refuted")
            else:
                self.stages_infeasible = True
                self.infeasible |= held
        return self.done

    @property
    def proven(self) -> Cost:
        """The best bound that holds for the scope."""
        held = [b.cost for s, b in self.bounds.items() if s in (self.scope, OrderScope.FREE)]
        return max(held, default=self.problem.base_cost)

    @property
    def done(self) -> bool:
        """Whether the cost meets a bound, or nothing is within the budget."""
        return self.infeasible or (self.cost is not None and self.cost <= self.proven)

    def tell(self, cost: Cost | None) -> None:
        """Pass on how far it has come; `cost` is of a member at work."""
        if self.progress is not None:
            known = [c for c in (cost, self.cost) if c is not None]
            self.progress(min(known, default=None), self.proven)

    def solution(self, team: Team) -> RematSolution:
        """The solution, checked."""
        infeasible = self.infeasible and self.best is None
        bounds = {} if infeasible else dict(self.bounds)
        free, fixed = bounds.get(OrderScope.FREE), bounds.get(OrderScope.FIXED)
        if free is not None and fixed is not None and fixed.cost <= free.cost:
            del bounds[OrderScope.FIXED]  # the other one says more
        if infeasible:
            status = Status.INFEASIBLE
        elif self.cost is not None and self.cost <= self.proven:
            status = Status.OPTIMAL
        elif team.interrupted or self.clock.left == 0:
            status = Status.TIME_LIMIT
        else:
            status = Status.FEASIBLE
        notes = [*self.notes, *team.notes]
        if self.stages_infeasible and not infeasible:
            notes.append("no stages of the input order are within the budget")
        if team.interrupted:
            notes.append(INTERRUPTED)
        solution = RematSolution(
            status=status,
            scope=self.scope,
            sequence=self.best,
            cost=self.cost,
            base_cost=self.problem.base_cost,
            peak_bytes=None if self.best is None else peak_of(self.problem, self.best),
            bounds=tuple(bounds.values()),
            peak_bound_bytes=self.least_peak,
            peak_bound_method=self.peak_method,
            solver=self.by,
            seconds=self.clock.seconds,
            cpu_seconds=team.cpu_seconds,
            notes=tuple(dict.fromkeys(notes)),
        )
        check(self.problem, solution)
        return solution


class _Stages:
    """The stages, one after the other, until nothing more is needed."""

    def __init__(self, board: _Board, team: Team, options: AutoOptions, seed: int) -> None:
        self.board, self.team, self.options, self.seed = board, team, options, seed
        self.problem, self.scope, self.clock = board.problem, board.scope, board.clock
        self._searched = False  # in this scope, with all that is known

    def run(self) -> None:
        """All of them."""
        for stage in (self._trivial, self._order, self._seeds, self._short, self._search):
            stage()
            self.board.tell(None)
            if self.board.done or self.team.interrupted or self.clock.left == 0:
                return

    def _trivial(self) -> None:
        board, problem = self.board, self.problem
        if board.least_peak > problem.budget_bytes:
            board.infeasible = True
            return
        board.offer(problem.order, "input order")
        if peak_of(problem, problem.order) > problem.budget_bytes:
            self._repeats(OrderScope.FIXED)

    def _repeats(self, scope: OrderScope) -> None:
        """No sequence of the scope without repeats is within the budget."""
        board = self.board
        bound = repeat_bound(self.problem, scope)
        if bound is not None:
            board.claim(bound, "bound")
            return
        # Nothing that may be repeated has two uses: repeats cannot help.
        board.stages_infeasible = True
        if scope is self.scope:
            board.infeasible = True
            board.least_peak, board.peak_method = self.problem.budget_bytes + 1, "no useful repeat"

    def _order(self) -> None:
        if self.scope is OrderScope.FIXED:
            return
        left = self.clock.left
        ordered = schedule(
            self.problem.once,
            time_limit_s=None if left is None else _ORDER_PART * left,
            options=ExactOptions(work_limit=self.options.work_limit or _SCHEDULE_WORK),
        )
        if ordered.order is not None:
            self.board.offer(ordered.order, "exact order")
            self.board.starts.append(ordered.order)
        if ordered.lower_bound_bytes > self.problem.budget_bytes - self.problem.constant_bytes:
            self._repeats(OrderScope.FREE)

    def _seeds(self) -> None:
        """The heuristics that are quick enough, the better ones first."""
        left = self.clock.left
        part = None if left is None else left * _SEEDS_PART
        n = self.problem.num_nodes
        if not self.options.heuristics or (part is not None and 10 * n * n * _PLAN_S > part):
            return
        levels = len(Turn.of(self.problem).levels)
        levels = -(-levels // max(1, -(-levels // _CHAIN_LEVELS)))
        solvers: list[tuple[str, Callable[..., RematSolution]]] = []
        if part is None or 2 * levels**3 * _CHAIN_S < part:
            solvers.append(("chain", chain))
        solvers += [(name, partial(checkpoint, name)) for name in _SEEDS]
        solvers.append(("griewank", griewank))
        until = None if part is None else time.time() + part
        self._ask([self._job(name, solve, part, until=until) for name, solve in solvers])

    def _short(self) -> None:
        """An incumbent of the fixed order, where one is of use."""
        left = self.clock.left
        if self._exact_wanted:
            part = None if left is None else left * _SHORT_PART
            self._ask([self._searching(OrderScope.FIXED, part, self.seed, _SHORT_WORK)])
            self._searched = False

    def _search(self) -> None:
        left, team = self.clock.left, self.team
        if team.workers == 1:
            self._ask(self._exact(None if left is None else left * _EXACT_PART[self.scope]))
        else:
            exact = self._exact(left)
            self._ask([*exact, *self._searches(team.workers - len(exact), 0)])
        if self.board.done or team.interrupted:
            return
        # A pool may have broken, and the exact solvers may have needed less than their time.
        left, again = self.clock.left, self.options.work_limit is None
        if not self._searched or (left is not None and left > _AGAIN_S and again):
            self._ask(self._searches(team.workers, team.workers))

    def _searches(self, count: int, first: int) -> list[Job]:
        left = self.clock.left
        seeds = range(self.seed + first, self.seed + first + max(1, count))
        return [self._searching(self.scope, left, seed) for seed in seeds]

    @property
    def _exact_wanted(self) -> bool:
        """Whether the exact solvers may get somewhere."""
        left, n = self.clock.left, self.problem.num_nodes
        if not self.options.exact or n > _MILP_NODES or self.board.stages_infeasible:
            return False
        if left is None:
            return self.scope is OrderScope.FIXED
        part = left if self.team.workers > 1 else left * _EXACT_PART[self.scope]
        return part >= n * n * _MILP_S

    def _exact(self, part: float | None) -> list[Job]:
        """The exact solvers, where their answer can still matter."""
        board = self.board
        bound = board.bounds.get(OrderScope.FIXED)
        if bound is not None and board.stages_cost is not None and bound.cost >= board.stages_cost:
            return []
        if not self._exact_wanted:
            return []
        known = () if board.stages is None else (board.stages,)
        jobs = [
            self._job(
                "checkmate-milp",
                partial(checkmate_milp, start=known, options=MilpOptions(search_work=0)),
                part,
                OrderScope.FIXED,
            )
        ]
        if self.team.workers > 2 and self.problem.num_nodes <= _CP_NODES:
            options = CpOptions(runs=None, search_work=0)
            solve = partial(interval_cp, start=known, options=options)
            jobs.append(self._job("interval-cp", solve, part, OrderScope.FIXED))
        return jobs

    def _searching(
        self,
        scope: OrderScope,
        part: float | None,
        seed: int,
        share: float = 1.0,
    ) -> Job:
        board = self.board
        work: int | None = None
        if part is None:
            work = max(1, int(share * (self.options.work_limit or _SEARCH_WORK)))
        elif self.options.work_limit is not None:
            work = max(1, int(share * self.options.work_limit))
        if scope is OrderScope.FIXED:
            start = [] if board.stages is None else [board.stages]
        else:
            start = [s for s in (board.best, *board.starts) if s is not None]
        solve = partial(
            search,
            start=tuple(dict.fromkeys(start)),
            options=SearchOptions(work_limit=work, schedule=False),
        )
        bounds = [b.cost for s, b in board.bounds.items() if s in (scope, OrderScope.FREE)]
        return self._job(
            "search",
            solve,
            part,
            scope,
            seed=seed,
            enough=max(bounds, default=self.problem.base_cost),
        )

    def _job(
        self,
        name: str,
        solve: Callable[..., RematSolution],
        part: float | None,
        scope: OrderScope | None = None,
        *,
        seed: int | None = None,
        enough: Cost | None = None,
        until: float | None = None,
    ) -> Job:
        return Job(
            name=name,
            solve=solve,
            problem=self.problem,
            scope=scope or self.scope,
            time_limit_s=part,
            until=until if until is not None or part is None else time.time() + part,
            seed=self.seed if seed is None else seed,
            enough=enough,
            listens=name == "search",
        )

    def _ask(self, jobs: Sequence[Job]) -> None:
        if jobs:
            self.team.run(jobs, self._take)

    def _take(self, answer: Answer) -> bool:
        self._searched |= answer.name == "search" and answer.solution is not None
        return self.board.take(answer)
