"""TFLite files from edited graphs: what was kept stays, what is new is right, it all runs."""

from __future__ import annotations

import importlib
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

from lowtide.backends.tflite import PLAN, rebuild
from lowtide.backends.tflite.control import CONTROL, encode_control
from lowtide.bench.tflite_builder import (
    TfliteBuilder,
    branching,
    litert_schema,
    outside,
    pack,
    quantized,
    stateful,
)
from lowtide.errors import ModelError, VerificationError
from lowtide.flatbuffer import differences
from lowtide.frontends.tflite import TfliteDialect, read
from lowtide.ir import Graph, Joined, Part, Recipe, Role, Values, unroll
from tests.tflite_networks import (
    NETWORK_KINDS,
    Network,
    difference,
    imported,
    in_litert,
    in_tflm,
    network,
)
from tests.tflite_objects import everything

SCHEMA: Any = litert_schema()
Edit = Callable[[Graph, TfliteDialect], None]


def opened(data: bytes) -> Any:
    """The object API's model."""
    return SCHEMA.ModelT.InitFromObj(SCHEMA.Model.GetRootAs(data, 0))


def rewritten(data: bytes, edit: Edit) -> bytes:
    """The file after an edit of a copy of its graph; the same again, from the graph itself."""
    source, found = imported(data)
    copy = unroll(found.graph, found.graph.ops)
    edit(copy, TfliteDialect(source, found))
    result = rebuild(source, found, copy)
    assert result == rebuild(source, found, unroll(copy, copy.ops))
    read(result)
    return result


# -------------------------------------------------------------------- nothing was edited

MODELS = {
    "branching": branching(3),
    "quantized": quantized(4),
    "stateful": stateful(),
    "network": network("int8", 5),
}


@pytest.mark.parametrize("name", MODELS)
def test_without_edits_every_field_is_kept(name: str) -> None:
    source, found = imported(MODELS[name])
    again = read(rebuild(source, found, found.graph))
    assert list(differences(source.model.table, again.model.table)) == []


def test_everything_that_the_schema_has_is_kept() -> None:
    model = everything()
    for subgraph in model.subgraphs:  # options outside the flatbuffer are refused
        for op in subgraph.operators:
            op.largeCustomOptionsOffset = 0
    source, found = imported(pack(model))
    again = read(rebuild(source, found, found.graph))
    assert list(differences(source.model.table, again.model.table)) == []


def test_a_rebuilt_file_is_as_good_as_its_source() -> None:
    source, found = imported(MODELS["network"])
    first = rebuild(source, found, found.graph)
    source, found = imported(first)
    assert rebuild(source, found, found.graph) == first


# -------------------------------------------------------------------- edits


def without(index: int) -> Edit:
    """Let the readers of an operator's result read its first operand."""

    def edit(graph: Graph, dialect: TfliteDialect) -> None:
        del dialect
        op = graph.ops[index]
        graph.replace_uses(op.outputs[0], op.operands[0])
        graph.remove(op)

    return edit


def annotated() -> tuple[bytes, int]:
    """A model with a signature, metadata of all kinds, control edges; and a no-op's operator."""
    net = Network("int8", 1)
    data = net.source((1, 4, 4, 2))
    first = net.conv(data, 3)
    shape = net.no_op("RESHAPE", first)
    second = net.unary("RELU", shape)
    third = net.unary("RELU", second)
    net.build.inputs(data.tensor)
    net.build.outputs(third.tensor, second.tensor)
    net.build.metadata("kept", b"as it was")
    tensors = len(net.build.model.subgraphs[0].tensors)
    offsets = np.array([1, 0, tensors, *([-1] * tensors)], np.int32)
    net.build.metadata(PLAN, offsets.tobytes())
    net.build.metadata(CONTROL, encode_control([[(2, 3)]]))
    signature = SCHEMA.SignatureDefT()
    signature.signatureKey, signature.subgraphIndex = b"serve", 0
    signature.inputs, signature.outputs = [], []
    for maps, name, tensor in (
        (signature.inputs, b"in", data),
        (signature.outputs, b"late", third),
        (signature.outputs, b"early", second),
    ):
        item = SCHEMA.TensorMapT()
        item.name, item.tensorIndex = name, tensor.tensor
        maps.append(item)
    net.build.model.signatureDefs = [signature]
    return net.build.data(), 1


