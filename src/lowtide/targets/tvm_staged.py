"""From a plan to a shared library: compiled in a temporary folder, tried there, then written."""

# pyright: reportUnknownVariableType=false, reportUnknownArgumentType=false
# pyright: reportUnknownParameterType=false, reportMissingTypeArgument=false
# pyright: reportArgumentType=false, reportAttributeAccessIssue=false
# pyright: reportCallIssue=false, reportUnknownLambdaType=false
# TVM has no stubs, and its annotations are narrower than what it takes.

from __future__ import annotations

import time
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import onnx_ir

from lowtide.backends.atomic import AtomicFile
from lowtide.backends.onnx.compare import Difference, compare
from lowtide.emission import Outcome, Staged, write_text
from lowtide.errors import InputError, ModelError, VerificationError

if TYPE_CHECKING:
    import tvm

    from lowtide.backends.tvm.measure import Run
    from lowtide.planning import Planned
    from lowtide.targets.tvm import PreparedTvm

__all__ = ["TARGET", "StagedTvm"]

TARGET = "llvm"
_TIMEOUT_S = 600.0
_CHILD_BYTES = 8 << 30
_STOCK_NOTE = (
    "peaks are those of the first run in a fresh process, results and workspace included; "
    "`before` and `stock` are TVM's own plan"
)


class StagedTvm(Staged):
    """A planned module that is about to be compiled and written, with its plan beside it."""

    def __init__(
        self, prepared: PreparedTvm, planned: Planned, destination: Path, folder: Path
    ) -> None:
        self._prepared, self._planned = prepared, planned
        self._destination, self._folder = destination, folder

    @cached_property
    def path(self) -> Path:
        """The library in the temporary folder; compiled when it is first asked for."""
        from lowtide.backends.tvm.emit import emit

        prepared, plan = self._prepared, self._planned.plan
        if plan.arena_bytes is None:  # TVM's own order is kept, and so is its plan
            return self._stock
        with _target():
            module = emit(
                prepared.module,
                prepared.imported,
                self._planned.order,
                plan.offsets,
                plan.arena_bytes,
            )
        return self._compiled(module, "planned.so")

    @cached_property
    def _stock(self) -> Path:
        """The library with TVM's own plan."""
        with _target():
            module = self._prepared.cut.planner(self._prepared.module)
        return self._compiled(module, "stock.so")

    def _compiled(self, module: object, name: str) -> Path:
        import tvm

        from lowtide.targets.tvm_pipeline import apply

        path = self._folder / name
        with _target():
            finished = apply(self._prepared.cut.after, module)
        executable = tvm.compile(finished, target=TARGET, relax_pipeline=None)
        try:
            executable.export_library(str(path))
        except (RuntimeError, OSError) as error:
            text = " ".join(str(error).split())[:200]
            raise InputError(f"TVM links with a C++ compiler, which failed: {text}") from error
        return path

    def commit(self) -> None:
        """Write the library, and its plan as `NAME.plan.json` beside it."""
        content = self.path.read_bytes()
        try:
            with AtomicFile(self._destination) as file:
                file.stream.write(content)
                file.commit()
        except OSError as error:
            raise InputError(
                f"cannot write {self._destination}: {error.strerror or error}"
            ) from None
        beside = self._destination.with_name(f"{self._destination.name}.plan.json")
        write_text(beside, self._planned.plan.to_json())

    def verify(self) -> Outcome:
        """Run the library, TVM's own plan and ONNX Runtime on the same inputs, and compare."""
        from lowtide.backends.tvm.reference import reference

        started = time.perf_counter()
        prepared = self._prepared
        model = self._folder / "original.onnx"
        assert prepared.source.model is not None
        onnx_ir.save(prepared.source.model, model, external_data="original.bin")
        arguments, expected = self._folder / "arguments.npz", self._folder / "expected.npz"
        notes = [_STOCK_NOTE]
        measured: dict[str, object] = {}
        try:
            reference(
                model,
                arguments,
                expected,
                dims=prepared.settings.dims,
                seed=prepared.settings.seed,
                timeout_s=_TIMEOUT_S,
                memory_limit_bytes=_CHILD_BYTES,
            )
        except ModelError as error:
            skipped: dict[str, object] = {
                "numerics": "skipped",
                "max_abs_error": 0.0,
                "order": "not_checked",
                "notes": [str(error)],
            }
            return Outcome(skipped, measured, "", time.perf_counter() - started, (str(error),))
        stock = self._run(self._stock, arguments, "stock.npz")
        ours = self._run(self.path, arguments, "ours.npz")
        same = _compared(self._folder / "stock.npz", self._folder / "ours.npz", "TVM's own plan")
        if not same.within:
            raise VerificationError(f"the library computes something else: {same.where}")
        apart = _compared(expected, self._folder / "ours.npz", "ONNX Runtime")
        if not apart.within:
            notes.append(f"TVM's own results differ from ONNX Runtime's too: {apart.where}")
        wanted = [
            op.kind for op in self._planned.order if not op.traits.view and not op.traits.pinned
        ]
        found = [name for name in ours.kernels if name in set(wanted)]
        if found != wanted:
            raise VerificationError(
                f"the library runs {len(found)} kernels in another order than the "
                f"{len(wanted)} that were planned"
            )
        for key, run in (("before", stock), ("stock", stock), ("after", ours)):
            measured[f"peak_{key}"] = run.first_peak_bytes
            measured[f"latency_{key}"] = run.seconds
        verification: dict[str, object] = {
            "numerics": "identical" if same.identical else "close",
            "max_abs_error": apart.max_abs_error,
            "order": "executed",
            "notes": notes,
        }
        return Outcome(verification, measured, "", time.perf_counter() - started, tuple(notes))

    def _run(self, library: Path, arguments: Path, outputs: str) -> Run:
        from lowtide.backends.tvm.measure import measure

        run = measure(
            library,
            arguments,
            self._folder / outputs,
            timeout_s=_TIMEOUT_S,
            memory_limit_bytes=_CHILD_BYTES,
        )
        if run.error:
            raise VerificationError(f"the compiled library fails: {run.error[:300]}")
        return run


def _target() -> tvm.target.Target:
    import tvm

    return tvm.target.Target(TARGET)


def _compared(expected: Path, actual: Path, whose: str) -> Difference:
    """The outputs in two files."""
    result = Difference()
    with np.load(expected) as first, np.load(actual) as second:
        if sorted(first.files) != sorted(second.files):
            return Difference(identical=False, within=False, where="another number of outputs")
        for name in first.files:
            result = result.and_then(compare(first[name], second[name], f"{name} ({whose})"))
    return result
