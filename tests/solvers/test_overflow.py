"""Sizes and counts near the ends of 64-bit arithmetic: a clear error, or the exact answer."""

from __future__ import annotations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from lowtide.errors import InstanceError
from lowtide.solvers import _native
from lowtide.solvers.allocation.check import check as check_allocation
from lowtide.solvers.allocation.exact import allocate
from lowtide.solvers.allocation.pack import pack
from lowtide.solvers.allocation.problem import AllocationProblem, Block
from lowtide.solvers.schedule.check import check as check_schedule
from lowtide.solvers.schedule.exact import ExactOptions, schedule
from lowtide.solvers.schedule.problem import Buffer, InPlace, ScheduleProblem
from tests.solvers.oracles import best_by_ideals
from tests.solvers.strategies import exact_options, schedule_problems

MOST = 1 << 60
TOO_LARGE = (MOST + 1, 1 << 62, (1 << 63) - 1, 1 << 63, 1 << 64, 1 << 200)
NEGATIVE = (-1, -(1 << 62), -(1 << 63), -(1 << 64))


def native(
    sizes: list[int],
    *,
    num_nodes: int = 2,
    workspace: list[int] | None = None,
    precedence: list[tuple[int, int]] | None = None,
    in_place: list[tuple[int, int, int]] | None = None,
) -> _native.Schedule:
    """Buffers made by node 0 and read by node 1."""
    return _native.Schedule(
        num_nodes=num_nodes,
        sizes=sizes,
        producers=[0] * len(sizes),
        consumers=[[1] for _ in sizes],
        outputs=[False] * len(sizes),
        workspace=workspace or [],
        precedence=precedence or [],
        in_place=in_place or [],
        inputs_in_arena=False,
        outputs_live_to_end=True,
    )


@settings(max_examples=300)
@given(schedule_problems(max_nodes=7), exact_options())
def test_schedules_at_the_limit_are_exact(problem: ScheduleProblem, options: ExactOptions) -> None:
    total = sum(b.size for b in problem.buffers) + sum(problem.workspace)
    unit = MOST // max(total, 1)
    huge = ScheduleProblem(
        problem.num_nodes,
        tuple(b._replace(size=b.size * unit) for b in problem.buffers),
        tuple(w * unit for w in problem.workspace),
        problem.precedence,
        problem.in_place,
        problem.inputs_in_arena,
        problem.outputs_live_to_end,
    )
    solution = schedule(huge, time_limit_s=None, options=options)
    check_schedule(huge, solution)
    assert solution.peak_bytes == best_by_ideals(problem) * unit


@pytest.mark.parametrize("repeats", [1, 60, 1000])
def test_many_candidates_for_one_result_are_one_saving(repeats: int) -> None:
    # What they would save in sum is beyond 64 bits. Node order 0, 1, ... is not optimal.
    unit = 1 << 53
    problem = ScheduleProblem(
        6,
        (
            Buffer(4 * unit, 0, (1, 2)),
            Buffer(20 * unit, 1, (3,)),
            Buffer(30 * unit, 2, (4,)),
            Buffer(20 * unit, 3, (5,)),
            Buffer(unit, 4, (5,)),
            Buffer(unit, 5, (), output=True),
        ),
        in_place=(InPlace(3, 3, 1),) * repeats,
    )
    solution = schedule(problem, options=ExactOptions(heuristics=False))
    assert solution.peak_bytes == solution.lower_bound_bytes == 35 * unit
    assert best_by_ideals(problem) == 35 * unit


@settings(max_examples=200)
@given(st.lists(st.tuples(st.integers(0, 8), st.integers(1, 6), st.integers(0, 30)), min_size=1))
def test_layouts_at_the_limit_are_those_of_small_sizes(
    spans: list[tuple[int, int, int]],
) -> None:
    unit = (MOST - len(spans)) // max(sum(size for *_, size in spans), 1)
    small, huge = (
        AllocationProblem(
            tuple(
                Block(str(k), at, at + length, size * factor)
                for k, (at, length, size) in enumerate(spans)
            )
        )
        for factor in (1, unit)
    )
    for allocator in (pack, allocate):
        one, two = allocator(small, time_limit_s=None), allocator(huge, time_limit_s=None)
        check_allocation(huge, two)
        assert one.offsets is not None
        assert two.offsets == tuple(o * unit for o in one.offsets)


