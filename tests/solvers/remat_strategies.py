"""Hypothesis strategies for rematerialization problems."""

from __future__ import annotations

from typing import TYPE_CHECKING

from hypothesis import strategies as st

from lowtide.solvers.remat.check import peak_of
from lowtide.solvers.remat.problem import RematProblem
from tests.solvers.strategies import schedule_problems

if TYPE_CHECKING:
    from random import Random

__all__ = ["random_sequence", "remat_problems", "training_problem"]


@st.composite
def remat_problems(draw: st.DrawFn, *, max_nodes: int = 5, extras: bool = True) -> RematProblem:
    """Random DAGs with all that the model knows, and a budget near the input order's peak."""
    random = draw(st.randoms(use_true_random=False))
    base = draw(schedule_problems(max_nodes=max_nodes, in_place=extras))
    n = base.num_nodes
    order = list(base.topological_order)
    pinned = [v for v in range(n) if extras and random.random() < 0.12]
    kinds: list[list[int | float]] = [[1], [0, 1, 2], [1, 5, 9], [0.5, 1, 0.1]]
    costs = random.choice(kinds)
    problem = RematProblem(
        num_nodes=n,
        buffers=base.buffers,
        costs=tuple(random.choice(costs) for _ in range(n)),
        budget_bytes=0,
        workspace=base.workspace if extras else (),
        precedence=base.precedence,
        in_place=base.in_place,
        pinned=tuple(pinned),
        order=tuple(order),
        constant_bytes=random.choice([0, 3]) if extras else 0,
        alignment=random.choice([1, 1, 4]) if extras else 1,
        inputs_in_arena=base.inputs_in_arena,
    )
    peak = peak_of(problem, problem.order)
    return problem.with_budget(max(0, peak - random.choice([0, 0, 1, 1, 2, 3, 5, 8])))


def random_sequence(problem: RematProblem, random: Random, extra: int) -> tuple[int, ...]:
    """A valid sequence: the input order with up to `extra` repeats, in places where they may be."""
    sequence = list(problem.order)
    for _ in range(extra):
        at = random.randrange(len(sequence) + 1)
        again = [v for v in set(sequence[:at]) if v not in problem.pinned]
        if again:
            sequence.insert(at, random.choice(sorted(again)))
    return tuple(sequence)


def training_problem(layers: int, random: Random) -> RematProblem:
    """A chain with its backward pass: gradient k reads gradient k + 1 and activations k, k - 1."""
    from lowtide.solvers.schedule.problem import Buffer

    n = 2 * layers
    readers: list[set[int]] = [set() for _ in range(n)]
    for v in range(1, n):
        readers[v - 1].add(v)
    for k in range(layers):
        back = n - 1 - k
        readers[k].add(back)
        if k:
            readers[k - 1].add(back)
    problem = RematProblem(
        num_nodes=n,
        buffers=tuple(
            Buffer(random.randint(4, 12), v, tuple(sorted(r)), not r) for v, r in enumerate(readers)
        ),
        costs=tuple(random.randint(1, 9) for _ in range(n)),
        budget_bytes=0,
    )
    return problem.with_budget_ratio("0.7")
