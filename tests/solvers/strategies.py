"""Hypothesis strategies for problems of the solvers."""

from __future__ import annotations

from math import lcm
from typing import TYPE_CHECKING

from hypothesis import strategies as st

from lowtide.solvers.allocation.problem import AllocationProblem, Block
from lowtide.solvers.schedule.exact import ExactOptions
from lowtide.solvers.schedule.problem import Buffer, InPlace, ScheduleProblem

if TYPE_CHECKING:
    from random import Random

__all__ = [
    "allocation_problems",
    "exact_options",
    "networks",
    "relabelled",
    "schedule_problems",
]


@st.composite
def schedule_problems(
    draw: st.DrawFn, *, max_nodes: int = 7, in_place: bool = True
) -> ScheduleProblem:
    """Random DAGs whose numbers are shuffled, with all that the model knows."""
    random = draw(st.randoms(use_true_random=False))
    n = draw(st.integers(0, max_nodes))
    number = list(range(n))
    random.shuffle(number)
    sizes = random.choice([[1], [1, 2], [0, 1, 3, 4], list(range(10))])
    density = random.choice([0.15, 0.3, 0.5])
    buffers: list[Buffer] = []
    # Mostly every node makes a buffer; some make several or none, and there are graph inputs.
    makers = [v for v in range(n) if random.random() < 0.9]
    makers += [random.randrange(-1, n) for _ in range(random.randint(0, 1 + n // 2))]
    random.shuffle(makers)
    for maker in makers:
        readers = [number[v] for v in range(maker + 1, n) if random.random() < density]
        buffers.append(
            Buffer(
                random.choice(sizes),
                number[maker] if maker >= 0 else -1,
                tuple(sorted(readers)),
                random.random() < 0.15,
            )
        )
    precedence = tuple(
        (number[a], number[b]) for a in range(n) for b in range(a + 1, n) if random.random() < 0.06
    )
    candidates = [
        InPlace(result.producer, o, i)
        for o, result in enumerate(buffers)
        for i, source in enumerate(buffers)
        if result.producer >= 0 and result.producer in source.consumers and random.random() < 0.7
    ]
    random.shuffle(candidates)
    return ScheduleProblem(
        num_nodes=n,
        buffers=tuple(buffers),
        workspace=tuple(random.choice([0, 0, 2, 5]) for _ in range(n))
        if draw(st.booleans())
        else (),
        precedence=precedence,
        in_place=tuple(candidates) if in_place and draw(st.integers(0, 2)) else (),
        inputs_in_arena=draw(st.booleans()),
        outputs_live_to_end=draw(st.booleans()),
    )


def networks(random: Random, n: int) -> ScheduleProblem:
    """Random networks as RandWire's: an input, n nodes that read one to three before, an output."""
    readers: list[set[int]] = [set() for _ in range(n)]
    for v in range(1, n):
        for _ in range(random.choice([1, 1, 2, 3])):
            readers[random.randrange(max(0, v - 8), v)].add(v)
    for v in range(n - 1):
        if not readers[v]:
            readers[v].add(n - 1)
    size = [random.choice([1, 4]) for _ in range(n)]
    return ScheduleProblem(
        n, tuple(Buffer(size[v], v, tuple(sorted(readers[v])), v == n - 1) for v in range(n))
    )


def exact_options() -> st.SearchStrategy[ExactOptions]:
    """The product of the switches."""
    return st.builds(
        ExactOptions,
        one_step=st.booleans(),
        macro=st.booleans(),
        backward=st.booleans(),
        min_cut=st.booleans(),
        reorder=st.booleans(),
        windows=st.booleans(),
        cut_nodes=st.booleans(),
        beam=st.booleans(),
        deduce=st.booleans(),
        probe=st.booleans(),
        guards=st.booleans(),
        heuristics=st.booleans(),
        visited_bytes=st.sampled_from([0, 20_000, 1 << 24]),
        exact_states=st.booleans(),
    )


def relabelled(problem: ScheduleProblem, number: list[int]) -> ScheduleProblem:
    """The same problem with node v called number[v]; the preference of candidates is kept."""
    return ScheduleProblem(
        num_nodes=problem.num_nodes,
        buffers=tuple(
            Buffer(
                b.size,
                number[b.producer] if b.producer >= 0 else -1,
                tuple(sorted(number[c] for c in b.consumers)),
                b.output,
            )
            for b in problem.buffers
        ),
        workspace=tuple(problem.workspace[number.index(v)] for v in range(problem.num_nodes))
        if problem.workspace
        else (),
        precedence=tuple((number[a], number[b]) for a, b in problem.precedence),
        in_place=tuple(InPlace(number[c.node], c.output, c.input) for c in problem.in_place),
        inputs_in_arena=problem.inputs_in_arena,
        outputs_live_to_end=problem.outputs_live_to_end,
    )


@st.composite
def allocation_problems(
    draw: st.DrawFn,
    *,
    max_blocks: int = 12,
    max_size: int = 40,
    fixed: bool = True,
    alignments: tuple[int, ...] = (1, 4, 16),
) -> AllocationProblem:
    """Random blocks, with all that the model knows: gaps, sharing, alignments, fixed offsets."""
    random = draw(st.randoms(use_true_random=False))
    alignment = random.choice(alignments)
    own = random.choice([(1,), (1, 2), alignments])
    with_gaps, with_shares = draw(st.booleans()), draw(st.booleans())
    longest = random.choice([2, 8])
    blocks: list[Block] = []
    for index in range(draw(st.integers(0, max_blocks))):
        lower = random.randint(-3, 12)
        upper = lower + random.randint(1, longest)
        gaps: list[tuple[int, int]] = []
        begin = lower + 1
        while with_gaps and begin < upper - 1 and random.random() < 0.5:
            begin = random.randint(begin, upper - 2)
            gaps.append((begin, random.randint(begin + 1, upper - 1)))
            begin = gaps[-1][1]
        align = random.choice(own)
        offset = None
        if fixed and random.random() < 0.1:
            offset = lcm(alignment, align) * random.randint(0, 4)
        blocks.append(
            Block(
                f"b{index}", lower, upper, random.randint(0, max_size), offset, tuple(gaps), align
            )
        )
    density = random.choice([0.1, 0.3, 0.7])
    shares = [
        random.choice([(i, j), (j, i)])
        for i in range(len(blocks))
        for j in range(i)
        if with_shares and random.random() < density
    ]
    return AllocationProblem(tuple(blocks), alignment, shares=tuple(shares))
