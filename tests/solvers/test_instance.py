from __future__ import annotations

import json
from typing import TYPE_CHECKING

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from lowtide.errors import InstanceError
from lowtide.solvers.schedule import instance
from lowtide.solvers.schedule.instance import (
    ScheduleInstance,
    parse_instance,
    read_instance,
    read_named_instance,
    to_json,
    write_instance,
)
from lowtide.solvers.schedule.problem import Buffer, InPlace, ScheduleProblem
from tests.solvers.strategies import schedule_problems

if TYPE_CHECKING:
    from pathlib import Path

NONE: list[int] = []
NODE: dict[str, object] = {}
TENSOR: dict[str, object] = {"size": 4, "producer": 0, "consumers": [1], "output": False}


def document(**changes: object) -> str:
    base: dict[str, object] = {"nodes": [{"name": "a", "op": "x"}, {}], "tensors": [TENSOR]}
    return json.dumps(base | changes)


def tensor(**changes: object) -> str:
    return document(tensors=[TENSOR | changes])


@settings(max_examples=200)
@given(schedule_problems())
def test_round_trip(problem: ScheduleProblem) -> None:
    again = parse_instance(to_json(ScheduleInstance(problem))).problem
    assert (again.workspace or (0,) * again.num_nodes) == (
        problem.workspace or (0,) * problem.num_nodes
    )
    assert again.buffers == problem.buffers
    assert (again.precedence, again.in_place) == (problem.precedence, problem.in_place)
    assert again.inputs_in_arena == problem.inputs_in_arena
    assert again.outputs_live_to_end == problem.outputs_live_to_end


def test_files(tmp_path: Path) -> None:
    problem = ScheduleProblem(2, (Buffer(4, 0, (1,)),), in_place=())
    path = tmp_path / "x.json"
    write_instance(ScheduleInstance(problem, "net", ("a", "b"), ("Conv", "Add")), path)
    named = read_named_instance(path)
    assert (named.name, named.node_names, named.node_ops) == ("net", ("a", "b"), ("Conv", "Add"))
    assert read_instance(path) == problem
    assert read_instance(path, inputs_in_arena=True).inputs_in_arena
    assert [p.name for p in tmp_path.iterdir()] == ["x.json"]
    with pytest.raises(InstanceError, match="cannot be written"):
        write_instance(named, tmp_path / "nowhere" / "x.json")


def test_consumers_are_normalised() -> None:
    text = document(nodes=[NODE, NODE, NODE], tensors=[TENSOR | {"consumers": [2, 1, 2]}])
    assert parse_instance(text).problem.buffers[0].consumers == (1, 2)


def test_optional_keys() -> None:
    text = document(
        nodes=[{"workspace": 3}, {}],
        tensors=[TENSOR, TENSOR | {"producer": 1, "consumers": NONE}],
        precedence=[[0, 1]],
        in_place=[[1, 1, 0]],
        inputs_in_arena=True,
        outputs_live_to_end=False,
        comment="ignored",
    )
    problem = parse_instance(text).problem
    assert problem.workspace == (3, 0)
    assert problem.precedence == ((0, 1),)
    assert problem.in_place == (InPlace(1, 1, 0),)
    assert problem.inputs_in_arena
    assert not problem.outputs_live_to_end


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", "not JSON"),
        ("{", "not JSON"),
        ("[" * 100_000, "not JSON"),
        ("9" * 10_000, "not JSON|object"),
        ("[]", "must be an object"),
        ("{}", "`nodes` must be a list, not missing"),
        (document(nodes=3), "`nodes` must be a list, not the number 3"),
        (document(nodes=[1]), "node 0 must be an object"),
        (document(nodes=[{"name": 1}, {}]), "`name` must be a string"),
        (document(nodes=[{"workspace": -1}, {}]), "`workspace` must be between"),
        (document(nodes=[{"workspace": 1.5}, {}]), "must be an integer"),
        (document(tensors={}), "`tensors` must be a list, not an object"),
        (document(tensors=[None, None]), "tensor 0 must be an object, not missing"),
        (document(tensors=[{"size": 1, "consumers": NONE}]), "has no `producer`"),
        (document(tensors=[{"producer": 0, "consumers": NONE}]), "has no `size`"),
        (document(tensors=[{"size": 1, "producer": 0}]), "has no `consumers`"),
        (tensor(size=-1), "between 0 and 2.60"),
        (tensor(size=1 << 61), "between 0 and 2.60"),
        (tensor(size=10**300), "a huge number"),
        (tensor(size=4.0), "must be an integer, not the number 4.0"),
        (tensor(size=True), "must be an integer, not a boolean"),
        (tensor(size="4"), "must be an integer, not a string"),
        (tensor(size=None), "must be an integer, not missing or null"),
        (tensor(producer=2), "2 is not a node; there are 2"),
        (tensor(producer=-2), "-2 is not a node"),
        (tensor(producer=10**300), "a huge number is not a node"),
        (tensor(consumers=[2]), "2 is not a node"),
        (tensor(consumers=[-1]), "-1 is not a node"),
        (tensor(consumers=[0]), "read by node 0, which makes it"),
        (tensor(consumers=1), "`consumers` must be a list"),
        (tensor(output=1), "must be true or false"),
        (document(tensors=[TENSOR, TENSOR | {"producer": 1, "consumers": [0]}]), "cycle"),
        (document(tensors=[TENSOR | {"size": 1 << 60}] * 2), "sum to"),
        (document(precedence=[[0]]), "must have 2 entries, not 1"),
        (document(precedence=[[0, 5]]), "5 is not a node"),
        (document(precedence=[[1, 0]]), "cycle"),
        (document(precedence={"a": 1}), "`precedence` must be a list"),
        (document(in_place=[[1, 0]]), "must have 3 entries"),
        (document(in_place=[[1, 0, 7]]), "7 is not a tensor"),
        (document(in_place=[[1, 0, 0]]), "does not make"),
        (document(inputs_in_arena="no"), "`inputs_in_arena` must be true or false"),
        (document(outputs_live_to_end=0), "`outputs_live_to_end` must be true or false"),
        (document(name=[]), "`name` must be a string"),
    ],
)
def test_what_is_no_instance_is_refused(text: str, message: str) -> None:
    with pytest.raises(InstanceError, match=message) as caught:
        parse_instance(text)
    assert len(str(caught.value)) < 400


@settings(max_examples=300)
@given(
    st.recursive(
        st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=3),
        lambda inner: (
            st.lists(inner, max_size=3)
            | st.dictionaries(
                st.sampled_from(["nodes", "tensors", "size", "producer", "consumers", "in_place"]),
                inner,
            )
        ),
    )
)
def test_any_json_is_parsed_or_refused(value: object) -> None:
    try:
        parsed = parse_instance(json.dumps(value))
    except InstanceError:
        return
    assert isinstance(parsed.problem, ScheduleProblem)


def test_damaged_files(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "x.json"
    with pytest.raises(InstanceError, match=r"x\.json: cannot be read"):
        read_instance(path)
    with pytest.raises(InstanceError, match="cannot be read"):
        read_instance(tmp_path)
    path.write_bytes(b'{"nodes": "\xff"}')
    with pytest.raises(InstanceError, match="not UTF-8 text, at byte 11"):
        read_instance(path)
    path.write_text(document())
    monkeypatch.setattr(instance, "MAX_FILE_BYTES", 16)
    with pytest.raises(InstanceError, match="larger than"):
        read_instance(path)
