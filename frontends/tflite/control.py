"""Control dependencies that converters leave in a model's metadata.

The buffer `model_control_dependencies` holds a version, then per subgraph a list of edges between
operator indices. All numbers are varints (seven bits a byte, the lowest first); those of the edges
are zigzag-coded signed ones. Source: TensorFlow's lite/experimental/remat/metadata_util.
"""

from __future__ import annotations

from lowtide.errors import ModelError

__all__ = ["CONTROL", "parse_control"]

CONTROL = "model_control_dependencies"
_VERSION = 1
_MAX_EDGES = 1_000_000


def parse_control(data: memoryview) -> tuple[tuple[tuple[int, int], ...], ...]:
    """The edges (before, after) of every subgraph.

    Raises:
        ModelError: the bytes are not of this format or version.
    """
    reader = _Varints(data)
    version = reader.unsigned()
    if version != _VERSION:
        raise ModelError(
            f"metadata `{CONTROL}` has version {version}, known is {_VERSION}: "
            f"convert the model again, or remove that metadata"
        )
    found: list[tuple[tuple[int, int], ...]] = []
    total = 0
    for _ in range(reader.count()):
        edges: list[tuple[int, int]] = []
        for _ in range(reader.count()):
            before, after = reader.signed(), reader.signed()
            edges.append((before, after))
            total += 1
            if total > _MAX_EDGES:
                raise ModelError(f"metadata `{CONTROL}` has more than {_MAX_EDGES} edges")
        found.append(tuple(edges))
    if reader.at != len(data):
        raise ModelError(f"metadata `{CONTROL}` has {len(data) - reader.at} bytes too many")
    return tuple(found)


class _Varints:
    def __init__(self, data: memoryview) -> None:
        self.data = data
        self.at = 0

    def unsigned(self) -> int:
        value = shift = 0
        while True:
            if self.at >= len(self.data) or shift > 28:
                raise ModelError(f"metadata `{CONTROL}` is cut off or damaged at byte {self.at}")
            byte = self.data[self.at]
            self.at += 1
            value |= (byte & 127) << shift
            shift += 7
            if byte < 128:
                return value

    def signed(self) -> int:
        value = self.unsigned()
        return (value >> 1) ^ -(value & 1)

    def count(self) -> int:
        count = self.unsigned()
        if count > len(self.data) - self.at:  # every element takes a byte
            raise ModelError(f"metadata `{CONTROL}` claims {count} elements at byte {self.at}")
        return count
