"""The plan that TFLite Micro's own planner made, read from the running interpreter.

The recording tells how high the head is, not which buffers are in it. The planner can print them
(`GreedyMemoryPlanner::PrintMemoryPlan`), but only a debug build calls it. The shared library of the
package exports its symbols, so that the child replaces one entry of the planner's virtual table:
`GetMaximumMemorySize`, which the allocator calls when the plan is made, prints first. Nothing else
changes. Where the symbols are missing (another platform, another build) there is no reply, and
scratch is measured by one-op probes instead.
"""

from __future__ import annotations

import ctypes
import importlib
import mmap
import re
from typing import cast

from lowtide.backends.tflite.tflm.interpreter import captured, enough, load, open_interpreter

__all__ = ["trace"]

_CLASS = "_ZN6tflite5micro19GreedyMemoryPlanner"
_VTABLE = "_ZTVN6tflite5micro19GreedyMemoryPlannerE"
_SLOTS = 16
_DRAWABLE = 2**31 // 80  # it also draws a map, and scales offsets to 80 columns as 32-bit integers
_ENTRY = re.compile(
    r"\(id=(\d+)\): size=(\d+), offset=(-?\d+), first_used=(-?\d+) last_used=(-?\d+)"
)
_kept: list[object] = []  # the callback, for as long as the process lives


def trace(request: dict[str, object]) -> dict[str, object]:
    """Request: `model` (a path), `limit`. Reply: `buffers`, as [size, offset, first, last] each.

    The buffers come in the order in which they were added; None where the library is another, or
    the head is beyond 25 MiB.
    """
    data = load(request["model"])
    limit = int(cast("int", request["limit"]))
    size = enough(lambda arena: open_interpreter(data, arena), limit)
    if not hook():
        return {"buffers": None}
    with captured() as text:
        open_interpreter(data, size)
        printed = text()
    return {"buffers": entries(printed) or None}


def entries(printed: str) -> list[list[int]]:
    """The buffers of the last plan in what the planner printed."""
    found: list[list[int]] = []
    for match in _ENTRY.finditer(printed):
        if int(match[1]) == 0:
            found = []
        found.append([int(match[k]) for k in (2, 3, 4, 5)])
    return found


def hook() -> bool:
    """Let the planner print every plan it makes; whether this library allows it."""
    if _kept:
        return True
    try:
        module = importlib.import_module("tflite_micro.python.tflite_micro._runtime")
        library = ctypes.CDLL(str(module.__file__))
        table = ctypes.addressof(ctypes.c_void_p.in_dll(library, _VTABLE))
        measure = getattr(library, f"{_CLASS}20GetMaximumMemorySizeEv")
        show = getattr(library, f"{_CLASS}15PrintMemoryPlanEv")
        protect = ctypes.CDLL(None).mprotect
    except (ImportError, AttributeError, OSError, ValueError):
        return False
    address = ctypes.cast(measure, ctypes.c_void_p).value
    slots = (ctypes.c_void_p * _SLOTS).from_address(table)
    places = [index for index in range(_SLOTS) if slots[index] == address]
    if len(places) != 1:
        return False
    show.argtypes, show.restype = [ctypes.c_void_p], None
    signature = ctypes.CFUNCTYPE(ctypes.c_size_t, ctypes.c_void_p)
    original = signature(address or 0)

    def print_first(planner: int) -> int:
        height = int(original(planner))
        if height < _DRAWABLE:
            show(planner)
        return height

    callback = signature(print_first)
    entry = table + ctypes.sizeof(ctypes.c_void_p) * places[0]
    page = entry - entry % mmap.PAGESIZE
    if protect(ctypes.c_void_p(page), ctypes.c_size_t(mmap.PAGESIZE), 3) != 0:
        return False
    slots[places[0]] = ctypes.cast(callback, ctypes.c_void_p).value
    _kept.extend((library, callback, original))
    return True
