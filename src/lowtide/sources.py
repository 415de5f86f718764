"""Where a graph comes from: an ONNX model, or a format that a third party's frontend reads.

The entry-point group `lowtide.frontends` maps a file suffix (without its dot) to a callable that
takes the path and returns a `lowtide.ir.Graph`. Such a graph is analyzed and planned; there is no
backend that could write it.
"""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from importlib.metadata import EntryPoint, entry_points
from pathlib import Path
from typing import TYPE_CHECKING

from lowtide.backends.onnx.weights import data_files
from lowtide.errors import InputError, LowtideError, ModelError
from lowtide.ir import Graph

if TYPE_CHECKING:
    import onnx_ir

__all__ = ["Origin", "plugged_frontend", "read_plugged"]

_GROUP = "lowtide.frontends"


@dataclass(frozen=True)
class Origin:
    """The model as it was read.

    Attributes:
        path: the file; None for a model from memory.
        sha256: of the file's bytes, or of the serialized model.
        format: `onnx`, `tflite`, `savedmodel`, or the suffix that a third party's frontend reads.
        model: the ONNX model; None for other formats.
    """

    path: Path | None
    sha256: str
    format: str
    model: onnx_ir.Model | None

    @property
    def data_files(self) -> dict[str, Path]:
        """The model's external data, by what messages call it."""
        found = () if self.model is None else sorted(data_files(self.model))
        return {f"external data {path}": path for path in found}


def plugged_frontend(source: object) -> EntryPoint | None:
    """The third party's frontend for this file, by its suffix; None where there is none."""
    suffix = Path(source).suffix.lstrip(".") if isinstance(source, str | Path) else ""
    if not suffix or suffix == "onnx":
        return None
    return next(iter(entry_points(group=_GROUP, name=suffix)), None)


def read_plugged(path: Path, frontend: EntryPoint) -> tuple[Origin, Graph]:
    """Read a file with a third party's frontend.

    Raises:
        InputError: the file cannot be read, or the frontend cannot be loaded.
        ModelError: the frontend failed, or returned something else than a graph.
    """
    try:
        digest = hashlib.sha256(path.read_bytes()).hexdigest()
    except OSError as error:
        raise InputError(f"{path} cannot be read: {error.strerror or error}") from None
    try:
        read = frontend.load()
    except Exception as error:
        raise InputError(
            f"the frontend `{frontend.name}` of {frontend.value} cannot be loaded: {error}"
        ) from error
    try:
        graph: object = read(path)
    except LowtideError:
        raise
    except Exception as error:
        raise ModelError(f"the frontend {frontend.value} cannot read {path}: {error}") from error
    if not isinstance(graph, Graph):
        raise ModelError(f"the frontend {frontend.value} returned {type(graph).__name__}, no Graph")
    return Origin(path, digest, frontend.name, None), graph
