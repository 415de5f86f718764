"""From a state to a problem of rematerialization, and from its solution back to a graph."""

from __future__ import annotations

from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING

from lowtide.errors import LowtideError
from lowtide.ir import refresh_views, simulate, unroll
from lowtide.passes.lower import lower
from lowtide.solvers.joint import pack_order
from lowtide.solvers.remat.auto import AutoOptions, auto
from lowtide.solvers.remat.problem import RematProblem
from lowtide.solvers.remat.registry import get_solver
from lowtide.solvers.remat.search import SearchOptions, search

if TYPE_CHECKING:
    from lowtide.ir import Graph, Op
    from lowtide.passes.state import State
    from lowtide.solvers.remat.registry import RematSolver
    from lowtide.solvers.remat.solution import RematSolution

__all__ = ["REMAT_WORK", "Recomputed", "limited_solver", "recomputed", "remat_problem"]

REMAT_WORK = 8  # looks at a run for each unit of the scheduler's work
_PACK_WORK = 4_000_000


@dataclass(frozen=True)
class Recomputed:
    """A solution as a graph.

    Attributes:
        solution: what the solver returned.
        steps: ops of the state's graph; one named again is a recomputation.
        graph: with an op for every step, in that order.
        arena_bytes: the height of its layout.
    """

    solution: RematSolution
    steps: tuple[Op, ...]
    graph: Graph
    peak_bytes: int
    arena_bytes: int

    @property
    def needed_bytes(self) -> int:
        """What has to be within a budget."""
        return max(self.peak_bytes, self.arena_bytes)


def remat_problem(state: State, budget_bytes: int) -> RematProblem:
    """The problem of a state's graph, with the planned order as the input order."""
    lowered = lower(state.graph, state.accounting)
    ops = lowered.ops
    number = {op: index for index, op in enumerate(ops)}
    single = {number[op] for op in ops if not op.traits.repeatable}
    for op in ops:  # a view that cannot be made again ties down the bytes that it shows
        if number[op] in single:
            for tensor in op.outputs:
                maker = tensor.storage.producer
                if maker is not None:
                    single.add(number[maker])
    return RematProblem(
        num_nodes=len(ops),
        buffers=lowered.problem.buffers,
        costs=state.costs.of_all(state.graph),
        budget_bytes=budget_bytes,
        workspace=lowered.problem.workspace,
        precedence=lowered.problem.precedence,
        in_place=lowered.problem.in_place,
        pinned=tuple(sorted(single)),
        order=tuple(number[op] for op in state.order),
        inputs_in_arena=state.accounting.inputs_in_arena,
    )


def limited_solver(name: str, work_limit: int | None) -> RematSolver:
    """The named solver with a repeatable limit, where it knows one.

    Raises:
        InputError: there is no such solver.
    """
    solve = get_solver(name)
    if work_limit is None:
        return solve
    if solve is search:
        return partial(search, options=SearchOptions(work_limit=work_limit))
    if solve is auto:
        return partial(auto, options=AutoOptions(work_limit=work_limit, exact=False))
    return solve


def recomputed(state: State, solution: RematSolution) -> Recomputed | None:
    """The solution's sequence on the state's graph, simulated and laid out; None without one.

    Raises:
        LowtideError: solver and simulator disagree (a bug).
    """
    if solution.sequence is None:
        return None
    steps = refresh_views([state.graph.ops[node] for node in solution.sequence])
    graph = unroll(state.graph, steps)
    peak = simulate(graph, state.accounting).peak_bytes
    if peak != solution.peak_bytes:
        raise LowtideError(
            f"the solver states a peak of {solution.peak_bytes} bytes, the simulator finds "
            f"{peak}: please report this model"
        )
    return Recomputed(solution, steps, graph, peak, _height(graph, state))


def _height(graph: Graph, state: State) -> int:
    """The height of the arena of an unrolled graph."""
    lowered = lower(graph, state.accounting)
    layout = pack_order(
        lowered.problem,
        range(len(lowered.ops)),
        alignment=state.accounting.alignment,
        other_orders=False,
        time_limit_s=state.time_limit_s,
        work=_PACK_WORK,
        rounds=2,
        seed=state.seed,
    )
    return layout.allocation.height or layout.peak_bytes
