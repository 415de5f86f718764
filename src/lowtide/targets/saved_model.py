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
from typing import TYPE_CHECKING, ClassVar, cast

from lowtide import child
from lowtide.backends.tensorflow.package import tensorflow_packages
from lowtide.child import ChildError
from lowtide.errors import InputError, ModelError
from lowtide.ir import parse, simulate, verify
from lowtide.planning import Prepared
from lowtide.sources import Origin
from lowtide.targets.tensorflow import ACCOUNTING
from lowtide.targets.tensorflow_job import CHILD_BYTES, TIMEOUT_S
from lowtide.targets.tensorflow_staged import StagedTensorflow
from lowtide.targets.workspace import unknown_workspace

if TYPE_CHECKING:
    from lowtide.planning import Planned, Progress
    from lowtide.settings import Settings

__all__ = ["PreparedSavedModel", "prepare"]

_JOB = "lowtide.targets.saved_model_job"
_CHUNK = 1 << 20


@dataclass(frozen=True, kw_only=True)
class PreparedSavedModel(Prepared):
    """A signature of a SavedModel as a graph."""

    runtime: ClassVar[str] = "TensorFlow"
    own_order: ClassVar[str] = "tensorflow"
    pinned_versions: ClassVar[tuple[str, ...]] = tensorflow_packages()

    folder: Path

    @property
    def packages(self) -> tuple[str, ...]:
        """The packages that the result depends on."""
        return ("ortools", *tensorflow_packages())

    @property
    def breakdown(self) -> dict[str, int]:
        """Bytes apart from the peak; the variables are the weights."""
        found = super().breakdown
        return {**found, "weights": found["weights"] + found["persistent"], "persistent": 0}

    def stage(self, planned: Planned, destination: Path, folder: Path) -> StagedTensorflow:
        """The SavedModel in the planned order."""
        if destination.resolve().is_relative_to(self.folder):
            raise InputError(f"{destination} is inside of the source: choose another output")
        certificate = planned.plan.certificate
        own = certificate is None or certificate.method == self.own_order
        return StagedTensorflow(
            f"{_JOB}:emit",
            lambda: {"model": str(self.folder), "dims": dict(self.settings.dims)},
            None if own else [op.name for op in planned.order],
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
    try:
        reply = child.run(
            f"{_JOB}:trace",
            {"model": str(folder), "dims": dict(settings.dims)},
            timeout_s=TIMEOUT_S,
            memory_limit_bytes=CHILD_BYTES,
        )
    except ChildError as error:
        raise ModelError(
            f"TensorFlow does not survive the model ({error}): it is damaged, or asks for more "
            f"memory than there is"
        ) from None
    graph = parse(str(reply["graph"]))
    verify(graph)
    if not graph.ops:
        raise ModelError("the signature computes nothing: there is nothing to plan")
    own = simulate(graph, ACCOUNTING)
    return PreparedSavedModel(
        source=Origin(path, digest, "savedmodel", None),
        settings=replace(settings, level="none"),
        graph=graph,
        accounting=ACCOUNTING,
        source_order=own,
        default_order=own,
        notes=(*cast("list[str]", reply["notes"]), *unknown_workspace(graph)),
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
