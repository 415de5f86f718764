"""C output: a model as an array, and a header with what a firmware must know to run it.

files = emit(source, "swiftnet", arena)        the folder's files, by name
write(source, "swiftnet.lowtide.c", arena)     the folder, whole or not at all
"""

from lowtide.backends.c.tflite_emit import emit, write
from lowtide.backends.c.tflite_header import Arena

__all__ = ["Arena", "emit", "write"]
