"""Traced TensorFlow functions to the graph IR.

    graph = import_function(step.get_concrete_function(*specs))     lowtide.ir.Graph

Names are resolved on first use; TensorFlow itself is imported by the caller's function, not here.
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from lowtide.frontends.tensorflow.importer import import_function
    from lowtide.frontends.tensorflow.trace import execution_order

__all__ = ["execution_order", "import_function"]

_HOME = {"execution_order": "trace", "import_function": "importer"}


def __getattr__(name: str) -> object:
    if name in _HOME:
        module = importlib.import_module(f"lowtide.frontends.tensorflow.{_HOME[name]}")
        value: object = getattr(module, name)
        globals()[name] = value
        return value
    raise AttributeError(f"module 'lowtide.frontends.tensorflow' has no attribute {name!r}")


def __dir__() -> list[str]:
    return sorted(__all__)
