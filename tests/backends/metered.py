"""What the meter's tests run in a child process."""

# pyright: reportUnknownVariableType=false, reportUnknownArgumentType=false
# ORT's native module has no stubs.

from __future__ import annotations

import ctypes
import threading
from typing import TYPE_CHECKING

import numpy as np

from lowtide.backends.meter import Meter

if TYPE_CHECKING:
    from collections.abc import Mapping

_MIB = 1 << 20


def probe(request: Mapping[str, object]) -> dict[str, object]:
    """Whether there is a meter."""
    del request
    return {"available": Meter.available()}


def arrays(request: Mapping[str, object]) -> dict[str, object]:
    """Three numpy arrays, never more than two at once: 3 + 5 MiB at the peak."""
    del request
    meter = Meter()
    with meter.window() as window:
        first = np.ones(2 * _MIB, np.uint8)
        second = np.ones(3 * _MIB, np.uint8)
        del first
        third = np.ones(5 * _MIB, np.uint8)
        del second
    kept = int(third.nbytes)
    return {"peak": window.peak_bytes, "kept": window.kept_bytes, "expected_kept": kept}


def entry_points(request: Mapping[str, object]) -> dict[str, object]:
    """Every function of the allocator once, through the C library's own names."""
    del request
    meter = Meter()
    process = ctypes.CDLL(None)
    size = ctypes.c_size_t
    pointer = ctypes.c_void_p

    def call(name: str, *arguments: int) -> int:
        function = ctypes.CFUNCTYPE(pointer, *([size] * len(arguments)))((name, process))
        return int(function(*arguments) or 0)

    free = ctypes.CFUNCTYPE(None, pointer)(("free", process))
    growth: dict[str, object] = {}
    for name, arguments in (
        ("malloc", (_MIB,)),
        ("calloc", (1024, 1024)),
        ("realloc", (0, _MIB)),
        ("reallocarray", (0, 1024, 1024)),
        ("memalign", (64, _MIB)),
        ("aligned_alloc", (64, _MIB)),
        ("valloc", (_MIB,)),
        ("operator_new", (_MIB,)),
    ):
        with meter.window() as window:
            if name == "operator_new":
                library = ctypes.CDLL("libstdc++.so.6")
                new = ctypes.CFUNCTYPE(pointer, size)(("_Znwm", library))
                delete = ctypes.CFUNCTYPE(None, pointer)(("_ZdlPv", library))
                delete(new(_MIB))
            else:
                free(call(name, *arguments))
        growth[name] = [window.peak_bytes, window.tensor_peak_bytes, window.tensor_kept_bytes]
    with meter.window() as window:
        block = pointer()
        posix = ctypes.CFUNCTYPE(ctypes.c_int, pointer, size, size)(("posix_memalign", process))
        posix(ctypes.addressof(block), 64, _MIB)
        free(block)
    growth["posix_memalign"] = [
        window.peak_bytes,
        window.tensor_peak_bytes,
        window.tensor_kept_bytes,
    ]
    with meter.window() as window:
        block_address = call("realloc", call("memalign", 64, _MIB), 3 * _MIB)
        free(block_address)
    growth["regrown"] = [window.peak_bytes, window.tensor_peak_bytes, window.tensor_kept_bytes]
    overflow = call("reallocarray", 0, 1 << 40, 1 << 40) + call("calloc", 1 << 40, 1 << 40)
    return {"growth": growth, "overflow": overflow}


def threads(request: Mapping[str, object]) -> dict[str, object]:
    """Four threads allocate and free at once; then each holds one MiB."""
    del request
    meter = Meter()
    process = ctypes.CDLL(None)
    size = ctypes.c_size_t
    pointer = ctypes.c_void_p
    memalign = ctypes.CFUNCTYPE(pointer, size, size)(("memalign", process))
    free = ctypes.CFUNCTYPE(None, pointer)(("free", process))
    barrier = threading.Barrier(4)

    def churn(held: list[int]) -> None:
        barrier.wait()
        for turn in range(300):
            blocks = [memalign(64, 64 + 64 * (turn % 7)) for _ in range(20)]
            for block in blocks:
                free(block)
        held.append(memalign(64, _MIB))
        barrier.wait()

    held: list[int] = []
    with meter.window() as window:
        workers = [threading.Thread(target=churn, args=(held,)) for _ in range(4)]
        for worker in workers:
            worker.start()
        for worker in workers:
            worker.join()
    with meter.window() as after:
        for block in held:
            free(block)
    return {
        "peak": window.tensor_peak_bytes,
        "kept": window.tensor_kept_bytes,
        "count": window.tensor_allocations,
        "after": after.tensor_kept_bytes,
    }


def nested(request: Mapping[str, object]) -> dict[str, object]:
    """A window around two others."""
    del request
    meter = Meter()
    with meter.window() as outer:
        with meter.window() as large:
            np.ones(4 * _MIB, np.uint8)
        with meter.window() as small:
            np.ones(1 * _MIB, np.uint8)
    return {"outer": outer.peak_bytes, "large": large.peak_bytes, "small": small.peak_bytes}


def session(request: Mapping[str, object]) -> dict[str, object]:
    """Runs a model exactly (no arena, no pattern); the peak and the log of its tensors."""
    import onnxruntime as ort

    options = ort.SessionOptions()
    options.graph_optimization_level = ort.GraphOptimizationLevel.ORT_DISABLE_ALL
    options.execution_order = ort.ExecutionOrder.PRIORITY_BASED
    options.enable_cpu_mem_arena = options.enable_mem_pattern = options.enable_mem_reuse = False
    options.intra_op_num_threads = 1
    runner = ort.InferenceSession(str(request["model"]), options)
    data = np.ones([int(dim) for dim in runner.get_inputs()[0].shape], np.float32)
    value = ort.OrtValue.ortvalue_from_numpy(data)
    meter = Meter()
    runner.run_with_ort_values(None, {runner.get_inputs()[0].name: value})
    with meter.window() as window, meter.log() as events:
        kept = runner.run_with_ort_values(None, {runner.get_inputs()[0].name: value})
    return {
        "outputs": len(kept),
        "peak": window.peak_bytes,
        "tensors": window.tensor_peak_bytes,
        "events": [event.nbytes for event in events],
    }
