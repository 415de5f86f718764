"""Slices that lie in their operands, parts that lie in their concatenations: planned, executed."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

import numpy as np
import pytest

from lowtide.backends.tflite import emit
from lowtide.backends.tflite.tflm import (
    ACCOUNTING,
    METADATA,
    Kernels,
    annotate,
    check_offsets,
    check_plan,
    elided_graph,
    find_elision,
    keeps_in_place,
    measure_scratch,
    plan_offsets,
)
from lowtide.backends.tflite.tflm.elide import Place
from lowtide.backends.tflite.tflm.feeds import feeds_for
from lowtide.backends.tflite.tflm.interpreter import open_interpreter
from lowtide.backends.tflite.tflm.lifetimes import arena_buffers
from lowtide.backends.tflite.tflm.rigid import lay_out_groups
from lowtide.backends.tflite.tflm.scratch import KernelScratch
from lowtide.errors import PlanError
from lowtide.frontends.tflite import import_graph, read
from lowtide.ir import simulate
from tests.backends.row_models import RowModel, random_rows, split_and_joined
from tests.backends.tflm_models import plan_bytes

if TYPE_CHECKING:
    from collections.abc import Sequence

    from lowtide.frontends.tflite import TfliteModel, TfliteSource

WORK = 100_000
NO_SCRATCH = KernelScratch({}, "none", ())


def run(data: bytes, source: TfliteSource) -> list[bytes]:
    """The outputs for two inputs."""
    interpreter = open_interpreter(data, 1 << 18)
    found: list[bytes] = []
    for feed in feeds_for(source.model, random=2, seed=1)[:2]:
        for index, array in enumerate(feed):
            interpreter.set_input(array, index)
        interpreter.invoke()
        found += [
            interpreter.get_output(n).tobytes()
            for n in range(len(source.model.subgraphs[0].outputs))
        ]
    return found


def kinds(model: TfliteModel, operators: Sequence[int]) -> list[str]:
    return [model.subgraphs[0].operators[index].kind for index in operators]


@pytest.mark.parametrize("kind", ["SLICE", "STRIDED_SLICE"])
@pytest.mark.parametrize("dtype", ["float32", "int8", "int16"])
def test_every_kernel_copies_bytes_onto_themselves(kind: str, dtype: str) -> None:
    source = read(split_and_joined(dtype, kind))
    scratch = measure_scratch(source)
    assert len(find_elision(source.model).placed) == 4
    plan = plan_offsets(source.model, scratch=scratch.sizes)
    apart = plan_offsets(source.model, scratch=scratch.sizes, elide=False)
    assert plan.head_bytes < apart.head_bytes
    order = range(len(source.model.subgraphs[0].operators))
    emitted = [emit(source, order, metadata=p.metadata) for p in (plan, apart)]
    checked = check_plan(read(emitted[0]), scratch=scratch.sizes)
    assert checked is not None
    assert checked.head_bytes == plan.head_bytes
    assert sorted(kinds(source.model, checked.idle)) == ["CONCATENATION", kind, kind]
    expected = run(bytes(source.data), source)
    assert run(emitted[0], source) == expected
    assert run(emitted[1], source) == expected


def test_what_lies_where() -> None:
    source = read(split_and_joined())
    main = source.model.subgraphs[0]
    elision = find_elision(source.model)
    y = main.operators[0].outputs[0]
    first, second = (main.operators[n].outputs[0] for n in (1, 2))
    joined = main.operators[5].outputs[0]
    parts = main.operators[5].inputs
    assert elision.placed == {
        first: Place(y, 0),
        second: Place(y, 48),
        parts[0]: Place(joined, 0),
        parts[1]: Place(joined, 80),
    }
    assert elision.views == {first, second}
    assert [(p.start, p.stop, p.origin) for p in elision.pieces[y]] == [
        (0, 48, y),
        (48, 80, y),
        (80, 128, y),
    ]
    assert [p.origin for p in elision.pieces[joined]] == list(parts)


def test_what_overwrites_a_concatenation_lies_there_too() -> None:
    model = RowModel()
    x = model.tensor(4)
    joined = model.join([model.double(x), model.double(x)])
    doubled = model.double(joined)
    source = read(model.data([x], [model.double(model.cut(doubled, 2, 7))]))
    elision = find_elision(source.model)
    assert elision.placed[doubled] == Place(joined, 0)
    assert elision.at(source.model.subgraphs[0].operators[4].outputs[0]) == Place(joined, 32)
    plan = plan_offsets(source.model, scratch={})
    assert plan.offsets[doubled] == plan.offsets[joined]
    data = emit(source, range(6), metadata=plan.metadata)
    assert run(data, source) == run(bytes(source.data), source)
    checked = check_plan(read(data), scratch={})
    assert checked is not None
    assert (0, doubled, joined) in checked.shared


def test_in_place_results_that_get_lost_are_told() -> None:
    def kept(double_of_slice: bool) -> bool:
        model = RowModel()
        x = model.tensor(6)
        y = model.double(x)
        half = model.cut(y, 1, 5)
        z = model.double(half if double_of_slice else model.double(x))
        source = read(model.data([x], [model.double(z), *([] if double_of_slice else [half])]))
        imported = import_graph(source)
        annotate(imported.graph, source.model, NO_SCRATCH)
        pieces = elided_graph(imported, find_elision(source.model))
        return keeps_in_place(imported.graph, pieces)

    assert not kept(double_of_slice=True)
    assert kept(double_of_slice=False)


def refused(model: RowModel, inputs: list[int], outputs: list[int]) -> bool:
    return not find_elision(read(model.data(inputs, outputs)).model)


def test_unaligned_rows_stay_apart() -> None:
    narrow = find_elision(read(split_and_joined(row_bytes=4)).model)
    assert [place.offset for place in narrow.placed.values()] == [0, 0]
    wide = find_elision(read(split_and_joined(row_bytes=32)).model)
    assert [place.offset for place in wide.placed.values()] == [0, 160, 0, 96]


def test_a_concatenation_of_channels_stays() -> None:
    model = RowModel()
    x = model.tensor(4)
    one, two = model.double(x), model.double(x)
    made = model.build.tensor("wide", (1, 4, 4, 8), "INT8", quantization=([0.5], [0], 0))
    model.build.op(
        "CONCATENATION", [one, two], [made], "ConcatenationOptions", values={"axis": 3}, version=2
    )
    assert refused(model, [x], [made])


def test_what_is_in_two_places_or_the_caller_s_stays() -> None:
    model = RowModel()
    x = model.tensor(4)
    twice = model.double(x)
    assert refused(model, [x], [model.join([twice, twice])])
    model = RowModel()
    x = model.tensor(4)
    one, two = model.double(x), model.double(x)
    joined = model.join([one, two])
    found = find_elision(read(model.data([x], [joined, one])).model)
    assert set(found.placed) == {two}
    model = RowModel()
    x = model.tensor(4)
    assert refused(model, [x], [model.cut(x, 1, 3), model.join([x, x])])


def test_other_libraries_were_not_executed() -> None:
    model = read(split_and_joined()).model
    assert not find_elision(model, Kernels.CMSIS_NN)
    assert find_elision(model, Kernels.REFERENCE)


def test_a_slice_in_a_concatenation_is_copied() -> None:
    model = RowModel()
    x = model.tensor(6)
    y = model.double(x)
    joined = model.join([model.cut(y, 2, 4), model.double(model.cut(y, 0, 3))])
    source = read(model.data([x], [model.double(joined)]))
    elision = find_elision(source.model)
    assert len(elision.views) == 1
    assert len(elision.placed) == 3
    plan = plan_offsets(source.model, scratch={})
    data = emit(source, range(6), metadata=plan.metadata)
    assert run(data, source) == run(bytes(source.data), source)


@pytest.mark.parametrize("seed", range(25))
def test_random_models_run_as_planned_and_need_no_more(seed: int) -> None:
    source = read(random_rows(seed))
    scratch = measure_scratch(source) if seed < 3 else NO_SCRATCH
    order = range(len(source.model.subgraphs[0].operators))
    model, sizes = source.model, scratch.sizes
    plan = plan_offsets(model, scratch=sizes, work_limit=WORK)
    apart = plan_offsets(model, scratch=sizes, elide=False, work_limit=WORK)
    assert plan.head_bytes <= apart.head_bytes
    assert plan.lower_bound_bytes <= plan.head_bytes
    data = emit(source, order, metadata=plan.metadata)
    assert run(data, source) == run(bytes(source.data), source)


@pytest.mark.parametrize("seed", range(25))
def test_the_graph_in_pieces_has_the_load_of_the_layout(seed: int) -> None:
    source = read(random_rows(seed))
    model = source.model
    imported = import_graph(source)
    annotate(imported.graph, model, NO_SCRATCH)
    elision = find_elision(model)
    graph = elided_graph(imported, elision)
    assert [op.name for op in graph.ops] == [op.name for op in imported.graph.ops]
    assert sum(t.nbytes for t in graph.inputs) == sum(t.nbytes for t in imported.graph.inputs)
    plain = replace(ACCOUNTING, in_place=False)
    for shuffle in range(3):
        order = shuffled(model, shuffle)
        buffers = arena_buffers(model, {}, {0: order})
        layout = lay_out_groups(
            model, buffers, order, (), elision, time_limit_s=None, work_limit=2000, seed=0
        )
        ops = {op.source: op for op in graph.ops}
        peak = simulate(graph, plain, [ops[index] for index in order]).peak_bytes
        assert layout.bound == peak
        assert layout.height >= peak
        old = {op.source: op for op in imported.graph.ops}
        assert peak <= simulate(imported.graph, plain, [old[i] for i in order]).peak_bytes


def shuffled(model: TfliteModel, seed: int) -> list[int]:
    """A random order; the file's own for 0."""
    before = model.subgraphs[0].predecessors()
    rng = np.random.default_rng(seed)
    order: list[int] = []
    while len(order) < len(before):
        ready = [
            index
            for index, needed in enumerate(before)
            if index not in order and all(n in order for n in needed)
        ]
        order.append(ready[int(rng.integers(len(ready))) if seed else 0])
    return order


