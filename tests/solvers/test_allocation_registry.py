from __future__ import annotations

from dataclasses import dataclass, replace

import pytest
from hypothesis import given, settings

from lowtide.errors import InputError, LowtideError
from lowtide.solvers.allocation import registry
from lowtide.solvers.allocation.bound import lower_bound
from lowtide.solvers.allocation.check import check
from lowtide.solvers.allocation.problem import AllocationProblem, AllocationSolution, Block
from lowtide.solvers.allocation.registry import available, get_allocator
from lowtide.solvers.allocation.tflite_greedy import tflite_greedy_by_size
from lowtide.solvers.allocation.tflm_greedy import tflm_greedy
from lowtide.solvers.schedule import registry as schedule_registry
from tests.solvers.strategies import allocation_problems

NAMES = ("pack", "tflm_greedy", "tflite_greedy_by_size", "first_fit", "best_fit")


def test_the_names() -> None:
    assert [name for name in available() if name != "exact"] == list(NAMES)
    with pytest.raises(InputError, match=r"no allocator `magic`; there are: .*pack, tflm_greedy"):
        get_allocator("magic")


@settings(max_examples=150)
@given(allocation_problems())
def test_every_baseline_gives_a_valid_layout(problem: AllocationProblem) -> None:
    for name in NAMES[1:]:
        heard: list[tuple[int | None, int]] = []
        solution = get_allocator(name)(
            problem, progress=lambda best, bound, heard=heard: heard.append((best, bound))
        )
        check(problem, solution)
        assert heard == [(solution.height, lower_bound(problem))]
        assert solution.method in {name, "bound"}
        assert (solution.status == "infeasible") == (solution.offsets is None)
        assert (solution.status == "optimal") == (solution.height == solution.lower_bound)


@settings(max_examples=200)
@given(allocation_problems(fixed=False))
def test_tflm_greedy_equals_the_planner(problem: AllocationProblem) -> None:
    """Against the planner's own steps: rounded sizes, a stable sort, an offset-ordered list."""
    blocks = tuple(b._replace(alignment=1) for b in problem.blocks if b.size)
    problem = AllocationProblem(blocks, problem.alignment)
    sizes = [b.size + -b.size % problem.alignment for b in blocks]
    ids = list(reversed(range(len(blocks))))
    swapped = True
    while swapped:
        swapped = False
        for k in range(1, len(ids)):
            if sizes[ids[k - 1]] < sizes[ids[k]]:
                ids[k - 1], ids[k] = ids[k], ids[k - 1]
                swapped = True
    placed: list[tuple[int, int]] = []  # offset, id, by offset
    offsets = [-1] * len(blocks)
    for wanted in ids:
        candidate = 0
        for offset, other in placed:
            if (
                blocks[other].lower >= blocks[wanted].upper
                or blocks[wanted].lower >= blocks[other].upper
            ):
                continue
            if offset - candidate >= sizes[wanted]:
                break
            candidate = max(candidate, offset + sizes[other])
        offsets[wanted] = candidate
        placed.append((candidate, wanted))
        placed.sort(key=lambda entry: entry[0])  # stable: after its equals
    assert tflm_greedy(problem) == tuple(offsets)


def test_tflm_places_the_last_of_equal_sizes_first() -> None:
    twins = AllocationProblem((Block("a", 0, 1, 4), Block("b", 0, 1, 4), Block("c", 0, 1, 3)))
    assert tflm_greedy(twins) == (4, 0, 8)
    assert tflite_greedy_by_size(twins) == (0, 4, 8)  # alive throughout: in their order
    fixed = AllocationProblem((Block("a", 0, 1, 4), Block("b", 0, 1, 2, 3)))
    assert tflm_greedy(fixed) == tflite_greedy_by_size(fixed) == (5, 3)


def test_tflite_takes_the_smallest_gap_and_its_quirk() -> None:
    blocks = (
        Block("floor", 0, 9, 1, 0),
        Block("low", 1, 5, 20, 10),
        Block("high", 1, 5, 20, 34),
        Block("x", 2, 3, 4),
    )
    assert tflite_greedy_by_size(AllocationProblem(blocks)) == (0, 10, 34, 30)
    # Unaligned ends: the first gap is [8, 16), 8 when compared but remembered as 15 (from 1);
    # the next, [24, 32), is 8 again and replaces it.
    blocks = (
        Block("a", 0, 9, 1, 0),
        Block("b", 0, 9, 8, 16),
        Block("c", 0, 9, 8, 32),
        Block("x", 1, 2, 8),
    )
    assert tflite_greedy_by_size(AllocationProblem(blocks, 8)) == (0, 16, 32, 24)
    assert get_allocator("best_fit")(AllocationProblem(blocks, 8)).offsets == (0, 16, 32, 8)


def test_runtimes_know_no_gaps_and_no_sharing() -> None:
    one = Block("a", 0, 9, 4, None, ((2, 6),))
    problem = AllocationProblem((one, Block("b", 2, 6, 4), Block("c", 8, 12, 4)), shares=((0, 2),))
    heights = {name: get_allocator(name)(problem).height for name in NAMES}
    assert heights["tflm_greedy"] == heights["tflite_greedy_by_size"] == 8
    assert heights["pack"] == heights["first_fit"] == heights["best_fit"] == 4


@dataclass
class _Point:
    name: str
    target: object

    value = "package:attribute"

    def load(self) -> object:
        if isinstance(self.target, Exception):
            raise self.target
        return self.target


def test_other_packages_add_allocators(monkeypatch: pytest.MonkeyPatch) -> None:
    problem = AllocationProblem((Block("a", 0, 1, 4), Block("b", 0, 1, 4)))

    def cheat(problem: AllocationProblem, **options: object) -> AllocationSolution:
        return replace(get_allocator("pack")(problem), offsets=(0, 0), height=4)

    def nothing(problem: AllocationProblem, **options: object) -> None:
        return None

    points = [
        _Point("allocate.theirs", get_allocator("first_fit")),
        _Point("allocate.broken", ImportError("no such thing")),
        _Point("allocate.number", 3),
        _Point("allocate.cheat", cheat),
        _Point("allocate.nothing", nothing),
        _Point("allocate.pack", 3),  # built-in names come first
        _Point("order", 3),
    ]

    def entry_points(group: str) -> list[_Point]:
        return points if group == "lowtide.solvers" else []

    monkeypatch.setattr(registry, "entry_points", entry_points)
    monkeypatch.setattr(schedule_registry, "entry_points", entry_points)
    assert available()[-5:] == ("broken", "cheat", "nothing", "number", "theirs")
    assert "order" in schedule_registry.available()
    assert not any("." in name for name in schedule_registry.available())
    with pytest.raises(InputError, match=r"no scheduler `allocate\.theirs`"):
        schedule_registry.get_scheduler("allocate.theirs")
    assert get_allocator("theirs")(problem).height == 8
    assert get_allocator("pack")(problem).height == 8
    with pytest.raises(InputError, match="cannot be loaded: ImportError: no such thing"):
        get_allocator("broken")
    with pytest.raises(InputError, match="is not callable"):
        get_allocator("number")
    with pytest.raises(LowtideError, match="overlap"):
        get_allocator("cheat")(problem)
    with pytest.raises(InputError, match="returned NoneType"):
        get_allocator("nothing")(problem)
