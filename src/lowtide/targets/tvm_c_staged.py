"""From a plan to C sources: written in a temporary folder, compiled and run there, then put."""

from __future__ import annotations

import time
from functools import cached_property
from typing import TYPE_CHECKING

import numpy as np

from lowtide.backends.c.folder import MANIFEST, write_folder
from lowtide.backends.c.identifier import identifier
from lowtide.backends.onnx.compare import Difference, compare
from lowtide.backends.tvm.c_run import compile_program, compiler, run_program, sizes_of
from lowtide.backends.tvm.reference import reference
from lowtide.emission import Outcome, Staged
from lowtide.errors import ModelError, VerificationError
from lowtide.targets.tvm_child import call

if TYPE_CHECKING:
    from pathlib import Path

    from numpy.typing import NDArray

    from lowtide.planning import Planned
    from lowtide.targets.tvm import PreparedTvm

__all__ = ["StagedC"]

_TIMEOUT_S = 600.0
_CHILD_BYTES = 8 << 30
_NO_COMPILER = "there is no C compiler here: the program was not tried"


class StagedC(Staged):
    """A planned model that is about to be written as C."""

    def __init__(
        self, prepared: PreparedTvm, planned: Planned, destination: Path, folder: Path
    ) -> None:
        self._prepared, self._planned = prepared, planned
        self._destination, self._folder = destination, folder
        self._name = identifier(destination.name.split(".")[0], "model")

    @cached_property
    def _sources(self) -> Path:
        """The folder with the program; written when it is first asked for."""
        plan = self._planned.plan
        output = self._folder / "program.c"
        call(
            "c_sources",
            {
                **self._prepared.request(self._folder),
                "plan": plan.to_json(),
                "name": self._name,
                "output": str(output),
            },
        )
        return output

    def commit(self) -> None:
        """Write the folder."""
        files = {path.name: path.read_bytes() for path in sorted(self._sources.iterdir())}
        assert MANIFEST in files
        write_folder(self._destination, files)

    def verify(self) -> Outcome:
        """Compile the program with every warning an error, run it, compare with ONNX Runtime."""
        started = time.perf_counter()
        measured: dict[str, object] = {"runtime": "C", "peak_after": self._planned.plan.arena_bytes}
        skipped: dict[str, object] = {
            "numerics": "skipped",
            "max_abs_error": 0.0,
            "order": "not_checked",
        }
        sources = self._sources
        if compiler() is None:
            return Outcome(skipped, {}, "", time.perf_counter() - started, (_NO_COMPILER,))
        build = self._folder / "build"
        build.mkdir(exist_ok=True)
        compile_program(sources, self._name, build)
        sizes = sizes_of(self._name, build)
        if sizes is not None:
            measured |= {"text_bytes": sizes.text, "weights_bytes": sizes.weights}
            measured["peak_after"] = sizes.memory
        try:
            inputs, outputs = self._reference()
        except ModelError as error:
            return Outcome(skipped, measured, "", time.perf_counter() - started, (str(error),))
        found = run_program(sources, self._name, build, inputs, outputs)
        result = Difference()
        for index, (expected, actual) in enumerate(zip(outputs, found, strict=True)):
            result = result.and_then(compare(expected, actual, f"output {index} (ONNX Runtime)"))
        if not result.within:
            raise VerificationError(f"the C program computes something else: {result.where}")
        verification: dict[str, object] = {
            "numerics": "identical" if result.identical else "close",
            "max_abs_error": result.max_abs_error,
            "order": "executed",  # the program is the order
        }
        session = f"cc {self._name}.c {self._name}_data.c YOURS.c -lm"
        return Outcome(verification, measured, session, time.perf_counter() - started)

    def _reference(self) -> tuple[list[NDArray[np.generic]], list[NDArray[np.generic]]]:
        """Random inputs, and what ONNX Runtime makes of them."""
        settings = self._prepared.settings
        given, expected = self._folder / "arguments.npz", self._folder / "expected.npz"
        reference(
            self._prepared.original(self._folder),
            given,
            expected,
            dims=settings.dims,
            seed=settings.seed,
            timeout_s=_TIMEOUT_S,
            memory_limit_bytes=_CHILD_BYTES,
        )
        arrays: list[list[NDArray[np.generic]]] = []
        for path, prefix in ((given, "arg"), (expected, "out")):
            with np.load(path) as stored:
                arrays.append([stored[f"{prefix}{i}"] for i in range(len(stored.files))])
        return arrays[0], arrays[1]
