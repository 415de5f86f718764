"""What users of Keras do with a planned model, and random programs, in a process of their own."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from tests.backends.tensorflow_script import run_cases

pytestmark = pytest.mark.tensorflow

pytest.importorskip("tensorflow", exc_type=ImportError)

CASES = Path(__file__).with_name("tensorflow_keras_cases.py")
TRAINED = ("accumulated", "overflow", "attention", "batches", "saved", "left_out")


@pytest.fixture(scope="module")
def cases(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Any]:
    folder = tmp_path_factory.mktemp("keras")
    names = (*TRAINED, "compiled_again", "refusals", "programs")
    return run_cases(CASES, names, folder)


@pytest.mark.parametrize("name", TRAINED)
def test_training_is_what_it_was(cases: dict[str, Any], name: str) -> None:
    found = cases[name]
    assert found["history"]
    assert found["variables"]
    assert found["recomputed"] > 0


def test_a_saved_model_answers_as_the_trained_one(cases: dict[str, Any]) -> None:
    assert cases["saved"]["loaded"]


@pytest.mark.parametrize("what", ["still", "frozen", "moved", "anew", "part"])
def test_a_model_that_is_compiled_anew_is_planned_anew(cases: dict[str, Any], what: str) -> None:
    assert cases["compiled_again"][what]


@pytest.mark.parametrize(("name", "kind"), [("ragged", "RaggedTensor"), ("sparse", "SparseTensor")])
def test_batches_of_unknown_size_are_refused(cases: dict[str, Any], name: str, kind: str) -> None:
    message = cases["refusals"][name]
    assert "InputError" in message
    assert kind in message
    assert "dense" in message


@pytest.mark.parametrize("seed", range(4))
def test_random_programs_compute_the_same(cases: dict[str, Any], seed: int) -> None:
    found = cases["programs"][str(seed)]
    assert found["recomputed"] > 0
    assert found["same"]
    assert found["eager"]
    assert found["compiled"]
