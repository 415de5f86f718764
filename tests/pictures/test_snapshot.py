"""Memory snapshots: what PyTorch's viewer reads is the execution, byte for byte."""

from __future__ import annotations

import pickle
import pickletools
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import pytest

from lowtide.pictures.snapshot import memory_snapshot
from tests.pictures.scenes import network, scene_of

if TYPE_CHECKING:
    from lowtide.pictures.scene import Run, Scene
    from lowtide.planning import Planned

# What the viewer's own unpickler knows (torch/utils/viz/MemoryViz.js), by pickletools' names.
_KNOWN = {
    "PROTO", "FRAME", "STOP", "MARK", "MEMOIZE", "BINGET", "LONG_BINGET", "NONE", "NEWTRUE",
    "NEWFALSE", "BININT", "BININT1", "BININT2", "LONG1", "EMPTY_DICT", "SETITEM", "SETITEMS",
    "EMPTY_LIST", "APPEND", "APPENDS", "SHORT_BINUNICODE", "BINUNICODE",
}  # fmt: skip


def _read(scene: Scene) -> dict[str, Any]:
    found: dict[str, Any] = pickle.loads(memory_snapshot(scene))
    return found


def _check(run: Run, trace: list[dict[str, Any]], segment: dict[str, Any]) -> None:
    """Replay a trace as an allocator would."""
    first, *events = trace
    assert (first["action"], first["addr"]) == ("segment_alloc", segment["address"])
    assert first["size"] == segment["total_size"]
    live: dict[int, dict[str, Any]] = {}
    levels: dict[int, int] = {}
    requested: dict[str, Any] | None = None
    at = 0
    for event in events:
        assert event["time_us"] >= at
        at = event["time_us"]
        low, high = event["addr"], event["addr"] + event["size"]
        if event["action"] == "alloc":
            assert 0 <= low < high <= segment["total_size"]
            assert all(high <= o["addr"] or o["addr"] + o["size"] <= low for o in live.values())
            live[low] = event
        elif event["action"] == "free_requested":
            assert requested is None
            requested = event
        else:
            assert event["action"] == "free_completed"
            assert requested == {**event, "action": "free_requested"}
            requested = None
            assert live.pop(low)["size"] == event["size"]
        levels[at // 1000] = sum(each["size"] for each in live.values())
        assert levels[at // 1000] <= run.peak_bytes
    assert requested is None
    assert not live
    assert max(levels.values(), default=0) == run.peak_bytes
    level = 0
    for step, moment in enumerate(run.moments):
        level = levels.get(step, level)
        assert level == moment.live_bytes


def test_a_snapshot_is_the_execution(repeated: tuple[Planned, Scene]) -> None:
    made, scene = repeated
    content = _read(scene)
    for device, run in enumerate((scene.after, scene.before)):
        segment = content["segments"][device]
        assert segment["device"] == device
        _check(run, content["device_traces"][device], segment)
    # Addresses are the plan's offsets, and the stack names tensor, step and maker.
    placed = {
        frame["filename"]: event["addr"]
        for event in content["device_traces"][0]
        if event["action"] == "alloc"
        for frame in event["frames"]
    }
    for name, offset in made.plan.offsets.items():
        assert placed[name] == offset
    last = content["device_traces"][0][-1]
    step = last["frames"][0]["line"]
    assert last["frames"][0]["name"] == made.timeline.steps[step].op.name


@pytest.mark.parametrize("some", [False, True])
def test_what_has_no_place_gets_addresses_of_its_own(some: bool) -> None:
    scene = scene_of(network(60, "op{}".format, 3))
    blocks = tuple(
        replace(block, offset=block.offset if some and index % 2 else None)
        for index, block in enumerate(scene.after.blocks)
    )
    height = scene.after.arena_bytes if some else None
    run = replace(scene.after, blocks=blocks, arena_bytes=height)
    content = _read(replace(scene, after=run))
    _check(run, content["device_traces"][0], content["segments"][0])


def test_the_viewer_knows_every_opcode() -> None:
    def name(index: int) -> str:
        return f"{'long' * 80 * (index % 3)}\ud800\x00/{index}"

    scene = scene_of(network(700, name))
    far = replace(scene.after, blocks=tuple(replace(b, offset=1 << 41) for b in scene.after.blocks))
    content = memory_snapshot(replace(scene, after=far))
    used = {code.name for code, _, _ in pickletools.genops(content)}
    assert used <= _KNOWN
    assert "LONG1" in used
    assert memory_snapshot(replace(scene, after=far)) == content


def test_a_graph_without_ops_has_a_snapshot() -> None:
    scene = scene_of(network(1, "op{}".format))
    empty = replace(scene.after, moments=(), blocks=(), peak_bytes=0, peak_step=0, arena_bytes=None)
    content = _read(replace(scene, before=empty, after=empty))
    assert [len(trace) for trace in content["device_traces"]] == [1, 1]
