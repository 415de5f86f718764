"""Arenas that are too small may crash TFLite Micro: that says no more than that they are."""

from __future__ import annotations

import os
import signal

import pytest

from lowtide.backends.tflite.tflm.interpreter import enough
from lowtide.errors import ModelError


def test_a_size_that_crashes_is_too_small() -> None:
    def attempt(size: int) -> None:
        if size < 1 << 18:
            os.kill(os.getpid(), signal.SIGSEGV)

    assert enough(attempt, 1 << 20) == 1 << 18


def test_an_error_is_still_an_error() -> None:
    def attempt(size: int) -> None:
        raise RuntimeError(f"no kernel, whatever the {size} bytes")

    with pytest.raises(ModelError, match="does not run the model: no kernel"):
        enough(attempt, 1 << 20)
