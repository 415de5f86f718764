"""A session of ONNX Runtime whose tensors live in one planned arena.

    first run with some input shapes    recorded: what is allocated when, how large, freed when
    packed                              lowtide.solvers.allocation: offsets, height
    every later run                     allocation k of the run at its offset

The footprint is the arena's height, which is the liveness peak wherever packing reaches it, and no
run faults pages in or walks a heap. `backends/native/arena.cpp` says what happens when a run does
not follow its plan.
"""

from __future__ import annotations

import ctypes
import threading
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from lowtide.solvers.allocation.exact import ExactAllocationOptions, allocate
from lowtide.solvers.allocation.problem import AllocationProblem, Block

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    import numpy.typing as npt
    import onnxruntime as ort

__all__ = ["ArenaSession", "library"]

_ALIGNMENT = 64
# Once per set of input shapes; the clock is a guard.
_PACK_S = 1.0
_PACK_WORK = 10_000_000
_MAX_PLANS = 32  # of one session; beyond that, runs with new shapes stay on the heap
_MAX_MISSES = 3  # a shape whose runs keep leaving their plan stays on the heap

# ONNX Runtime has one allocator for all sessions, and a plan speaks of one run.
_RUNNING = threading.Lock()


def library() -> Path | None:
    """The native allocator, or None where it was not built (systems other than Linux)."""
    spec = find_spec("lowtide.backends")
    for folder in (spec.submodule_search_locations or ()) if spec else ():
        path = Path(folder, "_arena.so")
        if path.exists():
            return path
    return None


class _Native:
    """The C functions of the allocator, typed."""

    def __init__(self, path: Path) -> None:
        lib = ctypes.CDLL(str(path))
        self.error = lib.lowtide_arena_error
        self.error.restype = ctypes.c_char_p
        self.attached = lib.lowtide_arena_attached
        self.record = lib.lowtide_arena_record
        self.record.restype = None
        self.end = lib.lowtide_arena_end
        self.end.restype = ctypes.c_uint64
        self.events = lib.lowtide_arena_events
        self.events.argtypes = [ctypes.c_void_p, ctypes.c_uint64]
        self.events.restype = ctypes.c_uint64
        self.plan = lib.lowtide_arena_plan
        self.plan.argtypes = [ctypes.c_void_p, ctypes.c_void_p, ctypes.c_uint64]
        self.plan.restype = ctypes.c_void_p
        self.forget = lib.lowtide_arena_forget
        self.forget.argtypes = [ctypes.c_void_p]
        self.forget.restype = None
        self.reserve = lib.lowtide_arena_reserve
        self.reserve.argtypes = [ctypes.c_uint64]
        self.replay = lib.lowtide_arena_replay
        self.replay.argtypes = [ctypes.c_void_p]


@dataclass
class _ShapePlan:
    """The plan for one set of input shapes; `handle` is None where runs stay on the heap."""

    handle: int | None
    height: int = 0
    peak: int = 0
    misses: int = 0


class ArenaSession:
    """An `onnxruntime.InferenceSession` with a planned arena. Runs are serialised.

    Attributes:
        session: the session itself; a run through it directly allocates on the heap.
    """

    def __init__(self, path: str | Path, options: ort.SessionOptions) -> None:
        import onnxruntime as ort

        native = library()
        self._native = None if native is None else _Native(native)
        self._plans: dict[tuple[object, ...], _ShapePlan] = {}
        if native is not None and self._native is not None:
            options.register_custom_ops_library(str(native))
            if self._native.attached():
                options.add_session_config_entry("session.use_env_allocators", "1")
            else:
                self._native = None
        self.session = ort.InferenceSession(str(path), options, providers=["CPUExecutionProvider"])

    @property
    def arena_bytes(self) -> int:
        """The height of the highest plan so far; 0 before the first run."""
        return max((plan.height for plan in self._plans.values()), default=0)

    @property
    def peak_bytes(self) -> int:
        """The highest count of live bytes that a recorded run had; 0 before the first run."""
        return max((plan.peak for plan in self._plans.values()), default=0)

    def run(
        self,
        output_names: Sequence[str] | None,
        feeds: Mapping[str, object],
        run_options: ort.RunOptions | None = None,
    ) -> list[object]:
        """As `InferenceSession.run`."""
        native = self._native
        if native is None:
            return self._run(output_names, feeds, run_options)
        key = (
            tuple(output_names or ()),
            *((name, tuple(getattr(value, "shape", ()))) for name, value in sorted(feeds.items())),
        )
        with _RUNNING:
            plan = self._plans.get(key)
            if plan is None and len(self._plans) < _MAX_PLANS:
                native.record()
                try:
                    results = self._run(output_names, feeds, run_options)
                finally:
                    native.end()
                self._plans[key] = self._pack(native)
                return results
            replays = plan is not None and plan.handle is not None and native.replay(plan.handle)
            try:
                return self._run(output_names, feeds, run_options)
            finally:
                if plan is not None and replays and native.end():
                    plan.misses += 1
                    if plan.misses >= _MAX_MISSES:
                        native.forget(plan.handle)
                        plan.handle = None

    def _run(
        self,
        output_names: Sequence[str] | None,
        feeds: Mapping[str, object],
        run_options: ort.RunOptions | None,
    ) -> list[object]:
        results: list[object] = self.session.run(output_names, dict(feeds), run_options)
        return results

    def _pack(self, native: _Native) -> _ShapePlan:
        """The plan for the run that was just recorded."""
        count = int(native.events(None, 0))
        events = np.zeros((count, 3), dtype=np.uint64)
        native.events(events.ctypes.data, count)
        lifetimes = events.astype(np.int64)
        peak = int(_peak(lifetimes))
        blocks = tuple(
            Block(str(index), int(born), int(died), -(-int(size) // _ALIGNMENT) * _ALIGNMENT)
            for index, (size, born, died) in enumerate(lifetimes)
            if died  # what outlives the run, as outputs do, stays on the heap
        )
        solution = allocate(
            AllocationProblem(blocks, _ALIGNMENT),
            time_limit_s=_PACK_S,
            options=ExactAllocationOptions(work_limit=_PACK_WORK),
        )
        offsets = np.full(count, -1, dtype=np.int64)
        if solution.offsets is None or solution.height is None:
            return _ShapePlan(None, peak=peak)
        for block, offset in zip(blocks, solution.offsets, strict=True):
            offsets[int(block.id)] = offset
        if not native.reserve(solution.height):
            return _ShapePlan(None, peak=peak)
        sizes = np.ascontiguousarray(events[:, 0])
        handle = native.plan(sizes.ctypes.data, offsets.ctypes.data, count)
        return _ShapePlan(int(handle), solution.height, peak)


def _peak(lifetimes: npt.NDArray[np.int64]) -> int:
    """The most bytes live at once; what never died lives to the end."""
    moments = [(int(born), int(size)) for size, born, _ in lifetimes]
    moments += [(int(died), -int(size)) for size, _, died in lifetimes if died]
    live = peak = 0
    for _, change in sorted(moments):
        live += change
        peak = max(peak, live)
    return peak
