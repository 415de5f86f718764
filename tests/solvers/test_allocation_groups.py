"""Rigid groups: layouts against their definition, byte by byte and step by step."""

from __future__ import annotations

import itertools

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from lowtide.errors import LowtideError
from lowtide.solvers.allocation.groups import (
    Group,
    Part,
    check_groups,
    greatest_load,
    pack_groups,
)

STEPS, UNIT = 5, 4


@st.composite
def groups(draw: st.DrawFn, most: int = 6) -> list[Group]:
    found: list[Group] = []
    for _ in range(draw(st.integers(0, most))):
        parts: list[Part] = []
        for _ in range(draw(st.integers(1, 3))):
            lower = draw(st.integers(0, STEPS - 1))
            upper = draw(st.integers(lower + 1, STEPS))
            offset = UNIT * draw(st.integers(0, 3))
            parts.append(Part(offset, lower, upper, UNIT * draw(st.integers(0, 3))))
        found.append(tuple(parts))
    return found


def cells(group: Group, offset: int) -> set[tuple[int, int]]:
    """(byte, step) of everything that a group holds."""
    return {
        (offset + part.offset + byte, step)
        for part in group
        for byte in range(part.size)
        for step in range(part.lower, part.upper)
    }


def disjoint(problem: list[Group], offsets: tuple[int, ...]) -> bool:
    held = [cells(group, offset) for group, offset in zip(problem, offsets, strict=True)]
    return all(not one & other for one, other in itertools.combinations(held, 2))


def top(problem: list[Group], offsets: tuple[int, ...]) -> int:
    ends = [
        p.offset + o + p.size for g, o in zip(problem, offsets, strict=True) for p in g if p.size
    ]
    return max(ends, default=0)


@given(groups(), st.integers(0, 3))
@settings(max_examples=150, deadline=None)
def test_layouts_are_disjoint_and_as_high_as_they_say(problem: list[Group], seed: int) -> None:
    layout = pack_groups(problem, alignment=UNIT, work_limit=2000, seed=seed)
    assert all(offset % UNIT == 0 for offset in layout.offsets)
    assert disjoint(problem, layout.offsets)
    assert layout.height == top(problem, layout.offsets)
    load = max(
        (
            sum(len({b for b, s in cells(g, 0) if s == step}) for g in problem)
            for step in range(STEPS)
        ),
        default=0,
    )
    assert layout.lower_bound == load == greatest_load(problem)
    assert layout.height >= load
    assert layout == pack_groups(problem, alignment=UNIT, work_limit=2000, seed=seed)


@given(groups(most=3))
@settings(max_examples=60, deadline=None, derandomize=True)
def test_few_groups_are_packed_as_low_as_can_be(problem: list[Group]) -> None:
    layout = pack_groups(problem, alignment=UNIT, work_limit=5000)
    best = min(
        top(problem, offsets)
        for offsets in itertools.product(range(0, layout.height + 1, UNIT), repeat=len(problem))
        if disjoint(problem, offsets)
    )
    assert layout.height == best


@given(groups(), st.data())
@settings(max_examples=150, deadline=None)
def test_the_check_says_what_the_definition_says(problem: list[Group], data: st.DataObject) -> None:
    places = st.integers(0, 8).map(lambda n: n * UNIT)
    offsets = tuple(data.draw(places) for _ in problem)
    if disjoint(problem, offsets):
        assert check_groups(problem, offsets) >= top(problem, offsets)
    else:
        with pytest.raises(LowtideError, match="overlap"):
            check_groups(problem, offsets)


def test_what_dies_from_below_hangs_from_the_top() -> None:
    """Rows die while others grow, and in between there is room for what works on them."""
    dying = tuple(Part(UNIT * n, 0, 2 * n + 2, UNIT) for n in range(4))
    growing = tuple(Part(UNIT * n, 2 * n + 1, 9, UNIT) for n in range(4))
    work = [(Part(0, 2 * n, 2 * n + 1, 2 * UNIT),) for n in range(4)]
    layout = pack_groups([dying, growing, *work], alignment=UNIT)
    assert layout.height == layout.lower_bound == 6 * UNIT


def test_the_empty_problem() -> None:
    assert pack_groups([]).height == 0
