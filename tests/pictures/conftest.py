"""Planned networks, made once."""

from __future__ import annotations

from typing import TYPE_CHECKING

import onnx
import pytest

from lowtide.bench.networks import randwire
from tests.pictures.scenes import planned_scene

if TYPE_CHECKING:
    from pathlib import Path

    from lowtide.pictures.scene import Scene
    from lowtide.planning import Planned


@pytest.fixture(scope="session")
def small_model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A small branching network."""
    path = tmp_path_factory.mktemp("pictures") / "small.onnx"
    onnx.save(randwire(5, nodes=16, channels=8, side=16), path)
    return path


@pytest.fixture(scope="session")
def planned(small_model: Path) -> tuple[Planned, Scene]:
    """Its plan."""
    return planned_scene(small_model)


@pytest.fixture(scope="session")
def repeated(small_model: Path, planned: tuple[Planned, Scene]) -> tuple[Planned, Scene]:
    """A plan that computes ops again, for a budget below every order's peak."""
    return planned_scene(small_model, planned[0].timeline.peak_bytes - 1)
