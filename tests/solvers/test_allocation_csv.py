from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

import pytest
from hypothesis import given, settings

from lowtide.errors import InstanceError
from lowtide.solvers.allocation import csv as allocation_csv
from lowtide.solvers.allocation.csv import parse_csv, read_csv, to_csv, write_csv
from lowtide.solvers.allocation.problem import AllocationProblem, Block
from tests.solvers.strategies import allocation_problems

if TYPE_CHECKING:
    from pathlib import Path

PAIR = AllocationProblem((Block("a", 0, 2, 10), Block("b", 1, 3, 6)), 4)


@settings(max_examples=150)
@given(allocation_problems())
def test_everything_survives_a_round_trip(problem: AllocationProblem) -> None:
    again = parse_csv(to_csv(problem), alignment=problem.alignment)
    pairs = {frozenset(pair) for pair in problem.shares}
    assert {frozenset(pair) for pair in again.shares} == pairs
    assert replace(again, shares=()) == replace(problem, shares=())


def test_what_minimalloc_writes_is_read_as_it_reads_it() -> None:
    """The cases of its own converter_test.cc that fit this model."""
    text = "id,lower,upper,size,alignment,gaps,offset\n0,5,10,15,1,,1\n1,6,12,18,2,7-8 9-10,22\n"
    blocks = (
        Block("0", 5, 10, 15, 1),
        Block("1", 6, 12, 18, 22, ((7, 8), (9, 10)), 2),
    )
    assert parse_csv(text).blocks == blocks
    assert to_csv(AllocationProblem(blocks)) == text
    old = "id,start,end,size,alignment,gaps\nLittle,5,9,15,1,\nBig,6,11,18,2,7-7 9-9\n"
    assert parse_csv(old).blocks == (
        Block("Little", 5, 10, 15),
        Block("Big", 6, 12, 18, None, ((7, 8), (9, 10)), 2),
    )
    assert parse_csv("begin,size,buffer_id,upper,hint\n6,18,1,12,7\n").blocks == (
        Block("1", 6, 12, 18),
    )


def test_sharing_is_named_from_either_side() -> None:
    text = "id,lower,upper,size,shares\na,0,2,4,b\nb,1,3,4,a c\nc,2,4,4,\n"
    assert parse_csv(text).shares == ((0, 1), (1, 2))
    spaced = AllocationProblem((Block("a b", 0, 2, 4), Block("c", 1, 3, 4)), shares=((1, 0),))
    with pytest.raises(InstanceError, match="`a b` has spaces"):
        to_csv(spaced)


def test_csv_round_trip(tmp_path: Path) -> None:
    problem = AllocationProblem((Block("a,b", 0, 2, 10, 4), Block('"', -1, 3, 6)), 2, 100)
    path = tmp_path / "x.csv"
    write_csv(problem, path)
    assert read_csv(path, alignment=2, capacity=100) == problem
    assert to_csv(PAIR, (0, 12)) == "id,lower,upper,size,offset\na,0,2,10,0\nb,1,3,6,12\n"
    assert to_csv(PAIR) == "id,lower,upper,size\na,0,2,10\nb,1,3,6\n"
    assert parse_csv("size,Start,upper,buffer\n6,1,3,b\n").blocks == (Block("b", 1, 3, 6),)
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
        ("id,lower,upper,size\na,0,1,4\na,0,1,4\n", "line 3: the id `a` .* the first in line 2"),
        ("id,lower,upper,end,size\n", "`upper` twice"),
        ("id,lower,upper,size\na,0,1,4\nb,2,1,4\n", "line 3: buffer `b` has the empty lifetime"),
        ("id,lower,upper,size,alignment\na,0,1,4,0\n", "line 2: .*at least 1, not 0"),
        ("id,lower,upper,size,alignment\na,0,1,4,x\n", "`alignment` must be an integer"),
        ("id,lower,upper,size,alignment\na,0,1,4," + "9" * 24 + "\n", r"over 2\^60"),
        ("id,lower,upper,size,gaps\na,0,9,4,1-2-3\n", "line 2: the gap `1-2-3` is not like"),
        ("id,lower,upper,size,gaps\na,0,9,4,A-B\n", "line 2: the gap `A-B` is not like"),
        ("id,lower,upper,size,gaps\na,0,9,4,2-5@0:2\n", "line 2: .*has a window"),
        ("id,lower,upper,size,gaps\na,0,9,4,2-9\n", "line 2: .*not strictly inside"),
        ("id,lower,upper,size,gaps\na,0,9,4,5-6 2-3\n", "line 2: .*out of order"),
        ("id,lower,upper,size,shares\na,0,9,4,b\n", "line 2: `shares` names `b`, no other"),
        ("id,lower,upper,size,shares\na,0,9,4,a\n", "line 2: `shares` names `a`, itself"),
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