def test_what_is_left_of_an_edited_model() -> None:
    data, index = annotated()
    before = opened(data)
    result = rewritten(data, without(index))
    after = opened(result)
    assert len(after.subgraphs[0].operators) == 3
    # The reshape's result and its shape are gone; all others are as before, in their order.
    old = [t.name for t in before.subgraphs[0].tensors]
    new = [t.name for t in after.subgraphs[0].tensors]
    gone = [name for name in old if name not in new]
    assert len(gone) == 2
    assert new == [name for name in old if name in new]
    named = {m.name: bytes(after.buffers[m.buffer].data) for m in after.metadata}
    assert named == {b"kept": b"as it was", CONTROL.encode(): encode_control([[(1, 2)]])}
    (signature,) = after.signatureDefs
    names = [t.name for t in after.subgraphs[0].tensors]
    maps = {m.name: names[m.tensorIndex] for m in (*signature.inputs, *signature.outputs)}
    (kept,) = before.signatureDefs
    was = {m.name: old[m.tensorIndex] for m in (*kept.inputs, *kept.outputs)}
    assert maps == was
    assert len(after.operatorCodes) == len(before.operatorCodes) - 1
    used = {t.buffer for t in after.subgraphs[0].tensors} | {m.buffer for m in after.metadata}
    assert used | {0} == set(range(len(after.buffers)))
    assert difference(data, result, in_litert) is None
    assert difference(data, result, in_tflm) is None


def test_a_signature_still_runs() -> None:
    data, index = annotated()
    results: list[dict[str, Any]] = []
    for model in (data, rewritten(data, without(index))):
        interpreter: Any = importlib.import_module("ai_edge_litert.interpreter").Interpreter(
            model_content=model
        )
        run = interpreter.get_signature_runner("serve")
        results.append(run(**{"in": np.arange(32, dtype=np.int8).reshape(1, 4, 4, 2)}))
    assert results[0].keys() == results[1].keys() == {"late", "early"}
    for name, value in results[0].items():
        assert np.array_equal(value, results[1][name])


def test_what_stands_for_an_output_takes_its_name() -> None:
    net = Network("float32")
    made = net.conv(net.source((1, 4, 4, 2)), 3)
    net.no_op("RESHAPE", made)
    data = net.data()
    before = opened(data).subgraphs[0]
    result = rewritten(data, without(1))
    after = opened(result).subgraphs[0]
    assert [after.tensors[t].name for t in after.outputs] == [
        before.tensors[t].name for t in before.outputs
    ]
    assert difference(data, result, in_litert) is None


def test_a_signature_of_something_inside_forbids_to_remove_it() -> None:
    data, index = annotated()
    model = opened(data)
    operator = model.subgraphs[0].operators[index]
    model.signatureDefs[0].outputs[0].tensorIndex = operator.outputs[0]
    with pytest.raises(ModelError, match="a signature names tensor"):
        rewritten(pack(model), without(index))


