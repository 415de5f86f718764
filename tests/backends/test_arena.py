"""The planned arena: same outputs, replayed offsets, safe when plans go stale."""

# pyright: reportPrivateUsage=false, reportUnknownVariableType=false
# pyright: reportUnknownArgumentType=false

from __future__ import annotations

import subprocess
import sys
import textwrap
import threading
from pathlib import Path
from typing import cast

import numpy as np
import numpy.typing as npt
import onnx
import onnxruntime as ort
import pytest
from onnx import helper

from lowtide.backends.onnx.arena import ArenaSession
from lowtide.backends.onnx.session import options
from lowtide.bench.networks import darts

Array = npt.NDArray[np.float32]


@pytest.fixture(scope="module")
def network(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("arena") / "darts.onnx"
    onnx.save(darts(0, cells=2, channels=16, side=64), path)
    return path


@pytest.fixture(scope="module")
def dynamic(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A model of any batch whose last output is also read inside."""
    nodes = [
        helper.make_node("Abs", ["x"], ["a"]),
        helper.make_node("Neg", ["a"], ["b"]),
        helper.make_node("Add", ["a", "b"], ["c"]),
        helper.make_node("Mul", ["c", "a"], ["y"]),
        helper.make_node("Add", ["b", "b"], ["z"]),
    ]
    kind = onnx.TensorProto.FLOAT
    graph = helper.make_graph(
        nodes,
        "dynamic",
        [helper.make_tensor_value_info("x", kind, ["n", 40_000])],
        [helper.make_tensor_value_info(name, kind, ["n", 40_000]) for name in ("y", "z", "b")],
    )
    path = tmp_path_factory.mktemp("arena") / "dynamic.onnx"
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=9)
    onnx.save(model, path)
    return path


@pytest.fixture(scope="module")
def branching(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Two branches that allocate the same sizes in the same sequence; one holds `a` for longer."""
    kind, shape = onnx.TensorProto.FLOAT, [1000]

    def branch(name: str, last: str) -> onnx.GraphProto:
        nodes = [
            helper.make_node("Abs", ["x"], [f"{name}_a"]),
            helper.make_node("Sign", [f"{name}_a"], [f"{name}_b"]),
            helper.make_node("Neg", [f"{name}_b"], [f"{name}_c"]),
            helper.make_node("Add", [f"{name}_c", f"{name}_{last}"], [f"{name}_y"]),
        ]
        result = helper.make_tensor_value_info(f"{name}_y", kind, shape)
        return helper.make_graph(nodes, name, [], [result])

    graph = helper.make_graph(
        [
            helper.make_node(
                "If",
                ["early"],
                ["y"],
                then_branch=branch("early", "c"),
                else_branch=branch("late", "a"),
            )
        ],
        "branching",
        [
            helper.make_tensor_value_info("early", onnx.TensorProto.BOOL, []),
            helper.make_tensor_value_info("x", kind, shape),
        ],
        [helper.make_tensor_value_info("y", kind, shape)],
    )
    path = tmp_path_factory.mktemp("arena") / "branching.onnx"
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=9)
    onnx.save(model, path)
    return path


def image(seed: int, side: int = 64) -> Array:
    return np.random.default_rng(seed).standard_normal((1, 3, side, side)).astype(np.float32)


def test_outputs_are_the_plain_sessions(network: Path) -> None:
    plain = ort.InferenceSession(str(network), options("none", order="file", threads=1))
    arena = ArenaSession(network, options("none", order="file", threads=1))
    for seed in range(4):
        feeds = {"image": image(seed)}
        want, have = plain.run(None, feeds)[0], arena.run(None, feeds)[0]
        assert np.array_equal(cast("Array", want), cast("Array", have))
    ((_, plan),) = arena._plans.items()
    assert plan.handle is not None
    assert plan.misses == 0
    assert 0 < arena.peak_bytes <= arena.arena_bytes * 1.01 + 4096


def test_earlier_outputs_survive_later_runs(dynamic: Path) -> None:
    session = ArenaSession(dynamic, options("none", order="file", threads=1))
    inputs = [np.full((2, 40_000), value, np.float32) for value in (1.0, 2.0, 3.0, 4.0)]
    kept = [session.run(None, {"x": x}) for x in inputs]
    for x, (y, z, b) in zip(inputs, kept, strict=True):
        assert np.array_equal(cast("Array", y), np.zeros_like(x))
        assert np.array_equal(cast("Array", z), -2 * x)
        assert np.array_equal(cast("Array", b), -x)


def test_every_shape_has_its_own_plan(dynamic: Path) -> None:
    session = ArenaSession(dynamic, options("none", order="file", threads=1))
    for batch in (1, 3, 2, 3, 1, 2):
        x = np.full((batch, 40_000), 0.5, np.float32)
        assert np.array_equal(cast("Array", session.run(None, {"x": x})[1]), -2 * x)
    assert len(session._plans) == 3


def test_a_stale_plan_costs_memory_not_correctness(dynamic: Path) -> None:
    session = ArenaSession(dynamic, options("none", order="file", threads=1))
    small = np.full((1, 40_000), 1.0, np.float32)
    session.run(None, {"x": small})
    ((key, plan),) = session._plans.items()
    large = np.full((4, 40_000), 1.0, np.float32)
    session._plans = {(key[0], ("x", large.shape)): plan}  # as if the shape told nothing
    for _ in range(5):
        outputs = session.run(None, {"x": large})
        assert np.array_equal(cast("Array", outputs[1]), -2 * large)
    assert plan.misses >= 3
    assert plan.handle is None


def test_a_block_that_lives_longer_than_planned_is_not_overwritten(branching: Path) -> None:
    session = ArenaSession(branching, options("none", order="file", threads=1))
    x = np.full(1000, 3.0, np.float32)
    for early, value in ((True, -2.0), (False, 2.0), (True, -2.0), (False, 2.0)):
        (y,) = session.run(None, {"early": np.array(early), "x": x})
        assert np.array_equal(cast("Array", y), np.full_like(x, value))
    ((_, plan),) = session._plans.items()
    assert plan.misses == 2


def test_threads_take_turns(network: Path) -> None:
    plain = ort.InferenceSession(str(network), options("none", order="file", threads=1))
    want = [plain.run(None, {"image": image(seed)})[0] for seed in range(4)]
    session = ArenaSession(network, options("none", order="file", threads=1))
    wrong: list[int] = []

    def work(seed: int) -> None:
        for _ in range(5):
            have = session.run(None, {"image": image(seed)})[0]
            if not np.array_equal(cast("Array", want[seed]), cast("Array", have)):
                wrong.append(seed)

    threads = [threading.Thread(target=work, args=(seed,)) for seed in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert wrong == []


def test_two_sessions_share_the_arena(network: Path, dynamic: Path) -> None:
    first = ArenaSession(network, options("none", order="file", threads=1))
    second = ArenaSession(dynamic, options("none", order="file", threads=1))
    want = first.run(None, {"image": image(0)})[0]
    x = np.full((2, 40_000), 0.25, np.float32)
    for _ in range(3):
        assert np.array_equal(cast("Array", second.run(None, {"x": x})[1]), -2 * x)
        have = first.run(None, {"image": image(0)})[0]
        assert np.array_equal(cast("Array", want), cast("Array", have))


def test_an_error_in_a_run_leaves_the_session_usable(dynamic: Path) -> None:
    session = ArenaSession(dynamic, options("none", order="file", threads=1))
    with pytest.raises(Exception, match="x"):
        session.run(None, {"x": np.zeros((2, 3), np.float32)})
    x = np.full((1, 40_000), 2.0, np.float32)
    for _ in range(3):
        assert np.array_equal(cast("Array", session.run(None, {"x": x})[1]), -2 * x)


def test_the_resident_memory_is_the_arenas(network: Path) -> None:
    """What the process really holds more after many runs is about the arena, not a heap's worth."""
    code = textwrap.dedent(
        """
        import sys
        import numpy as np
        from lowtide.backends.onnx.arena import ArenaSession
        from lowtide.backends.onnx.session import options
        def resident():
            lines = open("/proc/self/status").read().splitlines()
            return next(int(l.split()[1]) for l in lines if l.startswith("VmHWM")) * 1024
        session = ArenaSession(sys.argv[1], options("none", order="file", threads=1))
        image = np.zeros((1, 3, 64, 64), np.float32)
        open("/proc/self/clear_refs", "w").write("5")
        before = resident()
        for _ in range(20):
            session.run(None, {"image": image})
        print(resident() - before, session.arena_bytes)
        """
    )
    result = subprocess.run(
        [sys.executable, "-c", code, str(network)], capture_output=True, text=True, check=True
    )
    grown, arena = map(int, result.stdout.split())
    assert grown <= 2 * arena + (3 << 20)
