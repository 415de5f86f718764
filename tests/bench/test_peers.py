"""Planners of other projects on our problems; every answer passes our checkers."""

from __future__ import annotations

import gc
import random
import signal
import sys
import threading
import time
from dataclasses import replace
from typing import TYPE_CHECKING

import onnx
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from tigris.analysis.lifetime import compute_lifetimes
from tigris.analysis.memory import compute_memory_timeline
from tigris.graph.ir import AnalyzedGraph, OpNode, TensorInfo

from lowtide.bench import allocations
from lowtide.bench import tigris as table
from lowtide.bench.instances import cut_rectangle
from lowtide.bench.mobilenet import mobilenet_v2
from lowtide.bench.networks import darts
from lowtide.bench.onnx_networks import NETWORKS
from lowtide.bench.peers import tigris, vela
from lowtide.bench.record import load
from lowtide.child import ChildError
from lowtide.errors import InputError, LowtideError, MissingExtraError
from lowtide.ir import Graph, Role
from lowtide.solvers.allocation.bound import lower_bound
from lowtide.solvers.allocation.check import check
from lowtide.solvers.allocation.exact import allocate
from lowtide.solvers.allocation.problem import AllocationProblem, AllocationSolution, Block
from lowtide.solvers.schedule.check import peak_of
from lowtide.solvers.schedule.exact import schedule
from lowtide.solvers.status import Status

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path


@pytest.fixture(autouse=True)
def _every_core(monkeypatch: pytest.MonkeyPatch) -> None:
    """The runner does not keep the tests' process on one core."""
    monkeypatch.setattr(table, "one_core", lambda: None)


VELA = sorted(vela.ALLOCATORS)
_ALIGNED = (Block("a", 0, 1, 10, alignment=16), Block("b", 0, 1, 10, alignment=16))
UNREACHABLE = AllocationProblem((*_ALIGNED, Block("c", 0, 1, 10)), capacity=30)  # 36 are needed


@st.composite
def problems(draw: st.DrawFn) -> AllocationProblem:
    """Buffers with gaps, sharing and alignments of their own, at any times."""
    blocks: list[Block] = []
    for index in range(draw(st.integers(0, 7))):
        lower = draw(st.integers(-(10**9), 10**9) | st.integers(0, 6))
        length = draw(st.integers(1, 6))
        gaps = ((lower + 1, lower + 2),) if length > 2 and draw(st.booleans()) else ()
        size = draw(st.integers(0, 40))
        alignment = draw(st.sampled_from((1, 1, 2, 3, 16)))
        blocks.append(
            Block(f"b{index}", lower, lower + length, size, gaps=gaps, alignment=alignment)
        )
    shares = ((0, 1),) if len(blocks) > 1 and draw(st.booleans()) else ()
    # A capacity that is easily met, so that the climber soon gives up on the load.
    return AllocationProblem(tuple(blocks), draw(st.sampled_from((1, 4))), 1 << 12, shares)


@pytest.mark.parametrize("name", VELA)
@settings(max_examples=40, deadline=None)
@given(problem=problems())
def test_vela_gives_valid_layouts(name: str, problem: AllocationProblem) -> None:
    solution = vela.ALLOCATORS[name](problem)
    check(problem, solution)
    assert solution.status in (Status.OPTIMAL, Status.FEASIBLE)
    assert solution.height is not None
    best = allocate(replace(problem, capacity=None))
    assert best.height is not None
    assert lower_bound(problem) <= best.height <= solution.height


@pytest.mark.parametrize("name", VELA)
def test_vela_repeats_itself_and_leaves_the_common_generator_alone(name: str) -> None:
    problem = cut_rectangle(3, 20, height=256)
    random.seed(7)
    state = random.getstate()
    one, two = (vela.ALLOCATORS[name](problem, time_limit_s=60.0, seed=s) for s in (0, 1))
    assert one.offsets == two.offsets
    assert random.getstate() == state


def test_vela_climbs_to_a_capacity() -> None:
    """Two long tensors and two short ones: the greedy layout has a hole, the climber fills it."""
    problem = cut_rectangle(0, 12, height=64)
    climbed = vela.vela_hillclimb(problem)
    greedy = vela.vela_greedy(problem)
    assert climbed.height is not None
    assert greedy.height is not None
    assert problem.capacity == lower_bound(problem) <= climbed.height <= greedy.height


def test_vela_stops_at_the_limit_with_its_best_layout() -> None:
    solution = vela.vela_hillclimb(UNREACHABLE, time_limit_s=0.3)
    check(UNREACHABLE, solution)
    assert (solution.status, solution.height) == (Status.TIME_LIMIT, 36)
    early = vela.vela_hillclimb(cut_rectangle(0, 2000), time_limit_s=0.0)
    assert (early.status, early.offsets, early.height) == (Status.TIME_LIMIT, None, None)


