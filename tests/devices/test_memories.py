"""From a device to several memories: pools, and where TFLM's two arenas go."""

from __future__ import annotations

from dataclasses import replace

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from lowtide.devices import Device, Memory, load_device, place_arena, pool_problem, pools_of
from lowtide.errors import InputError, InstanceError
from lowtide.solvers.allocation.pools import Pool, allocate_pools, check_pools
from lowtide.solvers.allocation.problem import Block
from lowtide.solvers.status import Status

SMALL = Device(
    name="small",
    title="Small",
    chip="none",
    flash_bytes=1024,
    memories=(Memory("FAST", "tcm", 100, 20), Memory("SLOW", "psram", 1000)),
    pointer_bytes=4,
    kernels="reference",
    sources=("none",),
)


def test_pools() -> None:
    """What is not reserved, in whole steps of the alignment."""
    assert pools_of(SMALL) == (Pool("FAST", 80, 16), Pool("SLOW", 992, 16))
    assert [pool.capacity for pool in pools_of(load_device("stm32h743"))] == [
        n * 1024 for n in (128, 512, 128, 128, 32, 64)
    ]


def test_what_does_not_fit_goes_to_the_slow_memory() -> None:
    blocks = (Block("a", 0, 2, 64), Block("b", 1, 3, 48), Block("c", 2, 4, 16))
    problem = pool_problem(SMALL, blocks)
    solution = allocate_pools(problem)
    check_pools(problem, solution)
    # a meets b: only one of them is beside c; b is the cheaper one to have outside.
    assert solution.status is Status.OPTIMAL
    assert solution.pools == (0, 1, 0)
    assert solution.cost == 48


def test_traffic_decides() -> None:
    blocks = (Block("a", 0, 2, 64), Block("b", 1, 3, 48))
    solution = allocate_pools(pool_problem(SMALL, blocks, weights=(10, 500)))
    assert solution.pools == (1, 0)


def test_what_persists_makes_room_first() -> None:
    blocks = (Block("a", 3, 5, 64), Block("b", 7, 9, 64))
    problem = pool_problem(SMALL, blocks, persistent_bytes=32)
    last = problem.blocks[-1]
    assert (last.id, last.lower, last.upper, last.size) == ("(persistent)", 3, 9, 32)
    solution = allocate_pools(problem)
    assert (solution.pools, solution.cost) == ((0, 0, 1), 1)
    alone = allocate_pools(pool_problem(SMALL, (), persistent_bytes=32))
    assert (alone.status, alone.pools) == (Status.OPTIMAL, (0,))


def test_what_fits_nowhere_is_refused() -> None:
    with pytest.raises(InstanceError, match="fits in no pool"):
        pool_problem(SMALL, (Block("a", 0, 1, 1001),))


@pytest.mark.parametrize(
    ("head", "tail", "places"),
    [
        (60, 20, ("FAST", "FAST")),
        (60, 21, ("FAST", "SLOW")),
        (81, 10, ("SLOW", "SLOW")),
        (990, 11, ("SLOW", "FAST")),
    ],
)
def test_arenas(head: int, tail: int, places: tuple[str, str]) -> None:
    if places == ("FAST", "SLOW"):
        device = replace(SMALL, memories=(SMALL.memories[0], Memory("SLOW", "psram", 40)))
    else:
        device = SMALL
    placement = place_arena(device, head, tail)
    assert (placement.tensors.name, placement.persistent.name) == places
    assert placement.arenas == len(set(places))


def test_no_room_for_the_arenas() -> None:
    with pytest.raises(InputError, match=r"needs 990 bytes .* 200 that persist.* 190 too many"):
        place_arena(SMALL, 990, 200)


@given(st.integers(0, 1200), st.integers(0, 1200), st.integers(1, 1000), st.integers(1, 1000))
@settings(max_examples=200)
def test_arenas_fit_where_they_are_placed(head: int, tail: int, fast: int, slow: int) -> None:
    memories = (Memory("FAST", "tcm", fast), Memory("SLOW", "psram", slow))
    device = replace(SMALL, memories=memories)
    possible = (
        head + tail <= max(fast, slow)
        or (head <= fast and tail <= slow)
        or (head <= slow and tail <= fast)
    )
    try:
        placement = place_arena(device, head, tail)
    except InputError:
        assert not possible
        return
    assert possible
    if placement.arenas == 1:
        assert head + tail <= placement.tensors.available_bytes
    else:
        assert head <= placement.tensors.available_bytes
        assert tail <= placement.persistent.available_bytes
