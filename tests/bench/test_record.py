"""Result files: what is written is what is read, and what is damaged is refused."""

from __future__ import annotations

import json
from collections import Counter
from dataclasses import asdict
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from lowtide.bench.record import SCHEMA, UNITS, Manifest, Measure, Record, digest, load
from lowtide.errors import InputError

RESULTS = Path(__file__).parents[2] / "bench" / "results"
BASELINE = RESULTS.with_name("baseline")

MANIFEST = Manifest(
    experiment="table",
    command=("python", "-m", "table"),
    settings={"seed": 0},
    machine={"cpu": "abacus"},
    versions={"lowtide": "1"},
    models={"a": "0" * 64},
)

texts = st.text(min_size=1, max_size=8).filter(str.isprintable)
measures = st.builds(
    Measure,
    case=texts,
    who=texts,
    what=texts,
    unit=st.sampled_from(UNITS),
    value=st.integers() | st.floats(allow_nan=False, allow_infinity=False),
    peer=st.booleans(),
)
rows = st.dictionaries(st.sampled_from(["rows", "cells"]), st.lists(st.integers()), max_size=2)


@given(st.lists(measures, max_size=4, unique_by=lambda measure: measure.key), rows)
def test_records_make_the_round_trip(
    tmp_path_factory: pytest.TempPathFactory, found: list[Measure], rest: dict[str, Any]
) -> None:
    path = tmp_path_factory.mktemp("record") / "table.json"
    record = Record(MANIFEST, tuple(found), rest)
    path.write_text(record.to_json())
    assert load(path) == record


DAMAGED_MANIFESTS: list[dict[str, object]] = [
    {"experiment": 3},
    {"machine": None},
    {"models": [1]},
    {"machine": {"calibration_cpu_s": "x"}},
    {"machine": {"calibration_cpu_s": 0}},
    {"machine": {"calibration_cpu_s": 1e-300}},
    {"machine": {"calibration_cpu_s": 1e300}},
    {"machine": {"calibration_cpu_s": float("nan")}},
    {"machine": {"cpu": "abacus\x1b[2J"}},
    {"machine": {"cpu": ["abacus"]}},
    {"experiment": ""},
    {"experiment": "\ud800"},
    {"command": "python"},
    {"command": [3]},
    {"models": {"a\nb": "0"}},
    {"versions": {"lowtide": 1}},
    {"settings": {"sizes": [[1]]}},
    {"settings": {"only": "\ud800"}},
    {"commit": None},
    {"note": "\x1b]0;"},
    {"more": 1},
]

DAMAGED_MEASURES: list[dict[str, object]] = [
    {"unit": "furlongs"},
    {"value": "1"},
    {"value": None},
    {"value": True},
    {"value": float("nan")},
    {"value": 10**400},
    {"case": 1},
    {"case": "a\nb"},
    {"case": "\ud800"},
    {"who": "\x1b[2J"},
    {"what": []},
    {"peer": []},
    {"peer": 1},
    {"more": 1},
]


def _entry(**changes: object) -> dict[str, object]:
    return {"case": "a", "who": "b", "what": "c", "unit": "s", "value": 1, **changes}


def _manifest(**changes: object) -> dict[str, object]:
    return {**asdict(MANIFEST), **changes}


def _document(**changes: object) -> dict[str, object]:
    document = json.loads(Record(MANIFEST, (Measure("a", "b", "c", "s", 1.0),)).to_json())
    return {**document, **changes}


def _nested(depth: int = 500) -> object:
    return json.loads("[" * depth + "]" * depth)


@pytest.mark.parametrize(
    "text",
    [
        "",
        "{",
        "[]",
        "{}",
        "[" * 100_000,
        json.dumps(_document(schema="lowtide.bench/2")),
        json.dumps(_document(manifest={})),
        json.dumps(_document(manifest=None)),
        *(json.dumps(_document(manifest=_manifest(**change))) for change in DAMAGED_MANIFESTS),
        json.dumps(_document(schema=_nested())),
        json.dumps(_document(measures=3)),
        json.dumps(_document(measures={})),
        json.dumps(_document(measures=[_entry(value=_nested())])),
        json.dumps(_document(measures=[_entry(), _entry(unit="bytes")])),
        json.dumps(_document(measures=[{"more": 1}])),
        json.dumps(_document(measures=[{"case": "a"}])),
        *(json.dumps(_document(measures=[_entry(**change)])) for change in DAMAGED_MEASURES),
    ],
)
def test_what_is_no_result_is_refused(tmp_path: Path, text: str) -> None:
    path = tmp_path / "result.json"
    path.write_text(text)
    with pytest.raises(InputError, match=r"result\.json") as caught:
        load(path)
    assert str(caught.value).isprintable()
    assert len(str(caught.value)) < 600


def test_what_a_file_lists_twice_is_named(tmp_path: Path) -> None:
    path = tmp_path / "result.json"
    path.write_text(json.dumps(_document(measures=[_entry(), _entry(value=2)])))
    with pytest.raises(InputError, match=r"stands there twice: \('a', 'b', 'c'\)"):
        load(path)


def test_a_bar_in_a_name_is_fine(tmp_path: Path) -> None:
    path = tmp_path / "result.json"
    path.write_text(json.dumps(_document(measures=[_entry(case="a|b")])))
    assert load(path).measures[0].case == "a|b"


def test_a_file_that_is_not_there_is_refused(tmp_path: Path) -> None:
    for path, reason in ((tmp_path / "none.json", "No such file"), (tmp_path, "Is a directory")):
        with pytest.raises(InputError) as caught:
            load(path)
        assert str(caught.value).startswith(f"{path} cannot be read: {reason}")
        assert str(caught.value).count(str(tmp_path)) == 1


def test_digests() -> None:
    assert digest(b"a") == "ca978112ca1bbdcafac231b39a23dc4da786eff8147c4e72b9807785afee48bb"
    assert digest(MANIFEST) == digest(MANIFEST) != digest(Record(MANIFEST, ()))


@pytest.mark.parametrize(
    "path",
    sorted(path for folder in (RESULTS, BASELINE) for path in folder.glob("*.json")),
    ids=lambda path: f"{path.parent.name}-{path.stem}",
)
def test_committed_results_can_be_compared(path: Path) -> None:
    record = load(path)
    assert json.loads(path.read_text())["schema"] == SCHEMA
    assert record.manifest.experiment == path.stem
    assert record.manifest.command[:2] == ("python", "-m")
    assert record.manifest.versions["lowtide"]
    assert record.measures
    assert not [key for key, count in Counter(m.key for m in record.measures).items() if count > 1]
