"""Several memories, fast ones first: which buffer goes where, and at which offset.

    SRAM   256 KiB  ┌──┬────┐      every buffer lies in one pool, in which it meets only those that
                    └──┴────┘      lie there too; the cost is what is not in the fastest
    PSRAM    8 MiB  ┌────────┐
                    └────────┘

A master problem (CP-SAT) assigns buffers to pools at least cost under a relaxation of packing, the
load of every moment; each pool is then packed. A set that is proven not to fit becomes a cut, which
is shrunk first: whatever contains it fits neither, since leaving buffers out of a layout leaves a
layout. The cost is optimal when the master's bound reaches it with such cuts only.
"""

from __future__ import annotations

import time
from dataclasses import dataclass
from math import lcm
from typing import TYPE_CHECKING

from lowtide.errors import InstanceError, LowtideError
from lowtide.solvers.allocation.check import check
from lowtide.solvers.allocation.exact import ExactAllocationOptions, allocate
from lowtide.solvers.allocation.packer import native_packer
from lowtide.solvers.allocation.problem import (
    AllocationProblem,
    AllocationSolution,
    Block,
    check_block,
)
from lowtide.solvers.status import Status

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence

__all__ = ["Pool", "PoolProblem", "PoolSolution", "allocate_pools", "check_pools"]

_MOST_COST = 1 << 53
# Of CP-SAT's deterministic time for one solve of the master: it ends there whatever the clock says.
_MASTER_WORK = 30.0
_PACKER_LIMIT_S = 10.0
_PACKER_WORK = 50_000_000


@dataclass(frozen=True, slots=True)
class Pool:
    """A memory.

    Attributes:
        name: for people.
        capacity: the most that its layout may be high, in bytes; None for no limit.
        alignment: of every offset in it, in bytes.
        cost: of each byte that lies in it; by default the pool's place in the order: 0 for the
            fastest, 1 for the next.
    """

    name: str
    capacity: int | None = None
    alignment: int = 1
    cost: int | None = None


@dataclass(frozen=True, slots=True)
class PoolProblem:
    """Blocks and the pools that they may lie in, fastest first.

    Attributes:
        blocks: what to place; a fixed offset holds in whichever pool the block lies.
        pools: in order of priority.
        shares: pairs of blocks that may lie at the same offset of one pool.
        allowed: for each block the pools, by index, that it may lie in; empty for all everywhere.
        weights: for each block what a pool's cost is multiplied by, such as the bytes read and
            written; empty for the sizes.

    Raises:
        InstanceError: no pool, a repeated name, a negative cost or weight, lists of other lengths
            than the blocks', a block that fits in no pool, costs above 2^53, or blocks that
            `AllocationProblem` refuses.
    """

    blocks: tuple[Block, ...]
    pools: tuple[Pool, ...]
    shares: tuple[tuple[int, int], ...] = ()
    allowed: tuple[tuple[int, ...], ...] = ()
    weights: tuple[int, ...] = ()

    def __post_init__(self) -> None:
        free = tuple(b._replace(offset=None) for b in self.blocks)
        for block in self.blocks:
            check_block(block, 1)
        if not self.pools:
            raise InstanceError("there is no pool: give at least one")
        if len({pool.name for pool in self.pools}) < len(self.pools):
            raise InstanceError("two pools have the same name")
        for pool in self.pools:
            AllocationProblem(free, pool.alignment, pool.capacity, self.shares)
            if pool.cost is not None and pool.cost < 0:
                raise InstanceError(f"pool `{pool.name}` has the negative cost {pool.cost}")
        for name, values in (("allowed", self.allowed), ("weights", self.weights)):
            if values and len(values) != len(self.blocks):
                raise InstanceError(f"{len(values)} {name} for {len(self.blocks)} buffers")
        if min(self.weights, default=0) < 0:
            raise InstanceError(f"the weight {min(self.weights)} is negative")
        for index, block in enumerate(self.blocks):
            if self.allowed and not set(self.allowed[index]) <= set(range(len(self.pools))):
                raise InstanceError(f"buffer `{block.id}` is allowed in a pool that is none")
            if not self.choices(index):
                raise InstanceError(
                    f"buffer `{block.id}` of {block.size} bytes fits in no pool it may lie in: "
                    f"raise a capacity or allow another pool"
                )
        most = sum(max(self.cost(k, p) for p in self.choices(k)) for k in range(len(self.blocks)))
        if most > _MOST_COST:
            raise InstanceError(f"the costs sum to {most}, over 2^53: scale costs or weights down")

    def cost(self, block: int, pool: int) -> int:
        """What it costs that the block lies in the pool."""
        rate = self.pools[pool].cost
        weight = self.weights[block] if self.weights else self.blocks[block].size
        return weight * (pool if rate is None else rate)

    def choices(self, block: int) -> tuple[int, ...]:
        """The pools that the block may lie in and that hold it when it is alone there."""
        b = self.blocks[block]
        result: list[int] = []
        for index, pool in enumerate(self.pools):
            if self.allowed and index not in self.allowed[block]:
                continue
            if b.offset is not None and b.offset % lcm(pool.alignment, b.alignment):
                continue
            if pool.capacity is None or (b.offset or 0) + b.size <= pool.capacity:
                result.append(index)
        return tuple(result)

    def part(self, pool: int, members: Sequence[int]) -> AllocationProblem:
        """The allocation problem of one pool that holds these blocks."""
        number = {block: k for k, block in enumerate(members)}
        return AllocationProblem(
            tuple(self.blocks[k] for k in members),
            self.pools[pool].alignment,
            self.pools[pool].capacity,
            tuple((number[i], number[j]) for i, j in self.shares if i in number and j in number),
        )