def _packer(blocks: list[tuple[int, int, int, int]], alignment: int) -> _native.Packer:
    return _native.Packer([(*block, alignment) for block in blocks], [], [])


@pytest.mark.parametrize("size", [*TOO_LARGE, *NEGATIVE])
def test_sizes_out_of_range_are_refused(size: int) -> None:
    with pytest.raises(InstanceError, match=r"2\^60|negative"):
        ScheduleProblem(2, (Buffer(size, 0, (1,)),))
    with pytest.raises(InstanceError, match=r"2\^60|negative"):
        ScheduleProblem(1, (), workspace=(size,))
    with pytest.raises(InstanceError, match=r"2\^60|negative"):
        AllocationProblem((Block("a", 0, 1, size),))
    with pytest.raises(InstanceError, match=r"2\^60|negative"):
        AllocationProblem((Block("a", 0, 1, 1, size),))
    with pytest.raises(InstanceError, match=r"alignment.*(2\^60|at least 1)"):
        AllocationProblem((), alignment=size)
    # Past the Python classes: beyond 64 bits nothing converts, below that the core refuses.
    with pytest.raises((ValueError, TypeError)):
        native([size])
    with pytest.raises((ValueError, TypeError)):
        native([], workspace=[size, 0])
    with pytest.raises((ValueError, TypeError)):
        _packer([(0, 1, size, -1)], 1)
    with pytest.raises((ValueError, TypeError)):
        _packer([(0, 1, 1, -1)], size)
    with pytest.raises((ValueError, TypeError)):
        _native.Allocation([([(0, 1, size)], 1, -1)])
    with pytest.raises((ValueError, TypeError)):
        _native.Allocation([([(0, 1, 1)], size, -1)])


def test_sums_out_of_range_are_refused() -> None:
    half = MOST // 2
    with pytest.raises(InstanceError, match=r"sum to .* 2\^60"):
        ScheduleProblem(2, (Buffer(half, 0, (1,)), Buffer(half, 0, (1,)), Buffer(1, 0, ())))
    with pytest.raises(InstanceError, match=r"sum to .* 2\^60"):
        ScheduleProblem(2, (Buffer(half, 0, (1,)),), workspace=(half, 1))
    with pytest.raises(InstanceError, match=r"sum to .* 2\^60"):
        AllocationProblem((Block("a", 0, 1, half), Block("b", 0, 1, half)), alignment=4096)
    for sizes, workspace in (([half, half, 1], []), ([half], [half, 1]), ([MOST] * 40, [])):
        with pytest.raises(ValueError, match="out of range"):
            native(sizes, workspace=workspace)
    with pytest.raises(ValueError, match="sum above"):
        _packer([(0, 1, half, -1), (0, 1, half, 1)], 1)
    with pytest.raises(ValueError, match="sum above"):
        _packer([(0, 1, 5, -1), (0, 1, 5, -1)], MOST)
    with pytest.raises(ValueError, match="sum above"):
        _native.Allocation([([(0, 1, half)], 1, -1), ([(0, 1, half)], 1, 0)])
    with pytest.raises(ValueError, match="sum above"):
        _native.Allocation([([(0, 1, 5)], MOST, -1), ([(0, 1, 5)], MOST, -1)])
    assert native([half, half]).peak([0, 1]) == MOST
    assert _packer([(0, 1, MOST - 1, -1)], 1).place([0], True) == (MOST - 1, [0])


@pytest.mark.parametrize("count", [-1, (1 << 24) + 1, 1 << 31, 1 << 63, 1 << 100])
def test_counts_of_nodes_out_of_range_are_refused(count: int) -> None:
    with pytest.raises(InstanceError, match=r"2\^24|negative"):
        ScheduleProblem(count, ())
    with pytest.raises((ValueError, TypeError)):
        native([], num_nodes=count)


