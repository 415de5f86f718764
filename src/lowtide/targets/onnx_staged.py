"""From a plan to an ONNX file: tried in a temporary folder, then written in its place."""

from __future__ import annotations

import time
from functools import cached_property
from typing import TYPE_CHECKING, cast

import onnx_ir

from lowtide.backends.onnx.case import Case
from lowtide.backends.onnx.dependence import node_key
from lowtide.backends.onnx.emit import emit
from lowtide.backends.onnx.measure import examine
from lowtide.backends.onnx.portable import portable
from lowtide.backends.onnx.repeat import repeated
from lowtide.backends.onnx.stamp import Stamp
from lowtide.emission import Outcome, Staged

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

    from lowtide.backends.onnx.measure import Measurement
    from lowtide.backends.onnx.stamp import Level, Route
    from lowtide.ir import Graph
    from lowtide.planning import Planned
    from lowtide.settings import Settings

__all__ = ["CHILD_TIMEOUT_S", "StagedOnnx", "child_memory"]

CHILD_TIMEOUT_S = 600.0
# A child that verifies gets the weights three times over, the activations, and this.
_CHILD_BYTES = 8 << 30

# A run's own bookkeeping varies by some kilobytes.
_NOISE_BYTES = 1 << 15


class StagedOnnx(Staged):
    """A planned ONNX model that is about to be emitted; `path` is a copy to try it on.

    `before` is what runs without rewrites, to compare with.
    """

    def __init__(
        self,
        model: onnx_ir.Model,
        planned: Planned,
        destination: Path,
        folder: Path,
        *,
        before: onnx_ir.Model | None = None,
    ) -> None:
        self._planned, self._destination, self._folder = planned, destination, folder
        self._model, self._before = model, before or model
        self._order: Sequence[onnx_ir.Node] = [
            cast("onnx_ir.Node", op.source) for op in planned.order
        ]
        if len(planned.order) > len(planned.prepared.graph):
            self._model, self._order = repeated(model, self._order)
        self._keys = tuple(map(node_key, self._order))
        if planned.prepared.settings.portable:
            held = portable(self._model, self._order)
            self._model, self._order = held.model, held.order

    @cached_property
    def path(self) -> Path:
        """The staged file; written when it is first asked for."""
        path = self._folder / self._destination.name
        self._emit(path)
        return path

    def commit(self) -> None:
        """Write the same model to its destination."""
        self._emit(self._destination)

    def _emit(self, path: Path) -> None:
        source = self._planned.prepared.source.path
        emit(self._model, self._order, path, provenance=self.provenance, source=source)

    @property
    def provenance(self) -> dict[str, str]:
        """What the file says about itself."""
        settings = self._planned.prepared.settings
        level = cast("Level", settings.level)
        return Stamp.here(
            settings.target, _route(settings), level, self._planned.plan.digest
        ).metadata()

    def verify(self) -> Outcome:
        """Execute the source and the staged result, compare, and measure both."""
        started = time.perf_counter()
        prepared = self._planned.prepared
        settings = prepared.settings
        original = prepared.source.path
        if original is None and prepared.source.model is not None:
            original = self._folder / "original.onnx"
            onnx_ir.save(prepared.source.model, original)
        assert original is not None
        graph = original
        if settings.level != "none":
            graph = self._folder / "graph.onnx"
            emit(self._before, list(self._before.graph), graph, provenance={})
        verification, measurement = examine(
            Case(
                original=original,
                graph=graph,
                result=self.path,
                planned=self._keys,
                level=cast("Level", settings.level),
                route=_route(settings),
                dims=settings.dims,
                threads=settings.threads,
                seed=settings.seed,
            ),
            timeout_s=CHILD_TIMEOUT_S,
            memory_limit_bytes=child_memory(prepared.graph),
        )
        return Outcome(
            verification.to_json(),
            measurement.to_json(),
            self.provenance["lowtide.session"],
            time.perf_counter() - started,
            (*verification.notes, *measurement.notes),
            is_worse=_is_worse(measurement),
        )


def _is_worse(measurement: Measurement) -> bool:
    """Whether more was allocated than in ONNX Runtime's own order, beyond noise."""
    before, after = measurement.default.peak_bytes, measurement.planned.peak_bytes
    if before is None or after is None:
        return False
    return after > before + before // 100 + _NOISE_BYTES


def _route(settings: Settings) -> Route:
    """How the order is obeyed: by session options, or by control edges in the file."""
    return "portable" if settings.portable else "exact"


def child_memory(graph: Graph) -> int:
    """The bytes that a child process may take to run a model."""
    return _CHILD_BYTES + 4 * sum(t.nbytes for t in graph.tensors if t.producer is None)
