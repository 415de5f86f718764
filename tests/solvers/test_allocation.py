from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st

from lowtide.errors import InstanceError, LowtideError
from lowtide.solvers import _native
from lowtide.solvers.allocation import csv as allocation_csv
from lowtide.solvers.allocation.best_fit import best_fit
from lowtide.solvers.allocation.bound import lower_bound
from lowtide.solvers.allocation.check import check
from lowtide.solvers.allocation.csv import parse_csv, read_csv, to_csv, write_csv
from lowtide.solvers.allocation.first_fit import first_fit
from lowtide.solvers.allocation.pack import pack
from lowtide.solvers.allocation.problem import AllocationProblem, AllocationSolution, Block
from lowtide.solvers.status import Status
from tests.solvers.strategies import allocation_problems

if TYPE_CHECKING:
    from pathlib import Path


def meets(one: Block, two: Block) -> bool:
    return one.lower < two.upper and two.lower < one.upper


@settings(max_examples=250)
@given(allocation_problems(max_blocks=25))
def test_layouts_are_valid_and_not_below_the_bound(problem: AllocationProblem) -> None:
    solution = pack(problem, time_limit_s=None)
    clash = any(
        a.offset is not None
        and b.offset is not None
        and meets(a, b)
        and max(a.offset, b.offset) < min(a.offset + a.size, b.offset + b.size)
        for k, a in enumerate(problem.blocks)
        for b in problem.blocks[:k]
    )
    assert (solution.status == "infeasible") == clash
    if not clash:
        check(problem, solution)
        assert solution.height is not None
        assert solution.height >= solution.lower_bound == lower_bound(problem)
        assert (solution.status == "optimal") == (solution.height == solution.lower_bound)


@settings(max_examples=200)
@given(allocation_problems(max_blocks=15, fixed=False))
def test_the_bound_is_the_greatest_load(problem: AllocationProblem) -> None:
    align = problem.alignment
    loads = [0]
    for time in range(-3, 20):
        alive = [b.size for b in problem.blocks if b.lower <= time < b.upper and b.size]
        rounded = [-(-s // align) * align for s in alive]
        if alive:  # the topmost block need not be rounded: the one where that saves most
            loads.append(sum(rounded) - max(r - s for r, s in zip(rounded, alive, strict=True)))
    assert lower_bound(problem) == max(loads)


@settings(max_examples=300)
@given(allocation_problems(max_blocks=15), st.data())
def test_native_packing_equals_the_plain_one(
    problem: AllocationProblem, data: st.DataObject
) -> None:
    order = data.draw(st.permutations(range(len(problem.blocks))))
    packer = _native.Packer(
        [(b.lower, b.upper, b.size, -1 if b.offset is None else b.offset) for b in problem.blocks],
        problem.alignment,
    )
    for fit, plain in ((False, first_fit), (True, best_fit)):
        offsets = plain(problem, order)
        height = max((o + b.size for o, b in zip(offsets, problem.blocks, strict=True)), default=0)
        assert packer.place(order, fit) == (height, list(offsets))


@settings(max_examples=400)
@given(allocation_problems(fixed=False), st.data())
def test_the_checker_judges_as_the_definition_does(
    problem: AllocationProblem, data: st.DataObject
) -> None:
    blocks = problem.blocks
    assume(blocks)
    good = pack(problem, time_limit_s=None)
    assert good.offsets is not None
    index = data.draw(st.integers(0, len(blocks) - 1))
    moved = problem.alignment * data.draw(st.integers(0, 6))
    offsets = (*good.offsets[:index], moved, *good.offsets[index + 1 :])
    height = max(o + b.size for o, b in zip(offsets, blocks, strict=True))
    overlaps = any(
        meets(blocks[index], b) and max(moved, o) < min(moved + blocks[index].size, o + b.size)
        for k, (b, o) in enumerate(zip(blocks, offsets, strict=True))
        if k != index
    )
    mutated = replace(good, offsets=offsets, height=height, status=Status.FEASIBLE)
    if overlaps:
        with pytest.raises(LowtideError, match="overlap"):
            check(problem, mutated)
    else:
        check(problem, mutated)


PAIR = AllocationProblem((Block("a", 0, 2, 10), Block("b", 1, 3, 6)), 4)
GOOD = AllocationSolution(Status.FEASIBLE, 18, 16, (0, 12))


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"offsets": (0, 8)}, "`a` and `b` overlap at offset 8 and time 1"),
        ({"offsets": (0, 14)}, "not a multiple of 4"),
        ({"offsets": (0, -4)}, "negative"),
        ({"offsets": (0,)}, "1 offsets for 2"),
        ({"height": 19}, "height is 18"),
        ({"height": 17}, "height is 18"),
        ({"lower_bound": 19}, "exceeds a height"),
        ({"status": Status.OPTIMAL}, "status optimal"),
        ({"offsets": None}, "states a height"),
        ({"offsets": None, "height": None, "status": Status.OPTIMAL}, "without offsets"),
    ],
)
def test_the_checker_refuses(change: dict[str, object], message: str) -> None:
    check(PAIR, GOOD)
    bad = replace(GOOD, **change)  # type: ignore[arg-type]
    with pytest.raises(LowtideError, match=message):
        check(PAIR, bad)


def test_the_checker_knows_fixed_offsets() -> None:
    problem = AllocationProblem((Block("a", 0, 2, 4, 8),))
    check(problem, AllocationSolution(Status.OPTIMAL, 12, 12, (8,)))
    with pytest.raises(LowtideError, match="fixed at 8"):
        check(problem, AllocationSolution(Status.FEASIBLE, 4, 4, (0,)))


