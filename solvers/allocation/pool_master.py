"""The master problem of `pools.py`: which buffer goes to which pool, by CP-SAT."""

from __future__ import annotations

from math import ceil
from typing import TYPE_CHECKING

from lowtide.solvers.cp_sat import cp_model

if TYPE_CHECKING:
    from collections.abc import Sequence

    from lowtide.solvers.allocation.pools import PoolProblem

__all__ = ["Master"]


class Master:
    """Assignments under the load of every moment, and under the cuts that were added.

    Load: at one moment the blocks of a pool lie at multiples of its alignment, in disjoint classes
    of equal offset; with sizes rounded up, the topmost class ends at most at the capacity rounded
    up. In a class every member but the one of highest rank (size, then index) has a sharing partner
    of higher rank; so the blocks of the moment that have no such partner among all that are active
    there lie in different classes, and their rounded sizes sum to at most the rounded capacity.
    """

    def __init__(self, problem: PoolProblem, moments: Sequence[frozenset[int]], seed: int) -> None:
        self._problem = problem
        self._seed = seed
        self._model = cp_model.CpModel()
        self._choice: list[dict[int, cp_model.IntVar]] = []
        for index in range(len(problem.blocks)):
            chosen = {
                pool: self._model.new_bool_var(f"{index} in {pool}")
                for pool in problem.choices(index)
            }
            self._model.add_exactly_one(chosen.values())
            self._choice.append(chosen)
        partners: dict[int, list[int]] = {}
        for one, two in problem.shares:
            partners.setdefault(one, []).append(two)
            partners.setdefault(two, []).append(one)

        def rank(block: int) -> tuple[int, int]:
            return problem.blocks[block].size, block

        for moment in moments:
            heads = sorted(
                k
                for k in moment
                if not any(j in moment and rank(j) > rank(k) for j in partners.get(k, ()))
            )
            for index, pool in enumerate(problem.pools):
                if pool.capacity is None:
                    continue
                align = pool.alignment
                terms = [
                    (self._choice[k][index], -(-problem.blocks[k].size // align) * align)
                    for k in heads
                    if index in self._choice[k]
                ]
                room = -(-pool.capacity // align) * align
                if sum(size for _, size in terms) > room:
                    self._model.add(sum(size * choice for choice, size in terms) <= room)
        self._model.minimize(
            sum(
                problem.cost(k, pool) * choice
                for k, chosen in enumerate(self._choice)
                for pool, choice in chosen.items()
            )
        )

    def exclude(self, pool: int, members: Sequence[int]) -> None:
        """Not all of these may lie in the pool."""
        self._model.add_bool_or(~self._choice[k][pool] for k in members)

    def solve(
        self, time_limit_s: float, work_limit: float
    ) -> tuple[tuple[int, ...] | None, int, bool]:
        """The cheapest assignment found, a bound on the cost of all, and whether it was finished.

        Finished with no assignment: there is none. Work is CP-SAT's deterministic time.
        """
        solver = cp_model.CpSolver()
        solver.parameters.num_workers = 1
        solver.parameters.random_seed = self._seed % (1 << 31)
        solver.parameters.max_deterministic_time = work_limit
        if time_limit_s < float("inf"):
            solver.parameters.max_time_in_seconds = time_limit_s
        status = solver.solve(self._model)
        if status == cp_model.INFEASIBLE:
            return None, 0, True
        if status not in {cp_model.OPTIMAL, cp_model.FEASIBLE}:
            return None, 0, False
        pools = tuple(
            next(pool for pool, choice in chosen.items() if solver.boolean_value(choice))
            for chosen in self._choice
        )
        # Costs are whole and below 2^53, where floats are exact.
        return pools, ceil(solver.best_objective_bound - 1e-6), status == cp_model.OPTIMAL
