"""Executed orders: the exact route, the default order as predicted, and control edges."""

# pyright: reportUnknownVariableType=false, reportUnknownArgumentType=false
# ONNX Runtime's extension module has no stubs.

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import onnx
import onnx_ir as ir
import onnxruntime as ort
import pytest
from onnx import TensorProto, helper

from lowtide.backends.onnx.dependence import node_key, predecessors
from lowtide.backends.onnx.emit import emit
from lowtide.backends.onnx.portable import portable
from lowtide.backends.onnx.profile import Executed, executed
from lowtide.backends.onnx.session import Order, options
from lowtide.errors import PlanError
from lowtide.solvers.schedule.orders.ort_default import reverse_dfs
from tests.backends.models import everything, keys, random_dag, random_order

if TYPE_CHECKING:
    from pathlib import Path

    from lowtide.backends.onnx.stamp import Level


def _execute(path: Path, level: Level, order: Order = "default") -> Executed:
    chosen = options(level, order=order, threads=1)
    chosen.enable_profiling = True
    chosen.profile_file_prefix = str(path.parent / "profile")
    session = ort.InferenceSession(str(path), chosen, providers=["CPUExecutionProvider"])
    types = {
        "tensor(float)": np.float32,
        "tensor(float16)": np.float16,
        "tensor(bool)": np.bool_,
        "tensor(int64)": np.int64,
        "tensor(string)": np.str_,
    }
    session.run(None, {i.name: np.ones(i.shape, types[i.type]) for i in session.get_inputs()})
    return executed(path.parent / session.end_profiling(), path)


def _without_control(ran: Executed) -> tuple[str, ...]:
    return tuple(key for key in ran.keys if not key.startswith("lowtide."))


@pytest.mark.parametrize("seed", range(10))
def test_the_exact_route_follows_any_order(tmp_path: Path, seed: int) -> None:
    model = ir.from_proto(random_dag(50, seed))
    order = random_order(model.graph, seed)
    emit(model, order, tmp_path / "m.onnx", provenance={})
    assert _execute(tmp_path / "m.onnx", "none", "file").keys == keys(order)


@pytest.mark.parametrize("seed", range(10))
def test_the_default_order_is_predicted(tmp_path: Path, seed: int) -> None:
    model = ir.from_proto(random_dag(50, seed))
    order = random_order(model.graph, seed)
    emit(model, order, tmp_path / "m.onnx", provenance={})
    predicted = tuple(node_key(order[index]) for index in reverse_dfs(predecessors(order)))
    assert _execute(tmp_path / "m.onnx", "none").keys == predicted


@pytest.mark.parametrize("opset", [9, 10, 11, 13, 21])
@pytest.mark.parametrize("seed", range(4))
def test_control_edges_make_the_default_order_the_plan(
    tmp_path: Path, seed: int, opset: int
) -> None:
    model = ir.from_proto(random_dag(40, seed, opset=opset))
    order = random_order(model.graph, seed)
    result = portable(model, order)
    assert 0 < result.edges < len(order)
    assert result.planned == keys(order)
    path = tmp_path / "m.onnx"
    emit(result.model, result.order, path, provenance={})
    onnx.checker.check_model(str(path), full_check=True)
    assert _without_control(_execute(path, "none")) == keys(order)
    ran = _execute(path, "basic")
    assert not ran.added
    left = _without_control(ran)  # of equal nodes ONNX Runtime keeps one
    assert len(left) >= len(order) - 3
    assert left == tuple(key for key in keys(order) if key in set(left))
    before, after = (_outputs(proto) for proto in (ir.to_proto(model), onnx.load_model(str(path))))
    assert before == after


def _outputs(model: onnx.ModelProto) -> list[bytes]:
    chosen = options("none", threads=1)
    session = ort.InferenceSession(model.SerializeToString(), chosen)
    found = session.run(None, {"x": np.linspace(-1, 1, 4, dtype=np.float32)})
    return [np.asarray(value).tobytes() for value in found]


@pytest.mark.parametrize("seed", range(6))
def test_no_edge_where_the_plan_is_the_default_order(seed: int) -> None:
    model = ir.from_proto(random_dag(60, seed))
    nodes = [node for node in model.graph if node.op_type != "Constant"]
    order = [nodes[index] for index in reverse_dfs(predecessors(nodes))]
    assert portable(model, order).edges == 0


