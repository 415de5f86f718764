"""Our model of TFLM's memory against what its planner really gets and does."""

from __future__ import annotations

import importlib
from dataclasses import replace
from typing import TYPE_CHECKING, Any, cast

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from lowtide.backends.tflite import emit
from lowtide.backends.tflite.tflm import measure_scratch, plan_offsets
from lowtide.backends.tflite.tflm.interpreter import measure_head
from lowtide.backends.tflite.tflm.lifetimes import ArenaBuffer, arena_buffers
from lowtide.backends.tflite.tflm.planner import ONLINE, place_greedily
from lowtide.backends.tflite.tflm.scratch import model_file
from lowtide.backends.tflite.tflm.trace import trace
from lowtide.errors import ModelError, PlanError
from lowtide.frontends.tflite import read
from lowtide.solvers.allocation.problem import AllocationProblem, Block
from lowtide.solvers.allocation.tflm_greedy import tflm_greedy
from tests.backends.tflm_models import (
    ModelBuilder,
    branching_model,
    call_twice_model,
    plan_bytes,
    random_model,
    resource_model,
    scratch_model,
    while_model,
)

if TYPE_CHECKING:
    from collections.abc import Sequence

    from lowtide.backends.tflite.tflm.lifetimes import Scratch

fb: Any = importlib.import_module("ai_edge_litert.schema_py_generated")
_LIMIT = 1 << 26
_MODELS = {
    "branching-int8": branching_model(),
    "branching-float": branching_model("float32", branches=4, side=5),
    "branching-int16": branching_model("int16"),
    "scratch": scratch_model(),
    "while": while_model(),
    "call-twice": call_twice_model(),
    "resource": resource_model(),
}


def traced(data: bytes) -> list[list[int]]:
    """[size, offset, first, last] of every buffer, from the planner itself."""
    with model_file(data) as path:
        found = trace({"model": str(path), "limit": _LIMIT})["buffers"]
    return cast("list[list[int]]", found)


def agree(data: bytes, planned: Sequence[int] | None = None, scratch: Scratch | None = None) -> int:
    """Sizes, lifetimes and offsets are TFLM's; the number of scratch buffers."""
    source = read(data)
    if scratch is None:
        measured = measure_scratch(source)
        assert measured.method == "planner"
        assert measured.validated
        scratch = measured.sizes
    buffers = arena_buffers(source.model, scratch)
    real = traced(data)
    assert [[b.nbytes, b.first, b.last] for b in buffers] == [[s, f, x] for s, _, f, x in real]
    given = None
    if planned is not None:
        base = [0]
        for subgraph in source.model.subgraphs:
            base.append(base[-1] + len(subgraph.tensors))
        given = [ONLINE if b.is_scratch else planned[base[b.subgraph] + b.tensor] for b in buffers]
    placement = place_greedily(buffers, given)
    assert list(placement.offsets) == [offset for _, offset, _, _ in real]
    assert placement.height == measure_head(data, _LIMIT)
    return sum(b.is_scratch for b in buffers)


@pytest.mark.parametrize("name", _MODELS)
def test_buffers_lifetimes_and_offsets_are_those_of_the_real_planner(name: str) -> None:
    scratch = agree(_MODELS[name])
    assert (scratch > 0) == (name == "scratch")


@pytest.mark.parametrize("name", _MODELS)
def test_probes_find_the_same_scratch(name: str) -> None:
    source = read(_MODELS[name])
    probed = measure_scratch(source, method="probes")
    assert probed.sizes == measure_scratch(source, method="planner").sizes
    controls = {
        (s.index, op.index) for s in source.model.subgraphs for op in s.operators if op.calls
    }
    assert set(probed.unknown) == controls  # these do not run alone


@settings(max_examples=8)
@given(st.integers(0, 10**6))
def test_random_models_in_random_orders(seed: int) -> None:
    data, orders = random_model(seed)
    source = read(data)
    measured = measure_scratch(source, method="planner")
    scratch = measured.sizes
    agree(data, None, scratch)
    for order in orders:
        plan = plan_offsets(source.model, scratch=scratch, order=order)
        assert plan.lower_bound_bytes <= plan.head_bytes <= plan.greedy_bytes
        assert measure_head(emit(source, order), _LIMIT) == plan.greedy_bytes
        emitted = emit(source, order, metadata=plan.metadata)
        assert measure_head(emitted, _LIMIT) == plan.head_bytes
        agree(emitted, plan.offsets, measured.renumbered(order).sizes)


def test_a_plan_covers_called_subgraphs() -> None:
    source = read(while_model())
    plan = plan_offsets(source.model, scratch={})
    emitted = emit(source, range(len(source.model.subgraphs[0].operators)), metadata=plan.metadata)
    agree(emitted, plan.offsets)
    assert plan.optimal
    assert plan.head_bytes <= plan.greedy_bytes