@pytest.mark.parametrize("kind", NETWORK_KINDS)
@pytest.mark.parametrize("depthwise", [False, True])
def test_parts_of_weights_take_their_scales_along(kind: str, depthwise: bool) -> None:
    net = Network(kind, 7)
    net.conv(net.source((1, 6, 6, 4)), 8, depthwise=depthwise, activation=1)
    data = net.data()

    def edit(graph: Graph, dialect: TfliteDialect) -> None:
        (conv,) = graph.ops
        source, weights, bias = conv.inputs
        assert source is not None
        assert weights is not None
        assert bias is not None
        pieces: list[Any] = []
        for name, start, stop in (("one", 0, 2), ("two", 2, 8)):
            axis = 3 if depthwise else 0
            parts: list[Any] = []
            for base, along in ((weights, axis), (bias, 0)):
                shape = list(base.shape)
                shape[along] = stop - start
                recipe = Part(base, along, start, stop)
                parts.append(
                    graph.add_tensor(
                        f"{base.name}/{name}", base.dtype, shape, role=Role.CONSTANT, like=base,
                        recipe=recipe,
                    )
                )  # fmt: skip
            operand = source
            if depthwise:
                operand = dialect.slice(
                    graph, f"in/{name}", source, 3, start // 2, stop // 2, before=conv
                )
            result = (1, 6, 6, stop - start)
            groups = (stop - start) // 2 if depthwise else None
            pieces.append(
                dialect.again(
                    graph, name, conv, [operand, *parts], result, before=conv, groups=groups
                )
            )
        joined = dialect.join(graph, "joined", pieces, 3, conv.outputs[0], before=conv)
        graph.replace_uses(conv.outputs[0], joined)
        graph.remove(conv)

    result = rewritten(data, edit)
    assert difference(data, result, in_tflm) is None
    assert difference(data, result, in_litert) is None
    if kind == "int8":
        scales = [
            list(t.quantization.scale)
            for t in opened(result).subgraphs[0].tensors
            if t.quantization is not None and len(t.quantization.scale) > 1
        ]
        (whole,) = {
            tuple(t.quantization.scale)
            for t in opened(data).subgraphs[0].tensors
            if t.quantization is not None and t.type == SCHEMA.TensorType.INT8
            and len(t.quantization.scale) > 1
        }  # fmt: skip
        assert list(whole[:2]) in scales
        assert list(whole[2:]) in scales


def test_equal_constants_are_stored_once() -> None:
    net = Network("float32", 2)
    net.conv(net.source((1, 4, 4, 2)), 2)
    data = net.data()

    def edit(graph: Graph, dialect: TfliteDialect) -> None:
        (conv,) = graph.ops
        for name in ("one", "two", "three"):
            dialect.slice(graph, name, conv.outputs[0], 1, 1, 3, before=None)
        _, weights, bias = conv.inputs
        assert weights is not None
        assert bias is not None
        for number in range(2):
            whole = graph.add_tensor(
                f"whole{number}",
                "float32",
                weights.shape,
                role=Role.CONSTANT,
                like=weights,
                recipe=Part(weights, 0, 0, 2),
            )
            operands = [conv.inputs[0], whole, bias]
            dialect.again(graph, f"conv{number}", conv, operands, (1, 4, 4, 2), before=None)

    before, after = opened(data), opened(rewritten(data, edit))
    # Begin and size of the slices; the weights are those that were there.
    assert len(after.buffers) == len(before.buffers) + 2


def test_joined_constants() -> None:
    net = Network("int8", 3)
    data = net.source((1, 4, 4, 2))
    parts = [net.constant((1, 1, 1, 1)) for _ in range(2)]
    net.binary("ADD", data, net.concat(parts))
    model = net.data()

    def edit(graph: Graph, dialect: TfliteDialect) -> None:
        del dialect
        concat = graph.ops[0]
        recipe = Joined(concat.operands, 3)
        like = concat.operands[0]
        row = graph.add_tensor(
            "row", "int8", (1, 1, 1, 2), role=Role.CONSTANT, like=like, recipe=recipe
        )
        graph.replace_uses(concat.outputs[0], row)
        graph.remove(concat)

    result = rewritten(model, edit)
    assert difference(model, result, in_tflm) is None
    held = opened(result)
    (row,) = [t for t in held.subgraphs[0].tensors if t.name == b"row"]
    assert list(row.quantization.scale) == pytest.approx([0.05])
    assert len(held.buffers[row.buffer].data) == 2
    assert len(held.subgraphs[0].tensors) == 3


