"""Plans back to TFLite files that run.

    data = emit(source, order, metadata={PLAN: plan})
    write(source, order, "model.lowtide.tflite", metadata={PLAN: plan})

The operators are permuted, named metadata is replaced or added, and everything else stays the bytes
that it was.

    data = rebuild(source, imported, graph)      after rewriting: a new source of the same format
"""

from lowtide.backends.tflite.emit import PLAN, emit, write
from lowtide.backends.tflite.rebuild import rebuild

__all__ = ["PLAN", "emit", "rebuild", "write"]
