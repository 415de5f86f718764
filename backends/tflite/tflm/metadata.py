"""The metadata `OfflineMemoryAllocation`: an offset in the arena for every tensor.

    int32, little-endian: version (1), subgraph (0), number of tensors, one offset per tensor

One number per tensor over all subgraphs, in their order; -1 leaves a tensor to TFLM's planner. TFLM
takes the last entry of that name, checks the number of tensors and nothing else. Source:
AllocationInfoBuilder::GetOfflinePlannedOffsets in tensorflow/lite/micro/micro_allocation_info.cc.
"""

from __future__ import annotations

import struct
from typing import TYPE_CHECKING

from lowtide.backends.tflite.tflm.planner import ONLINE
from lowtide.errors import ModelError, PlanError

if TYPE_CHECKING:
    from collections.abc import Sequence

    from lowtide.frontends.tflite import TfliteModel, TfliteSource

__all__ = ["METADATA", "encode_offsets", "stored_offsets"]

METADATA = "OfflineMemoryAllocation"
_VERSION = 1
_MAX_INT32 = 2**31 - 1


def encode_offsets(model: TfliteModel, offsets: Sequence[int]) -> bytes:
    """The metadata's bytes.

    Raises:
        PlanError: not one offset per tensor of the model, or one that is out of range.
    """
    count = sum(len(s.tensors) for s in model.subgraphs)
    if len(offsets) != count:
        raise PlanError(f"{len(offsets)} offsets for the model's {count} tensors")
    for index, offset in enumerate(offsets):
        if not ONLINE <= offset <= _MAX_INT32:
            raise PlanError(f"the offset {offset} of tensor {index} does not fit the format")
    return struct.pack(f"<{3 + count}i", _VERSION, 0, count, *offsets)


def stored_offsets(source: TfliteSource) -> tuple[int, ...] | None:
    """The offsets that TFLM takes from a file; None where it has none.

    Raises:
        ModelError: TFLM would refuse the metadata, or read past its end.
    """
    count = sum(len(s.tensors) for s in source.model.subgraphs)
    found: tuple[int, ...] | None = None
    for entry in source.model.metadata:
        if entry.name != METADATA:
            continue
        data = source.buffer(entry.buffer)
        if len(data) < 12:
            raise ModelError(f"metadata `{METADATA}` has {len(data)} bytes, at least 12 are needed")
        version, _, held = struct.unpack_from("<iiI", data)
        if version != _VERSION:
            raise ModelError(f"metadata `{METADATA}` has version {version}, known is {_VERSION}")
        if held != count:
            raise ModelError(
                f"metadata `{METADATA}` is for {held} tensors, the model has {count}: "
                f"the plan belongs to another model"
            )
        if len(data) != 12 + 4 * count:
            raise ModelError(
                f"metadata `{METADATA}` has {len(data)} bytes, {12 + 4 * count} are needed for "
                f"{count} tensors"
            )
        found = struct.unpack_from(f"<{count}i", data, 12)
    return found