# -------------------------------------------------------------------- refusals


def constant(
    shape: tuple[int, ...], dtype: str, recipe: Callable[[Graph], Recipe], like: str = ""
) -> Edit:
    """Add something to the last result that is made of a recipe."""

    def edit(graph: Graph, dialect: TfliteDialect) -> None:
        model = graph.tensor(like) if like else None
        data = graph.ops[-1].outputs[0]
        made = graph.add_tensor(
            "made", dtype, shape, role=Role.CONSTANT, like=model, recipe=recipe(graph)
        )
        dialect.add(graph, "sum", [data, made], data, before=None)

    return edit


@pytest.mark.parametrize(
    ("edit", "error", "message"),
    [
        (
            constant((3,), "float32", lambda _: Values((1.0, 2.0))),
            ModelError,
            "has 3 elements, its recipe 2",
        ),
        (
            constant((1, 1, 1, 4), "float32", lambda g: Part(g.tensor("c"), 3, 0, 3)),
            ModelError,
            r"should have the shape \[1, 1, 1, 4\], its recipe makes \[1, 1, 1, 3\]",
        ),
        (
            constant((1, 4, 4, 2), "float32", lambda g: Part(g.tensor("v0"), 3, 0, 2)),
            ModelError,
            "is no constant whose data is in the file",
        ),
        (
            constant((2,), "int32", lambda _: Values((2**40,))),
            ModelError,
            "int32 cannot hold",
        ),
        (
            constant((2,), "float16", lambda _: Values((1.0,))),
            VerificationError,
            "is float16, but like no other",
        ),
    ],
)  # fmt: skip
def test_constants_that_cannot_be_made(edit: Edit, error: type[Exception], message: str) -> None:
    net = Network("float32")
    net.binary("ADD", net.source((1, 4, 4, 4)), net.constant((1, 1, 1, 4)))
    with pytest.raises(error, match=message):
        rewritten(net.data(), edit)


def test_graphs_of_other_models_are_refused() -> None:
    source, found = imported(MODELS["branching"])
    _, other = imported(MODELS["quantized"])
    with pytest.raises(VerificationError, match=r"not the source's|like no other"):
        rebuild(source, found, other.graph)
    _, other = imported(branching(3, operators=3))
    with pytest.raises(VerificationError, match=r"another number|not the source's"):
        rebuild(source, found, other.graph)
    copy = unroll(found.graph, found.graph.ops)
    op = copy.ops[0]
    result = copy.add_tensor("made", "float32", op.outputs[0].shape, like=op.outputs[0])
    copy.add_op("foreign", "tflite", "EXP", [op.outputs[0]], [result])
    with pytest.raises(VerificationError, match="resembles no operator of the source"):
        rebuild(source, found, copy)


def test_data_outside_the_flatbuffer_is_refused() -> None:
    source, found = imported(outside())
    with pytest.raises(ModelError, match="outside its flatbuffer"):
        rebuild(source, found, found.graph)


def test_compressed_models_are_refused() -> None:
    net = Network("float32")
    net.unary("RELU", net.source((1, 4)))
    net.build.metadata("COMPRESSION_METADATA", b"something")
    source, found = imported(net.data())
    with pytest.raises(ModelError, match="compressed for TFLite Micro"):
        rebuild(source, found, found.graph)


def test_a_control_edge_has_to_stay() -> None:
    build = TfliteBuilder()
    a, b, c = (build.tensor(n, [2]) for n in "abc")
    build.op("RELU", [a], [b])
    build.op("EXP", [a], [c])
    build.inputs(a)
    build.outputs(b, c)
    build.metadata(CONTROL, encode_control([[(0, 1)]]))
    source, found = imported(build.data())
    copy = unroll(found.graph, found.graph.ops)
    copy.reorder(copy.ops[::-1])
    with pytest.raises(VerificationError, match="breaks a control edge"):
        rebuild(source, found, copy)
