"""CP-SAT beside TensorFlow, in either order of loading, in processes of their own."""

from __future__ import annotations

import subprocess
import sys

import pytest

# Loaded after TensorFlow without care, OR-Tools dies within a few of these.
_SOLVE = """
import gc
from lowtide.solvers.cp_sat import cp_model
for workers in (4, 1) * 10:
    model = cp_model.CpModel()
    xs = [model.new_int_var(0, 10, f"x{i}") for i in range(20)]
    model.add(sum(xs) >= 50)
    model.add_all_different(xs[:10])
    model.minimize(sum((i + 1) * x for i, x in enumerate(xs)))
    solver = cp_model.CpSolver()
    solver.parameters.num_workers = workers
    solver.parameters.max_time_in_seconds = 0.2
    solver.solve(model)
    del model, solver
    gc.collect()
"""
_TENSORFLOW = """
import tensorflow
assert tensorflow.constant([1.0, 2.0]).numpy().sum() == 3.0
"""


@pytest.mark.parametrize("program", [_TENSORFLOW + _SOLVE, _SOLVE + _TENSORFLOW])
def test_tensorflow_and_cp_sat_in_one_process(program: str) -> None:
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, check=False)
    assert done.returncode == 0, done.stderr[-2000:]