def test_a_limit_that_strikes_in_a_collection_strikes_again(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Python only reports what a callback of the garbage collector raises."""
    ranges = vela._live_ranges  # pyright: ignore[reportPrivateUsage]

    def collecting(problem: AllocationProblem, used: Sequence[int]) -> object:
        gc.collect()
        return ranges(problem, used)

    def busy(*_: object) -> None:
        end = time.process_time() + 0.2
        while time.process_time() < end:
            pass

    ignored: list[object] = []
    monkeypatch.setattr(vela, "_live_ranges", collecting)
    monkeypatch.setattr(sys, "unraisablehook", ignored.append)
    gc.callbacks.append(busy)
    try:
        solution = vela.vela_hillclimb(UNREACHABLE, time_limit_s=0.05)
    finally:
        gc.callbacks.remove(busy)
    assert ignored
    assert solution.status is Status.TIME_LIMIT
    assert signal.getitimer(signal.ITIMER_PROF) == (0.0, 0.0)


def test_what_vela_cannot_place_is_said() -> None:
    fixed = AllocationProblem((Block("a", 0, 2, 4, offset=8),))
    with pytest.raises(InputError, match=r"`a` is fixed at 8, which Vela's allocators cannot keep"):
        vela.vela_greedy(fixed)
    tight = AllocationProblem((Block("a", 0, 2, 4),), capacity=3)
    assert vela.vela_greedy(tight).status is Status.INFEASIBLE
    caught: list[AllocationSolution | InputError] = []

    def elsewhere() -> None:
        problem = AllocationProblem((Block("a", 0, 2, 4),))
        caught.append(vela.vela_greedy(problem))
        try:
            caught.append(vela.vela_greedy(problem, time_limit_s=1.0))
        except InputError as error:
            caught.append(error)

    thread = threading.Thread(target=elsewhere)
    thread.start()
    thread.join()
    solution, error = caught
    assert isinstance(solution, AllocationSolution)
    assert solution.height == 4
    assert isinstance(error, InputError)


def test_vela_is_among_the_allocators_of_the_table() -> None:
    known = allocations.allocators()
    assert [*known][-2:] == ["vela_hillclimb", "vela_greedy"]
    problem = AllocationProblem((Block("a", 0, 2, 4), Block("b", 1, 3, 3)), capacity=7)
    row = allocations.run("x", problem, VELA, runs=2, time_limit_s=5.0)
    for answer in row.answers.values():
        assert (answer.height, answer.status, answer.repeatable) == (7, "optimal", True)


def test_tigris_is_understood_and_beaten_or_equalled(tmp_path: Path) -> None:
    """Its figure, ours for its order, and what its runtime took are one; orders matter in DARTS."""
    path = tmp_path / "darts.onnx"
    onnx.save(darts(0, channels=8, side=32), path)
    answer = tigris.ask(path)
    assert answer.refused == ()
    problem = tigris.problem_of(answer.graph)
    assert peak_of(problem, range(problem.num_nodes)) == answer.graph.peak_bytes
    whole = answer.plans[0]
    assert (whole.stages, whole.fast) == (1, answer.graph.peak_bytes)
    if not whole.not_executed:  # its wheel has no runtime for every machine
        assert whole.measured_fast == answer.graph.peak_bytes
    budgets = [each.budget for each in answer.plans]
    assert budgets == sorted(budgets, reverse=True)
    assert all(each.fast <= each.budget for each in answer.plans)
    row = table.run(path, answer, time_limit_s=30.0)
    assert row.best.bound == row.best.peak == row.best.arena < row.peak
    assert row.file is not None
    assert row.file.best.peak < row.file.tigris


def test_tigris_takes_tflite_files(tmp_path: Path) -> None:
    path = tmp_path / "mobilenet.tflite"
    path.write_bytes(mobilenet_v2(32))
    answer = tigris.ask(path, execute=False)
    row = table.run(path, answer, time_limit_s=30.0)
    assert (row.peak, row.file) == (answer.graph.peak_bytes, None)
    assert row.plans[0].measured_fast is None
    assert row.plans[0].total == row.plans[0].fast + row.plans[0].slow


@st.composite
def analyzed(draw: st.DrawFn) -> AnalyzedGraph:
    """TiGrIS's own graph object: tensors of random sizes, reshapes, unread and repeated results."""
    graph = AnalyzedGraph()

    def tensor(name: str, size: int) -> str:
        graph.tensors[name] = TensorInfo(name, (1, size), 1)
        return name

    sizes = st.integers(1, 40)
    graph.model_inputs = [tensor(f"in{i}", draw(sizes)) for i in range(draw(st.integers(1, 2)))]
    made = list(graph.model_inputs)
    for step in range(draw(st.integers(1, 8))):
        first = draw(st.sampled_from(made))
        if draw(st.integers(0, 2)) == 0:
            size = graph.tensors[first].shape[1]
            kind, inputs, outputs = "Reshape", [first], [tensor(f"t{step}", size)]
        else:
            kind, inputs = "Op", [first, draw(st.sampled_from(made))]
            outputs = [tensor(f"t{step}_{i}", draw(sizes)) for i in range(draw(st.integers(1, 2)))]
        graph.ops.append(OpNode(f"op{step}", kind, inputs, outputs, step=step))
        made += outputs
    graph.model_outputs = draw(st.lists(st.sampled_from(made), max_size=2, unique=True))
    return graph


@settings(max_examples=150, deadline=None)
@given(graph=analyzed())
def test_the_definition_of_tigris_in_our_terms(graph: AnalyzedGraph) -> None:
    compute_memory_timeline(compute_lifetimes(graph))
    problem = tigris.problem_of(tigris.graph_of(graph))
    order = tuple(range(problem.num_nodes))
    assert peak_of(problem, order) == graph.peak_memory_bytes
    best = schedule(problem)
    assert best.peak_bytes is not None
    assert best.lower_bound_bytes == best.peak_bytes <= graph.peak_memory_bytes


def test_what_tigris_does_not_take_is_said(tmp_path: Path) -> None:
    path = tmp_path / "lstm.onnx"
    onnx.save(NETWORKS["lstm"](), path)
    answer = tigris.ask(path)
    assert any("LSTM" in reason for reason in answer.refused)
    assert answer.plans == ()
    broken = tmp_path / "broken.onnx"
    broken.write_bytes(b"no model")
    with pytest.raises(ChildError, match="is not an ONNX model"):
        tigris.ask(broken)


def diamond() -> Graph:
    """x -> a; a -> b, c; b, c -> d; w -> e, which d reads too."""
    graph = Graph("diamond")
    x = graph.add_tensor("x", "uint8", [1], role=Role.INPUT)
    made = {name: graph.add_tensor(name, "uint8", [1]) for name in "abcde"}
    for name, reads in (("a", "x"), ("b", "a"), ("c", "a"), ("e", "x"), ("d", "bce")):
        graph.add_op(name, "test", "Any", [made.get(r, x) for r in reads], [made[name]])
    graph.add_output(made["d"])
    return graph


def test_orders_by_the_names_of_results() -> None:
    """What is not named runs before its reader, or at the end; names that are not ours are none."""
    graph = diamond()

    def names(*results: str) -> str:
        return "".join(op.name for op in table.ordered(graph, [[r] for r in results]))

    assert names("a", "c", "folded", "b", "d") == "acbed"
    assert names("a", "b", "c", "e", "d") == "abced"
    assert names("a") == "abced"
    with pytest.raises(LowtideError, match="`b` comes after `d`, which reads it"):
        names("a", "c", "d", "b")


def test_the_table_of_tigris(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    output = tmp_path / "tigris"
    arguments = ["--only", "unet.onnx", "lstm.onnx"]
    assert table.main([*arguments, "--output", str(output)]) == 0
    text = output.with_suffix(".md").read_text()
    assert "- lstm.onnx: " in text
    assert "| unet.onnx | 21 | 524,288 |" in text
    result = load(output.with_suffix(".json"))
    found = {measure.key: measure.value for measure in result.measures}
    assert found["unet.onnx", "TiGrIS", "peak"] == found["unet.onnx", "lowtide", "peak"] == 524_288
    assert found["unet.onnx", "lowtide", "rewritten"] < 524_288
    assert "ours is less in" in capsys.readouterr().out


def test_a_figure_of_tigris_that_is_not_ours_is_an_error(tmp_path: Path) -> None:
    path = tmp_path / "a.tflite"
    graph = tigris.Graph(
        (tigris.Op("Relu", ("x",), ("y",)),), {"x": 4, "y": 4}, {}, ("x",), ("y",), 64
    )
    answer = tigris.Answer((), graph, (), ())
    assert table.run(path, answer, time_limit_s=1.0).peak == 64
    wrong = replace(answer, graph=replace(graph, peak_bytes=60))
    with pytest.raises(LowtideError, match="TiGrIS says 60, we say 64"):
        table.run(path, wrong, time_limit_s=1.0)
    other = replace(answer, plans=(tigris.Plan(64, 1, 0, 64, 0, 96, 0),))
    with pytest.raises(LowtideError, match="64 expected, it took 96"):
        table.run(path, other, time_limit_s=1.0)
    early = replace(graph, inputs=())
    with pytest.raises(LowtideError, match="reads `x` before it is made"):
        tigris.problem_of(early)


def test_without_the_extra_the_error_names_it(monkeypatch: pytest.MonkeyPatch) -> None:
    def none(name: str) -> None:
        return None

    monkeypatch.setattr(table, "find_spec", none)
    with pytest.raises(MissingExtraError, match=r"lowtide\[peers\]"):
        table.main(["--only", "unet.onnx"])
