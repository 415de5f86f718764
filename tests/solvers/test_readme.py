from __future__ import annotations

import doctest
from pathlib import Path


def test_the_examples_run() -> None:
    path = Path(__file__).parents[2] / "solvers" / "README.md"
    failures, examples = doctest.testfile(str(path), module_relative=False, encoding="utf-8")
    assert failures == 0
    assert examples >= 10
