"""What users of Keras do with a planned model, and random programs, in a process of their own."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

pytestmark = pytest.mark.tensorflow
pytest.importorskip("tensorflow", exc_type=ImportError)

CASES = Path(__file__).with_name("tensorflow_keras_cases.py")
TRAINED = ("accumulated", "overflow", "attention", "batches", "saved", "left_out")


@pytest.fixture(scope="module")
def cases(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Any]:
    folder = tmp_path_factory.mktemp("keras")
    names = (*TRAINED, "compiled_again", "refusals", "programs")
    done = subprocess.run(
        [sys.executable, str(CASES), *names],
        capture_output=True,
        text=True,
        env={**os.environ, "XDG_CACHE_HOME": str(folder), "TF_CPP_MIN_LOG_LEVEL": "2"},
        check=False,
        timeout=600,
    )
    assert done.returncode == 0, done.stderr[-3000:]
    found: dict[str, Any] = json.loads(done.stdout.splitlines()[-1])
    return found


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