@dataclass(frozen=True, slots=True)
class PoolSolution:
    """Which pool each block lies in, and where.

    Attributes:
        status: of the cost; the heights are what the packer reached, without a proof.
        cost: of all blocks where they lie; None without a layout.
        lower_bound: no layout costs less.
        pools: the index of each block's pool.
        offsets: of each block in its pool, in bytes.
        heights: of the pools' layouts, in bytes.
        method: the algorithm that chose the pools.
        seconds: wall time.
        cpu_seconds: processor time of all threads.
    """

    status: Status
    cost: int | None
    lower_bound: int
    pools: tuple[int, ...] | None
    offsets: tuple[int, ...] | None
    heights: tuple[int, ...] | None
    method: str = ""
    seconds: float = 0.0
    cpu_seconds: float = 0.0


def check_pools(problem: PoolProblem, solution: PoolSolution) -> None:
    """Raise `LowtideError` unless every pool's layout is valid and the figures agree."""
    if solution.pools is None or solution.offsets is None or solution.heights is None:
        if (solution.pools, solution.offsets, solution.heights, solution.cost) != (None,) * 4:
            raise LowtideError("a solution without a layout states parts of one")
        if solution.status == "optimal":
            raise LowtideError("a solution without a layout says that it is optimal")
        return
    if solution.status == "infeasible":
        raise LowtideError("a solution with a layout says that it is infeasible")
    if not len(solution.pools) == len(solution.offsets) == len(problem.blocks):
        raise LowtideError(f"the layout is not of {len(problem.blocks)} buffers")
    if len(solution.heights) != len(problem.pools):
        raise LowtideError(f"{len(solution.heights)} heights for {len(problem.pools)} pools")
    for index, pool in enumerate(problem.pools):
        members = [k for k, chosen in enumerate(solution.pools) if chosen == index]
        height, offsets = solution.heights[index], tuple(solution.offsets[k] for k in members)
        part = problem.part(index, members)
        check(part, AllocationSolution(Status.FEASIBLE, height, 0, offsets))
        if pool.capacity is not None and height > pool.capacity:
            raise LowtideError(
                f"pool `{pool.name}` has the capacity {pool.capacity}, its height is {height}"
            )
    for k, chosen in enumerate(solution.pools):
        allowed = problem.allowed[k] if problem.allowed else range(len(problem.pools))
        if chosen not in allowed or not 0 <= chosen < len(problem.pools):
            raise LowtideError(f"buffer `{problem.blocks[k].id}` may not lie in pool {chosen}")
    cost = sum(problem.cost(k, chosen) for k, chosen in enumerate(solution.pools))
    if solution.cost != cost:
        raise LowtideError(f"the layout's cost is {cost}, the solution says {solution.cost}")
    if solution.lower_bound > cost:
        raise LowtideError(f"the lower bound {solution.lower_bound} exceeds a cost that is reached")
    if solution.status == "optimal" and solution.lower_bound != cost:
        raise LowtideError(f"status optimal with cost {cost} and bound {solution.lower_bound}")


