"""Predicted against measured peak on whole models: ORT's own graph, run exactly in file order."""

# pyright: reportUnknownVariableType=false, reportUnknownArgumentType=false
# ORT's native module has no stubs.

from __future__ import annotations

import tempfile
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import onnx
import onnx_ir

from lowtide import child
from lowtide.backends.onnx import meter
from lowtide.frontends.onnx import import_graph, optimized_by_ort, read
from lowtide.ir import Accounting, simulate

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    from lowtide.frontends.onnx import OrtLevel

__all__ = ["Peak", "light_models", "measure", "peak_of"]

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
    """Predict and measure; needs the meter (Linux)."""
    model = optimized_by_ort(read(path), level=level, threads=threads)
    timeline = simulate(import_graph(model, threads=threads), ACCOUNTING)
    with tempfile.TemporaryDirectory(prefix="lowtide-") as folder:
        target = Path(folder, "model.onnx")
        onnx_ir.save(model, target, external_data="weights.bin")
        found = child.run(
            "lowtide.bench.model_peaks:measure",
            {"model": str(target), "threads": threads},
            timeout_s=600,
            preload=meter.library(),
        )
    return Peak(timeline.peak_bytes, **{name: int(str(found[name])) for name in found})


def measure(request: Mapping[str, object]) -> dict[str, object]:
    """The child's side of `peak_of`."""
    import numpy as np
    import onnxruntime as ort

    reply: dict[str, object] = {}
    counter = meter.Meter()
    for reuse in (True, False):
        options = ort.SessionOptions()
        options.log_severity_level = 4
        options.graph_optimization_level = ort.GraphOptimizationLevel.ORT_DISABLE_ALL
        options.execution_order = ort.ExecutionOrder.PRIORITY_BASED
        options.enable_cpu_mem_arena = options.enable_mem_pattern = False
        options.enable_mem_reuse = reuse
        options.intra_op_num_threads = int(str(request["threads"]))
        session = ort.InferenceSession(str(request["model"]), options, ["CPUExecutionProvider"])
        generator = np.random.default_rng(0)
        values = {
            value.name: ort.OrtValue.ortvalue_from_numpy(
                generator.standard_normal(value.shape).astype(np.float32)
            )
            for value in session.get_inputs()
        }
        windows: list[meter.Window] = []
        for _ in range(2):
            with counter.window() as window:
                outputs = session.run_with_ort_values(None, values)
            windows.append(window)
            del outputs
        if reuse:
            reply["reusing"] = windows[1].tensor_peak_bytes
        else:
            reply["tensors_first"] = windows[0].tensor_peak_bytes
            reply["tensors"] = windows[1].tensor_peak_bytes
            reply["everything"] = windows[1].peak_bytes
        del session
    return reply
