"""Rematerialization solvers by name, ours and other packages'."""

from __future__ import annotations

from dataclasses import dataclass, replace
from random import Random

import pytest

from lowtide.errors import InputError, LowtideError
from lowtide.solvers.remat import registry
from lowtide.solvers.remat.registry import available, get_solver
from lowtide.solvers.remat.solution import RematSolution
from tests.solvers.remat_strategies import training_problem


@dataclass(frozen=True)
class _Point:
    """What `entry_points` gives, as far as it is used."""

    name: str
    loads: object
    value: str = "package:thing"

    def load(self) -> object:
        if isinstance(self.loads, Exception):
            raise self.loads
        return self.loads


def test_other_packages_solvers(monkeypatch: pytest.MonkeyPatch) -> None:
    """Found under their prefix, loaded only when asked for, checked before they are believed."""
    problem = training_problem(6, Random(0)).with_budget_ratio("0.8")

    def cheat(*arguments: object, **options: object) -> RematSolution:
        honest = get_solver("search")(problem, time_limit_s=2.0)
        assert honest.cost is not None
        return replace(honest, cost=honest.cost - 1)

    def nothing(*arguments: object, **options: object) -> None:
        pass

    points = [
        _Point("remat.theirs", get_solver("ap-sqrt")),
        _Point("remat.broken", ImportError("no such thing")),
        _Point("remat.number", 5),
        _Point("remat.cheat", cheat),
        _Point("remat.nothing", nothing),
        _Point("schedule-only", 5),
        _Point("remat.search", 5),
    ]

    def entry_points(group: str) -> list[_Point]:
        return points if group == "lowtide.solvers" else []

    monkeypatch.setattr(registry, "entry_points", entry_points)
    names = available()
    assert {"theirs", "broken", "number"} <= set(names)
    assert "schedule-only" not in names
    assert names.count("search") == 1
    ours, theirs = (get_solver(n)(problem, time_limit_s=2.0) for n in ("ap-sqrt", "theirs"))
    assert theirs.sequence == ours.sequence
    assert get_solver("search") is not points[-1].loads
    with pytest.raises(InputError, match=r"`broken`.*no such thing"):
        get_solver("broken")
    with pytest.raises(InputError, match="not callable"):
        get_solver("number")
    with pytest.raises(LowtideError, match="cost"):
        get_solver("cheat")(problem)
    with pytest.raises(InputError, match="NoneType"):
        get_solver("nothing")(problem)


def test_an_unknown_name_lists_the_known_ones() -> None:
    """In the order in which they are listed."""
    with pytest.raises(InputError, match=r"no remat solver `best`.*search.*chain"):
        get_solver("best")
