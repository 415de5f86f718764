"""From a plan to a SavedModel: written in a temporary folder, tried, then put in its place."""

from __future__ import annotations

import shutil
import time
from pathlib import Path
from typing import TYPE_CHECKING, cast

from lowtide import child
from lowtide.backends.tensorflow.from_onnx.destination import install, refuse_foreign, staging
from lowtide.child import ChildError
from lowtide.emission import Outcome, Staged
from lowtide.errors import VerificationError
from lowtide.targets.tensorflow_job import CHILD_BYTES, TIMEOUT_S

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

__all__ = ["StagedTensorflow"]

_SESSION = "tf.saved_model.load(FOLDER).signatures['serving_default'], which keeps the order"


class StagedTensorflow(Staged):
    """A SavedModel that is about to be written.

    Args:
        job: the function that writes it, in a child process, as `module:name`.
        source: what that is told of the model; called when it is needed.
        sequence: the names of the function's ops in order; None for TensorFlow's own.
        seed: of the random inputs.
        destination: the folder to write.
        folder: a temporary one.
    """

    def __init__(
        self,
        job: str,
        source: Callable[[], Mapping[str, object]],
        sequence: Sequence[str] | None,
        seed: int,
        destination: Path,
        folder: Path,
    ) -> None:
        self._job, self._source, self._seed = job, source, seed
        self._sequence = None if sequence is None else list(sequence)
        self._destination, self._folder = destination, folder
        self._tried = folder / "tried"
        refuse_foreign(destination, folder=True)

    def verify(self) -> Outcome:
        """Run the result beside the original, and measure it beside TensorFlow's own order."""
        started = time.perf_counter()
        reply = self._emitted(self._tried, self._folder / "stock")
        measured = cast("dict[str, object]", reply["measured"])
        after, stock = cast("int", measured["peak_after"]), cast("int", measured["peak_stock"])
        return Outcome(
            cast("dict[str, object]", reply["verification"]),
            measured,
            _SESSION,
            time.perf_counter() - started,
            notes=tuple(cast("list[str]", reply["notes"])),
            is_worse=self._sequence is not None and after > stock,
            needed_bytes=after,
        )

    def commit(self) -> None:
        """Write the folder: the one that was tried, where one was."""
        with staging(self._destination) as beside:
            staged = beside / "staged"
            if self._tried.is_dir():
                shutil.copytree(self._tried, staged)
            else:
                self._emitted(staged, None)
            install(staged, self._destination)

    def _emitted(self, staged: Path, stock: Path | None) -> dict[str, object]:
        try:
            return child.run(
                self._job,
                {
                    **self._source(),
                    "staged": str(staged),
                    "sequence": self._sequence,
                    "stock": "" if stock is None else str(stock),
                    "seed": self._seed,
                },
                timeout_s=TIMEOUT_S,
                memory_limit_bytes=CHILD_BYTES,
            )
        except ChildError as error:
            raise VerificationError(f"the result cannot be run: {error}") from None
