from __future__ import annotations

from dataclasses import replace
from itertools import product

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from lowtide.errors import InstanceError, LowtideError
from lowtide.solvers.allocation.pack import pack
from lowtide.solvers.allocation.pools import (
    Pool,
    PoolProblem,
    PoolSolution,
    allocate_pools,
    check_pools,
)
from lowtide.solvers.allocation.problem import AllocationProblem, AllocationSolution, Block
from lowtide.solvers.allocation.reference import fits, least_height
from lowtide.solvers.status import Status
from tests.solvers.strategies import allocation_problems


@st.composite
def pool_problems(draw: st.DrawFn) -> PoolProblem:
    """Few blocks of small sizes in two or three pools; every block may lie in the last."""
    base = draw(allocation_problems(max_blocks=5, max_size=5, alignments=(1, 2)))
    random = draw(st.randoms(use_true_random=False))
    pools = [
        Pool(f"p{k}", random.choice([3, 5, 8, 12]), random.choice([1, 1, 2]))
        for k in range(random.randint(1, 2))
    ]
    last = random.choice([None, 9, 14])
    pools.append(Pool("last", last, 1, random.choice([None, 3])))
    blocks = tuple(
        b._replace(offset=None if b.offset is None else b.offset % 5, alignment=1, size=b.size)
        for b in base.blocks
    )
    allowed = tuple(
        tuple(p for p in range(len(pools)) if p == len(pools) - 1 or random.random() < 0.8)
        for _ in blocks
    )
    return PoolProblem(
        blocks,
        tuple(pools),
        base.shares,
        allowed if draw(st.booleans()) else (),
        tuple(random.randint(0, 4) for _ in blocks) if draw(st.booleans()) else (),
    )


def exact(problem: AllocationProblem) -> AllocationSolution:
    """The reference as a packer."""
    height = least_height(problem)
    if height is None or (problem.capacity is not None and height > problem.capacity):
        return AllocationSolution(Status.INFEASIBLE, None, height or 0, None)
    return AllocationSolution(Status.OPTIMAL, height, height, fits(problem, height))


def least_cost(problem: PoolProblem) -> int | None:
    """Over all assignments."""
    best: int | None = None
    for pools in product(*(problem.choices(k) for k in range(len(problem.blocks)))):
        cost = sum(problem.cost(k, pool) for k, pool in enumerate(pools))
        if best is not None and cost >= best:
            continue
        if all(
            exact(
                problem.part(pool, [k for k, chosen in enumerate(pools) if chosen == pool])
            ).status
            == "optimal"
            for pool in range(len(problem.pools))
        ):
            best = cost
    return best


@settings(max_examples=120, deadline=None)
@given(pool_problems())
def test_an_exact_packer_gives_the_least_cost(problem: PoolProblem) -> None:
    least = least_cost(problem)
    solution = allocate_pools(problem, time_limit_s=None, packer=exact)
    assert solution.cost == least
    assert solution.status == ("infeasible" if least is None else "optimal")
    # The default packer proves less, never something else.
    solution = allocate_pools(problem, time_limit_s=None)
    assert least is None or solution.lower_bound <= least
    if solution.cost is not None:
        assert least is not None
        assert solution.cost >= least
        assert (solution.status == "optimal") == (solution.cost == solution.lower_bound)
    if solution.status == "infeasible":
        assert least is None


# The load is 2 throughout, but `a` cannot lie beside `b` and `c` in a pool of 2.
BLOCKED = (Block("a", 0, 3, 1), Block("b", 0, 1, 1, 0), Block("c", 2, 3, 1, 1))


def test_a_set_that_does_not_pack_is_cut_off() -> None:
    problem = PoolProblem(BLOCKED, (Pool("fast", 2), Pool("slow")))
    solution = allocate_pools(problem, packer=exact)
    assert (solution.status, solution.cost) == ("optimal", 1)
    assert allocate_pools(problem).status == "optimal"
    # `pack` finds that too but cannot prove that nothing is free.
    solution = allocate_pools(problem, packer=pack)
    assert (solution.status, solution.cost, solution.lower_bound) == ("feasible", 1, 0)


