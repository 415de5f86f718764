"""From a plan to a TFLite file: checked, executed in TFLM and LiteRT, then written."""

from __future__ import annotations

import time
from functools import cached_property
from typing import TYPE_CHECKING

from lowtide.backends.tflite import emit, write
from lowtide.backends.tflite.equivalence import equivalence
from lowtide.backends.tflite.litert import litert_bytes
from lowtide.backends.tflite.tflm import (
    METADATA,
    Kernels,
    check_offsets,
    encode_offsets,
    measure,
    verify_in_tflm,
)
from lowtide.backends.tflite.tflm.feeds import feeds_for
from lowtide.backends.tflite.tflm.verify import litert_difference
from lowtide.emission import Outcome, Staged
from lowtide.errors import ModelError, VerificationError
from lowtide.frontends.tflite import read

if TYPE_CHECKING:
    from pathlib import Path

    from lowtide.backends.c import Arena
    from lowtide.backends.onnx.compare import Difference
    from lowtide.backends.tflite.equivalence import Runtime
    from lowtide.backends.tflite.tflm import TflmMeasurement
    from lowtide.frontends.tflite import TfliteSource
    from lowtide.planning import Planned
    from lowtide.targets.tflite import PreparedTflite

__all__ = ["StagedTflite"]

_SESSION = "stock TensorFlow Lite Micro, which keeps the order and takes the plan in the file"
_SOURCES = "TensorFlow Lite Micro, built with these sources"
_LITERT = "LiteRT, which keeps the order and plans its arena by itself"


