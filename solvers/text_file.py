"""Untrusted text files: bounded before they are read, errors with the file's name."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, TypeVar

from lowtide.errors import InstanceError

if TYPE_CHECKING:
    import os
    from collections.abc import Callable

__all__ = ["read_text"]

_Parsed = TypeVar("_Parsed")


def read_text(
    path: str | os.PathLike[str],
    parse: Callable[[str], _Parsed],
    *,
    most_bytes: int,
    encoding: str = "utf-8",
    remark: str = ", no instance is",
) -> _Parsed:
    """What `parse` makes of a file's text.

    Args:
        path: the file.
        parse: raises `InstanceError` on what it cannot read.
        most_bytes: larger files are refused.
        encoding: UTF-8, with or without a byte order mark.
        remark: what is said of a file that is larger.

    Raises:
        InstanceError: the file is unreadable, too large, no such text, or `parse` refused it.
    """
    where = Path(path)
    try:
        with where.open("rb") as file:
            data = file.read(most_bytes + 1)
    except OSError as error:
        raise InstanceError(f"{where}: cannot be read: {error.strerror or error}") from error
    if len(data) > most_bytes:
        raise InstanceError(f"{where}: larger than {most_bytes >> 20} MiB{remark}")
    try:
        return parse(data.decode(encoding))
    except UnicodeDecodeError as error:
        raise InstanceError(f"{where}: not UTF-8 text, at byte {error.start}") from error
    except InstanceError as error:
        raise InstanceError(f"{where}: {error}") from error
