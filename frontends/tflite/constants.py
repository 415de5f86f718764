"""What the file knows of a tensor of an edited graph: integers that it holds, scale, zero point."""

from __future__ import annotations

import struct
from typing import TYPE_CHECKING

from lowtide.ir import Role, Values

if TYPE_CHECKING:
    from lowtide.frontends.tflite.importer import TfliteImport
    from lowtide.frontends.tflite.model import TfliteTensor
    from lowtide.frontends.tflite.source import TfliteSource
    from lowtide.ir import Tensor

__all__ = ["Facts"]

_MOST_INTEGERS = 64  # shapes, axes and paddings are short
_CODES = {"int32": "i", "int64": "q"}


class Facts:
    """Looks tensors up by their names, so that they may be those of a copy of the graph."""

    def __init__(self, source: TfliteSource, imported: TfliteImport) -> None:
        self.source = source
        self._tensors = {
            tensor.name: imported.subgraph.tensors[index]
            for index, tensor in enumerate(imported.tensors)
            if tensor is not None
        }

    def stored(self, tensor: Tensor) -> TfliteTensor | None:
        """The file's tensor, or the one whose type a new tensor has; None where there is none."""
        while tensor.like is not None:
            tensor = tensor.like
        return self._tensors.get(tensor.name)

    def readable(self, tensor: Tensor) -> bool:
        """A constant whose elements can be cut and joined: dense, in this file, of whole bytes."""
        stored = self.stored(tensor)
        if tensor.role is not Role.CONSTANT:
            return False
        if stored is None or tensor.recipe is not None:
            return tensor.recipe is not None
        return self._plain(stored)

    def _plain(self, stored: TfliteTensor) -> bool:
        buffer = self.source.model.buffers[stored.buffer]
        held = buffer.stop - buffer.start == stored.nbytes
        narrow = stored.dtype in {"int2", "uint2", "int4", "uint4", "opaque"}
        quantization = stored.table.table("quantization")
        detailed = quantization is not None and quantization.union_type("details") != 0
        return held and not (stored.sparse or buffer.outside or narrow or detailed)

    def integers(self, tensor: Tensor | None) -> tuple[int, ...] | None:
        """The elements of a short constant of int32 or int64; None for any other tensor."""
        if tensor is None or tensor.role is not Role.CONSTANT:
            return None
        if isinstance(tensor.recipe, Values):
            items = tuple(i for i in tensor.recipe.items if isinstance(i, int))
            count = tensor.shape[0] if tensor.shape else 1
            return items * count if len(items) == 1 else items
        stored = self._tensors.get(tensor.name)
        if stored is None or tensor.recipe is not None or stored.dtype not in _CODES:
            return None
        code = _CODES[stored.dtype]
        count = stored.nbytes // struct.calcsize(code)
        if not self._plain(stored) or count > _MOST_INTEGERS:
            return None
        values: tuple[int, ...] = struct.unpack(
            f"<{count}{code}", self.source.buffer(stored.buffer)
        )
        return values

    def same_scale(self, one: Tensor, other: Tensor) -> bool:
        """One element type, scale and zero point: equal bytes mean equal values."""
        if one.dtype != other.dtype:
            return False
        return self._scale(one) == self._scale(other)

    def _scale(self, tensor: Tensor) -> tuple[bytes, tuple[int, ...], int]:
        stored = self.stored(tensor)
        quantization = None if stored is None else stored.table.table("quantization")
        if quantization is None:
            return b"", (), 0
        scales = bytes(quantization.raw("scale") or b"")
        if not scales:
            return b"", (), 0
        axis = quantization.integer("quantized_dimension") if len(scales) > 4 else 0
        # Zero points that are not stored are 0.
        points = quantization.integers("zero_point") or (0,) * (len(scales) // 4)
        return scales, points, axis
