"""Files and folders that appear whole or not at all."""

from __future__ import annotations

import contextlib
import ctypes
import os
import secrets
import tempfile
from typing import IO, TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path
    from types import TracebackType

__all__ = ["AtomicFile", "commit_together", "replace_folder"]

_AT_FDCWD, _RENAME_EXCHANGE = -100, 2


class AtomicFile:
    """A file written under no name, or a temporary one, in the folder of its destination.

    `stream` takes the bytes; `commit` gives them their name, replacing what had it; leaving the
    context without a commit drops them. Where the system has O_TMPFILE, a process killed while it
    writes leaves nothing behind.
    """

    __slots__ = ("_name", "destination", "stream")

    def __init__(self, destination: Path) -> None:
        self.destination = destination
        self._name: str | None = None
        unnamed = getattr(os, "O_TMPFILE", 0)
        if unnamed and os.path.isdir("/proc/self/fd"):
            with contextlib.suppress(OSError):
                handle = os.open(destination.parent, unnamed | os.O_RDWR, 0o666)
                self.stream: IO[bytes] = os.fdopen(handle, "w+b")
                return
        handle, self._name = tempfile.mkstemp(
            prefix=f".{destination.name}.", suffix=".partial", dir=destination.parent
        )
        mask = os.umask(0)
        os.umask(mask)
        os.chmod(self._name, 0o666 & ~mask)
        self.stream = os.fdopen(handle, "w+b")

    def __enter__(self) -> AtomicFile:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        with contextlib.suppress(OSError):  # a full disk shows when the buffer is flushed
            self.stream.close()
        if self._name is not None:
            with contextlib.suppress(OSError):
                os.unlink(self._name)
            self._name = None

    def commit(self) -> None:
        """Flush, and give the bytes their name."""
        self.stream.flush()
        if self._name is None:
            self._name = self._link()
        os.replace(self._name, self.destination)
        self._name = None

    def _link(self) -> str:
        """Give the unnamed file a temporary name, since a link cannot replace."""
        folder = os.open("/proc/self/fd", os.O_RDONLY)  # with a folder, os.link follows the symlink
        try:
            for _ in range(100):
                unique = f".{self.destination.name}.{secrets.token_hex(8)}.partial"
                name = str(self.destination.parent / unique)
                with contextlib.suppress(FileExistsError):
                    os.link(str(self.stream.fileno()), name, src_dir_fd=folder)
                    return name
        finally:
            os.close(folder)
        raise FileExistsError(f"no free temporary name beside {self.destination}")


def commit_together(files: Sequence[AtomicFile]) -> None:
    """Name all files, the last one last; if that fails, take back those that replaced nothing.

    Raises:
        OSError: one cannot be named.
    """
    for file in files:
        file.stream.flush()  # a full disk shows here, before anything has a name
    new: list[Path] = []
    try:
        for file in files:
            existed = file.destination.exists()
            file.commit()
            if not existed:
                new.append(file.destination)
    except BaseException:
        for path in new:
            path.unlink(missing_ok=True)
        raise


def replace_folder(fresh: Path, destination: Path, old: Path) -> None:
    """Give a new folder its name; what had the name goes to `old`, or to the new one's place.

    The two are exchanged where the system can do so at once (Linux); else the old one is renamed
    first, and put back if the new one cannot be. All three are on one file system.

    Raises:
        OSError: it cannot be renamed; the destination is as it was.
    """
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
