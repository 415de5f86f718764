"""Checks on the bytes of an untrusted model's tensors, inline and external; nothing is loaded."""

from __future__ import annotations

import os
import stat
from pathlib import Path, PurePosixPath, PureWindowsPath
from typing import TYPE_CHECKING

import onnx

from lowtide.errors import ModelError
from lowtide.frontends.onnx.dtypes import ELEMENT_TYPES
from lowtide.frontends.onnx.limits import MAX_RANK
from lowtide.frontends.onnx.structure import node_label, subgraphs
from lowtide.ir.dtype import BITS, MAX_BYTES

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

__all__ = [
    "check_payload",
    "dense_bytes",
    "external_range",
    "is_external",
    "load_external",
    "tensors",
]

# Elements that one entry of a typed field holds: sub-byte types are packed by bytes.
_FIELDS: dict[int, str] = {
    1: "float_data",
    7: "int64_data",
    8: "string_data",
    11: "double_data",
    12: "uint64_data",
    13: "uint64_data",
    14: "float_data",
    15: "double_data",
}
_ALL_FIELDS = (
    "float_data",
    "int32_data",
    "int64_data",
    "double_data",
    "uint64_data",
    "string_data",
)


def check_payload(model: onnx.ModelProto, folder: Path | None) -> None:
    """Every tensor's data agrees with its shape, and external data lies inside `folder`.

    Raises:
        ModelError: the first tensor that does not hold what it declares.
    """
    sizes: dict[str, tuple[Path, int]] = {}
    for tensor, label in tensors(model):
        nbytes = dense_bytes(tensor, label)
        if is_external(tensor):
            _check_external(tensor, label, nbytes, folder, sizes)
        else:
            _check_inline(tensor, label, nbytes)


def is_external(tensor: onnx.TensorProto) -> bool:
    """Whether the tensor's bytes lie in another file."""
    return tensor.data_location == onnx.TensorProto.EXTERNAL


def tensors(model: onnx.ModelProto) -> Iterator[tuple[onnx.TensorProto, str]]:
    """Every tensor of the model with the words that say where it is."""
    yield from _graph_tensors(model.graph, "")
    for function in model.functions:
        yield from _node_tensors(function.node, f"function `{function.name}`, ")


def _graph_tensors(graph: onnx.GraphProto, where: str) -> Iterator[tuple[onnx.TensorProto, str]]:
    for tensor in graph.initializer:
        yield tensor, f"{where}initializer `{tensor.name}`"
    yield from _node_tensors(graph.node, where)


def _node_tensors(
    nodes: Sequence[onnx.NodeProto], where: str
) -> Iterator[tuple[onnx.TensorProto, str]]:
    for index, node in enumerate(nodes):
        for attribute in node.attribute:
            label = f"{where}{node_label(node, index)}, attribute `{attribute.name}`"
            if attribute.HasField("t"):
                yield attribute.t, label
            for tensor in attribute.tensors:
                yield tensor, label
        for name, graph in subgraphs(node):
            yield from _graph_tensors(graph, f"{where}{node_label(node, index)}, `{name}`, ")


def dense_bytes(tensor: onnx.TensorProto, label: str) -> int:
    """The bytes that the declared type and shape take.

    Raises:
        ModelError: unknown type, negative dimension, too many dimensions, or over 2^60 bytes.
    """
    if tensor.data_type not in ELEMENT_TYPES:
        raise ModelError(f"{label} has the unknown element type {tensor.data_type}")
    if len(tensor.dims) > MAX_RANK:
        raise ModelError(f"{label} has {len(tensor.dims)} dimensions, over {MAX_RANK}")
    count = 1
    for dim in tensor.dims:
        if dim < 0:
            raise ModelError(f"{label} has the negative dimension {dim} in {list(tensor.dims)}")
        count *= dim
    # A string takes at least one entry; 8 bits make its count bounded like any other.
    bits = BITS[ELEMENT_TYPES[tensor.data_type]] or 8
    nbytes = (count * bits + 7) // 8
    if nbytes > MAX_BYTES:
        raise ModelError(f"{label} would take {nbytes} bytes ({list(tensor.dims)}), over 2^60")
    return nbytes


