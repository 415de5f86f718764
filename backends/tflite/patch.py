"""A file as pieces of another one: unchanged ranges by reference, changed bytes between them."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

__all__ = ["pieces"]


def pieces(
    data: memoryview, start: int, patches: Mapping[int, bytes]
) -> Iterator[memoryview | bytes]:
    """`data` from `start` to its end with `patches` (position in `data` to bytes) written over it.

    The patches lie behind `start` and do not overlap. Nothing is copied.
    """
    at = start
    for position, patch in sorted(patches.items()):
        yield data[at:position]
        yield patch
        at = position + len(patch)
    yield data[at:]
