"""Solve a program in a child process: HiGHS, or SCIP or Gurobi where they are installed.

    parent: arrays -> file,  run the child, kill it at the hard limit,  check what comes back
    child:  `worker.solve`

**What is believed.**  A point that comes back is rounded to integers (where asked for) and checked
in exact arithmetic by the caller's own means.  A linear program's bound is recomputed from its
multipliers in exact arithmetic (`model.dual_bound`), so it holds whatever the solver did.  A tree
search's bound and its verdict of infeasibility rest on the solver, within a feasibility tolerance
of 1e-7; `bound` is its own bound, lowered by 1e-6 of itself and of the cost's scale.
"""

from __future__ import annotations

import math
import tempfile
import time
from dataclasses import dataclass
from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING, cast

import numpy as np

from lowtide import child
from lowtide.child import ChildError
from lowtide.errors import InputError
from lowtide.solvers.milp.model import dual_bound

if TYPE_CHECKING:
    from collections.abc import Sequence

    from numpy.typing import NDArray

    from lowtide.solvers.milp.model import LinearModel

__all__ = ["GRACE_S", "LinearSolution", "MilpSolver", "Outcome", "solve"]

# After the time limit a child has this long to hand over its incumbent before it is killed.
GRACE_S = 2.0
_MARGIN = 1e-6
_MEMORY_BYTES = 8 << 30
_NO_LIMIT_S = 2e6  # what poll() takes


class MilpSolver(StrEnum):
    """Solvers of MathOpt. HiGHS and SCIP come with ortools; Gurobi has to be installed."""

    HIGHS = "highs"
    SCIP = "scip"
    GUROBI = "gurobi"


class Outcome(StrEnum):
    """How the child ended."""

    SOLVED = "solved"  # an optimum within the solver's tolerances
    INFEASIBLE = "infeasible"  # no point at all, says the solver
    LIMIT = "limit"  # stopped by a limit, maybe with a point
    KILLED = "killed"  # no answer by the hard limit
    FAILED = "failed"  # the child crashed, ran out of memory or reported an error


@dataclass(frozen=True, eq=False)
class LinearSolution:
    """What came back.

    Attributes:
        outcome: how it ended.
        values: the best point, as the solver has it (not yet rounded or checked); None for none.
        bound: no point costs less; exact for a linear program, within tolerances for a search.
        duals: a linear program's row multipliers.
        nodes: of the search tree.
        cpu_seconds: of the child, its start included.
        seconds: wall time.
        message: of a child that failed.
    """

    outcome: Outcome
    values: NDArray[np.float64] | None = None
    bound: float = -math.inf
    duals: NDArray[np.float64] | None = None
    nodes: int = 0
    cpu_seconds: float = 0.0
    seconds: float = 0.0
    message: str = ""

    def rounded(self) -> list[int] | None:
        """The point with every value rounded to the nearest integer."""
        return None if self.values is None else [round(v) for v in self.values.tolist()]


def solve(
    model: LinearModel,
    *,
    time_limit_s: float | None,
    hint: Sequence[int] | None = None,
    solver: MilpSolver = MilpSolver.HIGHS,
    threads: int = 1,
    seed: int = 0,
    relative_gap: float = 0.0,
    grace_s: float = GRACE_S,
    memory_limit_bytes: int | None = _MEMORY_BYTES,
) -> LinearSolution:
    """Solve `model` in a child process. Ctrl-C kills the child and is raised on.

    Args:
        model: what to solve; a linear program when no variable is an integer.
        time_limit_s: wall time for the solver; None for none.
        hint: a point to start from.
        solver: which one.
        threads: of SCIP or Gurobi; HiGHS searches with one.
        seed: of the solver.
        relative_gap: end a search when its gap is at most this.
        grace_s: the child is killed this long after the time limit.
        memory_limit_bytes: address space of the child beyond its imports'.

    Raises:
        InputError: the hint is not a point of the model, or the time limit is negative.
    """
    if hint is not None and len(hint) != model.num_variables:
        raise InputError(f"the hint has {len(hint)} values for {model.num_variables} variables")
    if time_limit_s is not None and not time_limit_s >= 0:
        raise InputError(f"the time limit must not be negative, got {time_limit_s}")
    begin = time.perf_counter()
    before = _children_seconds()
    with tempfile.TemporaryDirectory(prefix="lowtide-milp-") as folder:
        program, answer = Path(folder, "program.npz"), Path(folder, "answer.npz")
        arrays = {
            "cost": model.cost,
            "lower": model.lower,
            "upper": model.upper,
            "integer": model.integer,
            "starts": model.starts,
            "columns": model.columns,
            "values": model.values,
            "row_lower": model.row_lower,
            "row_upper": model.row_upper,
        }
        if hint is not None:
            arrays["hint"] = np.array(hint, dtype=np.float64)
        np.savez(program, **arrays)  # type: ignore[arg-type]  # pyright: ignore[reportArgumentType]
        request: dict[str, object] = {
            "program": str(program),
            "answer": str(answer),
            "solver": solver.value,
            "time_limit_s": time_limit_s,
            "threads": threads,
            "seed": seed,
            "relative_gap": relative_gap,
        }
        hard = _NO_LIMIT_S if time_limit_s is None else time_limit_s + grace_s
        try:
            reply = child.run(
                "lowtide.solvers.milp.worker:solve",
                request,
                timeout_s=hard,
                memory_limit_bytes=memory_limit_bytes,
            )
        except ChildError as error:
            took = time.perf_counter() - begin
            return LinearSolution(
                Outcome.KILLED if took >= hard else Outcome.FAILED,
                cpu_seconds=_children_seconds() - before,
                seconds=took,
                message=str(error),
            )
        with np.load(answer) as found:
            values = found["values"] if "values" in found.files else None
            duals = found["duals"] if "duals" in found.files else None
    reason = str(reply["reason"])
    outcome = {
        "OPTIMAL": Outcome.SOLVED,
        "INFEASIBLE": Outcome.INFEASIBLE,
        "INFEASIBLE_OR_UNBOUNDED": Outcome.INFEASIBLE,  # every variable is bounded
        "FEASIBLE": Outcome.LIMIT,
        "NO_SOLUTION_FOUND": Outcome.LIMIT,
    }.get(reason, Outcome.FAILED)
    bound = -math.inf
    if duals is not None:
        bound = dual_bound(model, duals)
    elif model.integer.any() and reply["bound"] is not None and outcome is not Outcome.FAILED:
        raw = cast("float", reply["bound"])
        scale = float(np.abs(model.cost).max(initial=0.0))
        bound = raw - _MARGIN * (abs(raw) + scale)
    if outcome is Outcome.INFEASIBLE:
        bound = math.inf
    return LinearSolution(
        outcome,
        values=values,
        bound=bound,
        duals=duals,
        nodes=cast("int", reply["nodes"]),
        cpu_seconds=max(cast("float", reply["cpu_seconds"]), _children_seconds() - before),
        seconds=time.perf_counter() - begin,
        message="" if outcome is not Outcome.FAILED else f"{solver} ended with {reason}",
    )


def _children_seconds() -> float:
    """Processor seconds of all children that have ended so far."""
    import os

    times = os.times()
    return times.children_user + times.children_system
