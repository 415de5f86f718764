"""The one version of TVM that is understood here."""

from __future__ import annotations

from importlib.metadata import PackageNotFoundError, version

from lowtide.errors import MissingExtraError

__all__ = ["SERIES", "require_tvm"]

SERIES = "0.27."


def require_tvm() -> str:
    """The version of the installed apache-tvm.

    Raises:
        MissingExtraError: it is not installed, or of another series.
    """
    try:
        found = version("apache-tvm")
    except PackageNotFoundError:
        raise MissingExtraError(
            'TVM is not installed: pip install "lowtide[tvm]" (apache-tvm 0.27)'
        ) from None
    if not found.startswith(SERIES):
        raise MissingExtraError(
            f"apache-tvm {found} is installed, but its interface is only known for {SERIES}*: "
            f'pip install "lowtide[tvm]"'
        )
    return found
