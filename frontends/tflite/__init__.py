"""TFLite models to the graph IR.

    source = read("model.tflite")        verified and checked: the file is not trusted
    imported = import_graph(source)      lowtide.ir.Graph and the tensors by index
    dialect = TfliteDialect(source, imported)    what its ops mean, and new ones: for rewrites

No third party is needed: the flatbuffer's schema is in `schema`, and drives verifier and reader.
"""

from lowtide.frontends.tflite.dialect import Sharing, TfliteDialect
from lowtide.frontends.tflite.importer import TfliteImport, import_graph
from lowtide.frontends.tflite.model import (
    TfliteBuffer,
    TfliteMetadata,
    TfliteModel,
    TfliteOperator,
    TfliteSubgraph,
    TfliteTensor,
)
from lowtide.frontends.tflite.source import TfliteSource, read

__all__ = [
    "Sharing",
    "TfliteBuffer",
    "TfliteDialect",
    "TfliteImport",
    "TfliteMetadata",
    "TfliteModel",
    "TfliteOperator",
    "TfliteSource",
    "TfliteSubgraph",
    "TfliteTensor",
    "import_graph",
    "read",
]
