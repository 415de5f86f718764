"""The planned execution as Chrome trace JSON, for chrome://tracing and Perfetto.

One process per execution; one slice per step, a counter of live bytes, a mark at the peak. A trace
needs times and a plan has none: a step is a millisecond.

Format: "Trace Event Format", Google, 2016; events X, C, i and M.
"""

from __future__ import annotations

import json
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from lowtide.pictures.scene import Run, Scene

__all__ = ["chrome_trace"]

_STEP_US = 1000


def chrome_trace(scene: Scene) -> str:
    """The trace as JSON text, one event a line."""
    events: list[dict[str, object]] = []
    for number, (title, run) in enumerate((("after", scene.after), ("before", scene.before))):
        events += _events(run, number + 1, f"{scene.name}, {title}")
    lines = ",\n".join(json.dumps(event) for event in events)
    about = json.dumps({"lower_bound_bytes": scene.lower_bound_bytes, "step_us": _STEP_US})
    return f'{{"displayTimeUnit": "ms", "otherData": {about}, "traceEvents": [\n{lines}\n]}}\n'


def _events(run: Run, process: int, title: str) -> list[dict[str, object]]:
    where: dict[str, object] = {"pid": process, "tid": 1}
    events: list[dict[str, object]] = [
        {"ph": "M", "name": "process_name", **where, "args": {"name": title}},
        {"ph": "M", "name": "process_sort_index", **where, "args": {"sort_index": process}},
        {"ph": "M", "name": "thread_name", **where, "args": {"name": "steps"}},
    ]
    for index, moment in enumerate(run.moments):
        at = index * _STEP_US
        told: dict[str, object] = {
            "step": index,
            "live_bytes": moment.live_bytes,
            "workspace_bytes": moment.workspace_bytes,
            "again": moment.again,
        }
        slice_: dict[str, object] = {"ph": "X", "name": moment.op, "cat": moment.kind, **where}
        events.append({**slice_, "ts": at, "dur": _STEP_US, "args": told})
        events.append(_counter(where, at, moment.live_bytes))
    events.append(_counter(where, len(run.moments) * _STEP_US, 0))
    if run.moments:
        name = f"peak: {run.peak_bytes:,} bytes"
        at = run.peak_step * _STEP_US
        events.append({"ph": "i", "s": "p", "name": name, **where, "ts": at})
    return events


def _counter(where: dict[str, object], at: int, count: int) -> dict[str, object]:
    return {"ph": "C", "name": "live bytes", **where, "ts": at, "args": {"bytes": count}}
