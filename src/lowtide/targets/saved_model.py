"""The target `tensorflow` for SavedModels: one signature in the order that needs the least memory.

The signature's function is inlined, planned for the sizes that were bound, and written back in its
planned order, with the open dimensions that it had. Everything else in the SavedModel (variables,
tables, other signatures and functions) is saved again as it was loaded.
"""

from __future__ import annotations

import hashlib
import time
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING

from lowtide.backends.tensorflow.accounting import ACCOUNTING
from lowtide.backends.tensorflow.package import tensorflow_packages
from lowtide.errors import InputError
from lowtide.ir import simulate
from lowtide.sources import Origin
from lowtide.targets.tensorflow_function import PreparedFunction, traced
from lowtide.targets.tensorflow_staged import StagedTensorflow

if TYPE_CHECKING:
    from lowtide.planning import Planned, Progress
    from lowtide.settings import Settings

__all__ = ["PreparedSavedModel", "prepare"]

_JOB = "lowtide.targets.saved_model_job"
_CHUNK = 1 << 20


@dataclass(frozen=True, kw_only=True)
class PreparedSavedModel(PreparedFunction):
    """A signature of a SavedModel as a graph."""

    folder: Path

    @property
    def packages(self) -> tuple[str, ...]:
        """The packages that the result depends on."""
        return ("ortools", *tensorflow_packages())

    def stage(self, planned: Planned, destination: Path, folder: Path) -> StagedTensorflow:
        """The SavedModel in the planned order."""
        if destination.resolve().is_relative_to(self.folder):
            raise InputError(f"{destination} is inside of the source: choose another output")
        return StagedTensorflow(
            f"{_JOB}:emit",
            lambda: {"model": str(self.folder), "dims": dict(self.settings.dims)},
            self.emitted_order(planned),
            self.settings.seed,
            destination,
            folder,
        )


def prepare(path: Path, settings: Settings, progress: Progress | None = None) -> PreparedSavedModel:
    """Read a SavedModel's signature.

    Raises:
        InputError: the folder cannot be read, or dimensions are open.
        ModelError: the model is damaged, has no signature, or has sizes that depend on data.
        MissingExtraError: TensorFlow is not installed.
    """
    started = time.perf_counter()
    folder = path.resolve()
    digest = _digest(folder)
    if progress is not None:
        progress.stage("load with TensorFlow, and measure its kernels")
    request = {"model": str(folder), "dims": dict(settings.dims)}
    graph, notes = traced(f"{_JOB}:trace", request, "signature")
    own = simulate(graph, ACCOUNTING)
    return PreparedSavedModel(
        source=Origin(path, digest, "savedmodel", None),
        settings=replace(settings, level="none"),
        graph=graph,
        accounting=ACCOUNTING,
        source_order=own,
        default_order=own,
        notes=notes,
        seconds=time.perf_counter() - started,
        folder=folder,
    )


def _digest(folder: Path) -> str:
    """Of all files by their paths; O(bytes).

    Raises:
        InputError: one cannot be read, or is a link out of the folder.
    """
    digest = hashlib.sha256()
    try:
        for path in sorted(p for p in folder.rglob("*") if not p.is_dir()):
            if not path.resolve().is_relative_to(folder) or not path.is_file():
                raise InputError(f"{path} is no file of the SavedModel: remove it")
            digest.update(f"{path.relative_to(folder)}\0{path.stat().st_size}\0".encode())
            with path.open("rb") as stream:
                while block := stream.read(_CHUNK):
                    digest.update(block)
    except OSError as error:
        raise InputError(f"{folder} cannot be read: {error.strerror or error}") from None
    return digest.hexdigest()
