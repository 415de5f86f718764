"""Instance files of rematerialization: node-link JSON, damaged and hostile ones too."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING

import networkx as nx
import pytest

from lowtide.errors import InstanceError
from lowtide.solvers.remat import instance
from lowtide.solvers.remat.instance import parse_instance, read_instance, read_named_instance
from lowtide.solvers.schedule.problem import Buffer

if TYPE_CHECKING:
    from pathlib import Path

NODES: list[dict[str, object]] = [
    {"id": 0, "name": "a", "cost_cpu": 3, "cost_ram": 4},
    {"id": 1, "name": "b", "cost_cpu": 0.5, "cost_ram": 2},
]
LINKS: list[dict[str, object]] = [{"source": 0, "target": 1}]


def document(**changes: object) -> str:
    base: dict[str, object] = {"directed": True, "graph": {}, "nodes": NODES, "links": LINKS}
    return json.dumps(base | changes)


def test_checkmate_s_form() -> None:
    read = parse_instance(document(graph={"name": "net"}))
    assert (read.name, read.node_names) == ("net", ("a", "b"))
    assert read.problem.buffers == (Buffer(4, 0, (1,)), Buffer(2, 1, (), True))
    assert read.problem.costs == (3, 0.5)
    assert read.problem.budget_bytes == 6  # the input order's peak


def test_moccasin_s_form() -> None:
    nodes = [{"name": name, "duration": 1, "out_cost": 2} for name in (5, 0, 9)]
    links = [{"0": 9, "1": 5}, {"0": 5, "1": 0}, {"0": 9, "1": 5}]
    text = document(nodes=nodes, links=links, graph={"order": [9, 5, 0], "pos": {}})
    problem = parse_instance(text).problem
    assert problem.order == (2, 0, 1)
    assert [b.consumers for b in problem.buffers] == [(1,), (), (0,)]
    assert [b.output for b in problem.buffers] == [False, True, False]


def test_what_networkx_writes_is_read(tmp_path: Path) -> None:
    graph: nx.DiGraph[str] = nx.DiGraph(name="net")
    graph.add_node("x", cost_cpu=1, cost_ram=8)
    graph.add_node("y", cost_cpu=2, cost_ram=4)
    graph.add_edge("x", "y")
    path = tmp_path / "graph.json"
    path.write_text(json.dumps(nx.node_link_data(graph, edges="edges")))
    assert read_instance(path).costs == (1, 2)
    assert read_named_instance(path).node_names == ("x", "y")


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("[", "not JSON"),
        ("[" * 100_000, "nested too deeply|not JSON"),
        ("[]", "an object, not a list"),
        (document(directed=False), "not directed"),
        (document(nodes=7), "`nodes` must be a list"),
        (document(nodes=[*NODES, NODES[0]]), "same id 0"),
        (document(nodes=[{"cost_cpu": 1, "cost_ram": 1}]), "no `id`"),
        (document(nodes=[{"id": 0, "cost_ram": 1}]), "neither `cost_cpu` nor `duration`"),
        (document(nodes=[NODES[0] | {"cost_ram": 1.5}]), "size must be an integer"),
        (document(nodes=[NODES[0] | {"cost_ram": 1 << 61}]), "size must be"),
        (document(nodes=[NODES[0] | {"cost_ram": 10**30}]), "a huge number"),
        (document(nodes=[NODES[0] | {"cost_ram": True}]), "a boolean"),
        (document(nodes=[NODES[0] | {"cost_cpu": float("nan")}]), "cost must be"),
        (document(nodes=[NODES[0] | {"cost_cpu": -1}]), "cost must be"),
        (document(nodes=[NODES[0] | {"id": None}]), "an integer or a string"),
        (document(links=[{"source": 0, "target": 9}]), "no node 9"),
        (document(links=[{"source": 0}]), "neither `target` nor `1`"),
        (document(links=[{"source": 1, "target": 1}]), "makes itself"),
        (document(links=[*LINKS, {"source": 1, "target": 0}]), "cycle"),
        (document(graph={"order": [0]}), "1 entries for 2 nodes"),
        (document(graph={"order": [0, 0]}), "permutation"),
        (document(graph={"order": [1, 0]}), "input order runs node 1 before"),
    ],
)
def test_damaged_instances(text: str, message: str) -> None:
    with pytest.raises(InstanceError, match=message):
        parse_instance(text)


def test_unreadable_files(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "x.json"
    with pytest.raises(InstanceError, match="cannot be read"):
        read_instance(path)
    path.write_bytes(b'{"\xff"')
    with pytest.raises(InstanceError, match="byte 2"):
        read_instance(path)
    monkeypatch.setattr(instance, "MAX_FILE_BYTES", 2)
    with pytest.raises(InstanceError, match="larger than"):
        read_instance(path)
    monkeypatch.setattr(instance, "MAX_NODES", 1)
    with pytest.raises(InstanceError, match="2 entries, over 1"):
        parse_instance(document())
