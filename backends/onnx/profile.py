"""The order in which ONNX Runtime executed a file's nodes and what each took, from its profile."""

from __future__ import annotations

import json
from dataclasses import dataclass
from typing import TYPE_CHECKING, TypedDict, cast

import onnx

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

__all__ = ["Executed", "durations", "executed"]


class _Arguments(TypedDict):
    node_index: str
    op_name: str


class _Event(TypedDict):
    cat: str
    name: str
    ts: int
    dur: int
    args: _Arguments


@dataclass(frozen=True, slots=True)
class Executed:
    """What ran.

    Attributes:
        keys: the first output's name of each of the file's nodes that ran, in order.
        added: how many nodes ran that ONNX Runtime made itself (inlined functions, casts, fusions).
    """

    keys: tuple[str, ...]
    added: int


def executed(profile: Path, model: Path) -> Executed:
    """The main graph's nodes of `model` in the order that the only run in `profile` took."""
    keys = [key for key, _ in _runs(profile, model)]
    return Executed(tuple(key for key in keys if key is not None), keys.count(None))


def durations(profile: Path, model: Path) -> dict[str, list[int]]:
    """Microseconds of every run of each of the main graph's nodes, by its first output's name."""
    found: dict[str, list[int]] = {}
    for key, duration in _runs(profile, model):
        if key:
            found.setdefault(key, []).append(duration)
    return found


def _runs(profile: Path, model: Path) -> list[tuple[str | None, int]]:
    """The main graph's nodes that ran, in order, with microseconds; None for one not in the file.

    ONNX Runtime turns Constant nodes into initializers and numbers the others by their place in the
    file. The nodes of a subgraph are numbered anew and run within their parent's time.
    """
    graph = onnx.load_model(str(model), load_external_data=False).graph
    nodes = [node for node in graph.node if node.op_type != "Constant" or node.domain != ""]
    parents = {
        index
        for index, node in enumerate(nodes)
        if any(a.HasField("g") or a.graphs for a in node.attribute)
    }
    events = [
        event
        for event in cast("list[_Event]", json.loads(profile.read_text()))
        if event["cat"] == "Node" and event["name"].endswith("_kernel_time")
    ]
    runs: list[tuple[str | None, int]] = []
    for event in _outermost(events, nodes, parents):
        index = int(event["args"]["node_index"])
        key = None
        if index < len(nodes) and event["args"]["op_name"] == nodes[index].op_type:
            key = next((name for name in nodes[index].output if name), "")
        runs.append((key, event["dur"]))
    return runs


def _outermost(
    events: Sequence[_Event], nodes: Sequence[onnx.NodeProto], parents: set[int]
) -> list[_Event]:
    """The events without those of subgraphs, which end before their parent does."""
    if not parents:
        return list(events)
    kept: list[_Event] = []
    for event in events:  # in the order of their ends
        if _is_parent(event, nodes, parents):
            start = event["ts"]
            while kept and (
                kept[-1]["ts"] > start or (kept[-1]["ts"] == start and not _is_own(kept[-1], nodes))
            ):
                kept.pop()
        kept.append(event)
    return kept


def _is_own(event: _Event, nodes: Sequence[onnx.NodeProto]) -> bool:
    index = int(event["args"]["node_index"])
    if index >= len(nodes):
        return False
    node = nodes[index]
    name = node.name or f"{node.op_type}_{index}"
    return event["name"] == f"{name}_kernel_time" and event["args"]["op_name"] == node.op_type


def _is_parent(event: _Event, nodes: Sequence[onnx.NodeProto], parents: set[int]) -> bool:
    return int(event["args"]["node_index"]) in parents and _is_own(event, nodes)
