"""`auto`: several solvers under one time limit; the best plan and the best bounds of all.

    trivial     the input order, the peak's bound
    order       free order: the exact scheduler, whose order may prove an overhead of 0 %
    seeds       the classic heuristics, as far as they are quick, to begin from
    blocks      free order: of large graphs, plans of repeated blocks, composed
    cover       the covering program's bounds, of the free order and of the fixed one
    short       a short search of the fixed order, for an incumbent of the exact solvers
    exact       `checkmate-milp`, with the incumbent: it bounds the fixed order, maybe improves it;
                of small problems `interval-cp`, beside it or where it proves nothing
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

from lowtide.errors import InputError
from lowtide.solvers.remat.blocks import repeated_start
from lowtide.solvers.remat.bounds import repeat_bound
from lowtide.solvers.remat.chain import chain
from lowtide.solvers.remat.check import peak_of
from lowtide.solvers.remat.checkmate_milp import MilpOptions, checkmate_milp
from lowtide.solvers.remat.chen import checkpoint
from lowtide.solvers.remat.conclude import Clock
from lowtide.solvers.remat.cover import cover_bound
from lowtide.solvers.remat.griewank import griewank
from lowtide.solvers.remat.interval_cp import CpOptions, interval_cp
from lowtide.solvers.remat.ledger import Ledger
from lowtide.solvers.remat.problem import OrderScope
from lowtide.solvers.remat.replay import Turn
from lowtide.solvers.remat.search import SearchOptions, search
from lowtide.solvers.remat.team import Answer, Job, Team
from lowtide.solvers.schedule.exact import ExactOptions, schedule

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence
    from concurrent.futures import Executor

    from lowtide.solvers.remat.problem import Cost, RematProblem
    from lowtide.solvers.remat.solution import RematSolution

__all__ = ["AutoOptions", "auto"]

# Parts of the time that is left when a stage begins.
_ORDER_PART, _SEEDS_PART, _SHORT_PART = 0.1, 0.08, 0.1
_COVER_PART, _COVER_LEAST_S, _COVER_MOST_S, _COVER_NODES = 0.25, 0.5, 10.0, 24
_BLOCKS_NODES, _BLOCKS_PART = 1000, 0.4
_EXACT_PART = {OrderScope.FREE: 0.3, OrderScope.FIXED: 0.75}
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
        order: in the free order, ask the exact scheduler.
        heuristics: begin from the classic heuristics.
        cover: ask the covering program for bounds.
        exact: ask the exact solvers; in the free order their bound is of the fixed one only, so
            without a time limit they are not asked there.
    """

    threads: int = 1
    executor: Executor | None = None
    work_limit: int | None = None
    order: bool = True
    heuristics: bool = True
    cover: bool = True
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
    ledger = Ledger(problem, scope, Clock(time_limit_s), progress)
    for sequence in start:
        ledger.offer(tuple(sequence), "start")
        ledger.starts.append(tuple(sequence))
    team = Team(opts.executor, opts.threads, ledger.tell)
    with team:
        try:
            _Stages(ledger, team, opts, seed).run()
        except KeyboardInterrupt:
            team.stopped = True
    return ledger.solution(team)


