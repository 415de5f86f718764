from __future__ import annotations

from xml.etree import ElementTree

from lowtide.bench.growth import KINDS, draw, solve_one


def test_each_kind_is_solved_and_drawn() -> None:
    points = [solve_one(kind, ops, 30.0) for kind in KINDS for ops in (20, 100)]
    for point in points:
        assert point.status == "optimal"
        assert point.lower_bound_bytes == point.peak_bytes <= point.arena_bytes
        assert point.resident_bytes > 0
    picture = ElementTree.fromstring(draw(points))
    assert sum(element.tag.endswith("polyline") for element in picture) == 2 * len(KINDS)
