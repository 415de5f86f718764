"""Two executions compared, against plain definitions."""

from __future__ import annotations

from itertools import combinations
from typing import TYPE_CHECKING

from hypothesis import given
from hypothesis import strategies as st

from lowtide.pictures.difference import Difference, Side, draw_difference, inversions

if TYPE_CHECKING:
    from lowtide.pictures.scene import Scene
    from lowtide.planning import Planned

_names = st.lists(st.sampled_from("abcdefgh"), max_size=12).map(tuple)


@given(values=st.lists(st.integers(0, 50), max_size=40))
def test_inversions(values: list[int]) -> None:
    assert inversions(values) == sum(a > b for a, b in combinations(values, 2))


@given(one=_names, two=_names)
def test_a_difference_is_what_it_says(one: tuple[str, ...], two: tuple[str, ...]) -> None:
    found = Difference(Side("a", one, None, 1, None), Side("b", two, None, 2, None))
    assert set(found.added) == set(two) - set(one)
    assert set(found.removed) == set(one) - set(two)
    common = set(one) & set(two)
    assert found.common == len(common)
    turned = sum(
        (one.index(x) < one.index(y)) != (two.index(x) < two.index(y))
        for x, y in combinations(sorted(common), 2)
    )
    assert found.inverted == turned
    assert (found.first is None) == (one == two)
    if found.first is not None:
        assert one[: found.first] == two[: found.first]
        assert one[: found.first + 1] != two[: found.first + 1]
    assert draw_difference(found) is None


def test_the_tensors_at_the_peaks(planned: tuple[Planned, Scene]) -> None:
    made, scene = planned
    sides = [
        Side(name, tuple(m.op for m in run.moments), run, run.peak_bytes, run.arena_bytes)
        for name, run in (("before", scene.before), ("after", scene.after))
    ]
    found = Difference(sides[0], sides[1])
    at_peak = found.b.at_peak
    assert at_peak is not None
    assert sum(at_peak.values()) == made.timeline.peak_bytes
    picture = draw_difference(found)
    assert picture is not None
    assert picture.count('<path d="M76') >= 2
    assert "<title>Live bytes over the execution</title>" in picture
    told = found.to_dict()
    assert told["schema"] == "lowtide.diff/1"
    assert told["ops_added"] == []
