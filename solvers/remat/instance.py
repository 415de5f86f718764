"""Instance files of the rematerialization problem: networkx's node-link JSON.

    {"directed": true, "graph": {"name": str, "order": [id]},
     "nodes": [{"id": id, "cost_cpu": number, "cost_ram": bytes}],
     "links": [{"source": id, "target": id}]}

Also read are `duration` for `cost_cpu` and `out_cost` for `cost_ram`; nodes without an `id`, whose
`name` is it; links as `edges`, with the keys `"0"` and `"1"`.  An id is an integer or a string.
`graph.order` is the input order; without it, the file's.  Each node makes one buffer, which all
that it links to read; what no node reads is an output and stays to the end.  Nodes of the problem
are numbered as the file has them.  Further keys are ignored.
"""

from __future__ import annotations

import json
import os
from dataclasses import dataclass
from typing import TYPE_CHECKING, cast

from lowtide.errors import InstanceError
from lowtide.solvers.remat.check import peak_of
from lowtide.solvers.remat.problem import MAX_COST, Cost, RematProblem
from lowtide.solvers.schedule.problem import MAX_BYTES, Buffer
from lowtide.solvers.text_file import read_text

if TYPE_CHECKING:
    from collections.abc import Mapping

__all__ = ["RematInstance", "parse_instance", "read_instance", "read_named_instance"]

# Limits on what a file may hold, so that a hostile one fails in a second and little memory.
MAX_FILE_BYTES = 64 << 20
MAX_NODES = 200_000
MAX_LINKS = 2_000_000

_NodeId = int | str


@dataclass(frozen=True, slots=True)
class RematInstance:
    """A problem with the names that its file gives to it and to its nodes."""

    problem: RematProblem
    name: str = ""
    node_names: tuple[str, ...] = ()


def read_named_instance(path: str | os.PathLike[str]) -> RematInstance:
    """The instance in a file; the budget is the peak of its input order.

    Raises:
        InstanceError: the file is unreadable, too large, or not an instance.
    """
    return read_text(path, parse_instance, most_bytes=MAX_FILE_BYTES)


def read_instance(path: str | os.PathLike[str]) -> RematProblem:
    """The problem in a file, without the names; see `read_named_instance`."""
    return read_named_instance(path).problem


def parse_instance(text: str) -> RematInstance:
    """The instance in a JSON text. Raises `InstanceError` on anything else."""
    try:
        document: object = json.loads(text)
    except (ValueError, RecursionError) as error:
        message = "nested too deeply" if isinstance(error, RecursionError) else str(error)
        raise InstanceError(f"not JSON: {message[:200]}") from error
    top = _object(document, "the file")
    graph = _object(top.get("graph", {}), "`graph`")
    if top.get("directed", True) is not True:
        raise InstanceError("the graph is not directed: which op reads what is not said")
    nodes = [_object(v, f"node {k}") for k, v in enumerate(_list(top, "nodes", MAX_NODES))]
    links = _list(top, "edges" if "links" not in top and "edges" in top else "links", MAX_LINKS)
    key = "id" if all("id" in node for node in nodes) else "name"
    index: dict[_NodeId, int] = {}
    costs: list[Cost] = []
    sizes: list[int] = []
    for k, node in enumerate(nodes):
        if key not in node:
            raise InstanceError(f"node {k} has no `id`")
        name = _id(node[key], f"node {k}: `{key}`")
        if name in index:
            raise InstanceError(f"nodes {index[name]} and {k} have the same id {_shown(name)}")
        index[name] = k
        costs.append(_cost(_either(node, ("cost_cpu", "duration"), f"node {k}"), f"node {k}"))
        sizes.append(_bytes(_either(node, ("cost_ram", "out_cost"), f"node {k}"), f"node {k}"))
    readers: list[set[int]] = [set() for _ in nodes]
    for k, value in enumerate(links):
        link = _object(value, f"link {k}")
        ends = [
            _node(_either(link, keys, f"link {k}"), index, f"link {k}")
            for keys in (("source", "0"), ("target", "1"))
        ]
        if ends[0] == ends[1]:
            raise InstanceError(f"link {k}: node {ends[0]} reads what it makes itself")
        readers[ends[0]].add(ends[1])
    order: tuple[int, ...] = ()
    if "order" in graph:
        names = _list(graph, "order", MAX_NODES)
        order = tuple(_node(v, index, f"`order`, entry {k}") for k, v in enumerate(names))
        if len(order) != len(nodes):
            raise InstanceError(f"`order` has {len(order)} entries for {len(nodes)} nodes")
    problem = RematProblem(
        num_nodes=len(nodes),
        buffers=tuple(
            Buffer(size, k, tuple(sorted(readers[k])), not readers[k])
            for k, size in enumerate(sizes)
        ),
        costs=tuple(costs),
        budget_bytes=0,
        order=order,
    )
    title = graph.get("name", "")
    return RematInstance(
        problem.with_budget(peak_of(problem, problem.order)),
        title if isinstance(title, str) else "",
        tuple(str(node.get("name", node[key])) for node in nodes),
    )


def _object(value: object, where: str) -> Mapping[str, object]:
    if not isinstance(value, dict):
        raise InstanceError(f"{where} must be an object, not {_shown(value)}")
    return cast("dict[str, object]", value)


def _list(parent: Mapping[str, object], key: str, most: int) -> list[object]:
    value = parent.get(key)
    if not isinstance(value, list):
        raise InstanceError(f"`{key}` must be a list, not {_shown(value)}")
    items = cast("list[object]", value)
    if len(items) > most:
        raise InstanceError(f"`{key}` has {len(items)} entries, over {most}")
    return items


def _either(parent: Mapping[str, object], keys: tuple[str, str], where: str) -> object:
    for key in keys:
        if key in parent:
            return parent[key]
    raise InstanceError(f"{where} has neither `{keys[0]}` nor `{keys[1]}`")


def _id(value: object, where: str) -> _NodeId:
    if isinstance(value, bool) or not isinstance(value, int | str):
        raise InstanceError(f"{where} must be an integer or a string, not {_shown(value)}")
    return value


def _node(value: object, index: Mapping[_NodeId, int], where: str) -> int:
    name = _id(value, where)
    if name not in index:
        raise InstanceError(f"{where}: there is no node {_shown(name)}")
    return index[name]


def _cost(value: object, where: str) -> Cost:
    if isinstance(value, bool) or not isinstance(value, int | float) or not 0 <= value <= MAX_COST:
        raise InstanceError(f"{where}: its cost must be a number from 0 to 2^60: {_shown(value)}")
    return value


def _bytes(value: object, where: str) -> int:
    if isinstance(value, bool) or not isinstance(value, int) or not 0 <= value <= MAX_BYTES:
        raise InstanceError(
            f"{where}: its size must be an integer from 0 to 2^60 bytes: {_shown(value)}"
        )
    return value


def _shown(value: object) -> str:
    if value is None:
        return "missing or null"
    if isinstance(value, int) and not isinstance(value, bool) and abs(value) >= 1 << 70:
        return "a huge number"
    names = {dict: "an object", list: "a list", bool: "a boolean"}
    for kind, name in names.items():
        if isinstance(value, kind):
            return name
    return repr(value)[:60]
