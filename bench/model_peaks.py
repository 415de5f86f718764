"""Predicted against measured peak on whole models: ORT's own graph, run exactly in file order.

    python -m lowtide.bench.model_peaks [MODEL ...] [--threads N]

The models of the onnx package by default; inputs must be float32 with fixed shapes.
"""

# pyright: reportUnknownVariableType=false, reportUnknownArgumentType=false
# ORT's native module has no stubs.

from __future__ import annotations

import argparse
import sys
import tempfile
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, cast

import onnx
import onnx_ir

from lowtide import child
from lowtide.backends import meter
from lowtide.frontends.onnx import import_graph, optimized_by_ort, read
from lowtide.ir import Accounting, simulate

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence

    from lowtide.frontends.onnx import OrtLevel

__all__ = ["Peak", "light_models", "main", "measure", "peak_of", "peaks_of"]

ACCOUNTING = Accounting(inputs_in_arena=False, outputs_live_to_end=True, alignment=64)


@dataclass(frozen=True, slots=True)
class Peak:
    """One model at one optimisation level and number of threads.

    Attributes:
        predicted: simulated liveness with views, in-place results and workspace.
        tensors: what the second run allocated for tensors and scratch, to the byte.
        tensors_first: the same for the first run.
        everything: what the second run took from malloc in all.
        reusing: `tensors` of a session with `enable_mem_reuse=True`.
    """

    predicted: int
    tensors: int
    tensors_first: int
    everything: int
    reusing: int


def light_models() -> Iterator[Path]:
    """The real architectures that come with the onnx package."""
    yield from sorted(Path(onnx.__file__).parent.glob("backend/test/data/light/*.onnx"))


def peak_of(path: Path, level: OrtLevel, threads: int = 1) -> Peak:
    """Predict and measure ORT's graph of a model; needs the meter (Linux)."""
    model = optimized_by_ort(read(path), level=level, threads=threads)
    return peaks_of([model], threads)[0]


def peaks_of(models: Sequence[onnx_ir.Model], threads: int = 1) -> list[Peak]:
    """Predict and measure models that are run as they are, all in one child process."""
    predicted = [
        simulate(import_graph(model, threads=threads), ACCOUNTING).peak_bytes for model in models
    ]
    with tempfile.TemporaryDirectory(prefix="lowtide-") as folder:
        paths = [str(Path(folder, f"{index}.onnx")) for index in range(len(models))]
        for index, (model, target) in enumerate(zip(models, paths, strict=True)):
            onnx_ir.save(model, target, external_data=f"{index}.bin")
        reply = child.run(
            "lowtide.bench.model_peaks:measure",
            {"models": paths, "threads": threads},
            timeout_s=600,
            preload=meter.library(),
        )
    measured = cast("list[dict[str, int]]", reply["peaks"])
    return [Peak(p, **found) for p, found in zip(predicted, measured, strict=True)]


def measure(request: Mapping[str, object]) -> dict[str, object]:
    """The child's side of `peaks_of`."""
    threads = cast("int", request["threads"])
    counter = meter.Meter()
    peaks: list[dict[str, int]] = []
    for path in cast("list[str]", request["models"]):
        first, second = _windows(counter, path, threads, reuse=False)
        peaks.append(
            {
                "tensors": second.tensor_peak_bytes,
                "tensors_first": first.tensor_peak_bytes,
                "everything": second.peak_bytes,
                "reusing": _windows(counter, path, threads, reuse=True)[1].tensor_peak_bytes,
            }
        )
    return {"peaks": peaks}


def _windows(
    counter: meter.Meter, path: str, threads: int, *, reuse: bool
) -> tuple[meter.Window, meter.Window]:
    """Two runs of one session."""
    import numpy as np
    import onnxruntime as ort

    options = ort.SessionOptions()
    options.log_severity_level = 4
    options.graph_optimization_level = ort.GraphOptimizationLevel.ORT_DISABLE_ALL
    options.execution_order = ort.ExecutionOrder.PRIORITY_BASED
    options.enable_cpu_mem_arena = options.enable_mem_pattern = False
    options.enable_mem_reuse = reuse
    options.intra_op_num_threads = threads
    session = ort.InferenceSession(path, options, ["CPUExecutionProvider"])
    generator = np.random.default_rng(0)
    values = {
        value.name: ort.OrtValue.ortvalue_from_numpy(
            generator.standard_normal(value.shape).astype(np.float32)
        )
        for value in session.get_inputs()
    }
    with counter.window() as first:
        outputs = session.run_with_ort_values(None, values)
    del outputs
    with counter.window() as second:
        outputs = session.run_with_ort_values(None, values)
    del outputs
    return first, second


def main(arguments: Sequence[str] | None = None) -> int:
    """The command: every light model (or those named) at both levels."""
    parser = argparse.ArgumentParser(prog="model_peaks", description=__doc__)
    parser.add_argument("models", nargs="*", type=Path)
    parser.add_argument("--threads", type=int, default=1)
    options = parser.parse_args(arguments)
    columns = ("predicted", "measured", "all malloc", "reuse")
    print(f"{'model':22} {'level':8} " + " ".join(f"{column:>11}" for column in columns))
    worst = 0.0
    for path in options.models or light_models():
        for level in ("all", "extended"):
            peak = peak_of(path, level, options.threads)
            worst = max(worst, abs(peak.predicted / peak.everything - 1))
            print(
                f"{path.stem:22} {level:8} {peak.predicted:11} {peak.tensors:11} "
                f"{peak.everything:11} {peak.reusing:11}"
            )
    print(f"largest difference between predicted and everything that malloc gave: {worst:.2%}")
    return 0 if worst <= 0.01 else 1


if __name__ == "__main__":
    sys.exit(main())
