"""Control dependencies name operators by their place: what they are after a permutation."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

__all__ = ["CONTROL", "encode_control", "renumbered"]

CONTROL = "model_control_dependencies"
_VERSION = 1


def renumbered(
    edges: Iterable[tuple[int, int]], order: Sequence[int]
) -> tuple[tuple[int, int], ...]:
    """The edges between operators that `order` puts in new places."""
    place = {operator: index for index, operator in enumerate(order)}
    return tuple((place[before], place[after]) for before, after in edges)


def encode_control(subgraphs: Sequence[Sequence[tuple[int, int]]]) -> bytes:
    """The metadata of all subgraphs' edges: varints, those of the edges zigzag-coded."""
    out = bytearray(_varint(_VERSION) + _varint(len(subgraphs)))
    for edges in subgraphs:
        out += _varint(len(edges))
        for edge in edges:
            for operator in edge:
                out += _varint(operator << 1)  # zigzag of a number that is not negative
    return bytes(out)


def _varint(value: int) -> bytes:
    out = bytearray()
    while value > 127:
        out.append(value & 127 | 128)
        value >>= 7
    out.append(value)
    return bytes(out)
