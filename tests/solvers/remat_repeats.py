"""A hypothesis strategy: small training graphs whose budgets often ask for repeats."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

from hypothesis import strategies as st

from lowtide.solvers.remat.check import peak_of
from lowtide.solvers.schedule.problem import Buffer, InPlace
from tests.solvers.remat_strategies import training_problem

if TYPE_CHECKING:
    from random import Random

    from lowtide.solvers.remat.problem import RematProblem

__all__ = ["repeat_problems"]


@st.composite
def repeat_problems(draw: st.DrawFn, *, extras: bool = True) -> RematProblem:
    """Chains with a backward pass of 4 to 6 nodes, skips, and what the model knows besides."""
    random = draw(st.randoms(use_true_random=False))
    problem = training_problem(random.choice([2, 3, 3, 3]), random)
    n = problem.num_nodes
    buffers = list(problem.buffers)
    for _ in range(random.choice([0, 0, 1, 2])):
        a, b = sorted(random.sample(range(n), 2))
        buffers[a] = Buffer(
            buffers[a].size, a, tuple(sorted({*buffers[a].consumers, b})), buffers[a].output
        )
    kinds = random.choice([(1,), (1, 2, 7), (0, 1, 3)])
    problem = replace(
        problem, buffers=tuple(buffers), costs=tuple(random.choice(kinds) for _ in range(n))
    )
    if extras and random.random() < 0.6:
        inputs = (Buffer(random.randint(1, 6), -1, (0, random.randrange(1, n))),)
        more = (Buffer(random.randint(0, 4), random.randrange(n - 1), (n - 1,), False),)
        pairs: list[InPlace] = []
        for v in range(1, n):
            sources = [k for k, b in enumerate(problem.buffers) if v in b.consumers]
            if sources and random.random() < 0.5:
                source = random.choice(sources)
                pairs.append(InPlace(v, v, source))
                sized = list(problem.buffers)
                sized[v] = sized[v]._replace(size=sized[source].size)
                problem = replace(problem, buffers=tuple(sized))
        problem = replace(
            problem,
            buffers=(*problem.buffers, *inputs, *more),
            in_place=tuple(pairs),
            workspace=tuple(random.choice([0, 0, 3]) for _ in range(n)),
            pinned=tuple(v for v in range(n) if random.random() < 0.1),
            inputs_in_arena=random.random() < 0.5,
            constant_bytes=random.choice([0, 2]),
        )
    peak = peak_of(problem, problem.order)
    lower = {p for _ in range(25) if (p := peak_of(problem, _stages(problem, random))) < peak}
    if lower and random.random() < 0.9:
        return problem.with_budget(random.choice(sorted(lower)[:2]))
    return problem.with_budget(peak * random.randint(65, 99) // 100)


def _stages(problem: RematProblem, random: Random) -> tuple[int, ...]:
    """Stages with a few random repeats."""
    sequence: list[int] = []
    for t in range(problem.num_nodes):
        again = [v for v in range(t) if v not in problem.pinned and random.random() < 0.2]
        sequence += [*again, t]
    return tuple(sequence)