def test_a_subgraph_that_is_called_twice_lives_from_the_first_call_to_the_last() -> None:
    source = read(call_twice_model())
    spans = {(b.subgraph, b.tensor): (b.first, b.last) for b in arena_buffers(source.model, {})}
    assert spans[1, 0] == (2, 12)
    assert spans[2, 2] == (7, 15)
    plan = plan_offsets(source.model, scratch={})
    emitted = emit(source, range(len(source.model.subgraphs[0].operators)), metadata=plan.metadata)
    assert measure_head(emitted, _LIMIT) == plan.head_bytes


def test_a_large_arena_is_probed() -> None:
    """TFLM's planner cannot print plans beyond 25 MiB without overflowing: it is not asked to."""
    model = ModelBuilder()
    main = model.subgraph()
    source = main.tensor((1, 1024, 1024, 14))
    axes = main.tensor((2,), "int32", data=np.array([1, 2], np.int32))
    result = main.tensor((1, 14))
    options = fb.ReducerOptionsT()
    options.keepDims = False
    main.op("MEAN", [main.add(source, source), axes], [result], options, 2)
    main.subgraph.inputs, main.subgraph.outputs = [source], [result]
    found = measure_scratch(read(model.finish()))
    assert found.method == "probes"
    assert found.validated
    assert list(found.sizes) == [(0, 1)]
    with pytest.raises(ModelError, match="over 25 MiB"):
        measure_scratch(read(model.finish()), method="planner")


def test_an_input_that_is_an_output() -> None:
    model = ModelBuilder()
    main = model.subgraph()
    source = main.tensor((1, 64))
    main.subgraph.inputs = [source]
    main.subgraph.outputs = [main.add(main.add(source, source), source), source]
    agree(model.finish())


def test_what_nothing_uses_and_inputs_that_nobody_reads() -> None:
    model = ModelBuilder()
    main = model.subgraph()
    read_input, unread = main.tensor((1, 4, 4, 4)), main.tensor((1, 40))
    main.tensor((1, 1000))
    main.tensor((1, 0))  # empty: not in the arena
    main.subgraph.inputs = [read_input, unread]
    main.subgraph.outputs = [main.add(read_input, read_input)]
    data = model.finish()
    agree(data)
    spans = [(b.tensor, b.first, b.last) for b in arena_buffers(read(data).model, {})]
    assert spans == [(0, 0, 1), (1, 0, 0), (2, -1, -1), (4, 1, 1)]
    plan = plan_offsets(read(data).model, scratch={})
    assert plan.head_bytes == 1008  # the unused tensor alone, rounded up: TFLM gives it room


@settings(max_examples=100)
@given(
    st.lists(
        st.tuples(st.integers(1, 6), st.integers(0, 6), st.integers(0, 3)), min_size=1, max_size=12
    )
)
def test_the_planner_is_the_solvers_baseline(items: list[tuple[int, int, int]]) -> None:
    buffers = [
        ArenaBuffer(0, i, -1, 16 * size, first, first + length)
        for i, (size, first, length) in enumerate(items)
    ]
    problem = AllocationProblem(
        tuple(Block(str(b.tensor), b.first, b.last + 1, b.nbytes) for b in buffers), 16
    )
    assert place_greedily(buffers).offsets == tflm_greedy(problem)


def test_planner_refuses_offsets_that_make_no_sense() -> None:
    buffer = ArenaBuffer(0, 0, -1, 16, 0, 1)
    with pytest.raises(PlanError, match="2 offsets for 1 buffers"):
        place_greedily([buffer], [0, 16])
    with pytest.raises(PlanError, match="-16 is negative"):
        place_greedily([buffer], [-16])


def test_subgraphs_that_call_each_other_in_a_circle() -> None:
    model = read(call_twice_model()).model
    branch = model.subgraphs[1]
    operators = (replace(branch.operators[0], calls=(1,)), *branch.operators[1:])
    subgraphs = (model.subgraphs[0], replace(branch, operators=operators), model.subgraphs[2])
    with pytest.raises(ModelError, match="subgraph 1 calls itself"):
        arena_buffers(replace(model, subgraphs=subgraphs), {})


def test_a_models_own_plan_is_what_is_measured() -> None:
    """An existing plan decides the head: the interpreter honours it byte for byte."""
    model = ModelBuilder()
    main = model.subgraph()
    source = main.tensor((1, 4, 4, 4))
    main.subgraph.inputs = [source]
    main.subgraph.outputs = [main.add(source, source)]
    model.metadata("OfflineMemoryAllocation", plan_bytes([640, 0]))
    assert measure_head(model.finish(), _LIMIT) == 704
    agree(model.finish(), (640, 0))
