"""Choose rewrites together with the order: what lowers the peak stays, and nothing else.

Rewrites are applied as far as they go (Ahn et al., MLSys 2020, do so once and for all), the result
is scheduled, what was left open (the order of accumulation) is read off the schedule, and it is
scheduled again. Then they are undone by halves, quarters, and one by one, the last first, wherever
the peak does not rise: delta debugging (Zeller and Hildebrandt, 2002) with the scheduler as the
test. If all of them together lower nothing, they are tried one by one.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from lowtide.errors import ModelError, PlanError
from lowtide.ir import simulate, unroll
from lowtide.passes.lower import lower
from lowtide.passes.rewrite.registry import rule as named
from lowtide.passes.rewrite.rule import Refusal, Rewrite
from lowtide.solvers.schedule.exact import ExactOptions, schedule

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from lowtide.ir import Accounting, Graph
    from lowtide.passes.rewrite.dialect import Dialect
    from lowtide.passes.rewrite.rule import Rule

__all__ = ["Choice", "choose", "rewritten"]

_MAX_OPS = 20_000  # of a graph that is looked at
_MAX_REWRITES = 2_000  # applied to one model
_MAX_TRIALS = 400  # schedules of one choice: so many,
_MAX_TRIED_OPS = 40_000  # and so many ops in all of them (but ten at least)
_WORK = 400_000  # of the scheduler in one of them


@dataclass(frozen=True, slots=True)
class Choice:
    """The rewrites to apply, and what they are expected to give.

    Attributes:
        rewrites: in the order of application; empty where none lowers the peak.
        graph: the graph after them, in the order found.
        peak_before_bytes: of the best order found without them; of the graph's own order where no
            rule applies.
        peak_after_bytes: of the best order found with them.
        refused: where a rule's pattern is but the rule does not apply, and why.
    """

    rewrites: tuple[Rewrite, ...]
    graph: Graph
    peak_before_bytes: int
    peak_after_bytes: int
    refused: tuple[Refusal, ...]


def rewritten(graph: Graph, dialect: Dialect, rewrites: Iterable[Rewrite]) -> Graph:
    """A copy of the graph with the rewrites applied, in turn.

    Raises:
        PlanError: one does not apply.
    """
    copy = unroll(graph, graph.ops)
    for rewrite in rewrites:
        try:
            named(rewrite.rule).apply(copy, dialect, rewrite)
        except (KeyError, ModelError) as error:
            raise PlanError(f"the rewrite {rewrite} does not apply: {error}") from None
    return copy


def choose(
    graph: Graph,
    dialect: Dialect,
    accounting: Accounting,
    rules: Sequence[Rule],
    *,
    budget_bytes: int | None = None,
    seed: int = 0,
) -> Choice:
    """The rewrites that lower the peak, as few as found; repeatable.

    Args:
        graph: not changed.
        dialect: of its format.
        accounting: how memory is counted.
        rules: which may be used.
        budget_bytes: rewrites beyond those that meet it are undone; None for the least peak.
        seed: of the scheduler.
    """
    search = _Search(graph, dialect, accounting, seed)
    every, refused = search.all_of(rules) if len(graph) <= _MAX_OPS else ((), ())
    if not every:
        peak = simulate(graph, accounting).peak_bytes
        return Choice((), graph, peak, peak, refused)
    before = search.peak(())
    if budget_bytes is not None and before <= budget_bytes:
        every = ()
    if every and search.peak(every) >= before:
        every = search.one_by_one(every)
    if every and search.peak(every) < before:
        budget = None if budget_bytes is None else min(budget_bytes, before - 1)
        chosen = search.settled(search.fewest(every, budget))
        chosen = search.fewest(chosen, budget)  # in these very orders
    else:
        chosen = ()
    return Choice(chosen, search.graph(chosen), before, search.peak(chosen), refused)


class _Search:
    """Peaks of rewritten graphs, each computed once."""

    def __init__(self, graph: Graph, dialect: Dialect, accounting: Accounting, seed: int) -> None:
        self._source, self._dialect = graph, dialect
        self._accounting, self._seed = accounting, seed
        self._known: dict[tuple[Rewrite, ...], tuple[int, tuple[str, ...]]] = {}
        self._left = max(10, min(_MAX_TRIALS, _MAX_TRIED_OPS // max(len(graph), 1)))

    def peak(self, rewrites: tuple[Rewrite, ...]) -> int:
        """The peak with the rewrites, nothing left open."""
        return self._solved(self.settled(rewrites))[0]

    def graph(self, rewrites: tuple[Rewrite, ...]) -> Graph:
        """The rewritten graph in the best order found."""
        graph = rewritten(self._source, self._dialect, rewrites)
        graph.reorder([graph.op(name) for name in self._solved(rewrites)[1]])
        return graph

    def _solved(self, rewrites: tuple[Rewrite, ...]) -> tuple[int, tuple[str, ...]]:
        if rewrites not in self._known:
            graph = rewritten(self._source, self._dialect, rewrites)
            self._left -= 1
            lowered = lower(graph, self._accounting)
            start = tuple(range(len(lowered.ops)))
            solution = schedule(
                lowered.problem,
                time_limit_s=None,
                seed=self._seed,
                start=(start,),
                options=ExactOptions(work_limit=_WORK),
            )
            assert solution.order is not None
            assert solution.peak_bytes is not None
            order = tuple(op.name for op in lowered.order(solution.order))
            self._known[rewrites] = (solution.peak_bytes, order)
        return self._known[rewrites]

    def all_of(self, rules: Sequence[Rule]) -> tuple[tuple[Rewrite, ...], tuple[Refusal, ...]]:
        """Rewrites until none applies any more, rule after rule; and what was refused."""
        graph = rewritten(self._source, self._dialect, ())
        applied: list[Rewrite] = []
        failed: set[Rewrite] = set()
        refused: dict[Refusal, None] = {}
        progress = True
        while progress and len(applied) < _MAX_REWRITES:
            progress = False
            for rule in rules:
                for site in [*rule.sites(graph, self._dialect)]:
                    if isinstance(site, Refusal):
                        refused[site] = None
                        continue
                    if site in failed:
                        continue
                    try:
                        rule.apply(graph, self._dialect, site)
                    except (PlanError, KeyError):
                        continue  # another site took the op
                    except ModelError as error:  # half done: begin again without it
                        failed.add(site)
                        refused[Refusal(site.rule, site.op, str(error))] = None
                        graph = rewritten(self._source, self._dialect, applied)
                        progress = True
                        break
                    applied.append(site)
                    progress = True
        return tuple(applied), tuple(refused)

    def settled(self, rewrites: tuple[Rewrite, ...]) -> tuple[Rewrite, ...]:
        """The rewrites with what they left open as the best order has it."""
        order = self._solved(rewrites)[1]
        return tuple(named(r.rule).settled(r, order) for r in rewrites)

    def one_by_one(self, rewrites: tuple[Rewrite, ...]) -> tuple[Rewrite, ...]:
        """Each rewrite that lowers the peak in the company of those chosen before it."""
        chosen: tuple[Rewrite, ...] = ()
        for rewrite in rewrites:
            if self._left <= 0:
                break
            trial = self._without_misfits((*chosen, rewrite))
            if self.peak(trial) < self.peak(chosen):
                chosen = trial
        return chosen

    def fewest(self, rewrites: tuple[Rewrite, ...], budget: int | None) -> tuple[Rewrite, ...]:
        """Rewrites left out, in ever smaller groups, as long as the peak does not rise.

        With a budget it may rise up to that.
        """
        size = len(rewrites)
        while size >= 1 and self._left > 0:
            count = end = len(rewrites)
            while end > 0 and self._left > 0:
                start = max(0, end - size)
                trial = self._without_misfits(rewrites[:start] + rewrites[end:])
                if self.peak(trial) <= max(self.peak(rewrites), budget or 0):
                    rewrites = trial
                end = min(start, len(rewrites))
            if size > 1 or len(rewrites) == count:  # one by one until all are needed
                size //= 2
        return rewrites

    def _without_misfits(self, rewrites: Sequence[Rewrite]) -> tuple[Rewrite, ...]:
        """Those that still apply once others are left out."""
        graph = rewritten(self._source, self._dialect, ())
        kept: list[Rewrite] = []
        for rewrite in rewrites:
            try:
                named(rewrite.rule).apply(graph, self._dialect, rewrite)
            except (PlanError, KeyError, ModelError):
                continue
            kept.append(rewrite)
        return tuple(kept)
