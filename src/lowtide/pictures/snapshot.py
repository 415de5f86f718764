"""The execution as a memory snapshot of PyTorch's, for the viewer at pytorch.org/memory_viz.

    device 0  as planned     segment_alloc, then at every step: frees of what ended, allocs of what
    device 1  before         begins; at the end everything is freed

Addresses are the offsets of the layout; what has none follows above it, each byte used once. A
step is a millisecond, as in the Chrome trace. The viewer reads a part of pickle only (protocols 2
to 4, no classes): this is dicts, lists, strings and numbers. Nothing here ever reads one.

Format: `torch.cuda.memory._snapshot`, `torch/cuda/_memory_viz.py`, `torch/utils/viz/MemoryViz.js`.
"""

from __future__ import annotations

import pickle
from typing import TYPE_CHECKING

from lowtide.pictures.names import clipped, plain
from lowtide.pictures.scene import Kind

if TYPE_CHECKING:
    from lowtide.pictures.scene import Block, Run, Scene

__all__ = ["memory_snapshot"]

_STEP_US = 1000
_PROTOCOL = 4  # the latest that the viewer knows
_LONGEST = 400  # of a name


def memory_snapshot(scene: Scene) -> bytes:
    """The snapshot, pickled; the same scene gives the same bytes."""
    runs = (scene.after, scene.before)
    content = {
        "segments": [_segment(run, device) for device, run in enumerate(runs)],
        "device_traces": [_trace(run) for run in runs],
    }
    return pickle.dumps(content, protocol=_PROTOCOL)


def _height(run: Run) -> int:
    """Of the layout, with what has no place in it above."""
    return (run.arena_bytes or 0) + sum(b.nbytes for b in run.blocks if b.offset is None)


def _segment(run: Run, device: int) -> dict[str, object]:
    """The arena after the last step: all of it is free."""
    size = _height(run)
    return {
        "device": device,
        "address": 0,
        "total_size": size,
        "allocated_size": 0,
        "active_size": 0,
        "requested_size": 0,
        "stream": 0,
        "segment_type": "large",
        "frames": [],
        "blocks": [
            {
                "address": 0,
                "size": size,
                "requested_size": size,
                "state": "inactive",
                "frames": [],
            }
        ],
    }


def _trace(run: Run) -> list[dict[str, object]]:
    """Frees come before allocs, so that the highest level is the highest step."""
    births: dict[int, list[int]] = {}
    deaths: dict[int, list[int]] = {}
    address: list[int] = []
    above = run.arena_bytes or 0
    for index, block in enumerate(run.blocks):
        births.setdefault(block.start, []).append(index)
        deaths.setdefault(block.stop, []).append(index)
        address.append(above if block.offset is None else block.offset)
        above += block.nbytes if block.offset is None else 0
    frames = [_frames(run, block) for block in run.blocks]
    events = [_event("segment_alloc", 0, _height(run), 0, [])]
    for step in range(max(deaths, default=0) + 1):
        for index in deaths.get(step, ()):
            for action in ("free_requested", "free_completed"):
                size = run.blocks[index].nbytes
                events.append(_event(action, address[index], size, step, frames[index]))
        for index in births.get(step, ()):
            size = run.blocks[index].nbytes
            events.append(_event("alloc", address[index], size, step, frames[index]))
    return events


def _event(
    action: str, address: int, size: int, step: int, frames: list[dict[str, object]]
) -> dict[str, object]:
    return {
        "action": action,
        "addr": address,
        "size": size,
        "stream": 0,
        "time_us": step * _STEP_US,
        "frames": frames,
    }


def _frames(run: Run, block: Block) -> list[dict[str, object]]:
    """What the viewer shows as the stack: a line a tensor, `tensor:step:op that makes it`."""
    found: list[dict[str, object]] = []
    for name, birth in zip(block.names, block.births, strict=True):
        maker = run.moments[birth].op if birth < len(run.moments) else ""
        made = block.kind is not Kind.INPUT or birth > 0
        shown = f"workspace of {name}" if block.kind is Kind.WORKSPACE else name
        found.append(
            {
                "filename": clipped(plain(shown), _LONGEST),
                "line": birth,
                "name": clipped(plain(maker), _LONGEST) if made else "the caller",
            }
        )
    return found