class StagedTflite(Staged):
    """A planned TFLite model."""

    def __init__(self, prepared: PreparedTflite, planned: Planned, destination: Path) -> None:
        self._prepared, self._planned, self._destination = prepared, planned, destination
        self._original = prepared.as_it_was(planned)
        self._order = [op.source for op in planned.order if isinstance(op.source, int)]
        self._metadata: dict[str, bytes] = {}
        self._required: int | None = None
        self._head: int | None = None
        model = prepared.file.model
        if planned.plan.offsets:
            offsets = prepared.stored(planned.plan)
            orders = {0: tuple(self._order)}
            kernels = prepared.kernels
            for scratch in (prepared.scratch, prepared.executed):
                checked = check_offsets(
                    model, offsets, scratch=scratch.sizes, orders=orders, kernels=kernels
                )
            self._head = checked.head_bytes  # with what is executed here
            self._metadata[METADATA] = encode_offsets(model, offsets)

    @cached_property
    def data(self) -> bytes:
        """The file's bytes."""
        return emit(self._prepared.file, self._order, metadata=self._metadata)

    def commit(self) -> None:
        """Write the model, or the folder with its sources."""
        if self._prepared.settings.target == "c":
            from lowtide.backends import c

            c.write(read(self.data), self._destination, self._arena())
            return
        write(
            self._prepared.file,
            self._order,
            self._destination,
            metadata=self._metadata,
            force=True,
        )

    def _arena(self) -> Arena:
        """How large the firmware's arena has to be."""
        from lowtide.backends.c import Arena

        kernels = self._prepared.kernels
        if self._required is not None and kernels is Kernels.REFERENCE:
            how = "run in the interpreter of tflite-micro: reference kernels, 64-bit pointers"
            return Arena(self._required, "measured", how)
        needed = self._prepared.needed(self._planned)
        return Arena(needed, "estimate", f"{kernels} kernels, which were not executed")

    def verify(self) -> Outcome:
        """Execute the original and the result in TFLM and LiteRT, each in the arena it needs."""
        started = time.perf_counter()
        prepared = self._prepared
        result = read(self.data)
        if self._original is not prepared or prepared.came is not None:
            return self._rewritten(result, started)
        if prepared.before is None:
            return self._in_litert(result.data, started)
        head = prepared.before.head_bytes if self._head is None else self._head
        done = verify_in_tflm(
            prepared.file,
            result,
            predicted_head_bytes=head,
            seed=prepared.settings.seed,
        )
        self._required = done.after.required_bytes
        return Outcome(
            {"numerics": "identical", "max_abs_error": 0.0, "order": "executed"},
            {
                **_measured(done.before, done.after, done.litert, done.executions),
                **self._in_litert_bytes(result),
            },
            _SOURCES if prepared.settings.target == "c" else _SESSION,
            time.perf_counter() - started,
            is_worse=done.after.required_bytes > done.before.required_bytes,
            needed_bytes=done.after.required_bytes
            if prepared.kernels is Kernels.REFERENCE
            else prepared.needed(self._planned),
        )

    def _rewritten(self, result: TfliteSource, started: float) -> Outcome:
        """The same of a rewritten model, beside the original as it came.

        Raises:
            VerificationError: it computes something else, its arena is not as predicted, or neither
                runtime runs it.
        """
        prepared = self._prepared
        before = self._original.before if self._original.came is None else None
        came = self._original.came or self._original.file
        after: TflmMeasurement | None = None
        if prepared.before is not None:
            after = measure(result, seed=prepared.settings.seed)
            head = prepared.before.head_bytes if self._head is None else self._head
            if after.head_bytes != head:
                raise VerificationError(
                    f"TFLite Micro's arena head is {after.head_bytes} bytes, the plan predicted "
                    f"{head}: please report this model"
                )
            self._required = after.required_bytes
        inputs = feeds_for(came.model, random=3, seed=prepared.settings.seed)
        found: dict[str, Difference] = {}
        notes: list[str] = []
        arenas = (1, 1)
        runtimes: list[Runtime] = ["litert"]
        if before is not None and after is not None:
            arenas = (before.required_bytes, after.required_bytes)
            runtimes = ["tflm", "litert"]
        for runtime in runtimes:
            try:
                difference = equivalence(came, result.data, inputs, runtime, arenas=arenas)
            except ModelError as error:
                notes.append(f"not compared in {runtime}: {error}")
                continue
            if not difference.within:
                raise VerificationError(f"in {runtime} {difference.where}: nothing was written")
            found[runtime] = difference
        if not found:
            raise VerificationError(
                f"the rewritten model cannot be compared with the original: {'; '.join(notes)}"
            )
        identical = all(difference.identical for difference in found.values())
        verification: dict[str, object] = {
            "numerics": "identical" if identical else "close",
            "max_abs_error": max(difference.max_abs_error for difference in found.values()),
            "order": "not_checked" if after is None else "executed",
        }
        measured = self._in_litert_bytes(result)
        if after is None:
            seconds = time.perf_counter() - started
            return Outcome(verification, measured, _LITERT, seconds, tuple(notes))
        litert = found["litert"].identical if "litert" in found else None
        return Outcome(
            verification,
            {**_measured(before, after, litert, len(inputs)), **measured},
            _SOURCES if prepared.settings.target == "c" else _SESSION,
            time.perf_counter() - started,
            tuple(notes),
            is_worse=before is not None and after.required_bytes > before.required_bytes,
            needed_bytes=after.required_bytes
            if prepared.kernels is Kernels.REFERENCE
            else prepared.needed(self._planned),
        )

    def _in_litert_bytes(self, result: TfliteSource) -> dict[str, object]:
        """What LiteRT on a desktop allocates for the original and the result, both ways."""
        return {
            f"{name}_{which}": litert_bytes(source, xnnpack=name.endswith("xnnpack"))
            for name in ("litert", "litert_xnnpack")
            for which, source in (
                ("before", self._original.came or self._original.file),
                ("after", result),
            )
        }

    def _in_litert(self, result: bytes | memoryview, started: float) -> Outcome:
        prepared = self._prepared
        verification: dict[str, object] = {
            "numerics": "identical",
            "max_abs_error": 0.0,
            "order": "not_checked",
        }
        notes: tuple[str, ...] = ()
        try:
            inputs = feeds_for(prepared.file.model, random=3, seed=prepared.settings.seed)
            difference = litert_difference(prepared.file, result, inputs)
        except ModelError as error:
            verification["numerics"] = "skipped"
            notes = (f"nor in LiteRT: {error}",)
        else:
            if difference is not None:
                raise VerificationError(f"in LiteRT {difference}: nothing was written")
        return Outcome(
            verification,
            self._in_litert_bytes(read(result)),
            _LITERT,
            time.perf_counter() - started,
            notes,
        )


def _measured(
    before: TflmMeasurement | None, after: TflmMeasurement, litert: bool | None, executions: int
) -> dict[str, object]:
    """The `measured` of `lowtide.report/1`; without `before` where TFLM does not run the source."""
    return {
        "runtime": "TensorFlow Lite Micro",
        "peak_before": None if before is None else before.head_bytes,
        "peak_stock": None,
        "peak_after": after.head_bytes,
        "required_before": None if before is None else before.required_bytes,
        "required_after": after.required_bytes,
        "fails_below": after.fails_below,
        "tail_before": None if before is None else before.tail_bytes,
        "tail_after": after.tail_bytes,
        "initialisation_after": after.initialisation_bytes,
        "categories": dict(after.categories),
        "litert_identical": litert,
        "executions": executions,
        "latency_before": None,
        "latency_stock": None,
        "latency_after": None,
    }