def _check_inline(tensor: onnx.TensorProto, label: str, nbytes: int) -> None:
    if tensor.HasField("segment"):
        raise ModelError(f"{label} is stored in segments, which is not supported")
    shape = f"{ELEMENT_TYPES[tensor.data_type]}{list(tensor.dims)}"
    filled = [name for name in _ALL_FIELDS if len(getattr(tensor, name))]
    if tensor.HasField("raw_data"):
        if tensor.data_type == onnx.TensorProto.STRING:
            raise ModelError(f"{label} holds strings as raw data")
        if len(tensor.raw_data) != nbytes or filled:
            raise ModelError(
                f"{label} holds {len(tensor.raw_data)} bytes; its shape {shape} takes {nbytes}: "
                f"the file is damaged"
            )
        return
    field = _FIELDS.get(tensor.data_type, "int32_data")
    count = sum(len(getattr(tensor, name)) for name in filled)
    expected = 1
    for dim in tensor.dims:
        expected *= dim
    bits = BITS[ELEMENT_TYPES[tensor.data_type]]
    if tensor.data_type in (14, 15):
        expected *= 2
    elif 0 < bits < 8:
        expected = nbytes
    if count != expected or filled not in ([], [field]):
        raise ModelError(
            f"{label} holds {count} entries in {' and '.join(filled) or 'no field'}; its shape "
            f"{shape} takes {expected} in {field}: the file is damaged"
        )


def external_range(tensor: onnx.TensorProto, label: str) -> tuple[str, int, int | None]:
    """Location, offset and length (None where the file does not say) of external data.

    Raises:
        ModelError: an entry is missing or not a number.
    """
    entries = {entry.key: entry.value for entry in tensor.external_data}
    location = entries.get("location", "")
    if not location:
        raise ModelError(f"{label} has external data without a location")
    numbers: dict[str, int] = {}
    for key in ("offset", "length"):
        text = entries.get(key)
        if text is None:
            continue
        if not (text.isascii() and text.isdigit() and len(text) < 20):
            raise ModelError(f"{label} has external data with {key} `{text[:40]}`, not a number")
        numbers[key] = int(text)
    return location, numbers.get("offset", 0), numbers.get("length")


def load_external(tensor: onnx.TensorProto, folder: Path) -> None:
    """Put the external bytes of a checked tensor inside it."""
    location, offset, _ = external_range(tensor, tensor.name)
    with (folder / location).open("rb") as file:
        file.seek(offset)
        tensor.raw_data = file.read(dense_bytes(tensor, tensor.name))
    tensor.ClearField("external_data")
    tensor.ClearField("data_location")


def _check_external(
    tensor: onnx.TensorProto,
    label: str,
    nbytes: int,
    folder: Path | None,
    sizes: dict[str, tuple[Path, int]],
) -> None:
    location, offset, length = external_range(tensor, label)
    if folder is None:
        raise ModelError(
            f"{label} has its data in `{location}`, and the model in memory does not say in which "
            f"folder: hand over the path of the model instead"
        )
    if location not in sizes:
        path = _contained(folder, location, label)
        sizes[location] = path, path.stat().st_size
    path, available = sizes[location]
    if length is not None and length != nbytes:
        raise ModelError(
            f"{label} has {length} bytes of external data; its shape {list(tensor.dims)} takes "
            f"{nbytes}"
        )
    if offset + nbytes > available:
        raise ModelError(
            f"{label} takes bytes {offset} to {offset + nbytes} of `{location}`, which has "
            f"{available}: the file is truncated, or belongs to another model"
        )


def _contained(folder: Path, location: str, label: str) -> Path:
    """The external file, a regular file inside `folder` even once links are followed."""
    outside = ModelError(
        f"{label} has its data at `{location}`, outside the model's folder: for safety external "
        f"data must lie beside the model; copy it there"
    )
    if "\0" in location or len(location) > 4096:
        raise ModelError(f"{label} has its data at an impossible path ({location[:40]!r})")
    absolute = PurePosixPath(location).is_absolute() or PureWindowsPath(location).is_absolute()
    if absolute or PureWindowsPath(location).drive:
        raise outside
    base = os.path.realpath(folder)
    plain = os.path.normpath(os.path.join(base, location))
    real = os.path.realpath(plain)
    if any(os.path.commonpath([base, p]) != base or p == base for p in (plain, real)):
        raise outside
    try:
        status = os.stat(real)
    except OSError as error:
        raise ModelError(
            f"{label} has its data in `{location}`, which cannot be read beside the model: "
            f"{error.strerror or error}"
        ) from None
    if not stat.S_ISREG(status.st_mode):
        raise ModelError(f"{label} has its data in `{location}`, which is not a regular file")
    if status.st_nlink > 1:
        raise ModelError(
            f"{label} has its data in `{location}`, a file with {status.st_nlink} hard links, "
            f"which runtimes refuse for safety: copy it"
        )
    return Path(real)
