"""Offline plans: packed, checked, executed in the stock interpreter."""

from __future__ import annotations

import importlib
import sys
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from lowtide.backends.tflite import emit
from lowtide.backends.tflite.tflm import (
    ACCOUNTING,
    METADATA,
    Kernels,
    annotate,
    check_offsets,
    check_plan,
    encode_offsets,
    head_load,
    measure,
    measure_scratch,
    plan_offsets,
    stored_offsets,
    verify_in_tflm,
)
from lowtide.backends.tflite.tflm.feeds import BOUNDARIES, feeds_for
from lowtide.backends.tflite.tflm.interpreter import open_interpreter
from lowtide.backends.tflite.tflm.scratch import KernelScratch
from lowtide.backends.tflite.tflm.verify import litert_difference, tflm_difference
from lowtide.errors import MissingExtraError, ModelError, PlanError, VerificationError
from lowtide.frontends.tflite import import_graph, read
from lowtide.ir import simulate
from lowtide.passes.lower import lower
from lowtide.solvers.schedule.exact import schedule
from tests.backends.tflm_models import (
    ModelBuilder,
    Quantization,
    branching_model,
    plan_bytes,
    random_model,
    scratch_model,
    while_model,
)

if TYPE_CHECKING:
    from lowtide.frontends.tflite import TfliteSource


fb: Any = importlib.import_module("ai_edge_litert.schema_py_generated")


def in_order(source: TfliteSource) -> range:
    return range(len(source.model.subgraphs[0].operators))


def best_order(source: TfliteSource, scratch: KernelScratch) -> tuple[list[int], int, int]:
    """An order of least peak, that peak, and the peak of the file's order."""
    graph = import_graph(source).graph
    annotate(graph, source.model, scratch)
    lowered = lower(graph, ACCOUNTING)
    solution = schedule(lowered.problem, time_limit_s=20)
    assert solution.order is not None
    assert solution.peak_bytes == solution.lower_bound_bytes
    order = lowered.order(solution.order)
    return (
        [op.source for op in order if isinstance(op.source, int)],
        simulate(graph, ACCOUNTING, order).peak_bytes,
        simulate(graph, ACCOUNTING).peak_bytes,
    )


@pytest.mark.parametrize("dtype", ["int8", "int16", "float32"])
def test_order_and_plan_bring_the_measured_arena_down(dtype: str) -> None:
    source = read(branching_model(dtype))
    scratch = measure_scratch(source)
    order, peak, file_peak = best_order(source, scratch)
    assert peak < file_peak
    plan = plan_offsets(source.model, scratch=scratch.sizes, order=order)
    assert plan.head_bytes == plan.lower_bound_bytes == peak
    result = read(emit(source, order, metadata=plan.metadata))
    done = verify_in_tflm(source, result, predicted_head_bytes=plan.head_bytes)
    assert done.after.head_bytes == peak < file_peak == done.before.head_bytes
    assert done.after.tail_bytes == done.before.tail_bytes
    assert done.after.required_bytes == done.after.total_bytes
    assert done.after.fails_below
    assert done.executions == 3 + len(BOUNDARIES)
    assert done.litert is True
    checked = check_plan(result, scratch=scratch.sizes)  # no scratch: nothing to renumber
    assert checked is not None
    assert (checked.head_bytes, checked.online) == (peak, 0)
    assert stored_offsets(result) == plan.offsets


