from __future__ import annotations

from dataclasses import replace

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from lowtide.errors import LowtideError
from lowtide.solvers.allocation.bound import lower_bound
from lowtide.solvers.allocation.check import check
from lowtide.solvers.allocation.exact import allocate
from lowtide.solvers.joint import pack_order
from lowtide.solvers.lifetimes import arena_of
from lowtide.solvers.schedule.check import peak_of
from lowtide.solvers.schedule.exact import schedule
from lowtide.solvers.schedule.problem import Buffer, ScheduleProblem
from tests.solvers.strategies import schedule_problems


@settings(max_examples=300)
@given(schedule_problems(), st.data())
def test_the_greatest_load_of_the_blocks_is_the_peak(
    problem: ScheduleProblem, data: st.DataObject
) -> None:
    if problem.num_nodes == 0:
        return
    ready = list(problem.topological_order)
    order: list[int] = []
    while ready:
        can = [v for v in ready if all(p in order for p in problem.predecessors[v])]
        order.append(data.draw(st.sampled_from(can)))
        ready.remove(order[-1])
    assert lower_bound(arena_of(problem, order)) == peak_of(problem, order)


@settings(max_examples=60)
@given(schedule_problems())
def test_the_layout_is_valid_and_its_order_no_worse(problem: ScheduleProblem) -> None:
    best = schedule(problem, time_limit_s=None)
    assert best.order is not None
    assert best.peak_bytes is not None
    layout = pack_order(
        problem, best.order, lower_bound_bytes=best.lower_bound_bytes, time_limit_s=None
    )
    assert layout.peak_bytes == peak_of(problem, layout.order) <= best.peak_bytes
    check(arena_of(problem, layout.order), layout.allocation)
    assert layout.allocation.height is not None
    assert layout.allocation.height >= best.peak_bytes
    assert (layout.allocation.status == "optimal") == (layout.allocation.height == best.peak_bytes)


# Found by a search over random problems: an order of least peak that cannot be packed to it, while
# another one can.
STUBBORN = ScheduleProblem(
    num_nodes=18,
    buffers=tuple(
        Buffer(size, node, consumers, node == 10)
        for node, (size, consumers) in enumerate(
            [
                (2, (9, 14)), (4, (5, 7)), (1, ()), (6, (7,)), (6, ()), (6, (6,)),
                (6, (7,)), (3, (13,)), (1, (12,)), (6, ()), (5, (17,)), (2, (13, 15)),
                (6, (15,)), (3, (14,)), (1, (16,)), (6, (16, 17)), (6, (17,)), (4, ()),
            ]
        )
    ),
)  # fmt: skip
STUCK = (0, 9, 1, 5, 6, 2, 3, 7, 4, 8, 12, 10, 11, 13, 14, 15, 16, 17)


def test_another_order_is_taken_when_the_first_cannot_be_packed_to_its_peak() -> None:
    best = schedule(STUBBORN, time_limit_s=None)
    peak = best.peak_bytes
    assert peak is not None
    assert peak == best.lower_bound_bytes == peak_of(STUBBORN, STUCK)
    alone = allocate(arena_of(STUBBORN, STUCK), time_limit_s=None)
    assert alone.status == "optimal"
    assert alone.height == peak + 1
    layout = pack_order(STUBBORN, STUCK, lower_bound_bytes=peak, time_limit_s=None)
    assert layout.order != STUCK
    assert layout.allocation.height == layout.peak_bytes == peak
    assert layout.allocation.status == "optimal"
    assert layout.orders_tried > 1
    check(arena_of(STUBBORN, layout.order), layout.allocation)


def test_blocks_are_named_after_buffers_and_nodes() -> None:
    problem = ScheduleProblem(
        num_nodes=2,
        buffers=(Buffer(8, 0, (1,)), Buffer(4, 1, (), output=True), Buffer(0, 1, ())),
        workspace=(0, 16),
    )
    arena = arena_of(problem, (0, 1), alignment=4)
    names = [tuple(block)[:4] for block in arena.blocks]
    assert names == [
        ("0", 0, 2, 8),
        ("1", 1, 2, 4),
        ("~1", 1, 2, 16),
    ]
    assert arena.alignment == 4


def test_an_order_that_is_none_is_refused() -> None:
    problem = ScheduleProblem(num_nodes=2, buffers=(Buffer(8, 0, (1,)),))
    with pytest.raises(LowtideError, match="permutation"):
        arena_of(problem, (0,))
    with pytest.raises(LowtideError, match="before it is made"):
        pack_order(problem, (1, 0))
    assert pack_order(replace(problem, workspace=(0, 1)), (0, 1)).allocation.height == 9
