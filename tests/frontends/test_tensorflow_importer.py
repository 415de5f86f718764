"""The graph of a traced function, as TensorFlow's kernels treat memory."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

pytestmark = pytest.mark.tensorflow
pytest.importorskip("tensorflow", exc_type=ImportError)

SCRIPT = Path(__file__).with_name("tensorflow_graphs.py")


@pytest.fixture(scope="module")
def found() -> dict[str, Any]:
    done = subprocess.run(
        [sys.executable, str(SCRIPT)], capture_output=True, text=True, check=False, timeout=300
    )
    assert done.returncode == 0, done.stderr[-3000:]
    loaded: dict[str, Any] = json.loads(done.stdout.splitlines()[-1])
    return loaded


def test_views_and_results_written_in_place(found: dict[str, Any]) -> None:
    assert found["view"] == "MatMul"
    assert found["in_place"] == [[0, 0]]
    # Product and exponential, 64 bytes each, and a sum of 4: the ReLU overwrites the exponential,
    # the square, later, the product.
    assert found["reused_peak"] == 64 + 64 + 4


def test_variables_are_state_that_reading_does_not_copy(found: dict[str, Any]) -> None:
    assert found["read"]
    assert found["state"] == 8 * 8 * 4 + 4


def test_assignments_run_once_and_after_the_readers(found: dict[str, Any]) -> None:
    assert found["pinned"] == ["AssignAddVariableOp", "AssignSubVariableOp"]
    assert found["waits"]


def test_flops(found: dict[str, Any]) -> None:
    convolution = 2 * 8 * 8 * 4 * (3 * 3 * 3)
    assert found["flops"] == {
        "MatMul": 2 * 2 * 8 * 8,
        "Conv2D": convolution,
        "Conv2DBackpropInput": convolution,
    }


def test_the_workspace_of_max_pooling_lives_until_its_gradient(found: dict[str, Any]) -> None:
    # Without oneDNN (on other processors) there is none.
    assert found["winners_read"] == found["onednn"]
    assert found["winners"] is None or found["winners"][1] == 4 * 4 * 4


def test_folded_constants_have_no_bytes_and_parts_are_slices(found: dict[str, Any]) -> None:
    assert found["folded"] == [0]
    assert found["split"] == [0, 128]
