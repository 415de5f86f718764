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

MANIFEST = Manifest(
    experiment="table",
    command=("python", "-m", "table"),
    settings={"seed": 0},
    machine={"cpu": "abacus"},
    versions={"lowtide": "1"},
    models={"a": "0" * 64},
)

texts = st.text(min_size=1, max_size=8)
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


@given(st.lists(measures, max_size=4), rows)
def test_records_make_the_round_trip(
    tmp_path_factory: pytest.TempPathFactory, found: list[Measure], rest: dict[str, Any]
) -> None:
    path = tmp_path_factory.mktemp("record") / "table.json"
    record = Record(MANIFEST, tuple(found), rest)
    path.write_text(record.to_json())
    assert load(path) == record


def _entry(**changes: object) -> dict[str, object]:
    return {"case": "a", "who": "b", "what": "c", "unit": "s", "value": 1, **changes}


def _manifest(**changes: object) -> dict[str, object]:
    return {**asdict(MANIFEST), **changes}


def _document(**changes: object) -> dict[str, object]:
    document = json.loads(Record(MANIFEST, (Measure("a", "b", "c", "s", 1.0),)).to_json())
    return {**document, **changes}


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
        *(
            json.dumps(_document(manifest=_manifest(**change)))
            for change in (
                {"experiment": 3},
                {"machine": None},
                {"models": [1]},
                {"machine": {"calibration_cpu_s": "x"}},
                {"machine": {"calibration_cpu_s": 0}},
            )
        ),
        json.dumps(_document(measures=3)),
        json.dumps(_document(measures=[{"more": 1}])),
        json.dumps(_document(measures=[{"case": "a"}])),
        *(
            json.dumps(_document(measures=[_entry(**change)]))
            for change in (
                {"unit": "furlongs"},
                {"value": "1"},
                {"value": None},
                {"value": True},
                {"value": float("nan")},
                {"value": 10**400},
                {"case": 1},
                {"more": 1},
            )
        ),
    ],
)
def test_what_is_no_result_is_refused(tmp_path: Path, text: str) -> None:
    path = tmp_path / "result.json"
    path.write_text(text)
    with pytest.raises(InputError, match=r"result\.json"):
        load(path)


def test_a_file_that_is_not_there_is_refused(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="cannot be read"):
        load(tmp_path / "none.json")


def test_digests() -> None:
    assert digest(b"a") == "ca978112ca1bbdcafac231b39a23dc4da786eff8147c4e72b9807785afee48bb"
    assert digest(MANIFEST) == digest(MANIFEST) != digest(Record(MANIFEST, ()))


@pytest.mark.parametrize("path", sorted(RESULTS.glob("*.json")), ids=lambda path: path.stem)
def test_committed_results_can_be_compared(path: Path) -> None:
    record = load(path)
    assert json.loads(path.read_text())["schema"] == SCHEMA
    assert record.manifest.experiment == path.stem
    assert record.manifest.command[:2] == ("python", "-m")
    assert record.manifest.versions["lowtide"]
    assert record.measures
    assert not [key for key, count in Counter(m.key for m in record.measures).items() if count > 1]
