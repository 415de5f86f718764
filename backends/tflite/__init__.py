"""Plans back to TFLite files that run.

    data = emit(source, order, metadata={"OfflineMemoryAllocation": plan})
    write(source, order, "model.lowtide.tflite", metadata=...)

The operators are permuted, named metadata is replaced or added, and everything else stays the bytes
that it was.
"""

from lowtide.backends.tflite.emit import emit, write

__all__ = ["emit", "write"]
