"""From a plan to a shared library: compiled in a temporary folder, tried there, then written."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING, cast

import numpy as np

from lowtide.backends.atomic import AtomicFile
from lowtide.backends.onnx.compare import Difference, compare
from lowtide.emission import Outcome, Staged
from lowtide.errors import InputError, ModelError, VerificationError
from lowtide.outputs import write_text
from lowtide.targets.tvm_child import call

if TYPE_CHECKING:
    from pathlib import Path

    from lowtide.backends.tvm.measure import Run
    from lowtide.planning import Planned
    from lowtide.targets.tvm import PreparedTvm

__all__ = ["StagedTvm"]

_TIMEOUT_S = 600.0
_CHILD_BYTES = 8 << 30
_SESSION = 'tvm.relax.VirtualMachine(tvm.runtime.load_module(FILE), tvm.cpu())["main"](...)'
_STOCK_NOTE = (
    "peaks are those of the first run in a fresh process, results and workspace included; kernels "
    "were exchanged for ones that keep less scratch where that costs at most 5 % more operations"
)


class StagedTvm(Staged):
    """A planned model that is about to be compiled and written, with its plan beside it."""

    def __init__(
        self, prepared: PreparedTvm, planned: Planned, destination: Path, folder: Path
    ) -> None:
        self._prepared, self._planned = prepared, planned
        self._destination, self._folder = destination, folder
        self._predicted: int | None = None
        self._built: set[Path] = set()

    @property
    def path(self) -> Path:
        """The library in the temporary folder; compiled when it is first asked for."""
        self._build()
        own = self._planned.plan.arena_bytes is None  # TVM's own order is kept, and so is its plan
        return self._stock if own else self._ours

    @property
    def _ours(self) -> Path:
        return self._folder / "planned.so"

    @property
    def _stock(self) -> Path:
        return self._folder / "stock.so"

    def _build(self, *, stock: bool = False) -> None:
        """Compile what is not there yet: ours, and TVM's own plan where it is asked for."""
        plan = self._planned.plan
        ours = plan.arena_bytes is not None
        wanted = {*([self._ours] if ours else []), *([self._stock] if stock or not ours else [])}
        missing = wanted - self._built
        if not missing:
            return
        before = self._planned.unrewritten
        if self._stock in missing and before is not None:
            self._build_unrewritten(before)
            missing -= {self._stock}
        reply = call(
            "build",
            {
                **self._prepared.request(self._folder),
                "plan": plan.to_json(),
                "output": str(self._ours) if self._ours in missing else "",
                "stock": str(self._stock) if self._stock in missing else "",
            },
        )
        self._built |= wanted
        if self._ours in missing:
            self._predicted = cast("int | None", reply["predicted"])

    def _build_unrewritten(self, before: Planned) -> None:
        """Compile the model as it was, with TVM's own plan."""
        folder = self._folder / "source"
        folder.mkdir(exist_ok=True)
        assert isinstance(before.prepared, type(self._prepared))
        call(
            "build",
            {
                **before.prepared.request(folder),
                "plan": before.plan.to_json(),
                "output": "",
                "stock": str(self._stock),
            },
        )

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
        self._build(stock=True)
        model = prepared.original(self._folder)
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
        measured["runtime"] = "TVM"
        measured["peak_predicted"] = self._predicted
        peaks = ours.first_peak_bytes, stock.first_peak_bytes
        verification: dict[str, object] = {
            "numerics": "identical" if same.identical else "close",
            "max_abs_error": apart.max_abs_error,
            "order": "executed",
            "notes": notes,
        }
        return Outcome(
            verification,
            measured,
            _SESSION,
            time.perf_counter() - started,
            tuple(notes),
            is_worse=peaks[0] is not None and peaks[1] is not None and peaks[0] > peaks[1],
        )

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


def _compared(expected: Path, actual: Path, whose: str) -> Difference:
    """The outputs in two files."""
    result = Difference()
    with np.load(expected) as first, np.load(actual) as second:
        if sorted(first.files) != sorted(second.files):
            return Difference(identical=False, within=False, where="another number of outputs")
        for name in first.files:
            result = result.and_then(compare(first[name], second[name], f"{name} ({whose})"))
    return result
