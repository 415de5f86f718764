"""Verdicts of comparisons."""

from __future__ import annotations

from dataclasses import replace

import pytest

from lowtide.bench.compare import compare, text_of
from lowtide.bench.record import UNITS, Manifest, Measure, Record
from lowtide.errors import InputError

MACHINE: dict[str, object] = {"cpu": "abacus", "calibration_cpu_s": 1.0}


def record(*measures: Measure, machine: dict[str, object] | None = None) -> Record:
    manifest = Manifest("table", ("python",), {}, machine or MACHINE, {"lowtide": "1"})
    return Record(manifest, measures)


def one(value: float, unit: str, *, case: str = "a", peer: bool = False) -> Measure:
    return Measure(case, "us", "peak", unit, value, peer)


@pytest.mark.parametrize(
    ("unit", "before", "now", "worse"),
    [
        ("bytes", 100, 100, False),
        ("bytes", 100, 101, True),
        ("bytes", 100, 99, False),
        ("bytes", 0, 1, True),
        ("%", 1.0, 1.2, False),  # less than a quarter of a point
        ("%", 10.0, 10.9, False),  # less than a tenth
        ("%", 10.0, 11.5, True),
        ("%", 0.0, 0.3, True),
        ("ratio", 1.0, 1.05, False),
        ("ratio", 1.0, 1.2, True),
        ("s/s", 1.0, 1.4, False),
        ("s/s", 1.0, 1.6, True),
        ("s", 1.0, 1.4, False),
        ("s", 1.0, 1.6, True),
    ],
)
def test_what_is_worse(unit: str, before: float, now: float, worse: bool) -> None:
    found = compare(record(one(before, unit)), record(one(now, unit)))
    assert found.worse is worse
    assert ("**worse**" in text_of(found)) is worse
    back = compare(record(one(now, unit)), record(one(before, unit)))
    if unit not in ("s", "s/s") and worse:
        assert not back.worse
        assert back.groups[0].better == ["a"]


def test_a_peer_that_is_worse_is_not_our_fault() -> None:
    found = compare(record(one(1, "bytes", peer=True)), record(one(2, "bytes", peer=True)))
    assert not found.worse
    assert found.groups[0].worse == ["a"]
    assert "| peer |" in text_of(found)


def test_seconds_are_judged_by_their_mean_and_by_the_machine() -> None:
    before = record(one(1, "s"), one(1, "s", case="b"))
    now = record(one(4, "s"), one(0.25, "s", case="b"))
    assert compare(before, now).groups[0].mean == pytest.approx(1.0)
    assert not compare(before, now).worse
    slow = record(one(3, "s"), machine={**MACHINE, "calibration_cpu_s": 2.5})
    found = compare(record(one(1, "s")), slow)
    assert found.groups[0].pairs == {"a": (2.5, 3)}
    assert not found.worse
    assert compare(record(one(1, "s")), slow, tolerance=1.1).worse
    unknown = compare(record(one(1, "s"), machine={"cpu": "another"}), slow)
    assert unknown.groups[0].pairs == {"a": (1.0, 3)}
    assert len(unknown.notes) == 2


@pytest.mark.parametrize(
    ("before", "now", "mean"),
    [
        (1e308, 5e-324, "0.000"),
        (5e-324, 1e308, "inf"),
        (10**308, 1e-300, "0.000"),
        (1e-10, 10, "1e+11"),
        (1, 10**308, "1e+308"),
    ],
    ids=lambda value: value if isinstance(value, str) else f"{value:g}",
)
@pytest.mark.parametrize("unit", UNITS)
def test_numbers_of_any_size_are_compared(unit: str, before: float, now: float, mean: str) -> None:
    found = compare(record(one(before, unit)), record(one(now, unit)))
    assert found.worse is (now > before)
    assert f"| 1 | {mean} |" in text_of(found)


def test_seconds_of_the_slowest_machine_are_compared() -> None:
    slow, fast = ({**MACHINE, "calibration_cpu_s": each} for each in (1e6, 1e-6))
    least, most = (record(one(value, "s"), machine=slow) for value in (5e-324, 1.7e308))
    for before in (least, most):
        for value in (5e-324, 1.7e308):
            assert text_of(compare(before, record(one(value, "s"), machine=fast)))
            assert text_of(compare(record(one(value, "s"), machine=fast), before))


def test_what_is_gone_or_new_is_named() -> None:
    before = record(one(1, "bytes"), one(1, "bytes", case="b"), one(1, "bytes", case="c"))
    lost = Measure("a", "us", "gap", "bytes", 0)
    now = record(one(1, "bytes"), one(1, "bytes", case="d"))
    found = compare(replace(before, measures=(*before.measures, lost)), now)
    assert found.lost == ("a: us's gap",)
    assert found.worse
    assert found.gone == ("b", "c")
    assert found.new == ("d",)
    text = text_of(found)
    assert "**lost**: a: us's gap" in text
    assert "only in the baseline: b, c" in text
    assert "new: d" in text


def test_nothing_in_common() -> None:
    found = compare(record(one(1, "bytes")), record(one(1, "bytes", case="b")))
    assert not found.worse
    assert "No measure in common" in text_of(found)


def test_a_measure_that_is_in_another_unit_is_lost() -> None:
    found = compare(record(one(1, "s")), record(one(1e9, "bytes")))
    assert found.groups == ()
    assert found.lost == ("a: us's peak (in bytes now, in s before)",)
    assert found.worse
    assert "No measure in common" in text_of(found)


def test_a_measure_that_is_a_peers_now_is_lost() -> None:
    found = compare(record(one(1, "s")), record(one(1e9, "s", peer=True)))
    assert found.lost == ("a: us's peak (a peer's now)",)
    assert found.worse
    back = compare(record(one(1, "bytes", peer=True)), record(one(2, "bytes")))
    assert not back.lost
    assert back.worse


def test_a_peer_in_another_unit_is_said() -> None:
    found = compare(record(one(1, "s", peer=True)), record(one(1, "bytes", peer=True)))
    assert not found.worse
    assert found.notes == ("a: us's peak is not compared: in bytes now, in s before",)


def test_other_models_are_noted() -> None:
    before, now = record(one(1, "bytes")), record(one(1, "bytes"))
    before = replace(before, manifest=replace(before.manifest, models={"a": "1"}))
    now = replace(now, manifest=replace(now.manifest, models={"a": "2", "b": "3"}))
    assert compare(before, now).notes == ("a is another model than in the baseline",)


def test_other_settings_are_noted() -> None:
    before, now = record(one(1, "bytes")), record(one(1, "bytes"))
    before = replace(before, manifest=replace(before.manifest, settings={"seed": 0, "sizes": [7]}))
    changed = {"seed": 0, "sizes": [8] * 40, "only": "a"}
    now = replace(now, manifest=replace(now.manifest, settings=changed))
    (note,) = compare(before, now).notes
    assert note.startswith("other settings than in the baseline: sizes [8, 8, ")
    assert note.endswith('..., not [7]; only "a", not unknown')
    assert note in text_of(compare(before, now))
    assert not compare(now, now).notes


def test_other_experiments_are_refused() -> None:
    other = record(one(1, "bytes"))
    other = replace(other, manifest=replace(other.manifest, experiment="else"))
    with pytest.raises(InputError, match="different experiments: else and table"):
        compare(other, record(one(1, "bytes")))


@pytest.mark.parametrize("tolerance", [0.5, float("nan")])
def test_a_tolerance_is_a_ratio_from_one_on(tolerance: float) -> None:
    with pytest.raises(InputError, match="from 1 on"):
        compare(record(), record(), tolerance=tolerance)
