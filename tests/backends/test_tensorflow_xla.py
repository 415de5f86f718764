"""Functions that XLA compiles within a budget, executed in a process of their own."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from tests.backends.tensorflow_script import run_cases

pytestmark = pytest.mark.tensorflow

pytest.importorskip("tensorflow", exc_type=ImportError)

CASES = Path(__file__).with_name("tensorflow_xla_cases.py")
STEPS = ("branch", "nested", "accumulate", "reads_around")


@pytest.fixture(scope="module")
def cases(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Any]:
    folder = tmp_path_factory.mktemp("xla")
    names = ("semantics", "bits", "barriers", "dropout", "fit", "asked")
    return run_cases(CASES, names, folder)


@pytest.mark.parametrize("name", STEPS)
def test_compiled_steps_compute_what_they_did_in_less(cases: dict[str, Any], name: str) -> None:
    found = cases["semantics"][name]
    assert found["close"]
    assert found["trained"]
    assert found["recomputed"] > 0
    assert found["after"] < found["before"]


def test_what_repeats_read_keeps_its_bits(cases: dict[str, Any]) -> None:
    assert len(cases["bits"]) == 10
    assert [name for name, same in cases["bits"].items() if not same] == []


def test_without_the_selects_xla_merges_what_runs_again(cases: dict[str, Any]) -> None:
    found = cases["barriers"]
    assert found["recomputed"] > 0
    assert found["close"]
    assert found["merged"] == found["before"]
    assert found["after"] <= 0.75 * found["before"]


def test_a_stateful_mask_is_made_once(cases: dict[str, Any]) -> None:
    found = cases["dropout"]
    assert found["recomputed"] > 0
    assert found["same_mask"]
    assert found["part"] == pytest.approx(0.5, abs=0.05)
    assert found["new_mask"]


def test_a_compiled_keras_model_trains_within_the_budget(cases: dict[str, Any]) -> None:
    found = cases["fit"]
    assert found["close"]
    assert found["history"]
    assert found["recomputed"] > 0
    assert found["peak"] <= found["budget"] == int(0.7 * found["before"])
    assert found["again"] == found["peak"]
    assert "XLA's buffers" in found["report"]


def test_the_public_functions_say_what_xla_assigns(cases: dict[str, Any]) -> None:
    found = cases["asked"]
    assert found["own"]
    assert not found["not"]
    assert found["recomputed"] == 0
    before, after = found["measured"]
    assert before == after == found["peak"] > 0
    assert 0 < found["within"][0] <= found["within"][1]
    assert found["round_trip"]


@pytest.mark.parametrize(
    ("name", "words"),
    [
        ("too_low", ["BudgetNotMetError", "1000 bytes", "the least was"]),
        ("strings", ["InputError", "XLA cannot compile", "AsString"]),
        ("order", ["PlanError", "before"]),
    ],
)
def test_refusals_of_compiled_functions(cases: dict[str, Any], name: str, words: list[str]) -> None:
    assert all(word in cases["asked"][name] for word in words), cases["asked"][name]