def allocate_pools(
    problem: PoolProblem,
    *,
    time_limit_s: float | None = 10.0,
    seed: int = 0,
    packer: Callable[[AllocationProblem], AllocationSolution] | None = None,
) -> PoolSolution:
    """The assignment of least cost, and a layout of every pool.

    Args:
        problem: blocks and pools.
        time_limit_s: wall time; None for none. Without a strike the result is repeatable.
        seed: of CP-SAT and of the default packer.
        packer: packs one pool, whose capacity is in its problem; what it calls `infeasible` is
            believed to be proven. By default the exact allocator, with a repeatable work limit.

    Returns:
        A checked solution. `optimal`: the cost is proven least. `infeasible`: proven that the pools
        do not hold the blocks. `feasible`: the best found, some set was neither packed nor proven
        not to fit. `time_limit`: a limit struck; the best so far, possibly none.
    """
    from lowtide.solvers.allocation.pool_master import Master

    begin, begin_cpu = time.perf_counter(), time.process_time()
    if time_limit_s is not None and not time_limit_s >= 0:
        raise LowtideError(f"the time limit must not be negative, got {time_limit_s}")

    def left() -> float:
        if time_limit_s is None:
            return float("inf")
        return max(0.0, time_limit_s - (time.perf_counter() - begin))

    def run_pack(part: AllocationProblem) -> AllocationSolution:
        limit = None if time_limit_s is None else min(_PACKER_LIMIT_S, left())
        options = ExactAllocationOptions(work_limit=_PACKER_WORK)
        return allocate(part, time_limit_s=limit, seed=seed, options=options)

    run = run_pack if packer is None else packer
    master = Master(problem, tuple(moments(problem)), seed)
    best = _greedy(problem)
    bound = sum(
        min(problem.cost(k, p) for p in problem.choices(k)) for k in range(len(problem.blocks))
    )
    method = "greedy"
    proven = True  # all cuts are
    struck = False  # a limit of the packer
    status = Status.FEASIBLE
    while best is None or _cost(problem, best[0]) > bound:
        if left() == 0.0:
            status = Status.TIME_LIMIT
            break
        pools, master_bound, finished = master.solve(left(), _MASTER_WORK)
        if proven:
            bound = max(bound, master_bound)
        if pools is None:
            if not finished:
                status = Status.TIME_LIMIT
            elif proven and best is None:
                status = Status.INFEASIBLE
            elif best is None:
                status = Status.TIME_LIMIT
            break
        if best is not None and _cost(problem, pools) >= _cost(problem, best[0]):
            status = Status.FEASIBLE if finished else Status.TIME_LIMIT
            break
        offsets = [0] * len(problem.blocks)
        fits = True
        for index in range(len(problem.pools)):
            members = [k for k, chosen in enumerate(pools) if chosen == index]
            if not members:
                continue
            answer = run(problem.part(index, members))
            if answer.status == "infeasible":
                fits = False
                master.exclude(index, _shrink(problem, index, members, run, left))
                continue
            capacity = problem.pools[index].capacity
            if answer.offsets is None or answer.height is None:
                placed = False
            else:
                placed = capacity is None or answer.height <= capacity
            if not placed:  # neither packed nor proven: the bound stays where it is
                fits = proven = False
                struck = struck or answer.status == "time_limit"
                master.exclude(index, members)
                continue
            for k, offset in zip(members, answer.offsets or (), strict=True):
                offsets[k] = offset
        if fits:
            best, method = (pools, tuple(offsets)), "master"
        else:
            repaired = _greedy(problem, pools)
            if repaired is not None and (
                best is None or _cost(problem, repaired[0]) < _cost(problem, best[0])
            ):
                best, method = repaired, "master, repaired"
    if struck and status is Status.FEASIBLE:
        status = Status.TIME_LIMIT
    if best is None:
        pools_found = offsets_found = heights = cost = None
    else:
        if status is not Status.TIME_LIMIT:
            best = _lower(problem, best, run)
        pools_found, offsets_found = best
        cost = _cost(problem, pools_found)
        tops = [0] * len(problem.pools)
        for k, (chosen, offset) in enumerate(zip(pools_found, offsets_found, strict=True)):
            tops[chosen] = max(tops[chosen], offset + problem.blocks[k].size)
        heights = tuple(tops)
        bound = min(bound, cost) if proven else bound
        if cost == bound:
            status = Status.OPTIMAL
    solution = PoolSolution(
        status=status,
        cost=cost,
        lower_bound=bound,
        pools=pools_found,
        offsets=offsets_found,
        heights=heights,
        method=method,
        seconds=time.perf_counter() - begin,
        cpu_seconds=time.process_time() - begin_cpu,
    )
    check_pools(problem, solution)
    return solution


