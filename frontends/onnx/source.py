"""Reading ONNX models, which are untrusted: parse, check, bind dimensions, infer shapes."""

from __future__ import annotations

import hashlib
import os
import stat
import warnings
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, cast

import onnx
import onnx_ir
from google.protobuf.message import DecodeError, EncodeError  # type: ignore[import-untyped]

from lowtide.errors import InputError, ModelError
from lowtide.frontends.onnx.dimensions import bind, open_dimensions, open_minus_ones
from lowtide.frontends.onnx.limits import MAX_PROTO_BYTES
from lowtide.frontends.onnx.message import one_line
from lowtide.frontends.onnx.payload import check_payload
from lowtide.frontends.onnx.shapes import INFERENCE_PROBLEM, annotate, infer_shapes
from lowtide.frontends.onnx.structure import check_structure

if TYPE_CHECKING:
    from collections.abc import Mapping

    from lowtide.frontends.onnx.dimensions import OpenDimension
    from lowtide.frontends.onnx.shapes import Inferred

__all__ = ["OnnxSource", "read"]


@dataclass(frozen=True)
class OnnxSource:
    """A model that passed the checks, ours to annotate: the source itself is never touched.

    Attributes:
        model: with dimensions bound and every shape that inference finds on its values; external
            data stays on disk until it is asked for.
        path: the file, or None for a model from memory.
        sha256: of the file's bytes, or of the serialized proto.
        dims: what was bound.
        open_dims: the dimensions of the inputs that still have no value. Shapes are inferred only
            when there are none.
        notes: what the user should know (nodes that had to be sorted, complaints of inference).
    """

    model: onnx_ir.Model
    path: Path | None
    sha256: str
    dims: Mapping[str, int] = field(default_factory=dict[str, int])
    open_dims: tuple[OpenDimension, ...] = ()
    notes: tuple[str, ...] = ()


def read(
    source: str | Path | onnx.ModelProto | onnx_ir.Model,
    *,
    dims: Mapping[str, int] | None = None,
) -> OnnxSource:
    """Read a model without trusting it.

    Args:
        source: a file, or a model in memory (which is copied).
        dims: values for open dimensions: by name, by `tensor[axis]`, `*` for all others.

    Raises:
        ModelError: the model is unreadable, damaged, unsupported or hostile.
        InputError: `dims` names a dimension that the model lacks, or a negative value.
    """
    path = Path(source) if isinstance(source, str | Path) else None
    data, folder = (
        _serialized(source) if path is None else (_file_bytes(path), path.parent.absolute())
    )
    digest = hashlib.sha256(data).hexdigest()
    label = f"`{path}`" if path is not None else "the model"
    try:
        proto = onnx.ModelProto.FromString(data)
    except DecodeError:
        raise ModelError(
            f"{label} is not an ONNX model, or is truncated or damaged: protobuf cannot parse its "
            f"{len(data)} bytes"
        ) from None
    del data
    bound = dict(dims or {})
    try:
        open_minus_ones(proto)
        notes = check_structure(proto)
        check_payload(proto, folder)
        bind(proto, bound)
        open_dims = open_dimensions(proto)
        shapes: dict[str, Inferred] = {}
        problem = ""
        if not open_dims:
            shapes, problem = infer_shapes(proto, folder)
            notes += (f"shape inference: {problem}",) if problem else ()
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # unknown keys of external data are harmless
            model = onnx_ir.from_proto(proto)
    except InputError as error:
        raise type(error)(one_line(f"{label}: {error}")) from None
    except UnicodeDecodeError:
        raise ModelError(f"{label} has names that are not UTF-8: the file is damaged") from None
    except (onnx_ir.serde.SerdeError, ValueError, TypeError, KeyError) as error:
        raise ModelError(one_line(f"{label} cannot be represented: {_root_cause(error)}")) from None
    if folder is not None:
        onnx_ir.external_data.set_base_dir(model.graph, folder)
    annotate(model, shapes)
    model.meta[INFERENCE_PROBLEM] = problem
    return OnnxSource(model, path, digest, bound, open_dims, notes)


def _file_bytes(path: Path) -> bytes:
    try:
        status = path.stat()
        if stat.S_ISDIR(status.st_mode):
            raise ModelError(f"`{path}` is a directory: name the .onnx file in it")
        if not stat.S_ISREG(status.st_mode):
            raise ModelError(f"`{path}` is not a regular file")
        if status.st_size == 0:
            raise ModelError(f"`{path}` is empty: the download or export did not finish")
        if status.st_size > MAX_PROTO_BYTES:
            raise ModelError(
                f"`{path}` has {status.st_size} bytes; a protobuf ends at {MAX_PROTO_BYTES}: store "
                f"the weights as external data"
            )
        data = path.read_bytes()
    except (OSError, ValueError) as error:
        raise ModelError(f"`{path}` cannot be read: {_reason(error)}") from None
    if data.startswith(b"version https://git-lfs"):
        raise ModelError(f"`{path}` is a Git LFS pointer, not the model: run `git lfs pull`")
    return data


def _reason(error: Exception) -> str:
    return (error.strerror if isinstance(error, OSError) else None) or str(error)


def _serialized(
    source: str | Path | onnx.ModelProto | onnx_ir.Model,
) -> tuple[bytes, Path | None]:
    """The bytes of a model in memory, and the folder of its external data where it knows it."""
    folder: Path | None = None
    if isinstance(source, onnx_ir.Model):
        folder = _folder_of(source)
    elif not isinstance(source, onnx.ModelProto):
        raise InputError(f"a model is a path, a ModelProto or an onnx_ir.Model, not {type(source)}")
    try:
        proto = onnx_ir.to_proto(source) if isinstance(source, onnx_ir.Model) else source
        return proto.SerializeToString(deterministic=True), folder
    except (EncodeError, ValueError, onnx_ir.serde.SerdeError) as error:
        raise ModelError(
            f"the model in memory cannot be serialized ({_root_cause(error)}): save it with "
            f"external data and hand over its path"
        ) from None


def _folder_of(model: onnx_ir.Model) -> Path | None:
    folders = {
        os.fspath(cast("str", value.const_value.base_dir))
        for graph in model.graphs()
        for value in graph.initializers.values()
        if isinstance(value.const_value, onnx_ir.ExternalTensor)
    }
    if len(folders) > 1:
        raise ModelError(
            f"the model's external data lies in several folders: {', '.join(sorted(folders))}: "
            f"save it in one place"
        )
    return Path(folders.pop()) if folders - {""} else None


def _root_cause(error: BaseException) -> str:
    while error.__cause__ is not None:
        error = error.__cause__
    return f"{type(error).__name__}: {str(error)[:300]}"
