"""Plans back to TFLite files that run.

    data = emit(source, order, metadata={PLAN: plan})
    write(source, order, "model.lowtide.tflite", metadata={PLAN: plan})

The operators are permuted, named metadata is replaced or added, and everything else stays the bytes
that it was.
"""

from lowtide.backends.tflite.emit import PLAN, emit, write

__all__ = ["PLAN", "emit", "write"]