def test_capacity() -> None:
    blocks = PAIR.blocks
    assert pack(AllocationProblem(blocks, 1, 15)).status == "infeasible"
    assert pack(AllocationProblem(blocks, 1, 15)).offsets is None
    fits = pack(AllocationProblem(blocks, 1, 16))
    assert (fits.status, fits.height) == ("optimal", 16)


# The load is 2 throughout, but `a` has no room at either of its two places below that.
BLOCKED = AllocationProblem(
    (Block("a", 0, 3, 1), Block("b", 0, 1, 1, 0), Block("c", 2, 3, 1, 1)), capacity=2
)


def test_a_capacity_is_not_called_infeasible_without_a_proof() -> None:
    assert lower_bound(BLOCKED) == 2
    for offset in (0, 1):
        with pytest.raises(LowtideError, match="overlap"):
            check(BLOCKED, AllocationSolution(Status.OPTIMAL, 2, 2, (offset, 0, 1)))
    solution = pack(BLOCKED, time_limit_s=None)
    check(BLOCKED, solution)
    assert (solution.status, solution.height, solution.lower_bound) == ("feasible", 3, 2)


def test_packing_is_repeatable_and_the_search_improves() -> None:
    blocks = tuple(
        Block(str(k), (k * 7) % 60, (k * 7) % 60 + 1 + (k * k) % 13, 1 + (k * 37) % 29)
        for k in range(120)
    )
    problem = AllocationProblem(blocks)
    one, two = pack(problem, time_limit_s=None, seed=1), pack(problem, time_limit_s=None, seed=1)
    assert one.offsets == two.offsets
    assert pack(problem, time_limit_s=0.0).height is not None
    order = sorted(range(120), key=lambda k: -blocks[k].size)
    packer = _native.Packer([(b.lower, b.upper, b.size, -1) for b in blocks], 1)
    greedy, _ = packer.place(order, True)
    found, offsets, _, _ = packer.search(order, True, lower_bound(problem), 0, -1.0, 2_000_000)
    assert found < greedy
    check(
        problem,
        AllocationSolution(Status.FEASIBLE, found, lower_bound(problem), tuple(offsets)),
    )


def test_csv_round_trip(tmp_path: Path) -> None:
    problem = AllocationProblem((Block("a,b", 0, 2, 10, 4), Block('"', -1, 3, 6)), 2, 100)
    path = tmp_path / "x.csv"
    write_csv(problem, path)
    assert read_csv(path, alignment=2, capacity=100) == problem
    assert to_csv(PAIR, (0, 12)) == "id,lower,upper,size,offset\na,0,2,10,0\nb,1,3,6,12\n"
    assert to_csv(PAIR) == "id,lower,upper,size\na,0,2,10\nb,1,3,6\n"
    assert parse_csv("\ufeffsize,Start,end,buffer\n6,1,3,b\n".lstrip("\ufeff")).blocks == (
        Block("b", 1, 3, 6),
    )
    with pytest.raises(InstanceError, match="cannot be written"):
        write_csv(problem, tmp_path / "nowhere" / "x.csv")


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", "lacks id, lower, upper, size"),
        ("id,lower,upper\n", "lacks size"),
        ("id,lower,upper,size,colour\n", "unknown column `colour`"),
        ("id,lower,upper,size,id\n", "`id` twice"),
        ("id,lower,upper,size\na,0,1\n", "line 2 has 3 fields, the header has 4"),
        ("id,lower,upper,size\na,0,x,1\n", "line 2: `upper` must be an integer, not `x`"),
        ("id,lower,upper,size\na,0,1,1.5\n", "`size` must be an integer"),
        ("id,lower,upper,size\na,0,1," + "9" * 5000 + "\n", "`size` must be an integer"),
        ("id,lower,upper,size\na,0,1,999999999999999999999\n", "over 2.60"),
        ("id,lower,upper,size\na,0,99999999999999999999,1\n", "beyond 2.60"),
        ("id,lower,upper,size\na,1,1,4\n", "empty lifetime"),
        ("id,lower,upper,size\na,0,1,-4\n", "negative size"),
        ("id,lower,upper,size\na,0,1,4\na,0,1,4\n", "given to two"),
        ("id,lower,upper,size,offset\na,0,1,4,-1\n", "negative or not a"),
        ("id,lower,upper,size\n" + "x" * 2000 + ",0,1,4\n", "over 1000 characters"),
        ('id,lower,upper,size\n"a,0,1,4\n', "not CSV"),
        ("id,lower,upper,size\n" + "x" * 200_000 + ",0,1,4\n", "not CSV"),
    ],
)
def test_what_is_no_table_is_refused(text: str, message: str) -> None:
    with pytest.raises(InstanceError, match=message) as caught:
        parse_csv(text)
    assert len(str(caught.value)) < 400


def test_damaged_files(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "x.csv"
    with pytest.raises(InstanceError, match="cannot be read"):
        read_csv(path)
    path.write_bytes(b"id,lower,upper,size\n\xff,0,1,1\n")
    with pytest.raises(InstanceError, match="not UTF-8"):
        read_csv(path)
    path.write_text("id,lower,upper,size\na,0,1,1\nb,0,1,1\n")
    monkeypatch.setattr(allocation_csv, "MAX_BLOCKS", 1)
    with pytest.raises(InstanceError, match=r"x\.csv: more than 1 buffers"):
        read_csv(path)
    monkeypatch.setattr(allocation_csv, "MAX_FILE_BYTES", 4)
    with pytest.raises(InstanceError, match="larger than"):
        read_csv(path)
