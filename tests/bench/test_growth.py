from __future__ import annotations

from typing import TYPE_CHECKING
from xml.etree import ElementTree

from lowtide import child
from lowtide.bench import growth
from lowtide.bench.growth import KINDS, draw, solve_one

if TYPE_CHECKING:
    from collections.abc import Mapping

    import pytest


def test_each_kind_is_solved_and_drawn() -> None:
    points = [solve_one(kind, ops, 30.0) for kind in KINDS for ops in (20, 100)]
    for point in points:
        assert point.status == "optimal"
        assert point.lower_bound_bytes == point.peak_bytes <= point.arena_bytes
        assert point.resident_bytes > 0
    picture = ElementTree.fromstring(draw(points))
    assert sum(element.tag.endswith("polyline") for element in picture) == 2 * len(KINDS)


def test_each_graph_is_solved_in_a_child_that_ends_with_the_runner(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    asked: list[tuple[str, object]] = []

    def answer(
        target: str, request: Mapping[str, object], *, timeout_s: float
    ) -> dict[str, object]:
        assert target == "lowtide.bench.growth:solve_here"
        assert 2 * 7.0 < timeout_s <= 1e6
        asked.append((str(request["kind"]), request["ops"]))
        return growth.solve_here(request)

    monkeypatch.setattr(growth, "one_core", lambda: None)
    monkeypatch.setattr(child, "run", answer)
    assert growth.main(["--sizes", "20", "100", "--time-limit", "7"]) == 0
    assert asked == [(kind, ops) for kind in KINDS for ops in (20, 100)]
    assert capsys.readouterr().out.count("| optimal |") == len(asked)
