"""Folders that appear whole or not at all, and never replace a folder that is not ours.

Ours is a folder with a manifest that names every file in it with its SHA-256: what somebody put
there, or changed there, is not lost. A replacement exchanges two folders where the system can do so
at once (Linux), else the old one is renamed first and put back if the new one cannot be.
"""

from __future__ import annotations

import ctypes
import hashlib
import json
import os
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING, cast

from lowtide.errors import InputError

if TYPE_CHECKING:
    from collections.abc import Mapping

__all__ = ["MANIFEST", "write_folder"]

MANIFEST = "lowtide.json"
_MOST_MANIFEST = 1 << 20
_AT_FDCWD, _RENAME_EXCHANGE = -100, 2


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
            _put(fresh, destination, Path(staging, "old"))
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


def _put(fresh: Path, destination: Path, old: Path) -> None:
    """Give the new folder its name; what had it before goes to `old`, or the new one's place."""
    if not destination.exists():
        os.rename(fresh, destination)
        return
    if _exchange(fresh, destination):
        return
    os.rename(destination, old)
    try:
        os.rename(fresh, destination)
    except OSError:
        os.rename(old, destination)
        raise


def _exchange(one: Path, two: Path) -> bool:
    """Swap two folders at once; False where the system cannot."""
    try:
        rename = ctypes.CDLL(None, use_errno=True).renameat2
    except (AttributeError, OSError, TypeError):
        return False
    arguments = (_AT_FDCWD, os.fsencode(one), _AT_FDCWD, os.fsencode(two), _RENAME_EXCHANGE)
    return int(rename(*arguments)) == 0
