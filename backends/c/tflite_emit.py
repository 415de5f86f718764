"""A TFLite model as a folder for a firmware: NAME.h, NAME_model.cc and a manifest."""

from __future__ import annotations

import hashlib
import json
from pathlib import Path
from typing import TYPE_CHECKING

from lowtide.backends.c.folder import MANIFEST, write_folder
from lowtide.backends.c.identifier import identifier
from lowtide.backends.c.tflite_header import header
from lowtide.backends.c.tflite_ops import resolver_ops
from lowtide.errors import InputError, ModelError

if TYPE_CHECKING:
    from lowtide.backends.c.tflite_header import Arena
    from lowtide.frontends.tflite import TfliteSource

__all__ = ["emit", "write"]

# No microcontroller has more, and compilers take gigabytes for an array of that size.
_MOST_BYTES = 64 << 20
_PER_LINE = 16
_HEX = [f"0x{byte:02x}," for byte in range(256)]


def emit(source: TfliteSource, name: str, arena: Arena) -> dict[str, bytes]:
    """The folder's files by name; the same for the same model, name and arena.

    Args:
        source: the model as it is to run: in its final order, with its offline plan.
        name: what names begin with, made an identifier.
        arena: what the model needs.

    Raises:
        InputError: the model is too large for a C array.
        ModelError: TFLite Micro has no kernel for an operator, or weights are in other files.
    """
    if len(source.data) > _MOST_BYTES:
        raise InputError(
            f"the model has {len(source.data):,} bytes, over the {_MOST_BYTES:,} that are written "
            f"as a C array: load it from a file"
        )
    if source.model.table.count("external_buffer_groups"):
        raise ModelError("weights are in files beside the model: TFLite Micro does not read them")
    prefix = identifier(name, "model")
    ops = resolver_ops(source.model)
    main = source.model.subgraphs[0]
    text = header(
        prefix,
        model_bytes=len(source.data),
        sha256=source.sha256,
        arena=arena,
        ops=ops,
        inputs=[main.tensors[index] for index in main.inputs],
        outputs=[main.tensors[index] for index in main.outputs],
    )
    files = {
        f"{prefix}.h": text.encode(),
        f"{prefix}_model.cc": _array(prefix, source.data).encode(),
    }
    manifest = {
        "schema": "lowtide.c/1",
        "name": prefix,
        "model": {"sha256": source.sha256, "bytes": len(source.data)},
        "arena": {"bytes": arena.rounded_bytes, "basis": arena.basis, "how": arena.how},
        "operators": [{"kind": op.kind, "call": op.call or None} for op in ops],
        "files": {key: hashlib.sha256(value).hexdigest() for key, value in files.items()},
    }
    files[MANIFEST] = (json.dumps(manifest, indent=1) + "\n").encode()
    return files


def write(
    source: TfliteSource, destination: str | Path, arena: Arena, name: str | None = None
) -> Path:
    """Write the folder; it appears whole or not at all, and replaces only one of its kind.

    Args:
        source: as for `emit`.
        destination: the folder.
        arena: as for `emit`.
        name: as for `emit`; by default the destination's name up to its first dot.

    Raises:
        LowtideError: as for `emit`.
        InputError: the destination is something else, or cannot be written.
    """
    path = Path(destination)
    stem = path.name.split(".")[0] if name is None else name
    write_folder(path, emit(source, stem, arena))
    return path


def _array(prefix: str, data: memoryview) -> str:
    lines = [
        f'#include "{prefix}.h"',
        "",
        f"alignas({prefix.upper()}_ARENA_ALIGNMENT) {prefix.upper()}_MODEL_SECTION",
        f"const unsigned char {prefix}_model[{prefix.upper()}_MODEL_BYTES] = {{",
    ]
    lines += [
        "".join(_HEX[byte] for byte in data[start : start + _PER_LINE])
        for start in range(0, len(data), _PER_LINE)
    ]
    lines += ["};", ""]
    return "\n".join(lines)