def moments(problem: PoolProblem) -> Iterator[frozenset[int]]:
    """The maximal sets of blocks that are active at one moment; every other one is in one of them.

    The set of active blocks grows until one ends: just before, it is a candidate.
    """
    events = sorted(
        (moment, begins, index)
        for index, block in enumerate(problem.blocks)
        if block.size
        for lower, upper in block.active
        for moment, begins in ((lower, 1), (upper, 0))
    )
    active: set[int] = set()
    grown = False
    for _, begins, index in events:
        if begins:
            active.add(index)
            grown = True
        else:
            if grown:
                yield frozenset(active)
            active.discard(index)
            grown = False


def _cost(problem: PoolProblem, pools: Sequence[int]) -> int:
    return sum(problem.cost(k, chosen) for k, chosen in enumerate(pools))


_Layout = tuple[tuple[int, ...], tuple[int, ...]]


def _greedy(problem: PoolProblem, wanted: Sequence[int] = ()) -> _Layout | None:
    """Fixed blocks first, then those that save most; each in the cheapest pool with a gap for it.

    With wanted pools: largest first, each in its own where that has a gap; what is left over after
    those that have one goes to the cheapest pool. Sharing is not used. None where a block finds no
    place.
    """
    near = native_packer(
        AllocationProblem(tuple(b._replace(offset=None) for b in problem.blocks))
    ).neighbours()
    blocks = problem.blocks
    pools, offsets = [-1] * len(blocks), [0] * len(blocks)

    def key(index: int) -> tuple[bool, int, int, int]:
        costs = [problem.cost(index, p) for p in problem.choices(index)]
        saves = 0 if wanted else max(costs) - min(costs)
        return blocks[index].offset is None, -saves, -blocks[index].size, index

    def put(index: int, choices: Sequence[int]) -> bool:
        block = blocks[index]
        for pool in choices:
            align = lcm(problem.pools[pool].alignment, block.alignment)
            taken = sorted(
                (offsets[k], offsets[k] + blocks[k].size) for k in near[index] if pools[k] == pool
            )
            at = 0 if block.offset is None else block.offset
            for lower, upper in taken:
                if lower >= at + block.size:
                    break
                if block.offset is None:
                    at = max(at, upper + -upper % align)
                elif upper > at:
                    at = -1
                    break
            capacity = problem.pools[pool].capacity
            if at >= 0 and (capacity is None or at + block.size <= capacity):
                pools[index], offsets[index] = pool, at
                return True
        return False

    order = sorted(range(len(blocks)), key=key)
    if wanted:
        order = [index for index in order if not put(index, wanted[index : index + 1])]
    for index in order:
        if not put(
            index, sorted(problem.choices(index), key=lambda p: (problem.cost(index, p), p))
        ):
            return None
    return tuple(pools), tuple(offsets)


def _shrink(
    problem: PoolProblem,
    pool: int,
    members: Sequence[int],
    run: Callable[[AllocationProblem], AllocationSolution],
    left: Callable[[], float],
) -> list[int]:
    """A subset that is still proven not to fit, from which no block tried could be left out."""
    needed = list(members)
    for block in sorted(members, key=lambda k: (problem.blocks[k].size, k)):
        if left() == 0.0:
            break
        without = [k for k in needed if k != block]
        if run(problem.part(pool, without)).status == "infeasible":
            needed = without
    return needed


def _lower(
    problem: PoolProblem,
    layout: _Layout,
    run: Callable[[AllocationProblem], AllocationSolution],
) -> _Layout:
    """The same assignment, each pool packed as low as the packer can."""
    pools, offsets = layout[0], list(layout[1])
    for index in range(len(problem.pools)):
        members = [k for k, chosen in enumerate(pools) if chosen == index]
        part = problem.part(index, members)
        now = max((offsets[k] + problem.blocks[k].size for k in members), default=0)
        answer = run(AllocationProblem(part.blocks, part.alignment, None, part.shares))
        if answer.offsets is not None and answer.height is not None and answer.height < now:
            for k, offset in zip(members, answer.offsets, strict=True):
                offsets[k] = offset
    return pools, tuple(offsets)
