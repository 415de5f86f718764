"""Formats that a third party's frontend reads: planned and reported, written by no backend."""

from __future__ import annotations

import time
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, ClassVar

from lowtide.errors import InputError
from lowtide.ir import simulate, verify
from lowtide.planning import Prepared
from lowtide.sources import read_plugged
from lowtide.targets.onnx import ACCOUNTING, default_order
from lowtide.targets.workspace import unknown_workspace

if TYPE_CHECKING:
    from importlib.metadata import EntryPoint
    from pathlib import Path

    from lowtide.emission import Staged
    from lowtide.planning import Planned
    from lowtide.settings import Settings

__all__ = ["PreparedPlugged", "prepare"]


@dataclass(frozen=True, kw_only=True)
class PreparedPlugged(Prepared):
    """A graph without a model that could be written; its memory is counted as ONNX Runtime does."""

    runtime: ClassVar[str] = "ONNX Runtime"
    own_order: ClassVar[str] = "ort_default"

    @property
    def packages(self) -> tuple[str, ...]:
        """The packages that the result depends on."""
        return ("ortools",)

    def stage(self, planned: Planned, destination: Path, folder: Path) -> Staged:
        """No backend writes this format."""
        del planned, destination, folder
        raise InputError(
            f"no backend writes `.{self.source.format}` models: use "
            f"`lowtide analyze`, or lowtide.optimize without output and verify=False"
        )


def prepare(path: Path, frontend: EntryPoint, settings: Settings) -> PreparedPlugged:
    """Read a file with a third party's frontend.

    Raises:
        InputError: it cannot be read, or the frontend failed.
    """
    started = time.perf_counter()
    origin, graph = read_plugged(path, frontend)
    verify(graph)
    return PreparedPlugged(
        source=origin,
        settings=replace(settings, level="none"),
        graph=graph,
        accounting=ACCOUNTING,
        source_order=simulate(graph, ACCOUNTING),
        default_order=default_order(graph),
        notes=unknown_workspace(graph),
        seconds=time.perf_counter() - started,
    )