def _typed(kind: int, shape: list[int]) -> onnx.ModelProto:
    """x -> a, b (swapped by the plan), joined in the end, for any type."""
    nodes = [
        helper.make_node("Unsqueeze", ["x", "zero"], ["a"]),
        helper.make_node("Unsqueeze", ["x", "zero"], ["b"]),
        helper.make_node("Concat", ["a", "b"], ["y"], axis=0),
    ]
    graph = helper.make_graph(
        nodes,
        "typed",
        [helper.make_tensor_value_info("x", kind, shape)],
        [helper.make_tensor_value_info("y", kind, [2, *shape])],
        [helper.make_tensor("zero", TensorProto.INT64, [1], [0])],
    )
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", 13)], ir_version=8)


@pytest.mark.parametrize(
    "kind",
    [
        TensorProto.FLOAT,
        TensorProto.FLOAT16,
        TensorProto.BOOL,
        TensorProto.INT64,
        TensorProto.STRING,
    ],
    ids=["float", "half", "bool", "int64", "string"],
)
@pytest.mark.parametrize("shape", [[], [0], [3], [2, 3]], ids=str)
def test_edges_hang_on_any_shape(tmp_path: Path, kind: int, shape: list[int]) -> None:
    model = ir.from_proto(_typed(kind, shape))
    for swap in (False, True):
        first, second, last = model.graph
        order = [second, first, last] if swap else [first, second, last]
        result = portable(model, order)
        emit(result.model, result.order, tmp_path / "m.onnx", provenance={})
        assert _without_control(_execute(tmp_path / "m.onnx", "none")) == keys(order)


def test_subgraphs_are_kept_apart_in_the_profile(tmp_path: Path) -> None:
    proto = everything()
    del proto.graph.node[2]  # the function, which ONNX Runtime inlines
    proto.graph.node[3].input[0] = "a"
    model = ir.from_proto(proto)
    first, second, third, last = model.graph
    for order in ([first, second, third, last], [second, third, first, last]):
        emit(model, order, tmp_path / "m.onnx", provenance={})
        ran = _execute(tmp_path / "m.onnx", "none", "file")
        assert (ran.keys, ran.added) == (keys(order), 0)
        result = portable(model, order)
        emit(result.model, result.order, tmp_path / "p.onnx", provenance={})
        assert _without_control(_execute(tmp_path / "p.onnx", "none")) == keys(order)


def test_orders_and_models_that_cannot_be_portable() -> None:
    model = ir.from_proto(random_dag(20, 1))
    with pytest.raises(PlanError, match="is ordered before"):
        portable(model, random_order(model.graph, 1)[::-1])
    graph = helper.make_graph(
        [
            helper.make_node("RandomNormal", [], ["a"], shape=[4]),
            helper.make_node("RandomNormal", [], ["b"], shape=[4]),
            helper.make_node("RandomNormal", [], ["c"], shape=[4]),
            helper.make_node("Sum", ["b", "a"], ["d"]),
            helper.make_node("Sum", ["d", "c"], ["y"]),
        ],
        "sources",
        [],
        [helper.make_tensor_value_info("y", TensorProto.FLOAT, [4])],
    )
    sources = ir.from_proto(helper.make_model(graph, opset_imports=[helper.make_opsetid("", 13)]))
    a, b, c, d, y = sources.graph
    with pytest.raises(PlanError, match="no tensor to hang a control edge on: leave out"):
        portable(sources, [a, c, b, d, y])


def test_types_without_the_needed_kernels_carry_no_edge() -> None:
    casts = [helper.make_node("Cast", ["x"], [v], to=TensorProto.BFLOAT16) for v in "abc"]
    backs = [helper.make_node("Cast", [v], [v + v], to=TensorProto.FLOAT) for v in "abc"]
    last = helper.make_node("Sum", ["aa", "bb", "cc"], ["y"])
    floats = [helper.make_tensor_value_info(name, TensorProto.FLOAT, [4]) for name in "xy"]
    middle = [helper.make_tensor_value_info(v, TensorProto.BFLOAT16, [4]) for v in "abc"]
    graph = helper.make_graph(
        [*casts, *backs, last], "bf16", floats[:1], floats[1:], value_info=middle
    )
    model = ir.from_proto(helper.make_model(graph, opset_imports=[helper.make_opsetid("", 13)]))
    with pytest.raises(PlanError, match=r"'a' must run before Cast node 'b'.*no tensor to hang"):
        portable(model, list(model.graph))


def test_the_source_model_is_not_changed() -> None:
    model = ir.from_proto(random_dag(40, 2))
    before = ir.to_proto(model).SerializeToString(deterministic=True)
    portable(model, random_order(model.graph, 3))
    assert ir.to_proto(model).SerializeToString(deterministic=True) == before