def test_moved_offsets_are_refused_or_harmless() -> None:
    """Offsets moved one by one: what the check accepts gives the same results."""
    accepted = rejected = 0
    for seed in range(12):
        source = read(random_rows(seed, 9))
        plan = plan_offsets(source.model, scratch={}, work_limit=WORK)
        expected = run(bytes(source.data), source)
        rng = np.random.default_rng(seed)
        held = [n for n, offset in enumerate(plan.offsets) if offset >= 0]
        for _ in range(40):
            offsets = list(plan.offsets)
            for tensor in rng.choice(held, int(rng.integers(1, 3))):
                offsets[int(tensor)] = 16 * int(rng.integers(0, plan.head_bytes // 16 + 1))
            try:
                check_offsets(source.model, offsets, scratch={})
            except PlanError:
                rejected += 1
                continue
            accepted += 1
            order = range(len(source.model.subgraphs[0].operators))
            data = emit(source, order, metadata={METADATA: plan_bytes(offsets)})
            assert run(data, source) == expected
    assert accepted > 20
    assert rejected > 100


def test_a_view_of_the_wrong_rows_is_refused() -> None:
    source = read(split_and_joined())
    main = source.model.subgraphs[0]
    plan = plan_offsets(source.model, scratch={})
    first, second = (main.operators[n].outputs[0] for n in (1, 2))
    for tensor, by in ((second, 16), (second, -16), (first, 16)):
        offsets = list(plan.offsets)
        offsets[tensor] += by
        with pytest.raises(PlanError, match="overlap while both are alive"):
            check_offsets(source.model, offsets, scratch={})


def test_with_other_kernels_an_overlap_is_an_overlap() -> None:
    source = read(split_and_joined())
    plan = plan_offsets(source.model, scratch={})
    with pytest.raises(PlanError, match="overlap while both are alive"):
        check_offsets(source.model, plan.offsets, scratch={}, kernels=Kernels.CMSIS_NN)
