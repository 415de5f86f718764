"""A sample of ONNX's own node tests, by family of operators (all: bench/onnx_conformance)."""

from __future__ import annotations

import zlib
from collections import defaultdict
from functools import cache
from typing import TYPE_CHECKING

import pytest

from lowtide.backends.tensorflow.from_onnx.registry import FAMILIES, emitted, find
from lowtide.bench.onnx_conformance import cases, judge
from lowtide.bench.onnx_conformance_table import Operators, Verdict, table

if TYPE_CHECKING:
    from onnx.backend.test.case.test_case import TestCase

pytestmark = [pytest.mark.tensorflow, pytest.mark.filterwarnings("ignore")]

# What ONNX tests and is not emitted, or in types that TensorFlow lacks: docs/onnx-conformance.md.
_REFUSED = ("is not emitted", "TensorFlow takes tensors", "TensorFlow has no", "sequences")


@cache
def _families() -> dict[str, list[TestCase]]:
    """One test of each operator, spread over the families; the choice is fixed by the names."""
    chosen: dict[str, TestCase] = {}
    for case in cases():
        assert case.model is not None
        kind = case.model.graph.node[-1].op_type
        rank = zlib.crc32(case.name.encode())
        known = chosen.get(kind)
        if known is None or rank < zlib.crc32(known.name.encode()):
            chosen[kind] = case
    families: dict[str, list[TestCase]] = defaultdict(list)
    for kind, case in chosen.items():
        entry = find("", kind, 1 << 20)
        name = "definitions" if entry is None else entry.handler.__module__.rpartition(".")[2]
        families[name].append(case)
    return families


@pytest.mark.parametrize("family", [*FAMILIES, "definitions"])
def test_sampled_node_tests_pass(family: str) -> None:
    verdicts = [judge(case) for case in _families()[family]]
    failed = [v for v in verdicts if v.outcome == "fail"]
    refused = [v for v in verdicts if v.outcome == "unsupported"]
    assert not failed, failed
    assert all(any(part in v.reason for part in _REFUSED) for v in refused), refused
    if family != "random":  # ONNX fixes no sequence of random numbers: no test of it is kept
        assert len(refused) < len(verdicts)


def test_number_of_operators() -> None:
    assert len(emitted()) >= 120


def test_a_wrong_result_is_a_failure() -> None:
    case = next(case for case in cases("test_add") if case.data_sets)
    assert case.data_sets is not None
    assert judge(case).outcome == "pass"
    inputs, outputs = case.data_sets[0]
    case.data_sets = [(inputs, [output + 1 for output in outputs])]
    assert judge(case).outcome == "fail"


def test_table_counts_every_outcome() -> None:
    verdicts = [
        Verdict("test_a", "Add", "pass", True, False),
        Verdict("test_b", "Add", "bound", True, False),
        Verdict("test_c", "Foo", "unsupported", True, False, "Foo (opset 1) is not emitted: x"),
        Verdict("test_d", "Mul", "fail", False, False, "off by one"),
    ]
    routes = {"Add": "own", "Foo": "-", "Mul": "own"}
    text = table(verdicts, Operators("1.0", 2, routes))
    assert "| `Add` | own | 1 | 1 |  |  |" in text
    assert "2 of 4 pass (50.0 %, 1 of them bound)" in text
    assert "- `test_d`: off by one" in text
    assert "| not emitted | `Foo` |" in text