def test_small_ones_stay_in_fast_memory_and_repeats_are_equal() -> None:
    blocks = tuple(Block(f"b{k}", k % 7, k % 7 + 3, 10 + 13 * k % 29) for k in range(40))
    problem = PoolProblem(blocks, (Pool("SRAM", 120, 8), Pool("PSRAM", 4000, 16)))
    one = allocate_pools(problem, time_limit_s=None, seed=3)
    two = allocate_pools(problem, time_limit_s=None, seed=3)
    assert (one.pools, one.offsets, one.cost) == (two.pools, two.offsets, two.cost)
    assert one.heights is not None
    assert one.heights[0] <= 120
    assert all(offset % 8 == 0 for offset in one.offsets or ())
    everything = allocate_pools(replace(problem, pools=(Pool("one", 4000),)))
    assert (everything.status, everything.cost) == ("optimal", 0)
    stopped = allocate_pools(problem, time_limit_s=0.0)
    assert stopped.status == "time_limit"
    assert stopped.cost is not None
    with pytest.raises(LowtideError, match="must not be negative"):
        allocate_pools(problem, time_limit_s=-1.0)


GOOD = PoolSolution(Status.OPTIMAL, 4, 4, (0, 1), (0, 0), (4, 4))
TWO = PoolProblem(
    (Block("a", 0, 2, 4), Block("b", 1, 3, 4)), (Pool("fast", 4), Pool("slow")), (), ((0,), (0, 1))
)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"pools": (0, 0), "heights": (4, 0)}, "overlap"),
        ({"pools": (1, 1), "offsets": (0, 4), "heights": (0, 8)}, "`a` may not lie in pool 1"),
        ({"pools": (0, 2)}, "height is 0"),
        ({"offsets": (4, 0), "heights": (8, 4)}, "`fast` has the capacity 4, its height is 8"),
        ({"heights": (4, 5)}, "height is 4"),
        ({"heights": (4,)}, "1 heights for 2 pools"),
        ({"offsets": (0,)}, "not of 2 buffers"),
        ({"cost": 3}, "cost is 4"),
        ({"lower_bound": 5}, "exceeds a cost"),
        ({"lower_bound": 3}, "status optimal"),
        ({"status": Status.INFEASIBLE}, "says that it is infeasible"),
        ({"pools": None}, "parts of one"),
        ({"pools": None, "offsets": None, "heights": None, "cost": None}, "says that it is opt"),
    ],
)
def test_the_checker_refuses(change: dict[str, object], message: str) -> None:
    check_pools(TWO, GOOD)
    with pytest.raises(LowtideError, match=message):
        check_pools(TWO, replace(GOOD, **change))  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"pools": ()}, "no pool"),
        ({"pools": (Pool("x"), Pool("x"))}, "same name"),
        ({"pools": (Pool("x", 3),), "allowed": ()}, "`a` of 4 bytes fits in no pool"),
        ({"pools": (Pool("x", None, 0),), "allowed": ()}, "alignment must be at least 1"),
        ({"pools": (Pool("x", None, 1, -1),), "allowed": ()}, "negative cost -1"),
        ({"allowed": ((0,),)}, "1 allowed for 2 buffers"),
        ({"allowed": ((0,), (7,))}, "`b` is allowed in a pool that is none"),
        ({"weights": (1, -2)}, "weight -2 is negative"),
        ({"weights": (1, 2**60)}, r"over 2\^53"),
    ],
)
def test_problems_that_are_none(change: dict[str, object], message: str) -> None:
    with pytest.raises(InstanceError, match=message):
        replace(TWO, **change)  # type: ignore[arg-type]
