"""Instance files of the scheduling problem.

    {"nodes": [{"name": str, "op": str, "workspace": int}],
     "tensors": [{"size": int, "producer": int, "consumers": [int], "output": bool}],
     "precedence": [[before, after]], "in_place": [[node, output, input]],
     "inputs_in_arena": bool, "outputs_live_to_end": bool}

The node order is the file's order; producer -1 is a graph input; `name`, `op`, `workspace` and all
keys after `tensors` are optional; further keys are ignored.
"""

from __future__ import annotations

import json
import os
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, cast

from lowtide.errors import InstanceError
from lowtide.solvers.schedule.problem import MAX_BYTES, Buffer, InPlace, ScheduleProblem
from lowtide.solvers.text_file import read_text

if TYPE_CHECKING:
    from collections.abc import Mapping

__all__ = [
    "ScheduleInstance",
    "parse_instance",
    "read_instance",
    "read_named_instance",
    "to_json",
    "write_instance",
]

# Limits on what a file may hold, so that a hostile one fails in a second and little memory.
MAX_FILE_BYTES = 64 << 20
MAX_NODES = 1_000_000
MAX_TENSORS = 2_000_000


@dataclass(frozen=True, slots=True)
class ScheduleInstance:
    """A problem with the names that its file gives to it and to its nodes."""

    problem: ScheduleProblem
    name: str = ""
    node_names: tuple[str, ...] = ()
    node_ops: tuple[str, ...] = ()


def read_named_instance(
    path: str | os.PathLike[str],
    *,
    inputs_in_arena: bool | None = None,
    outputs_live_to_end: bool | None = None,
) -> ScheduleInstance:
    """The instance in a file; the two flags override what the file says.

    Raises:
        InstanceError: the file is unreadable, too large, or not an instance.
    """
    parse = partial(
        parse_instance, inputs_in_arena=inputs_in_arena, outputs_live_to_end=outputs_live_to_end
    )
    return read_text(path, parse, most_bytes=MAX_FILE_BYTES)


def read_instance(
    path: str | os.PathLike[str],
    *,
    inputs_in_arena: bool | None = None,
    outputs_live_to_end: bool | None = None,
) -> ScheduleProblem:
    """The problem in a file, without the names.

    Args:
        path: a scheduling instance in JSON.
        inputs_in_arena: instead of what the file says; None for that.
        outputs_live_to_end: likewise.

    Raises:
        InstanceError: the file is unreadable, too large, or not an instance.
    """
    return read_named_instance(
        path, inputs_in_arena=inputs_in_arena, outputs_live_to_end=outputs_live_to_end
    ).problem


def parse_instance(
    text: str, *, inputs_in_arena: bool | None = None, outputs_live_to_end: bool | None = None
) -> ScheduleInstance:
    """The instance in a JSON text. Raises `InstanceError` on anything else."""
    try:
        document: object = json.loads(text)
    except (ValueError, RecursionError) as error:
        message = "nested too deeply" if isinstance(error, RecursionError) else str(error)
        raise InstanceError(f"not JSON: {message[:200]}") from error
    top = _object(document, "the file")
    nodes = _list(top.get("nodes"), "`nodes`", MAX_NODES)
    tensors = _list(top.get("tensors"), "`tensors`", MAX_TENSORS)
    names: list[str] = []
    ops: list[str] = []
    workspace: list[int] = []
    for index, value in enumerate(nodes):
        item = _object(value, f"node {index}")
        names.append(_text(item.get("name", ""), f"node {index}: `name`"))
        ops.append(_text(item.get("op", ""), f"node {index}: `op`"))
        workspace.append(_bytes(item.get("workspace", 0), f"node {index}: `workspace`"))
    buffers: list[Buffer] = []
    for index, value in enumerate(tensors):
        where = f"tensor {index}"
        tensor = _object(value, where)
        for key in ("size", "producer", "consumers"):
            if key not in tensor:
                raise InstanceError(f"{where} has no `{key}`")
        producer = _node(tensor["producer"], -1, len(nodes), f"{where}: `producer`")
        readers = _list(tensor["consumers"], f"{where}: `consumers`", MAX_NODES)
        consumers = {_node(c, 0, len(nodes), f"{where}: a consumer") for c in readers}
        if producer in consumers:
            raise InstanceError(f"{where} is read by node {producer}, which makes it")
        buffers.append(
            Buffer(
                _bytes(tensor["size"], f"{where}: `size`"),
                producer,
                tuple(sorted(consumers)),
                _flag(tensor.get("output", False), f"{where}: `output`"),
            )
        )
    precedence: list[tuple[int, int]] = []
    for index, value in enumerate(_list(top.get("precedence", []), "`precedence`", MAX_TENSORS)):
        pair = _tuple(value, 2, f"precedence {index}")
        before, after = (_node(v, 0, len(nodes), f"precedence {index}") for v in pair)
        precedence.append((before, after))
    in_place: list[InPlace] = []
    for index, value in enumerate(_list(top.get("in_place", []), "`in_place`", MAX_TENSORS)):
        where = f"in_place {index}"
        node, output, source = _tuple(value, 3, where)
        in_place.append(
            InPlace(
                _node(node, 0, len(nodes), where),
                _index(output, 0, len(tensors), where, "tensor"),
                _index(source, 0, len(tensors), where, "tensor"),
            )
        )
    arena = _flag(top.get("inputs_in_arena", False), "`inputs_in_arena`")
    to_end = _flag(top.get("outputs_live_to_end", True), "`outputs_live_to_end`")
    problem = ScheduleProblem(
        num_nodes=len(nodes),
        buffers=tuple(buffers),
        workspace=tuple(workspace) if any(workspace) else (),
        precedence=tuple(precedence),
        in_place=tuple(in_place),
        inputs_in_arena=arena if inputs_in_arena is None else inputs_in_arena,
        outputs_live_to_end=to_end if outputs_live_to_end is None else outputs_live_to_end,
    )
    name = _text(top.get("name", ""), "`name`")
    return ScheduleInstance(problem, name, tuple(names), tuple(ops))


