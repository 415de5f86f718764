"""How the native core calls a progress function."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable

__all__ = ["stopping"]


def stopping(
    progress: Callable[[int | None, int], None] | None,
) -> Callable[[int, int], bool] | None:
    """`progress` as the native core calls it, which stops on True: Ctrl-C may land in here too."""
    if progress is None:
        return None

    def report(value: int, bound: int) -> bool:
        try:
            progress(value, bound)
        except KeyboardInterrupt:
            return True
        return False

    return report
