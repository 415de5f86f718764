"""Lowered Relax functions as graphs: views, what stays apart, pinned order, bounds, workspace."""

# pyright: reportUnknownVariableType=false, reportUnknownArgumentType=false
# pyright: reportUnknownParameterType=false, reportMissingTypeArgument=false
# pyright: reportArgumentType=false, reportAttributeAccessIssue=false
# pyright: reportCallIssue=false, reportUnknownLambdaType=false
# pyright: reportOperatorIssue=false, reportReturnType=false
# TVM has no stubs, and its annotations are narrower than what it takes.

from __future__ import annotations

from itertools import product
from typing import TYPE_CHECKING, TypeVar

import numpy as np
import onnx
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from onnx import TensorProto, helper, numpy_helper

from lowtide.errors import ModelError
from lowtide.ir import Role, print_graph, verify

if TYPE_CHECKING:
    from collections.abc import Callable

    import tvm

    from lowtide.frontends.tvm import Imported

Number = TypeVar("Number", "tvm.ir.Expr", int)

pytestmark = pytest.mark.tvm


def lowered(module: tvm.IRModule) -> tvm.IRModule:
    """As it is before TVM plans its memory."""
    import tvm

    from lowtide.targets.tvm_pipeline import apply, stages

    target = tvm.target.Target("llvm")
    with target:
        return apply(stages(target).before, module)


def imported(module: tvm.IRModule) -> Imported:
    from lowtide.frontends.tvm import import_function

    found = import_function(lowered(module))
    verify(found.graph)
    verify(found.arena_graph())
    return found


def convolution() -> onnx.ModelProto:
    """Convolution, pooling, a view, a matrix product; a dynamic batch."""
    rng = np.random.default_rng(0)

    def weight(name: str, *shape: int) -> onnx.TensorProto:
        return numpy_helper.from_array(rng.standard_normal(shape).astype(np.float32), name)

    nodes = [
        helper.make_node("Conv", ["x", "w"], ["c"], pads=[1, 1, 1, 1]),
        helper.make_node("Relu", ["c"], ["r"]),
        helper.make_node("GlobalAveragePool", ["r"], ["g"]),
        helper.make_node("Flatten", ["g"], ["f"]),
        helper.make_node("MatMul", ["f", "v"], ["y"]),
    ]
    graph = helper.make_graph(
        nodes,
        "net",
        [helper.make_tensor_value_info("x", TensorProto.FLOAT, ["n", 3, 16, 16])],
        [helper.make_tensor_value_info("y", TensorProto.FLOAT, ["n", 5])],
        [weight("w", 8, 3, 3, 3), weight("v", 8, 5)],
    )
    opsets = [helper.make_opsetid("", 13)]
    return helper.make_model(graph, opset_imports=opsets, ir_version=8)


def test_an_onnx_model_as_a_graph(golden: Callable[[str, str], None]) -> None:
    from lowtide.frontends.tvm.onnx_model import from_onnx

    found = imported(from_onnx(convolution(), {"n": 2}))
    golden("tvm_convolution.txt", print_graph(found.graph) + print_graph(found.arena_graph()))
    assert found.notes == ()
    roles = [t.role for t in found.graph.tensors if t.producer is None]
    assert roles.count(Role.INPUT) == 1
    assert roles.count(Role.CONSTANT) == 2


