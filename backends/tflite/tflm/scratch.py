"""The scratch buffers that a model's kernels ask for, from the real interpreter."""

from __future__ import annotations

import contextlib
import tempfile
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, cast

from lowtide import child
from lowtide.backends.tflite.tflm.lifetimes import (
    ALIGNMENT,
    arena_buffers,
    arena_bytes,
    resource_handles,
)
from lowtide.errors import LowtideError, ModelError

if TYPE_CHECKING:
    from collections.abc import Generator, Sequence

    from lowtide.backends.tflite.tflm.lifetimes import Scratch
    from lowtide.frontends.tflite import TfliteSource

__all__ = ["ARENA_LIMIT", "MEMORY_LIMIT", "KernelScratch", "measure_scratch", "model_file"]

ARENA_LIMIT = 1 << 30
MEMORY_LIMIT = 4 << 30
_PACKAGE = "lowtide.backends.tflite.tflm"


@dataclass(frozen=True, slots=True)
class KernelScratch:
    """What kernels ask for beside their tensors.

    Attributes:
        sizes: bytes of each scratch buffer, by (subgraph, operator); operators without any are
            left out.
        method: `planner` (read from TFLM's planner), `probes` (every operator run alone), or
            `formulas` (of a library that is not executed here).
        unknown: operators whose scratch could not be found; it counts as none.
    """

    sizes: Scratch
    method: str
    unknown: tuple[tuple[int, int], ...] = ()

    @property
    def validated(self) -> bool:
        """All of it was measured by execution: only then may a plan be called proven."""
        return self.method in {"planner", "probes"} and not self.unknown

    def renumbered(self, order: Sequence[int]) -> KernelScratch:
        """The same for the emitted model, whose main subgraph has its operators in `order`."""
        place = {operator: index for index, operator in enumerate(order)}

        def moved(key: tuple[int, int]) -> tuple[int, int]:
            return (0, place[key[1]]) if key[0] == 0 else key

        return KernelScratch(
            {moved(key): sizes for key, sizes in self.sizes.items()},
            self.method,
            tuple(moved(key) for key in self.unknown),
        )


@contextlib.contextmanager
def model_file(data: bytes | memoryview) -> Generator[Path]:
    """The model in a temporary file, for a child."""
    with tempfile.TemporaryDirectory(prefix="lowtide-") as folder:
        path = Path(folder, "model.tflite")
        path.write_bytes(data)
        yield path


def measure_scratch(
    source: TfliteSource, *, method: str | None = None, timeout_s: float = 120.0
) -> KernelScratch:
    """The scratch of the reference kernels, as the `tflite-micro` package has them.

    Read from the planner of the whole model; where that is not possible (TFLM refuses the model, or
    the package is another build) from one-op probes.

    Args:
        source: the model.
        method: `planner` or `probes` to insist on one of them.
        timeout_s: for each of the two.

    Raises:
        LowtideError: the method that was asked for, or both, failed: the last one's reason.
    """
    with model_file(source.data) as path:
        if method != "probes":
            try:
                found = _from_planner(source, path, timeout_s)
            except LowtideError:
                if method is not None:
                    raise
                found = None
            if found is not None:
                return found
            if method is not None:
                raise ModelError(
                    "tflite-micro does not show its planner's buffers: another build than ours, "
                    "or an arena over 25 MiB"
                )
        return _from_probes(source, path, timeout_s)


def _from_planner(source: TfliteSource, path: Path, timeout_s: float) -> KernelScratch | None:
    reply = child.run(
        f"{_PACKAGE}.trace:trace",
        {"model": str(path), "limit": ARENA_LIMIT},
        timeout_s=timeout_s,
        memory_limit_bytes=MEMORY_LIMIT,
    )
    if reply["buffers"] is None:
        return None
    traced = cast("list[list[int]]", reply["buffers"])
    tensors = arena_buffers(source.model, {})
    expected = [[b.nbytes, b.first, b.last] for b in tensors]
    if [[size, first, last] for size, _, first, last in traced[: len(tensors)]] != expected:
        raise LowtideError(
            "TFLite Micro's planner has other tensors or lifetimes than our model of it: please "
            "report this model"
        )
    # Scratch carries the scope of its operator; called subgraphs' operators have scopes too.
    operator_at: dict[int, tuple[int, int]] = {}
    marks = {(s.index, op.index): (1,) for s in source.model.subgraphs for op in s.operators}
    for buffer in arena_buffers(source.model, marks)[len(tensors) :]:
        operator_at.setdefault(buffer.first, (buffer.subgraph, buffer.operator))
    sizes: dict[tuple[int, int], list[int]] = {}
    for size, _, first, _ in traced[len(tensors) :]:
        sizes.setdefault(operator_at[first], []).append(size)
    return KernelScratch({key: tuple(found) for key, found in sizes.items()}, "planner")


def _from_probes(source: TfliteSource, path: Path, timeout_s: float) -> KernelScratch:
    # An operand is an input of the one-op model, also where VAR_HANDLE makes it in the whole one.
    arena = [
        [s.index, t.index, -(-arena_bytes(source.model, t) // ALIGNMENT) * ALIGNMENT]
        for s in source.model.subgraphs
        for t in s.tensors
        if arena_bytes(source.model, t)
    ]
    handles = [list(key) for key in sorted(resource_handles(source.model))]
    reply = child.run(
        f"{_PACKAGE}.probe:probe",
        {"model": str(path), "limit": ARENA_LIMIT, "arena": arena, "handles": handles},
        timeout_s=timeout_s,
        memory_limit_bytes=MEMORY_LIMIT,
    )
    sizes: Scratch = {}
    unknown: list[tuple[int, int]] = []
    for subgraph, operator, found in cast(
        "list[tuple[int, int, list[int] | None]]", reply["scratch"]
    ):
        if found is None:
            unknown.append((subgraph, operator))
        elif found:
            sizes[subgraph, operator] = tuple(found)
    return KernelScratch(sizes, "probes", tuple(unknown))
