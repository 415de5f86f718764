"""Reading TFLite models, which are untrusted."""

from __future__ import annotations

import hashlib
import mmap
import stat
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from lowtide.errors import InputError, ModelError
from lowtide.flatbuffer import verify
from lowtide.frontends.tflite.schema import IDENTIFIER, tflite_schema
from lowtide.frontends.tflite.structure import check_model

if TYPE_CHECKING:
    from lowtide.flatbuffer import Verified
    from lowtide.frontends.tflite.model import TfliteModel

__all__ = ["TfliteSource", "read"]

_MAX_FILE_BYTES = 16 << 30
_MAPPED_BYTES = 256 << 20  # larger files are mapped into memory, smaller ones read


@dataclass(frozen=True, eq=False)
class TfliteSource:
    """A model that passed the checks.

    Attributes:
        model: what it says.
        data: the file's bytes; not to be written to.
        path: the file, or None for a model from memory.
        sha256: of the bytes.
        notes: what the user should know.
    """

    model: TfliteModel
    data: memoryview
    path: Path | None
    sha256: str
    notes: tuple[str, ...] = ()

    def buffer(self, index: int) -> memoryview:
        """The bytes of a buffer, not copied; empty where it has none."""
        buffer = self.model.buffers[index]
        return self.data[buffer.start : buffer.stop]

    def metadata(self, name: str) -> memoryview | None:
        """The first metadata of that name, not copied; None where there is none."""
        for entry in self.model.metadata:
            if entry.name == name:
                return self.buffer(entry.buffer)
        return None


def read(source: str | Path | bytes | bytearray | memoryview) -> TfliteSource:
    """Read a model without trusting it.

    Args:
        source: a file, or a file's bytes.

    Raises:
        ModelError: the model is unreadable, damaged, unsupported or hostile.
        InputError: `source` is neither a path nor bytes.
    """
    if isinstance(source, str | Path):
        path: Path | None = Path(source)
        label = f"`{source}`"
        data = _file_bytes(Path(source))
    elif isinstance(source, bytes | bytearray | memoryview):
        path, label = None, "the model"
        data = _frozen(memoryview(source))
    else:
        raise InputError(f"a TFLite model is a path or bytes, not {type(source)}")
    try:
        verified = verify(data, tflite_schema())
        model = check_model(verified.root, data)
    except ModelError as error:
        raise ModelError(_one_line(f"{label}: {error}")) from None
    digest = hashlib.sha256(data).hexdigest()
    return TfliteSource(model, data, path, digest, _notes(model, verified))


def _frozen(view: memoryview) -> memoryview:
    """The bytes of `view`, copied unless nobody can change them: what was checked must stay."""
    if view.readonly and view.c_contiguous:
        return view.cast("B")
    return memoryview(view.tobytes())


def _one_line(text: str) -> str:
    """Without control characters (names may hold terminal codes), clipped."""
    plain = "".join(c if c.isprintable() else " " for c in text[:1500])
    return plain if len(text) <= 1500 else plain + "..."


def _file_bytes(path: Path) -> memoryview:
    try:
        status = path.stat()
        if stat.S_ISDIR(status.st_mode):
            raise ModelError(f"`{path}` is a directory: name the .tflite file in it")
        if not stat.S_ISREG(status.st_mode):
            raise ModelError(f"`{path}` is not a regular file")
        if status.st_size == 0:
            raise ModelError(f"`{path}` is empty: the download or export did not finish")
        if status.st_size > _MAX_FILE_BYTES:
            raise ModelError(
                f"`{path}` has {status.st_size} bytes; models end at {_MAX_FILE_BYTES}"
            )
        with path.open("rb") as stream:
            head = stream.read(64)
            if head.startswith(b"version https://git-lfs"):
                raise ModelError(
                    f"`{path}` is a Git LFS pointer, not the model: run `git lfs pull`"
                )
            if head[4:8] != IDENTIFIER:
                raise ModelError(
                    f"`{path}` is not a TFLite model: bytes 4 to 8 are {head[4:8]!r}, "
                    f"not {IDENTIFIER!r}"
                )
            if status.st_size > _MAPPED_BYTES:
                return memoryview(mmap.mmap(stream.fileno(), 0, access=mmap.ACCESS_READ))
            return memoryview(head + stream.read())
    except (OSError, ValueError) as error:
        reason = (error.strerror if isinstance(error, OSError) else None) or str(error)
        raise ModelError(f"`{path}` cannot be read: {reason}") from None


def _notes(model: TfliteModel, verified: Verified) -> tuple[str, ...]:
    notes: list[str] = []
    if verified.unknown:
        listed = ", ".join(verified.unknown[:5])
        notes.append(f"newer than this schema, kept as it is: {listed}")
    for subgraph in model.subgraphs:
        dynamic = [t for t in subgraph.tensors if t.dynamic and not t.constant]
        if dynamic:
            notes.append(
                f"subgraph {subgraph.index}: {len(dynamic)} tensors have dimensions that are not "
                f"fixed; the sizes are those of the stored shapes"
            )
        if subgraph.control:
            notes.append(f"subgraph {subgraph.index} has {len(subgraph.control)} control edges")
    if model.table.count("external_buffer_groups"):
        names = [t.text("name") or "" for t in model.table.tables("external_buffer_groups")]
        notes.append(f"weights are in files beside the model: {', '.join(names[:5])}"[:500])
    return tuple(notes)