def test_flops_and_workspace_of_a_padded_convolution() -> None:
    from lowtide.frontends.tvm.onnx_model import from_onnx

    found = imported(from_onnx(convolution(), {"n": 2}))
    op = found.graph.ops[0]
    padded, plain = 2 * 3 * 18 * 18 * 4, 2 * 8 * 16 * 16 * 4
    pages = sum(-(-size // 4096) * 4096 for size in (padded, plain))
    assert op.workspace_bytes == pages
    assert op.flops >= 2 * 2 * 8 * 16 * 16 * 27
    assert sum(o.workspace_bytes for o in found.arena_graph().ops) == 0


def test_symbolic_sizes_count_at_their_bound() -> None:
    from lowtide.frontends.tvm import import_function
    from lowtide.frontends.tvm.onnx_model import from_onnx

    module = lowered(from_onnx(convolution()))
    free = import_function(module)
    assert [a.unbounded for a in free.allocations.values()] == [True] * 3
    function = module["main"].with_attr("tir_var_upper_bound", {"n": 7})
    module.update_func(module.get_global_var("main"), function)
    bound = import_function(module)
    fixed = imported(from_onnx(convolution(), {"n": 7}))
    assert [t.nbytes for t in bound.graph.tensors] == [t.nbytes for t in fixed.graph.tensors]
    assert [o.workspace_bytes for o in bound.graph.ops] == [
        o.workspace_bytes for o in fixed.graph.ops
    ]


@settings(max_examples=25)
@given(
    factors=st.lists(st.integers(-3, 9), min_size=4, max_size=4),
    upper=st.lists(st.integers(0, 5), min_size=2, max_size=2),
    floor=st.integers(1, 4),
)
def test_a_dimensions_bound_is_never_too_small(
    factors: list[int], upper: list[int], floor: int
) -> None:
    from tvm.ir import Var

    from lowtide.frontends.tvm.sizes import Bounds

    n, m = Var("n", "int64"), Var("m", "int64")
    bounds = Bounds({"n": upper[0], "m": upper[1]}, {})

    def value(one: Number, other: Number) -> Number:
        return (
            one * factors[0] + other * factors[1] + one * other * factors[2] + factors[3]
        ) // floor

    largest = max(value(a, b) for a, b in product(*(range(u + 1) for u in upper)))
    found = bounds.most(value(n, m))
    if largest >= 0:
        assert found is not None
        assert found >= largest
    assert Bounds({"n": 3}, {}).most(m) is None
    assert Bounds({"n": upper[0]}, {}).most(n * 12) == 12 * upper[0]


def test_what_no_kernel_sees_stays_apart_and_in_place() -> None:
    from tvm import relax

    builder = relax.BlockBuilder()
    x = relax.Var("x", relax.TensorType([4, 4], "float32"))
    with builder.function("main", [x]):
        a = builder.emit(relax.op.add(x, x))
        b = builder.emit(relax.op.call_pure_packed("some.function", a, ty_args=x.ty))
        c = builder.emit(relax.op.multiply(b, a))
        builder.emit_func_output(builder.emit(relax.op.matmul(c, c)))
    found = imported(builder.get())
    kinds = [(op.kind, op.traits.pinned) for op in found.graph.ops]
    assert kinds == [
        ("add", False),
        ("some.function", True),
        ("multiply", False),
        ("matmul", False),
    ]
    reasons = [allocation.apart for allocation in found.allocations.values()]
    assert reasons[0] == "`some.function` sees it, which is no kernel"
    assert reasons[1] == ""
    assert "result of the function" in reasons[2]
    sizes = {t.name: t.nbytes for t in found.arena_graph().tensors if t.producer is not None}
    assert sorted(sizes.values()) == [0, 0, 0, 64]


def test_a_kernel_that_writes_over_its_operand_keeps_the_order() -> None:
    import tvm
    from tvm import relax, tirx
    from tvm.ir import GlobalVar

    buffer = tirx.decl_buffer([4], "float32", "a")
    index = tirx.Var("i", "int64")
    store = tirx.BufferStore(buffer, tirx.BufferLoad(buffer, [index]) + 1.0, [index])
    loop = tirx.For(
        index, tirx.const(0, "int64"), tirx.const(4, "int64"), tirx.ForKind.SERIAL, store
    )
    kernel = tirx.PrimFunc([buffer], loop)
    builder = relax.BlockBuilder()
    name = builder.add_func(kernel, "increment")
    assert isinstance(name, GlobalVar)
    x = relax.Var("x", relax.TensorType([4], "float32"))
    with builder.function("main", [x]):
        a = builder.emit(relax.op.add(x, x))
        builder.emit(relax.Call(name, [a]))
        builder.emit_func_output(builder.emit(relax.op.multiply(a, a)))
    found = imported(tvm.IRModule(builder.get().functions))
    assert all(op.traits.pinned for op in found.graph.ops)
    assert "`increment` writes over an operand" in found.notes[0]


def test_control_flow_and_other_functions_are_refused() -> None:
    from tvm import relax

    from lowtide.frontends.tvm import import_function

    builder = relax.BlockBuilder()
    x = relax.Var("x", relax.TensorType([4], "float32"))
    flag = relax.Var("flag", relax.TensorType([], "bool"))
    with builder.function("main", [x, flag]):
        branch = relax.If(
            flag,
            relax.SeqExpr([], relax.op.add(x, x)),
            relax.SeqExpr([], relax.op.multiply(x, x)),
        )
        builder.emit_func_output(builder.emit(branch))
    module = lowered(relax.transform.Normalize()(builder.get()))
    with pytest.raises(ModelError, match="`main` has control flow"):
        import_function(module)
    with pytest.raises(ModelError, match="no Relax function"):
        import_function(module, "add")


def test_tvms_importer_fails_with_a_message() -> None:
    from lowtide.frontends.tvm.onnx_model import from_onnx

    node = helper.make_node("NoSuchOperator", ["x"], ["y"], domain="elsewhere")
    info = helper.make_tensor_value_info
    graph = helper.make_graph(
        [node], "g", [info("x", TensorProto.FLOAT, [1])], [info("y", TensorProto.FLOAT, [1])]
    )
    with pytest.raises(ModelError, match="TVM's importer does not take this model"):
        from_onnx(helper.make_model(graph, ir_version=8))
