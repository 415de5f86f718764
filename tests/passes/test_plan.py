"""The plan's JSON: round trip, published schema, errors."""

from __future__ import annotations

import json
from pathlib import Path

import jsonschema
import pytest

from lowtide.errors import PlanError
from lowtide.passes.plan import Certificate, InPlacePair, Plan

SCHEMA = json.loads(Path(__file__, "../../../docs/plan.schema.json").resolve().read_text())

PLAN = Plan(
    model_sha256="ab" * 32,
    target="onnxruntime",
    level="all",
    accounting={"inputs_in_arena": False, "outputs_live_to_end": True, "alignment": 64},
    sequence=("b", "a"),
    certificate=Certificate(
        status="optimal",
        quantity="peak",
        scope="order",
        covers=("workspace", "in_place"),
        peak_bytes=128,
        lower_bound_bytes=128,
        method="exact",
        bound_method="min-cut",
    ),
    offsets={"z": 64, "y": 0},
    arena_bytes=128,
    arena_lower_bound_bytes=128,
    in_place=(InPlacePair("a", "z", "y"),),
    options={"seed": 0, "portable": False, "dim:batch": 1},
)


def test_round_trip_and_schema() -> None:
    text = PLAN.to_json()
    again = Plan.from_json(text)
    assert again == PLAN
    assert again.to_json() == text
    jsonschema.validate(json.loads(text), SCHEMA)
    assert list(json.loads(text)["offsets"]) == ["y", "z"]


def test_a_blank_plan_follows_the_schema() -> None:
    blank = Plan("0" * 64, "onnx", "none", PLAN.accounting, ())
    jsonschema.validate(json.loads(blank.to_json()), SCHEMA)
    assert Plan.from_json(blank.to_json()) == blank


@pytest.mark.parametrize(
    "text",
    [
        "",
        "[]",
        "{}",
        '{"schema": "lowtide.plan/2"}',
        "[" * 100_000,
        PLAN.to_json().replace('"sequence"', '"other"'),
        PLAN.to_json().replace('"alignment": 64', '"alignment": "x"'),
        PLAN.to_json().replace('"b",', "7,"),
        PLAN.to_json().replace('"quantity": "peak",', ""),
    ],
)
def test_malformed_plans_are_refused(text: str) -> None:
    with pytest.raises(PlanError, match="plan"):
        Plan.from_json(text)
