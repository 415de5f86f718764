"""The generated tables, by the names in the pages' markers; one module for each family."""

from lowtide.bench.book.tables import (
    chapters,
    conformance,
    edge,
    onnxruntime,
    rewriting,
    solvers,
    training,
    tvm,
)

__all__ = ["TABLES"]

TABLES = {
    **chapters.TABLES,
    **conformance.TABLES,
    **edge.TABLES,
    **onnxruntime.TABLES,
    **rewriting.TABLES,
    **solvers.TABLES,
    **training.TABLES,
    **tvm.TABLES,
}
