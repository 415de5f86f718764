"""From a plan to a file: staged, verified and measured, then written in its place."""

from __future__ import annotations

import tempfile
import time
from contextlib import contextmanager
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, cast

import onnx_ir

from lowtide.backends.onnx.atomic import AtomicFile
from lowtide.backends.onnx.case import Case
from lowtide.backends.onnx.dependence import node_key
from lowtide.backends.onnx.emit import emit
from lowtide.backends.onnx.measure import examine
from lowtide.backends.onnx.portable import portable
from lowtide.backends.onnx.stamp import Stamp
from lowtide.errors import InputError

if TYPE_CHECKING:
    from collections.abc import Generator, Sequence

    from lowtide.backends.onnx.stamp import Level, Route
    from lowtide.passes.plan import Plan
    from lowtide.planning import Planned, Settings

__all__ = ["Outcome", "Staged", "refuse_source", "stage", "verify", "write_text"]

# A child that verifies gets the weights three times over, the activations, and this.
_CHILD_BYTES = 8 << 30
_CHILD_TIMEOUT_S = 600.0

# A run's own bookkeeping varies by some kilobytes.
_NOISE_BYTES = 1 << 15


@dataclass(frozen=True, slots=True)
class Outcome:
    """What the execution of the result showed, in the report's words."""

    verification: dict[str, object]
    measured: dict[str, object]
    session: str
    seconds: float
    notes: tuple[str, ...] = ()

    @property
    def is_worse(self) -> bool:
        """Whether more was allocated than in ONNX Runtime's own order, beyond noise."""
        before, after = self.measured.get("peak_before"), self.measured.get("peak_after")
        if not isinstance(before, int) or not isinstance(after, int):
            return False
        return after > before + before // 100 + _NOISE_BYTES


class Staged:
    """A planned model that is about to be emitted; `path` is a copy to try it on."""

    def __init__(self, planned: Planned, plan: Plan, folder: Path, destination: Path) -> None:
        self._planned, self._plan, self._destination = planned, plan, destination
        self.folder = folder
        if planned.prepared.model is None:
            raise InputError(
                f"no backend writes `.{planned.prepared.source.format}` models: use "
                f"`lowtide analyze`, or lowtide.optimize without output and verify=False"
            )
        self._model: onnx_ir.Model = planned.prepared.model
        self._order: Sequence[onnx_ir.Node] = [
            cast("onnx_ir.Node", op.source) for op in planned.order
        ]
        self.planned = tuple(map(node_key, self._order))
        if planned.prepared.settings.portable:
            held = portable(self._model, self._order)
            self._model, self._order = held.model, held.order

    @cached_property
    def path(self) -> Path:
        """The staged file; written when it is first asked for."""
        path = self.folder / self._destination.name
        self._emit(path)
        return path

    def commit(self) -> None:
        """Write the same model to its destination; it appears whole or not at all.

        Raises:
            InputError: the destination is an input file, or cannot be written.
        """
        self._emit(self._destination)

    def _emit(self, path: Path) -> None:
        source = self._planned.prepared.source.path
        emit(self._model, self._order, path, provenance=self.provenance, source=source)

    @property
    def provenance(self) -> dict[str, str]:
        """What the file says about itself."""
        settings = self._planned.prepared.settings
        level = cast("Level", settings.level)
        return Stamp.here(settings.target, route(settings), level, self._plan.digest).metadata()


def route(settings: Settings) -> Route:
    """How the order is obeyed: by session options, or by control edges in the file."""
    return "portable" if settings.portable else "exact"


@contextmanager
def stage(planned: Planned, plan: Plan, destination: Path) -> Generator[Staged]:
    """Emit the planned model to a temporary folder, gone at the end of the block.

    Raises:
        InputError: the destination is an input file, or cannot be written.
    """
    with tempfile.TemporaryDirectory(prefix="lowtide-") as folder:
        yield Staged(planned, plan, Path(folder), destination)


def verify(planned: Planned, staged: Staged) -> Outcome:
    """Execute the source and the staged result, compare, and measure both.

    Raises:
        VerificationError: the result computes something else, or ran in another order.
    """
    started = time.perf_counter()
    prepared = planned.prepared
    settings = prepared.settings
    original = prepared.source.path
    if original is None and prepared.source.model is not None:
        original = staged.folder / "original.onnx"
        onnx_ir.save(prepared.source.model, original)
    assert original is not None
    graph = original
    if settings.level != "none" and prepared.model is not None:
        graph = staged.folder / "graph.onnx"
        emit(prepared.model, list(prepared.model.graph), graph, provenance={})
    verification, measurement = examine(
        Case(
            original=original,
            graph=graph,
            result=staged.path,
            planned=staged.planned,
            level=cast("Level", settings.level),
            route=route(settings),
            dims=settings.dims,
            threads=settings.threads,
            seed=settings.seed,
        ),
        timeout_s=_CHILD_TIMEOUT_S,
        memory_limit_bytes=_CHILD_BYTES + 4 * _weights(planned),
    )
    return Outcome(
        verification.to_json(),
        measurement.to_json(),
        staged.provenance["lowtide.session"],
        time.perf_counter() - started,
        (*verification.notes, *measurement.notes),
    )


def _weights(planned: Planned) -> int:
    return sum(t.nbytes for t in planned.prepared.graph.tensors if t.producer is None)


def refuse_source(source: object, *outputs: Path | None) -> None:
    """Refuse, before any work, to write over the source or into a folder that is not there.

    Raises:
        InputError: an output is the source, a folder, or in a folder that does not exist.
    """
    for output in outputs:
        if output is None:
            continue
        if isinstance(source, str | Path) and output.resolve() == Path(source).resolve():
            raise InputError(
                f"{output} is the source, which is never written to: choose another output"
            )
        if output.is_dir():
            raise InputError(f"{output} is a folder: name a file")
        if not output.absolute().parent.is_dir():
            raise InputError(f"the folder {output.parent} does not exist: create it first")


def write_text(path: Path, text: str) -> None:
    """Write a text file; it appears whole or not at all.

    Raises:
        InputError: it cannot be written.
    """
    try:
        with AtomicFile(path) as file:
            file.stream.write(text.encode())
            file.commit()
    except OSError as error:
        raise InputError(f"cannot write {path}: {error.strerror or error}") from None
