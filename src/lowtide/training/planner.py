"""Find a sequence within a budget, and say what is possible where there is none."""

from __future__ import annotations

from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING

from lowtide.backends.tensorflow.accounting import ACCOUNTING
from lowtide.errors import BudgetInfeasibleError, BudgetNotMetError
from lowtide.ir import Role, simulate, unroll
from lowtide.passes.costs import CostModel
from lowtide.solvers.remat.bounds import peak_bound
from lowtide.solvers.remat.registry import get_solver
from lowtide.solvers.status import Status
from lowtide.training.coarsen import coarsen
from lowtide.training.contract import contract
from lowtide.training.effort import Allowance, Effort
from lowtide.training.multilevel import multilevel
from lowtide.units import format_bytes

if TYPE_CHECKING:
    from collections.abc import Sequence

    from lowtide.ir import Graph, Op, Tensor
    from lowtide.planning import CostProgress
    from lowtide.solvers.remat.problem import Cost, RematProblem

__all__ = ["Found", "find_sequence", "late_bytes"]

_ATTEMPTS = 4
_PROBES = 5
_PART = 0.6  # of the effort, for the budget itself, at first
_LEAST_S = 0.1  # of a search
_SHARE, _PROVEN_SHARE = 0.5, 0.05  # of what is left, for each other budget


@dataclass(frozen=True, slots=True)
class Found:
    """A sequence of all ops and its exact figures."""

    sequence: tuple[Op, ...]
    peak_before_bytes: int
    peak_after_bytes: int
    peak_bound_bytes: int
    cost_before_ns: int
    cost_after_ns: int


def late_bytes(steps: Sequence[Op]) -> int:
    """At most so many bytes more, where repeats read variables that were assigned meanwhile.

    An op that an assignment waits for (by a token, `^op`) keeps the variable's old bytes alive when
    it is repeated after it.
    """
    done: set[Op] = set()
    states: dict[str, int] = {}
    for op in steps:
        if op in done:
            for token in op.outputs:
                if not token.name.startswith("^"):
                    continue
                for follower in token.consumers:
                    if follower in done and follower.traits.pinned:
                        states.update((t.name, t.nbytes) for t in _states(follower))
        done.add(op)
    return sum(states.values())


def _states(op: Op) -> list[Tensor]:
    """The variables that an op takes by their handles."""
    handles = [t for t in op.operands if t.role is Role.CONSTANT and t.dtype == "opaque"]
    views = [r.outputs[0] for t in handles for r in t.consumers if r.outputs and r.traits.view]
    return [view.storage for view in views if view.storage.role is Role.STATE]


def _tell(progress: CostProgress, once: int, kept: Cost, cost: Cost | None, least: Cost) -> None:
    """Say what a search has found; of the ops that it does not see each runs once."""
    best = None if cost is None else float(cost - kept + once)
    progress.costs(best, float(least - kept + once), once)


def find_sequence(
    graph: Graph,
    budget_bytes: int | None,
    *,
    effort: Effort,
    peak_before_bytes: int | None = None,
    solver: str = "search",
    seed: int = 0,
    closest: bool = False,
    progress: CostProgress | None = None,
) -> Found:
    """The cheapest sequence found whose simulated peak is within the budget.

    Args:
        graph: of a step; its own order is the one to compare with.
        budget_bytes: None keeps that order.
        effort: of all searches together, about; of a named solver only the time is limited.
        peak_before_bytes: of the order to compare with, where the graph's own is another one.
        solver: a named solver of rematerialization; `search` takes several sizes of the problem.
        seed: of the search.
        closest: where no sequence within the budget was found, hand out the one of the smallest
            budget that was met.
        progress: told what is sought, and how far the search is.

    Raises:
        BudgetInfeasibleError: no sequence can meet the budget; proven.
        BudgetNotMetError: none was found. Either names the smallest budget that was met.
    """
    costs = CostModel().by_op(graph)
    before = simulate(graph, ACCOUNTING).peak_bytes
    once = sum(costs.values())
    if budget_bytes is None or before <= budget_bytes:
        return Found(graph.ops, before, before, 0, once, once)
    allowance = Allowance(effort)
    named = None if solver == "search" else get_solver(solver)

    def solve(
        problem: RematProblem, effort: Effort, known: Sequence[tuple[int, ...]]
    ) -> tuple[tuple[int, ...] | None, bool]:
        """A sequence, and whether there is surely none."""
        if named is None:
            told = None if progress is None else partial(_tell, progress, once, problem.base_cost)
            found = multilevel(problem, effort=effort, seed=seed, start=known, progress=told)
            return found.sequence, found.status is Status.INFEASIBLE
        # Most of them take the square of the ops in time; groups of ops are fewer.
        coarse = coarsen(problem)
        plan = named(coarse.problem, time_limit_s=effort.time_limit_s, seed=seed).sequence
        return (None if plan is None else coarse.expand(plan)), False

    bound = 0
    proven = False

    def within(budget: int, effort: Effort) -> Found | None:
        nonlocal bound, proven
        contracted = contract(graph, costs, budget, before)
        light = contracted.problem.constant_bytes
        # The problem counts light bytes as if they were all there at the peak. At first without
        # them, since the simulation decides; then with them, which is safe; then with less.
        aim = budget + light
        known: tuple[tuple[int, ...], ...] = ()
        for attempt in range(_ATTEMPTS):
            problem = contracted.problem.with_budget(aim)
            bound = max(bound, peak_bound(problem)[0] - light)
            if progress is not None:
                again = f", attempt {attempt + 1}" if attempt else ""
                progress.stage(f"recompute within {format_bytes(budget)}{again}")
            sequence, impossible = solve(problem, effort.at_least(_LEAST_S), known)
            if sequence is None:
                if impossible and bound > budget:
                    proven = True
                return None
            steps = contracted.expand(sequence)
            peak = simulate(unroll(graph, steps), ACCOUNTING).peak_bytes + late_bytes(steps)
            if peak <= budget:
                cost = sum(costs[op] for op in steps)
                return Found(steps, before, peak, bound, once, cost)
            aim = min(budget, aim - max(peak - budget, 1))
            if aim <= 0:
                return None
            known, effort = (sequence,), effort.part(0.5)
        return None

    found = within(budget_bytes, allowance.take(_PART))
    if found is not None:
        return found
    # The smallest budget that can be met, by bisection; soon, where the answer is known already.
    share = _PROVEN_SHARE if proven else _SHARE
    traced = peak_before_bytes or before
    before = min(before, peak_before_bytes or before)
    low, high = max(budget_bytes, bound), before
    best = Found(graph.ops, before, before, bound, once, once)
    for _ in range(_PROBES):
        middle = (low + high) // 2
        if high - low <= before // 100 or allowance.spent:
            break
        probe = within(middle, allowance.take_left(share))
        if probe is None:
            low = middle
        else:
            best, high = probe, probe.peak_after_bytes
    if closest:
        return best
    text = (
        f"the step's budget is {format_bytes(budget_bytes)} ({budget_bytes} bytes), and no plan "
        f"within it {'exists' if proven else 'was found'}; the smallest budget that was met is "
        f"{format_bytes(high)} ({high} bytes, {high / traced:.2f} of the {format_bytes(traced)} of "
        f"the step as it was traced): raise the budget, or reduce the batch"
    )
    raise BudgetInfeasibleError(text) if proven else BudgetNotMetError(text)
