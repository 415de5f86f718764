"""Rematerialization solvers by name: ours, `auto` (several), and those of other packages.

A package adds one through the entry-point group `lowtide.solvers`, under a name that begins with
`remat.`:

    [project.entry-points."lowtide.solvers"]
    "remat.annealing" = "my_package:solve"        # called as a `RematSolver`

It is loaded when `get_solver("annealing")` asks for it, so a broken one harms nobody else, and what
it returns is checked. Built-in names come first.
"""

from __future__ import annotations

from functools import partial
from importlib.metadata import entry_points
from typing import TYPE_CHECKING, Protocol, cast

from lowtide.errors import InputError
from lowtide.solvers.plugins import ENTRY_POINTS, load, named, returned
from lowtide.solvers.remat.auto import auto
from lowtide.solvers.remat.blocks import blocks
from lowtide.solvers.remat.chain import chain
from lowtide.solvers.remat.check import check
from lowtide.solvers.remat.checkmate_milp import checkmate_milp
from lowtide.solvers.remat.chen import CHECKPOINTS, checkpoint
from lowtide.solvers.remat.griewank import griewank
from lowtide.solvers.remat.interval_cp import interval_cp
from lowtide.solvers.remat.lp_rounding import lp_rounding
from lowtide.solvers.remat.problem import OrderScope
from lowtide.solvers.remat.search import search
from lowtide.solvers.remat.solution import RematSolution

if TYPE_CHECKING:
    from collections.abc import Callable

    from lowtide.solvers.remat.problem import Cost, RematProblem

__all__ = ["ENTRY_POINTS", "PREFIX", "RematSolver", "available", "get_solver"]

PREFIX = "remat."


class RematSolver(Protocol):
    """What every solver is called as; see `lowtide.solvers.remat.search.search`."""

    def __call__(
        self,
        problem: RematProblem,
        *,
        scope: OrderScope = ...,
        time_limit_s: float | None = ...,
        seed: int = ...,
        progress: Callable[[Cost | None, Cost], None] | None = ...,
    ) -> RematSolution:
        """A solution that `check` accepts; `progress` hears the best cost and the bound."""
        ...


_SOLVERS: dict[str, RematSolver] = {
    "search": search,
    "auto": auto,
    "checkmate-milp": checkmate_milp,
    "checkmate-lp-rounding": lp_rounding,
    "interval-cp": interval_cp,
    **{name: partial(checkpoint, name) for name in CHECKPOINTS},
    "griewank": griewank,
    "chain": chain,
    "blocks": blocks,
}


def available() -> tuple[str, ...]:
    """The names that `get_solver` knows, built-in ones first; loads nothing."""
    return (*_SOLVERS, *named(entry_points(group=ENTRY_POINTS), PREFIX, _SOLVERS))


def get_solver(name: str) -> RematSolver:
    """The solver of that name.

    Raises:
        InputError: there is none, or another package's cannot be loaded.
    """
    if name in _SOLVERS:
        return _SOLVERS[name]
    loaded = load(entry_points(group=ENTRY_POINTS), PREFIX + name, "solver", name)
    if loaded is not None:
        return _checked(name, cast("RematSolver", loaded))
    raise InputError(f"there is no remat solver `{name}`; there are: {', '.join(available())}")


def _checked(name: str, solver: RematSolver) -> RematSolver:
    """Another package's solver, whose solutions are checked before they are believed."""

    def run(
        problem: RematProblem,
        *,
        scope: OrderScope = OrderScope.FREE,
        time_limit_s: float | None = None,
        seed: int = 0,
        progress: Callable[[Cost | None, Cost], None] | None = None,
    ) -> RematSolution:
        answer = solver(
            problem, scope=scope, time_limit_s=time_limit_s, seed=seed, progress=progress
        )
        solution = returned(answer, RematSolution, "solver", name)
        check(problem, solution)
        return solution

    return run