class _Stages:
    """The stages, one after the other, until nothing more is needed."""

    def __init__(self, ledger: Ledger, team: Team, options: AutoOptions, seed: int) -> None:
        self.ledger, self.team, self.options, self.seed = ledger, team, options, seed
        self.problem, self.scope, self.clock = ledger.problem, ledger.scope, ledger.clock
        self._searched = False  # in this scope, with all that is known
        self._warm = False  # whether a start is good enough to begin from coolly

    def run(self) -> None:
        """All of them."""
        for stage in (
            self._trivial,
            self._order,
            self._seeds,
            self._blocks,
            self._cover,
            self._short,
            self._search,
        ):
            stage()
            self.ledger.tell(None)
            if self._over:
                return

    @property
    def _over(self) -> bool:
        return self.ledger.done or self.team.interrupted or self.clock.left == 0

    def _trivial(self) -> None:
        ledger, problem = self.ledger, self.problem
        if ledger.least_peak > problem.budget_bytes:
            ledger.infeasible = True
            return
        ledger.offer(problem.order, "input order")
        if peak_of(problem, problem.order) > problem.budget_bytes:
            self._repeats(OrderScope.FIXED)

    def _repeats(self, scope: OrderScope) -> None:
        """No sequence of the scope without repeats is within the budget."""
        ledger = self.ledger
        bound = repeat_bound(self.problem, scope)
        if bound is not None:
            ledger.claim(bound, "bound")
            return
        # Nothing that may be repeated has two uses: repeats cannot help.
        ledger.stages_infeasible = True
        if scope is self.scope:
            ledger.infeasible = True
            ledger.least_peak = self.problem.budget_bytes + 1
            ledger.peak_method = "no useful repeat"

    def _order(self) -> None:
        if self.scope is OrderScope.FIXED or not self.options.order:
            return
        left = self.clock.left
        ordered = schedule(
            self.problem.once,
            time_limit_s=None if left is None else _ORDER_PART * left,
            options=ExactOptions(work_limit=self.options.work_limit or _SCHEDULE_WORK),
        )
        if ordered.order is not None:
            self.ledger.offer(ordered.order, "exact order")
            self.ledger.starts.append(ordered.order)
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

    def _blocks(self) -> None:
        """A start from repeated blocks, which is hard to find for a search of a large graph."""
        left = self.clock.left
        if self.scope is OrderScope.FIXED or self.problem.num_nodes < _BLOCKS_NODES:
            return
        part = None if left is None else left * _BLOCKS_PART
        found = repeated_start(self.problem, clock=Clock(part), seed=self.seed)
        if found is not None:
            self.ledger.offer(found, "blocks")
            self.ledger.starts.append(found)
            self._warm = True

    def _cover(self) -> None:
        """Bounds on what has to be repeated, in this order and in the fixed one."""
        scopes = [self.scope] if self.options.cover else []
        if scopes == [OrderScope.FREE] and self.options.exact:
            scopes.append(OrderScope.FIXED)
        for scope in scopes:
            left = self.clock.left
            part = None if left is None else min(left * _COVER_PART, _COVER_MOST_S)
            small = self.problem.num_nodes < _COVER_NODES
            if self._over or (small if part is None else part < _COVER_LEAST_S):
                return
            try:
                covered = cover_bound(self.problem, scope, time_limit_s=part, seed=self.seed)
            except Exception as error:  # a missing package, no memory: the others go on
                self.ledger.notes.append(f"cover: {type(error).__name__}: {error}")
                return
            if covered.bound is not None:
                self.ledger.claim(covered.bound, "cover")

    def _short(self) -> None:
        """An incumbent of the fixed order, where one is of use."""
        left = self.clock.left
        if self._exact_wanted:
            part = None if left is None else left * _SHORT_PART
            self._ask([self._searching(OrderScope.FIXED, part, self.seed, _SHORT_WORK)])
            self._searched = False

    def _search(self) -> None:
        left, team = self.clock.left, self.team
        part = None if left is None else left * _EXACT_PART[self.scope]
        if team.workers > 1:
            if self.scope is OrderScope.FIXED:
                part = left
            # One search more than there is room for: it begins when another job has ended.
            self._ask([*self._exact(part), *self._searches(team.workers, 0)])
        else:
            self._ask(self._exact(part))
            bound = self.ledger.bounds.get(OrderScope.FIXED)
            proved = bound is not None and bound.solver == "checkmate-milp"
            if self.scope is OrderScope.FIXED and not self._over and not proved:
                self._ask(self._intervals(None if part is None else part / 2))
        if self._over:
            return
        # A pool may have broken, and the exact solvers may have needed less than their time.
        left, again = self.clock.left, self.options.work_limit is None
        if not self._searched or (left is not None and left > _AGAIN_S and again):
            self._ask(self._searches(team.workers, team.workers))

    def _searches(self, count: int, first: int) -> list[Job]:
        left = self.clock.left
        seeds = range(self.seed + first, self.seed + first + count)
        return [self._searching(self.scope, left, seed) for seed in seeds]

    @property
    def _exact_wanted(self) -> bool:
        """Whether the exact solvers may get somewhere."""
        left, n = self.clock.left, self.problem.num_nodes
        if not self.options.exact or n > _MILP_NODES or self.ledger.stages_infeasible:
            return False
        if left is None:
            return self.scope is OrderScope.FIXED
        part = left if self.team.workers > 1 else left * _EXACT_PART[self.scope]
        return part >= n * n * _MILP_S

    def _exact(self, part: float | None) -> list[Job]:
        """The exact solvers, where their answer can still matter."""
        ledger = self.ledger
        bound, cost = ledger.bounds.get(OrderScope.FIXED), ledger.stages_cost
        met = bound is not None and cost is not None and bound.cost >= cost
        if met or not self._exact_wanted:
            return []
        known = () if ledger.stages is None else (ledger.stages,)
        jobs = [
            self._job(
                "checkmate-milp",
                partial(checkmate_milp, start=known, options=MilpOptions(search_work=0)),
                part,
                OrderScope.FIXED,
            )
        ]
        return [*jobs, *(self._intervals(part) if self.team.workers > 2 else [])]

    def _intervals(self, part: float | None) -> list[Job]:
        """Another exact method, for small problems."""
        if not self._exact_wanted or self.problem.num_nodes > _CP_NODES:
            return []
        known = () if self.ledger.stages is None else (self.ledger.stages,)
        options = CpOptions(runs=None, search_work=0)
        solve = partial(interval_cp, start=known, options=options)
        return [self._job("interval-cp", solve, part, OrderScope.FIXED)]

    def _searching(
        self,
        scope: OrderScope,
        part: float | None,
        seed: int,
        share: float = 1.0,
    ) -> Job:
        ledger = self.ledger
        work: int | None = None
        if part is None:
            work = max(1, int(share * (self.options.work_limit or _SEARCH_WORK)))
        elif self.options.work_limit is not None:
            work = max(1, int(share * self.options.work_limit))
        if scope is OrderScope.FIXED:
            start = [] if ledger.stages is None else [ledger.stages]
        else:
            start = [s for s in (ledger.best, *ledger.starts) if s is not None]
        solve = partial(
            search,
            start=tuple(dict.fromkeys(start)),
            options=SearchOptions(
                work_limit=work,
                schedule=False,
                cover=False,
                warm=self._warm and scope is OrderScope.FREE,
            ),
        )
        bounds = [b.cost for s, b in ledger.bounds.items() if s in (scope, OrderScope.FREE)]
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
        return self.ledger.take(answer)
