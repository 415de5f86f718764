"""Where a conversion is written: a .tflite, or a SavedModel's folder; whole or not at all."""

from __future__ import annotations

import tempfile
from collections.abc import Generator
from contextlib import contextmanager
from pathlib import Path

from lowtide.backends.atomic import replace_folder
from lowtide.errors import InputError

__all__ = ["install", "refuse_foreign", "staging"]

# What a SavedModel has in it.
_OWN = {"assets", "assets.extra", "fingerprint.pb", "saved_model.pb", "variables"}


def refuse_foreign(path: Path, *, folder: bool) -> None:
    """Refuse, before any work, what cannot be written or would lose what is there.

    Raises:
        InputError: the parent is missing, or the destination is of the other kind, or a folder with
            more in it than a SavedModel.
    """
    if not path.absolute().parent.is_dir():
        raise InputError(f"the folder {path.parent} does not exist: create it first")
    if not folder:
        if path.is_dir():
            raise InputError(f"{path} is a folder: name a .tflite file")
        return
    if path.is_symlink():
        raise InputError(f"{path} is a link: name a folder")
    if not path.exists():
        return
    present = {one.name for one in path.iterdir()} if path.is_dir() else set[str]()
    if not path.is_dir() or (present and "saved_model.pb" not in present):
        raise InputError(f"{path} exists and is no SavedModel: choose another destination")
    if present - _OWN:
        raise InputError(
            f"{path} holds more than a SavedModel ({sorted(present - _OWN)[0]}): choose another "
            f"destination, or remove it"
        )


@contextmanager
def staging(path: Path) -> Generator[Path]:
    """A folder beside the destination, which goes with what is left in it.

    Raises:
        InputError: it cannot be made.
    """
    try:
        beside = tempfile.TemporaryDirectory(
            prefix=f".{path.name}.",
            suffix=".partial",
            dir=path.absolute().parent,
            ignore_cleanup_errors=True,
        )
    except OSError as error:
        raise InputError(f"cannot write {path}: {error.strerror or error}") from None
    with beside as folder:
        yield Path(folder)


def install(staged: Path, path: Path) -> None:
    """Give the staged file or folder its name; what had the name goes with the staging.

    Raises:
        InputError: it cannot be renamed; what had the name is as it was.
    """
    try:
        if staged.is_dir():
            replace_folder(staged, path, staged.with_name("replaced"))
        else:
            staged.replace(path)
    except OSError as error:
        raise InputError(f"cannot write {path}: {error.strerror or error}") from None