def to_json(instance: ScheduleInstance) -> str:
    """The instance as JSON text, one line; `parse_instance` gives it back."""
    problem = instance.problem
    nodes: list[dict[str, object]] = []
    for v in range(problem.num_nodes):
        node: dict[str, object] = {
            "name": instance.node_names[v] if instance.node_names else f"node_{v}",
            "op": instance.node_ops[v] if instance.node_ops else "",
        }
        if problem.workspace:
            node["workspace"] = problem.workspace[v]
        nodes.append(node)
    document: dict[str, object] = {
        "name": instance.name,
        "nodes": nodes,
        "tensors": [
            {
                "size": b.size,
                "producer": b.producer,
                "consumers": list(b.consumers),
                "output": b.output,
            }
            for b in problem.buffers
        ],
        "precedence": [list(pair) for pair in problem.precedence],
        "in_place": [list(candidate) for candidate in problem.in_place],
        "inputs_in_arena": problem.inputs_in_arena,
        "outputs_live_to_end": problem.outputs_live_to_end,
    }
    return json.dumps(document, separators=(",", ":"))


def write_instance(instance: ScheduleInstance, path: str | os.PathLike[str]) -> None:
    """Write the instance to a file, through a temporary file beside it."""
    where = Path(path)
    part = where.with_name(f"{where.name}.part{os.getpid()}")
    try:
        part.write_text(to_json(instance) + "\n", encoding="utf-8")
        part.replace(where)
    except OSError as error:
        part.unlink(missing_ok=True)
        raise InstanceError(f"{where}: cannot be written: {error.strerror or error}") from error


def _object(value: object, where: str) -> Mapping[str, object]:
    if not isinstance(value, dict):
        raise InstanceError(f"{where} must be an object, not {_kind(value)}")
    return cast("dict[str, object]", value)


def _list(value: object, where: str, most: int) -> list[object]:
    if not isinstance(value, list):
        raise InstanceError(f"{where} must be a list, not {_kind(value)}")
    items = cast("list[object]", value)
    if len(items) > most:
        raise InstanceError(f"{where} has {len(items)} entries, over {most}")
    return items


def _tuple(value: object, length: int, where: str) -> list[object]:
    items = _list(value, where, MAX_TENSORS)
    if len(items) != length:
        raise InstanceError(f"{where} must have {length} entries, not {len(items)}")
    return items


def _text(value: object, where: str) -> str:
    if not isinstance(value, str):
        raise InstanceError(f"{where} must be a string, not {_kind(value)}")
    return value


def _flag(value: object, where: str) -> bool:
    if not isinstance(value, bool):
        raise InstanceError(f"{where} must be true or false, not {_kind(value)}")
    return value


def _integer(value: object, where: str) -> int:
    if isinstance(value, bool) or not isinstance(value, int):
        raise InstanceError(f"{where} must be an integer, not {_kind(value)}")
    return value


def _bytes(value: object, where: str) -> int:
    number = _integer(value, where)
    if not 0 <= number <= MAX_BYTES:
        shown = str(number) if abs(number) < 1 << 70 else "a huge number"
        raise InstanceError(f"{where} must be between 0 and 2^60 bytes, not {shown}")
    return number


def _node(value: object, low: int, count: int, where: str) -> int:
    return _index(value, low, count, where, "node")


def _index(value: object, low: int, count: int, where: str, what: str) -> int:
    number = _integer(value, where)
    if not low <= number < count:
        shown = str(number) if abs(number) < 1 << 70 else "a huge number"
        raise InstanceError(f"{where}: {shown} is not a {what}; there are {count}")
    return number


def _kind(value: object) -> str:
    if value is None:
        return "missing or null"
    names = {dict: "an object", list: "a list", str: "a string", bool: "a boolean"}
    for kind, name in names.items():
        if isinstance(value, kind):
            return name
    return f"the number {value}"[:60]
