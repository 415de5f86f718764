"""Planned training steps, executed beside the baseline in a process of their own."""

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

CASES = Path(__file__).with_name("tensorflow_cases.py")


def run(folder: Path, *names: str) -> dict[str, Any]:
    environment = {**os.environ, "XDG_CACHE_HOME": str(folder), "TF_CPP_MIN_LOG_LEVEL": "2"}
    done = subprocess.run(
        [sys.executable, str(CASES), *names],
        capture_output=True,
        text=True,
        env=environment,
        check=False,
        timeout=600,
    )
    assert done.returncode == 0, done.stderr[-3000:]
    found: dict[str, Any] = json.loads(done.stdout.splitlines()[-1])
    return found


@pytest.fixture(scope="module")
def small(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Any]:
    names = ("semantics", "refusals", "planning", "updates", "sizes")
    return run(tmp_path_factory.mktemp("small"), *names)


@pytest.fixture(scope="module")
def large(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Any]:
    return run(tmp_path_factory.mktemp("large"), "networks", "keras_fit")


STEPS = (
    "several_outputs",
    "stateful_dropout",
    "branch",
    "loop",
    "custom_gradient",
    "nested",
    "accumulate",
    "reads_around",
)


@pytest.mark.parametrize("name", STEPS)
def test_planned_steps_compute_the_same_bits(small: dict[str, Any], name: str) -> None:
    found = small["semantics"][name]
    assert found["same"]
    assert found["recomputed"] > 0
    assert found["peak"] <= found["budget"]


def test_outputs_keep_their_structure(small: dict[str, Any]) -> None:
    assert small["semantics"]["several_outputs"]["keys"] == ["constant", "loss", "more", "x"]


@pytest.mark.parametrize("name", ["accumulate", "reads_around"])
def test_replaced_bytes_of_variables_are_counted(small: dict[str, Any], name: str) -> None:
    found = small["semantics"][name]
    assert found["measured"] == pytest.approx(found["peak"], rel=0.01)


def test_updates_run_as_soon_as_their_gradients_are_there(small: dict[str, Any]) -> None:
    found = small["updates"]
    assert found["same"]
    assert found["recomputed"] == 0
    assert found["predicted"] <= 0.6 * found["before"]
    assert found["measured"] == pytest.approx(found["predicted"], rel=0.01)


def test_a_measured_plan_of_a_loop_meets_the_budget(small: dict[str, Any]) -> None:
    found = small["semantics"]["loop"]
    assert found["again"]
    assert 0 < found["measured"] <= found["budget"]


@pytest.mark.parametrize("name", ["vgg", "resnet", "unet"])
def test_networks_train_within_the_budget(large: dict[str, Any], name: str) -> None:
    found = large["networks"][name]
    assert found["same"]
    assert found["trained"]
    assert found["recomputed"] > 0
    assert found["predicted"] <= found["budget"] < found["before"]
    assert found["measured"] == pytest.approx(found["predicted"], rel=0.01)
    assert found["trainable"] == found["weights"]
    assert found["page"]
    assert "recomputation" in found["report"]


def test_keras_fit_is_what_it_was(large: dict[str, Any]) -> None:
    found = large["keras_fit"]
    assert found["same_history"]
    assert found["same_variables"]
    assert found["keys"] == sorted(
        ["accuracy", "learning_rate", "loss", "val_accuracy", "val_loss"]
    )
    # Two shapes of a batch, 8 and 4, one budget: of the first.
    assert len(found["peaks"]) == 2
    assert found["budgets"] == [int(0.46 * found["before"])] * 2
    assert all(p <= b for p, b in zip(found["peaks"], found["budgets"], strict=True))
    # Half of what the step allocates: of activations less is left, as gradients are needed anyway.
    assert found["measured_before"] == pytest.approx(found["before"], rel=0.01)
    assert 0 < found["measured"] <= found["measured_before"] / 2


def test_ops_are_measured_with_the_sizes_that_they_have(small: dict[str, Any]) -> None:
    found = small["sizes"]
    assert set(found) >= {
        "Conv2DBackpropInput",
        "Conv2DBackpropFilter",
        "DepthwiseConv2dNativeBackpropFilter",
        "DepthwiseConv2dNativeBackpropInput",
        "Tile",
    }
    for given, made in found.values():
        assert given == made


@pytest.mark.parametrize(
    ("name", "words"),
    [
        ("distributed", ["InputError", "distribution"]),
        ("mirrored", ["InputError", "distribution"]),
        ("keras_eager", ["InputError", "run_eagerly"]),
        ("keras_steps", ["InputError", "steps_per_execution=4"]),
        ("unknown", ["ModelError", "shape of input", "batch size"]),
        ("no_example", ["InputError", "example_inputs"]),
        ("infeasible", ["Budget", "1000 bytes", "smallest budget"]),
        ("ratio", ["InputError", "1.5"]),
        ("size", ["InputError", "much"]),
        ("twice", ["PlanError", "stateful", "twice"]),
        ("missing", ["PlanError"]),
        ("backwards", ["PlanError", "before"]),
        ("stranger", ["PlanError", "nobody"]),
    ],
)
def test_refusals_say_what_and_why(small: dict[str, Any], name: str, words: list[str]) -> None:
    message = small["refusals"][name]
    assert all(word in message for word in words), message


def test_the_trace_itself_is_a_sound_plan(small: dict[str, Any]) -> None:
    assert small["refusals"]["sound"] == ""


def test_devices_plans_and_options_are_kept(small: dict[str, Any]) -> None:
    found = small["planning"]
    assert len(found["gpu"]) == 1
    assert found["gpu"][0].lower().endswith("gpu:1")
    assert len(found["cpu"]) == 1
    assert found["cpu"][0].lower().endswith("cpu:0")
    assert found["same_plan"]
    assert found["restored"]
    assert found["round_trip"]
