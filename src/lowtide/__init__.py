"""Lowtide: the smallest provable peak, for the runtime you already use.

    import lowtide
    result = lowtide.optimize("model.onnx", budget="256KiB")
    result.report, result.plan, result.save("smaller.onnx")

Names are resolved on first use (PEP 562), so that `import lowtide` stays cheap.
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from lowtide.optimizer import Result, analyze, optimize

__version__ = "0.1.0"
__all__ = ["Result", "__version__", "analyze", "optimize"]

_HOME = {"Result": "optimizer", "analyze": "optimizer", "optimize": "optimizer"}


def __getattr__(name: str) -> object:
    if name in _HOME:
        value: object = getattr(importlib.import_module(f"lowtide.{_HOME[name]}"), name)
        globals()[name] = value
        return value
    raise AttributeError(f"module 'lowtide' has no attribute {name!r}")


def __dir__() -> list[str]:
    return sorted(__all__)