@settings(max_examples=4)
@given(st.integers(0, 10**6))
def test_random_models_run_as_predicted(seed: int) -> None:
    data, _ = random_model(seed)
    source = read(data)
    scratch = measure_scratch(source)
    order, peak, _ = best_order(source, scratch)
    plan = plan_offsets(source.model, scratch=scratch.sizes, order=order)
    main = source.model.subgraphs[0]
    rounded = sum(-(-main.tensors[t].nbytes // 16) * 16 for t in main.inputs)
    assert plan.lower_bound_bytes <= max(peak, rounded) <= plan.head_bytes
    result = emit(source, order, metadata=plan.metadata)
    assert tflm_difference(source, result, feeds_for(source.model, random=2), arenas=_SMALL) is None


_SMALL = (1 << 18, 1 << 18)


def test_scratch_is_part_of_the_prediction() -> None:
    source = read(scratch_model())
    scratch = measure_scratch(source)
    assert max(len(sizes) for sizes in scratch.sizes.values()) > 1
    plan = plan_offsets(source.model, scratch=scratch.sizes)
    without = plan_offsets(source.model, scratch={})
    assert without.head_bytes < plan.head_bytes
    result = read(emit(source, in_order(source), metadata=plan.metadata))
    done = verify_in_tflm(source, result, predicted_head_bytes=plan.head_bytes)
    assert done.after.head_bytes == plan.head_bytes


def test_what_forces_the_head() -> None:
    source = read(scratch_model())
    scratch = measure_scratch(source).sizes
    found = head_load(source.model, scratch)
    plan = plan_offsets(source.model, scratch=scratch, in_place=False)
    assert found.load_bytes == plan.lower_bound_bytes == sum(b.nbytes for b in found.buffers)
    assert found.operator is not None
    sizes = scratch.get((0, found.operator), ())
    assert found.scratch_bytes == sum(-(-size // 16) * 16 for size in sizes)
    assert head_load(source.model, {}).scratch_bytes == 0
    unused = ModelBuilder()
    main = unused.subgraph()
    main.subgraph.inputs = [main.tensor((1, 16))]
    main.tensor((1, 160))
    main.subgraph.outputs = [main.add(0, 0)]
    found = head_load(read(unused.finish()).model, {})
    assert (found.load_bytes, found.operator) == (160, None)


def test_a_wrong_prediction_is_refused() -> None:
    source = read(scratch_model())
    plan = plan_offsets(source.model, scratch={})  # the scratch forgotten
    result = read(emit(source, in_order(source), metadata=plan.metadata))
    with pytest.raises(VerificationError, match=f"the plan predicted {plan.head_bytes}"):
        verify_in_tflm(source, result, predicted_head_bytes=plan.head_bytes)


def test_outputs_that_a_bad_plan_corrupts_are_noticed() -> None:
    source = read(branching_model())
    plan = plan_offsets(source.model, scratch={})
    # all tensors of the arena at 0, as nobody should: the metadata is not checked by `emit`
    flat = [min(offset, 0) for offset in plan.offsets]
    data = emit(source, in_order(source), metadata={METADATA: plan_bytes(flat)})
    inputs = feeds_for(source.model)
    difference = tflm_difference(source, data, inputs, arenas=_SMALL)
    assert difference is not None
    assert "differs" in difference
    assert litert_difference(source, data, inputs) is None  # LiteRT does not look at the plan
    with pytest.raises(PlanError, match="overlap while both are alive"):
        check_plan(read(data), scratch={})
    with pytest.raises(VerificationError, match="TFLite Micro output 0 differs"):
        verify_in_tflm(source, read(data), predicted_head_bytes=1024)


def test_a_model_that_reads_what_nothing_wrote_is_named_as_such() -> None:
    """A SLICE of four elements with a result of 64: TFLM leaves the rest as it was."""
    model = ModelBuilder()
    main = model.subgraph()
    source = main.tensor((1, 64))
    begin = main.tensor((2,), "int32", data=np.array([0, 0]))
    size = main.tensor((2,), "int32", data=np.array([1, 4]))
    middle, result = main.tensor((1, 64)), main.tensor((1, 64))
    main.op("ADD", [source, source], [middle], fb.AddOptionsT(), 2)
    main.op("SLICE", [middle, begin, size], [result], fb.SliceOptionsT())
    main.subgraph.inputs, main.subgraph.outputs = [source], [result]
    held = read(model.finish())
    metadata = {METADATA: encode_offsets(held.model, [0, -1, -1, 64, 128])}
    changed = read(emit(held, in_order(held), metadata=metadata))
    assert measure(held).head_bytes < 192  # TFLM lays the result over the dead input
    with pytest.raises(VerificationError, match="reads bytes that nothing wrote"):
        verify_in_tflm(held, changed, predicted_head_bytes=192)


def test_litert_notices_another_model() -> None:
    source = read(branching_model())
    other = branching_model(branches=2)
    difference = litert_difference(source, other, feeds_for(source.model))
    assert difference is not None
    assert "differs" in difference


def test_several_scratch_buffers_around_a_fragmented_plan() -> None:
    """Whatever TFLM does with the scratch, the head is the simulated one and the plan is safe."""
    source = read(branching_model())
    rng = np.random.default_rng(4)
    for _ in range(30):
        scratch = {
            (0, int(operator)): tuple(int(x) for x in rng.integers(1, 700, rng.integers(1, 5)))
            for operator in rng.choice(in_order(source), 4, replace=False)
        }
        plan = plan_offsets(source.model, scratch=scratch)
        assert plan.lower_bound_bytes <= plan.head_bytes <= plan.greedy_bytes
        checked = check_offsets(source.model, plan.offsets, scratch=scratch)
        assert checked.head_bytes == plan.head_bytes


def test_the_initialisation_may_need_more_than_head_and_tail() -> None:
    model = ModelBuilder()
    main = model.subgraph()
    value = main.tensor((1, 2, 2, 1))
    main.subgraph.inputs = [value]
    for index in range(60):
        value = main.convolution(value, 1, seed=index)
    main.subgraph.outputs = [value]
    found = measure(read(model.finish()))
    assert found.initialisation_bytes > 4096
    assert found.required_bytes == found.total_bytes + found.initialisation_bytes
    assert found.fails_below
    assert found.weights_bytes >= 60 * 5


def test_state_and_called_subgraphs_run() -> None:
    source = read(while_model())
    scratch = measure_scratch(source)
    plan = plan_offsets(source.model, scratch=scratch.sizes)
    result = emit(source, in_order(source), metadata=plan.metadata)
    inputs = feeds_for(source.model)
    assert tflm_difference(source, result, inputs, arenas=_SMALL) is None
    graph = import_graph(source).graph
    annotate(graph, source.model, scratch)
    assert simulate(graph, ACCOUNTING).peak_bytes == plan.head_bytes
    assert graph.ops[0].workspace_bytes > 0  # the subgraphs' tensors


def test_what_tflite_micro_refuses() -> None:
    model = ModelBuilder()
    main = model.subgraph()
    held = Quantization((0.1,), 3)
    source = main.tensor((1, 4, 4, 1), "uint8", quantization=held)
    weights = main.tensor((1, 1, 1, 1), "uint8", data=np.ones((1, 1, 1, 1)), quantization=held)
    bias = main.tensor((1,), "int32", data=np.zeros(1), quantization=Quantization((0.01,)))
    result = main.tensor((1, 4, 4, 1), "uint8", quantization=held)
    other = main.convolution(main.tensor((1, 4, 4, 1)), 1)
    options = main.subgraph.operators[0].builtinOptions
    main.op("CONV_2D", [source, weights, bias], [result], options)
    main.subgraph.inputs = [source, main.subgraph.operators[0].inputs[0]]
    main.subgraph.outputs = [result, other]
    with pytest.raises(ModelError, match="TFLite Micro does not run the model"):
        measure(read(model.finish()))
    probed = measure_scratch(read(model.finish()))
    assert probed.method == "probes"
    assert probed.unknown == ((0, 1),)
    assert not probed.validated


def test_a_missing_package_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "tflite_micro.python.tflite_micro.runtime", None)
    with pytest.raises(MissingExtraError, match="lowtide\\[edge\\]"):
        open_interpreter(branching_model(), 1 << 16)


# ------------------------------------------------------------------ plans that nobody vouches for


def with_plan(data: bytes) -> TfliteSource:
    model = ModelBuilder()
    main = model.subgraph()
    source = main.tensor((1, 2, 2, 4))
    weight = main.tensor((1, 2, 2, 4), data=np.ones((1, 2, 2, 4)))
    main.subgraph.inputs = [source]
    main.subgraph.outputs = [main.add(source, weight)]
    model.metadata(METADATA, data)
    return read(model.finish())


@pytest.mark.parametrize(
    ("data", "message"),
    [
        (b"", "0 bytes, at least 12"),
        (plan_bytes([0, -1, 16])[:-1], "23 bytes, 24 are needed"),
        (plan_bytes([0, -1, 16, 0], count=3), "28 bytes, 24 are needed"),
        (plan_bytes([0, -1]), "for 2 tensors, the model has 3"),
        (plan_bytes([0, -1, 16], count=-1), "for 4294967295 tensors"),
        (plan_bytes([0, -1, 16], version=2), "version 2, known is 1"),
    ],
)
def test_malformed_metadata(data: bytes, message: str) -> None:
    with pytest.raises(ModelError, match=message):
        check_plan(with_plan(data), scratch={})


@pytest.mark.parametrize(
    ("offsets", "message"),
    [
        ([0, -1, 0], "overlap while both are alive, in scope 1"),
        ([0, 32, 16], "tensor 1 has the offset 32 but is not in the arena"),
        ([0, -1, -16], "has the offset -16: neither -1 nor a multiple of 16"),
        ([8, -1, 32], "has the offset 8: neither -1 nor a multiple of 16"),
        ([0, -1, 2**31 - 16], "past 2\\^31"),
    ],
)
def test_unsafe_plans(offsets: list[int], message: str) -> None:
    with pytest.raises(PlanError, match=message):
        check_plan(with_plan(plan_bytes(offsets)), scratch={})


def test_scratch_counts_in_the_check() -> None:
    source = with_plan(plan_bytes([0, -1, 16]))
    checked = check_plan(source, scratch={(0, 0): (100, 20)})
    assert checked is not None
    assert (checked.head_bytes, checked.planned, checked.online) == (32 + 112 + 32, 2, 0)


def test_tensors_may_be_left_to_tflm() -> None:
    checked = check_plan(with_plan(plan_bytes([-1, -1, 0])), scratch={})
    assert checked is not None
    assert (checked.head_bytes, checked.planned, checked.online) == (32, 1, 1)
    assert check_plan(read(branching_model()), scratch={}) is None


def test_offsets_are_checked_before_they_are_encoded() -> None:
    model = read(branching_model()).model
    count = len(model.subgraphs[0].tensors)
    with pytest.raises(PlanError, match=f"1 offsets for the model's {count} tensors"):
        encode_offsets(model, [0])
    with pytest.raises(PlanError, match="2147483648 of tensor 0"):
        encode_offsets(model, [2**31] * count)
    with pytest.raises(PlanError, match="not a permutation"):
        plan_offsets(model, scratch={}, order=[0, 0])


def test_no_in_place_without_execution_of_the_library() -> None:
    source = read(branching_model())
    scratch = KernelScratch({}, "formulas")
    graph = import_graph(source).graph
    annotate(graph, source.model, scratch)
    assert any(op.in_place for op in graph.ops)
    annotate(graph, source.model, scratch, kernels=Kernels.CMSIS_NN)
    assert not any(op.in_place for op in graph.ops)
    assert not scratch.validated
    shared = plan_offsets(source.model, scratch={})
    apart = plan_offsets(source.model, scratch={}, kernels=Kernels.CMSIS_NN)
    assert shared.in_place
    assert apart.in_place == ()
    with pytest.raises(PlanError, match="overlap"):
        check_offsets(source.model, shared.offsets, scratch={}, kernels=Kernels.CMSIS_NN)
