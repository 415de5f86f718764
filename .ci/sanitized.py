"""A pytest plugin: the tests run against the sanitized native code, or not at all.

`LOWTIDE_SANITIZED` names the folder it was built into. The extension takes the place of
`lowtide.solvers._native`, the arena that of `lowtide.backends.onnx.arena.library()`. What cannot
hold the sanitizers to account (no runtime in the process, no checks in the code, the installed
module in use after all) is an error, not a pass.
"""

from __future__ import annotations

import ctypes
import importlib.util
import os
import sys
from pathlib import Path

import pytest

__all__ = ["pytest_configure", "pytest_sessionfinish"]

_FOLDER = Path(os.environ["LOWTIDE_SANITIZED"]).resolve()
_NAME = "lowtide.solvers._native"


def _built(pattern: str) -> Path:
    """The one file of that pattern, with calls of both sanitizers that end the process."""
    (path,) = _FOLDER.glob(pattern)
    code = path.read_bytes()
    for symbol in (b"__asan_report_", b"__ubsan_handle_", b"_abort\0"):
        if symbol not in code:
            raise pytest.UsageError(f"{path} has no {symbol!r}: build it with LOWTIDE_SANITIZE=ON")
    return path


def pytest_configure() -> None:
    """Load the sanitized extension before any test module can load the installed one."""
    if not hasattr(ctypes.CDLL(None), "__asan_init"):
        raise pytest.UsageError("AddressSanitizer's runtime is not preloaded: run .ci/sanitize")
    if _NAME in sys.modules:
        raise pytest.UsageError(f"{_NAME} was loaded before this plugin")
    spec = importlib.util.spec_from_file_location(_NAME, _built("_native*.so"))
    assert spec is not None
    assert spec.loader is not None
    sys.modules[_NAME] = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(sys.modules[_NAME])

    from lowtide.backends.onnx import arena

    library = _built("_arena.so")
    arena.library = lambda: library


def pytest_sessionfinish() -> None:
    """What ran is what was to be tested."""
    from lowtide.solvers.allocation import packer
    from lowtide.solvers.schedule import exact

    for module in (packer, exact):
        path = module._native.__file__
        if path is None or not Path(path).is_relative_to(_FOLDER):
            raise pytest.UsageError(f"{module.__name__} used {path}, not the sanitized module")
