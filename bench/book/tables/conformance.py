"""ONNX's node tests in TensorFlow (`bench/onnx_conformance.py`)."""

from __future__ import annotations

from typing import TYPE_CHECKING, cast

from lowtide.bench.book.grid import Table
from lowtide.bench.book.results import load
from lowtide.bench.onnx_conformance_table import Operators, Verdict, table

if TYPE_CHECKING:
    from lowtide.bench.onnx_conformance_table import Outcome

__all__ = ["TABLES"]


def _conformance() -> str:
    found = load("onnx_conformance.json")
    operators = found.record("operators")
    routes = operators.record("routes")
    verdicts = [
        Verdict(
            row.text("name"),
            row.text("operator"),
            cast("Outcome", row.text("outcome")),
            row.flag("is_float"),
            row.flag("expanded"),
            row.text("reason"),
        )
        for row in found.records("rows")
    ]
    routes_of = {name: routes.text(name) for name in routes.fields}
    return table(verdicts, Operators(operators.text("onnx"), operators.whole("own"), routes_of))


TABLES = {"onnx_conformance": Table(("onnx_conformance.json",), _conformance)}