@pytest.mark.parametrize("index", [-2, 2, (1 << 31) - 1, -(1 << 31), 1 << 31, 1 << 64])
def test_indices_out_of_range_are_refused(index: int) -> None:
    problem = ScheduleProblem(2, (Buffer(4, 0, (1,)), Buffer(4, 1, ())))
    with pytest.raises(InstanceError, match="not a node"):
        ScheduleProblem(2, (Buffer(4, index, ()),))
    with pytest.raises(InstanceError, match="ascending nodes below 2"):
        ScheduleProblem(2, (Buffer(4, 0, (index,)),))
    with pytest.raises(InstanceError, match="not there"):
        ScheduleProblem(2, problem.buffers, precedence=((0, index),))
    for bad in (InPlace(1, index, 0), InPlace(1, 1, index), InPlace(index, 1, 0)):
        with pytest.raises(InstanceError, match=r"not there|does not"):
            ScheduleProblem(2, problem.buffers, in_place=(bad,))
    with pytest.raises((ValueError, TypeError)):
        native([4], precedence=[(0, index)])
    for item in ((index, 0, 0), (0, index, 0), (0, 0, index)):
        with pytest.raises((ValueError, TypeError)):
            native([4, 4], in_place=[item])
    with pytest.raises((ValueError, TypeError)):
        native([4]).peak([0, index])
    with pytest.raises((IndexError, TypeError)):
        native([4]).min_cut(index)
    packer = _packer([(0, 1, 5, -1), (0, 1, 5, -1)], 1)
    with pytest.raises((ValueError, TypeError)):
        packer.place([0, index], True)
    with pytest.raises((ValueError, TypeError)):
        packer.search([0, index], True, 0, 0, -1.0, 1000)


def test_lifetimes_of_64_bits_are_only_compared() -> None:
    ends = (-(1 << 63), 0, (1 << 63) - 1)
    packer = _packer([(ends[0], ends[1], 3, -1), (ends[1], ends[2], 4, -1)], 1)
    assert packer.place([0, 1], True) == (4, [0, 0])


def test_many_overlaps_are_packed_without_a_search() -> None:
    blocks = tuple(Block(str(k), 0, 1, 1 + k % 3) for k in range(4200))
    solution = allocate(AllocationProblem(blocks), time_limit_s=None)
    assert solution.status == "optimal"
    assert solution.height == sum(b.size for b in blocks)


def test_too_many_overlaps_are_refused_before_they_fill_the_memory() -> None:
    blocks = tuple(Block(str(k), 0, 1, 1) for k in range(12_000))
    with pytest.raises(InstanceError, match="too many pairs"):
        pack(AllocationProblem(blocks))
    with pytest.raises(InstanceError, match="too many pairs"):
        allocate(AllocationProblem(blocks))


def test_a_search_without_a_reachable_target_ends_at_its_limit() -> None:
    empty = _packer([(0, 1, 0, -1)], 1)  # nothing to move, and nothing to spend on
    height, offsets, _, work = empty.search([0], True, -1, 0, -1.0, 1000)
    assert (height, offsets) == (0, [0])
    assert work >= 1000


@pytest.mark.parametrize("seed", [0, -1, (1 << 64) - 1, 1 << 70])
def test_any_seed_is_one(seed: int) -> None:
    blocks = tuple(Block(str(k), k * 7 % 10, k * 7 % 10 + 3, 5 + k * k % 11) for k in range(20))
    problem = AllocationProblem(blocks)
    check_allocation(problem, pack(problem, seed=seed))
    check_allocation(problem, allocate(problem, seed=seed))


def test_capacities_of_any_size() -> None:
    blocks = (Block("a", 0, 1, 5),)
    for capacity in TOO_LARGE:
        for allocator in (pack, allocate):
            assert allocator(AllocationProblem(blocks, capacity=capacity)).height == 5
    for capacity in NEGATIVE:
        with pytest.raises(InstanceError, match="negative"):
            AllocationProblem(blocks, capacity=capacity)


def test_fixed_blocks_that_overlap_are_found_among_many_that_do_not() -> None:
    apart = tuple(Block(str(k), 2 * k, 2 * k + 2, 5, 0) for k in range(10_000))
    assert pack(AllocationProblem(apart)).status == "optimal"
    inside = Block("x", 14_001, 14_003, 1, 4)
    assert pack(AllocationProblem((*apart, inside))).status == "infeasible"
    solution = allocate(AllocationProblem((*apart, inside)))
    assert (solution.status, solution.lower_bound) == ("infeasible", 6)
    above = inside._replace(offset=5)
    assert pack(AllocationProblem((*apart, above))).height == 6
