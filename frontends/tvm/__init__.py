"""TVM: a lowered Relax function to `ir.Graph`, ONNX models through TVM's own importer.

Pinned to apache-tvm 0.27: its Python interface changes with nearly every release.
"""

from lowtide.frontends.tvm.imported import Imported
from lowtide.frontends.tvm.importer import import_function
from lowtide.frontends.tvm.version import require_tvm

__all__ = ["Imported", "import_function", "require_tvm"]
