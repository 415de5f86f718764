"""Recomputation in ONNX models: executed, the same outputs, and the bytes that were predicted."""

# ONNX Runtime has no stubs:
# pyright: reportUnknownArgumentType=false, reportUnknownVariableType=false

from __future__ import annotations

import random
from pathlib import Path
from typing import TYPE_CHECKING, cast

import numpy as np
import onnx
import onnx_ir
import onnxruntime
import pytest
from onnx import helper

from lowtide.backends.onnx.dependence import node_key
from lowtide.backends.onnx.emit import emit
from lowtide.backends.onnx.repeat import repeated
from lowtide.backends.onnx.session import options
from lowtide.bench.networks import randwire
from lowtide.errors import PlanError
from lowtide.frontends.onnx import import_graph, read
from lowtide.ir import Accounting, simulate, unroll

if TYPE_CHECKING:
    from collections.abc import Sequence

    import numpy.typing as npt

    from lowtide.ir import Graph, Op

ACCOUNTING = Accounting(inputs_in_arena=False, outputs_live_to_end=True, alignment=64)


def with_repeats(graph: Graph, seed: int) -> list[Op]:
    """The graph's order, with ops that run again anywhere after their first run."""
    source = random.Random(seed)
    steps: list[Op] = []
    for op in graph.ops:
        steps.append(op)
        if source.random() < 0.4:
            steps.append(source.choice(steps))
    return steps


@pytest.mark.parametrize("seed", range(4))
def test_repeats_compute_the_same(tmp_path: Path, seed: int) -> None:
    """Two names for each copy, one step each; bit for bit the same outputs in ONNX Runtime."""
    path = tmp_path / "model.onnx"
    onnx.save(randwire(seed, nodes=8, channels=4, side=12), path)
    source = read(path)
    before = onnx_ir.to_proto(source.model).SerializeToString(deterministic=True)
    graph = import_graph(source.model)
    steps = with_repeats(graph, seed)
    assert len(steps) > len(graph)
    model, order = repeated(source.model, [cast("onnx_ir.Node", op.source) for op in steps])
    again = tmp_path / "again.onnx"
    emit(model, order, again, provenance={})
    assert onnx_ir.to_proto(source.model).SerializeToString(deterministic=True) == before

    written = onnx.load(again)
    onnx.checker.check_model(written, full_check=True)
    ran = [node.op_type for node in written.graph.node if node.op_type != "Constant"]
    assert ran == [op.kind for op in steps]
    feed = {"image": np.random.default_rng(seed).standard_normal((1, 3, 12, 12), np.float32)}
    one, two = run(path, feed), run(again, feed)
    assert np.array_equal(one, two)


def run(path: Path, feed: dict[str, npt.NDArray[np.float32]]) -> npt.NDArray[np.float32]:
    """The model's output in ONNX Runtime, no node merged or moved."""
    session = onnxruntime.InferenceSession(path, options("none", order="file"))
    return cast("npt.NDArray[np.float32]", session.run(None, feed)[0])


@pytest.mark.parametrize("seed", range(4))
def test_the_file_is_the_unrolled_graph(tmp_path: Path, seed: int) -> None:
    """What is imported from the file has the peak of the unrolled graph."""
    path = tmp_path / "model.onnx"
    onnx.save(randwire(seed, nodes=8, channels=4, side=12), path)
    source = read(path)
    graph = import_graph(source.model)
    steps = with_repeats(graph, seed + 100)
    model, order = repeated(source.model, [cast("onnx_ir.Node", op.source) for op in steps])
    again = tmp_path / "again.onnx"
    emit(model, order, again, provenance={})
    unrolled = unroll(graph, steps)
    imported = import_graph(read(again).model)
    assert [op.name for op in imported.ops] == [op.name for op in unrolled.ops]
    assert simulate(imported, ACCOUNTING).peak_bytes == simulate(unrolled, ACCOUNTING).peak_bytes


def test_an_output_is_its_newest_run(tmp_path: Path) -> None:
    """The caller gets the last run's result, under the output's name."""
    path = tmp_path / "model.onnx"
    onnx.save(randwire(0, nodes=4, channels=4, side=12), path)
    source = read(path)
    steps = [node for node in source.model.graph if node.op_type != "Constant"]
    model, order = repeated(source.model, [*steps, steps[-1]])
    again = tmp_path / "again.onnx"
    emit(model, order, again, provenance={})
    written = onnx.load(again)
    onnx.checker.check_model(written, full_check=True)
    (output,) = written.graph.output
    assert output.name == source.model.graph.outputs[0].name
    assert list(written.graph.node[-1].output) == [output.name]
    assert list(written.graph.node[-2].output) == [f"{output.name}~2"]
    feed = {"image": np.random.default_rng(0).standard_normal((1, 3, 12, 12), np.float32)}
    assert np.array_equal(run(path, feed), run(again, feed))


def branch(*, reads: str) -> onnx.ModelProto:
    """y = If(c, reads, x), with a = Relu(x)."""
    branches = [
        helper.make_graph(
            [helper.make_node("Neg", [name], [out])],
            out,
            [],
            [helper.make_tensor_value_info(out, onnx.TensorProto.FLOAT, [4])],
        )
        for name, out in ((reads, "then"), ("x", "else"))
    ]
    graph = helper.make_graph(
        [
            helper.make_node("Relu", ["x"], ["a"]),
            helper.make_node("If", ["c"], ["b"], then_branch=branches[0], else_branch=branches[1]),
            helper.make_node("Add", ["a", "b"], ["y"]),
        ],
        "branch",
        [
            helper.make_tensor_value_info("x", onnx.TensorProto.FLOAT, [4]),
            helper.make_tensor_value_info("c", onnx.TensorProto.BOOL, []),
        ],
        [helper.make_tensor_value_info("y", onnx.TensorProto.FLOAT, [4])],
    )
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=9)


def nodes(model: onnx_ir.Model, names: Sequence[str]) -> list[onnx_ir.Node]:
    """The nodes by their first output's name."""
    found = {node_key(node): node for node in model.graph}
    return [found[name] for name in names]


@pytest.mark.parametrize(
    ("reads", "again", "message"),
    [("x", "b", "has subgraphs"), ("a", "a", "inside the subgraph")],
)
def test_subgraphs_run_once(reads: str, again: str, message: str) -> None:
    """A node with subgraphs is not repeated, nor is what a subgraph reads."""
    model = onnx_ir.from_proto(branch(reads=reads))
    with pytest.raises(PlanError, match=message):
        repeated(model, nodes(model, ["a", "b", again, "y"]))
    copy, order = repeated(model, nodes(model, ["a", "b", "y"]))
    assert len(order) == len(copy.graph) == 3
