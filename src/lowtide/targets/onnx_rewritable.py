"""ONNX models that are rewritten before their target imports them."""

from __future__ import annotations

from typing import TYPE_CHECKING

from lowtide.backends.onnx.rebuild import rebuild
from lowtide.frontends.onnx import OnnxSource, import_graph
from lowtide.frontends.onnx.dialect import OnnxDialect
from lowtide.planning import Rewritable

if TYPE_CHECKING:
    from collections.abc import Callable

    from lowtide.ir import Accounting, Graph
    from lowtide.passes.rewrite.regions import Limits
    from lowtide.planning import Prepared
    from lowtide.sources import Origin

__all__ = ["rewritable_onnx"]


def rewritable_onnx(
    origin: Origin,
    accounting: Accounting,
    prepare: Callable[[OnnxSource], Prepared],
    *,
    threads: int = 1,
    scratch: bool = False,
    accumulates: bool = False,
    addends: bool = True,
    limits: Limits | None = None,
) -> Rewritable:
    """The operators of the model that was read.

    Args:
        origin: of the model.
        accounting: of the target.
        prepare: the new model for the same target.
        threads: of the session.
        scratch: whether kernels need any.
        accumulates: whether a convolution can add to an operand.
        addends: whether those that do are written as one operator.
        limits: where regions may be run in tiles.
    """
    source = origin.model
    assert source is not None
    graph = import_graph(source, threads=threads)
    dialect = OnnxDialect.of(source, threads=threads, scratch=scratch, accumulates=accumulates)
    for op in graph.ops:
        op.workspace_bytes *= scratch

    def rebuilt(edited: Graph) -> Prepared:
        model = rebuild(source, graph, edited, addends=addends)
        return prepare(OnnxSource(model, origin.path, origin.sha256))

    return Rewritable(graph, dialect, accounting, rebuilt, limits)
