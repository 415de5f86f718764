"""ONNX models to the graph IR.

    source = read("model.onnx", dims={"batch": 1})      checked, shapes inferred
    model = optimized_by_ort(source, level="all")       the graph that ONNX Runtime really runs
    graph = import_graph(model)                         lowtide.ir.Graph

Names are resolved on first use, so that a child process imports only what it runs.
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from lowtide.frontends.onnx.dimensions import OpenDimension
    from lowtide.frontends.onnx.importer import import_graph
    from lowtide.frontends.onnx.ort_graph import (
        OrtLevel,
        optimized_by_ort,
    )
    from lowtide.frontends.onnx.source import OnnxSource, read

__all__ = [
    "OnnxSource",
    "OpenDimension",
    "OrtLevel",
    "import_graph",
    "optimized_by_ort",
    "read",
]

_HOME = {
    "OnnxSource": "source",
    "OpenDimension": "dimensions",
    "OrtLevel": "ort_graph",
    "import_graph": "importer",
    "optimized_by_ort": "ort_graph",
    "read": "source",
}


def __getattr__(name: str) -> object:
    if name in _HOME:
        module = importlib.import_module(f"lowtide.frontends.onnx.{_HOME[name]}")
        value: object = getattr(module, name)
        globals()[name] = value
        return value
    raise AttributeError(f"module 'lowtide.frontends.onnx' has no attribute {name!r}")


def __dir__() -> list[str]:
    return sorted(__all__)
