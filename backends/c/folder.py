"""Folders that appear whole or not at all, and never replace a folder that is not ours.

Ours is a folder with a manifest that names every file in it with its SHA-256: what somebody put
there, or changed there, is not lost.
"""

from __future__ import annotations

import hashlib
import json
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING, cast

from lowtide.backends.atomic import replace_folder
from lowtide.errors import InputError

if TYPE_CHECKING:
    from collections.abc import Mapping

__all__ = ["MANIFEST", "write_folder"]

MANIFEST = "lowtide.json"
_MOST_MANIFEST = 1 << 20


def write_folder(destination: Path, files: Mapping[str, bytes]) -> None:
    """Write the files, the manifest among them, as the folder `destination`.

    Raises:
        InputError: the destination exists and is not ours, or cannot be written.
    """
    parent = destination.absolute().parent
    if not parent.is_dir():
        raise InputError(f"the folder {destination.parent} does not exist: create it first")
    _refuse_foreign(destination)
    try:
        with tempfile.TemporaryDirectory(
            prefix=f".{destination.name}.",
            suffix=".partial",
            dir=parent,
            ignore_cleanup_errors=True,
        ) as staging:
            fresh = Path(staging, "new")
            fresh.mkdir()
            for name, content in files.items():
                (fresh / name).write_bytes(content)
            replace_folder(fresh, destination, Path(staging, "old"))
    except OSError as error:
        raise InputError(f"cannot write {destination}: {error.strerror or error}") from None


def _refuse_foreign(destination: Path) -> None:
    """Raise unless the destination is absent, an empty folder, or a folder as we left it."""
    if destination.is_symlink():
        raise InputError(f"{destination} is a link: name a folder")
    if not destination.exists():
        return
    if not destination.is_dir():
        raise InputError(f"{destination} is a file: name a folder")
    try:
        present = {path.name for path in destination.iterdir()}
        if not present:
            return
        with (destination / MANIFEST).open("rb") as stream:
            stated: object = json.loads(stream.read(_MOST_MANIFEST))
        listed = cast("dict[str, object]", stated)["files"] if isinstance(stated, dict) else None
        digests = cast("dict[str, str]", listed) if isinstance(listed, dict) else {}
        strange = present - {MANIFEST, *digests}
        changed = [
            name
            for name in sorted(present & set(digests))
            if hashlib.sha256((destination / name).read_bytes()).hexdigest() != digests[name]
        ]
    except (OSError, ValueError, KeyError, RecursionError):
        raise InputError(
            f"{destination} is a folder that Lowtide did not write: choose another output"
        ) from None
    if strange or changed:
        raise InputError(
            f"{destination} holds what Lowtide did not write ({sorted(strange) or changed}): "
            f"choose another output, or remove it"
        )
