from __future__ import annotations

import pytest
from hypothesis import given, settings

from lowtide.errors import InputError, LowtideError
from lowtide.solvers.schedule import registry
from lowtide.solvers.schedule.check import check, peak_of
from lowtide.solvers.schedule.orders import ORDERS
from lowtide.solvers.schedule.problem import Buffer, ScheduleProblem
from lowtide.solvers.schedule.registry import available, get_scheduler
from tests.solvers.oracles import best_by_ideals
from tests.solvers.strategies import schedule_problems

# 0 feeds two branches, 1-3 with a large middle and 2-4 with a small one, joined by 5.
BRANCHES = ScheduleProblem(
    6,
    (
        Buffer(4, 0, (1, 2)),
        Buffer(20, 1, (3,)),
        Buffer(2, 2, (4,)),
        Buffer(1, 3, (5,)),
        Buffer(9, 4, (5,)),
        Buffer(1, 5, (), output=True),
    ),
)


@settings(max_examples=300)
@given(schedule_problems(max_nodes=8))
def test_every_order_is_valid_and_no_bound_exceeds_the_optimum(problem: ScheduleProblem) -> None:
    optimum = best_by_ideals(problem)
    peaks = {name: peak_of(problem, order(problem)) for name, order in ORDERS.items()}
    assert min(peaks.values(), default=optimum) >= optimum
    assert peaks["xla"] == min(peaks[k] for k in ("xla_list", "xla_dfs", "xla_post_order"))
    inductors = ("file", "inductor_lpmf", "inductor_bfs", "inductor_dfs")
    assert peaks["inductor"] == min(peaks[k] for k in inductors)
    for name in ORDERS:
        solution = get_scheduler(name)(problem)
        check(problem, solution)
        assert solution.lower_bound_bytes <= optimum


@pytest.mark.parametrize(
    ("name", "order"),
    [
        ("file", (0, 1, 2, 3, 4, 5)),
        ("kahn", (0, 1, 2, 3, 4, 5)),
        ("ort_default", (0, 2, 4, 1, 3, 5)),
        ("dfs", (0, 1, 3, 2, 4, 5)),
        ("dfs_last", (0, 2, 4, 1, 3, 5)),
        ("dfs_small", (0, 2, 4, 1, 3, 5)),
        ("list", (0, 2, 4, 1, 3, 5)),
        ("xla_list", (0, 2, 4, 1, 3, 5)),
        ("xla_dfs", (0, 1, 3, 2, 4, 5)),
        ("xla_post_order", (0, 1, 3, 2, 4, 5)),
        ("inductor_lpmf", (0, 2, 4, 1, 3, 5)),
        ("inductor_bfs", (0, 1, 2, 3, 4, 5)),
        ("inductor_dfs", (0, 2, 4, 1, 3, 5)),
    ],
)
def test_orders_on_two_branches(name: str, order: tuple[int, ...]) -> None:
    assert ORDERS[name](BRANCHES) == order


def test_the_file_order_is_repaired_where_it_is_not_topological() -> None:
    problem = ScheduleProblem(3, (Buffer(1, 2, (0,)), Buffer(1, 0, (1,))))
    assert ORDERS["file"](problem) == (2, 0, 1)


class _Point:
    def __init__(self, name: str, loaded: object) -> None:
        self.name, self.value, self.loaded = name, "package:attribute", loaded

    def load(self) -> object:
        if isinstance(self.loaded, Exception):
            raise self.loaded
        return self.loaded


def test_schedulers_of_other_packages(monkeypatch: pytest.MonkeyPatch) -> None:
    def cheat(problem: ScheduleProblem, **options: object) -> object:
        from dataclasses import replace

        return replace(get_scheduler("file")(problem), peak_bytes=1)

    def nothing(problem: ScheduleProblem, **options: object) -> None:
        pass

    points = [
        _Point("theirs", get_scheduler("list")),
        _Point("broken", ImportError("no such thing")),
        _Point("number", 5),
        _Point("cheat", cheat),
        _Point("nothing", nothing),
    ]

    def entry_points(group: str) -> list[_Point]:
        return points if group == "lowtide.solvers" else []

    monkeypatch.setattr(registry, "entry_points", entry_points)
    names = available()
    assert names[0] == "exact"
    assert {"file", "theirs", "broken"} <= set(names)
    assert get_scheduler("theirs")(BRANCHES).peak_bytes == 33
    with pytest.raises(InputError, match=r"`broken`.*no such thing"):
        get_scheduler("broken")
    with pytest.raises(InputError, match="not callable"):
        get_scheduler("number")
    with pytest.raises(LowtideError, match="peak"):
        get_scheduler("cheat")(BRANCHES)
    with pytest.raises(InputError, match="NoneType"):
        get_scheduler("nothing")(BRANCHES)


def test_an_unknown_name_lists_the_known_ones() -> None:
    with pytest.raises(InputError, match=r"no scheduler `best`.*exact, serenity, file"):
        get_scheduler("best")
