"""Damaged and hostile ONNX files: each writes itself into a folder and returns the model's path.

Every one must be refused with exit code 2, one clear message, in little time and memory, and with
nothing written.
"""

from __future__ import annotations

import os
import random
from collections.abc import Callable, Sequence
from itertools import pairwise
from pathlib import Path

import onnx
from onnx import TensorProto
from onnx import helper as h

__all__ = ["CASES", "sound"]

CASES: dict[str, Callable[[Path], Path]] = {}
FLOAT = TensorProto.FLOAT
INT64 = TensorProto.INT64


def sound(
    nodes: list[onnx.NodeProto] | None = None,
    initializers: list[TensorProto] | None = None,
    *,
    shape: Sequence[int | str] | None = None,
    output: str = "y",
    functions: list[onnx.FunctionProto] | None = None,
) -> onnx.ModelProto:
    """A small valid model, or one with these nodes: `x` in, `y` out."""
    dims = [1, 4] if shape is None else shape
    if nodes is None:
        nodes = [
            h.make_node("MatMul", ["x", "w"], ["a"], name="project"),
            h.make_node("Relu", ["a"], ["y"], name="relu"),
        ]
        initializers = [h.make_tensor("w", FLOAT, [4, 4], [0.5] * 16)]
    graph = h.make_graph(
        nodes,
        "net",
        [h.make_tensor_value_info("x", FLOAT, dims)],
        [h.make_tensor_value_info(output, FLOAT, None)],
        initializers or [],
    )
    imports = [h.make_opsetid("", 17), h.make_opsetid("f", 1)]
    return h.make_model(graph, opset_imports=imports, ir_version=8, functions=functions or [])


def _bytes(proto: onnx.ModelProto | onnx.TensorProto | onnx.GraphProto) -> bytes:
    data: bytes = proto.SerializeToString()
    return data


def _case(build: Callable[[Path], Path]) -> Callable[[Path], Path]:
    CASES[build.__name__.strip("_")] = build
    return build


def _model(
    build: Callable[[], onnx.ModelProto | bytes],
) -> Callable[[], onnx.ModelProto | bytes]:
    """Register a case that is one file with these contents."""

    def write(folder: Path) -> Path:
        contents = build()
        path = folder / "model.onnx"
        path.write_bytes(contents if isinstance(contents, bytes) else contents.SerializeToString())
        return path

    CASES[build.__name__.strip("_")] = write
    return build


# ------------------------------------------------------------------------------ not a model at all


@_case
def missing_file(folder: Path) -> Path:
    return folder / "model.onnx"


@_case
def directory(folder: Path) -> Path:
    path = folder / "model.onnx"
    path.mkdir()
    return path


@_case
def named_pipe(folder: Path) -> Path:
    path = folder / "model.onnx"
    os.mkfifo(path)
    return path


@_case
def over_two_gigabytes(folder: Path) -> Path:
    path = folder / "model.onnx"
    with path.open("wb") as file:
        file.truncate((1 << 31) + 1)  # sparse
    return path


@_model
def empty_file() -> bytes:
    return b""


@_model
def text_file() -> bytes:
    return b"this is not a model\n" * 100


@_model
def lfs_pointer() -> bytes:
    return b"version https://git-lfs.github.com/spec/v1\noid sha256:0\nsize 100\n"


@_model
def zeros() -> bytes:
    return bytes(4096)


@_model
def random_bytes() -> bytes:
    return random.Random(0).randbytes(100_000)


@_model
def other_protobuf() -> bytes:
    return _bytes(h.make_tensor("t", FLOAT, [2], [1.0, 2.0]))


def _varint(number: int) -> bytes:
    out = bytearray()
    while number > 127:
        out.append(number & 127 | 128)
        number >>= 7
    out.append(number)
    return bytes(out)


@_model
def length_beyond_the_file() -> bytes:
    return b"\x08\x08\x3a" + _varint(1 << 40) + b"abc"


def _truncations() -> None:
    data = _bytes(sound())
    for percent in (1, 10, 25, 40, 55, 70, 85, 99):
        cut = data[: max(1, len(data) * percent // 100)]

        def truncated(cut: bytes = cut) -> bytes:
            return cut

        truncated.__name__ = f"truncated_at_{percent}_percent"
        _model(truncated)


_truncations()

# ------------------------------------------------------------------------------ versions


@_model
def no_graph() -> onnx.ModelProto:
    model = sound()
    model.ClearField("graph")
    return model


@_model
def no_opset() -> onnx.ModelProto:
    model = sound()
    del model.opset_import[:]
    return model


@_model
def opset_from_the_future() -> onnx.ModelProto:
    model = sound()
    model.opset_import[0].version = 4000
    return model


@_model
def negative_opset() -> onnx.ModelProto:
    model = sound()
    model.opset_import[0].version = -3
    return model


@_model
def opset_twice() -> onnx.ModelProto:
    model = sound()
    model.opset_import.append(h.make_opsetid("ai.onnx", 11))
    return model


@_model
def ir_version_from_the_future() -> onnx.ModelProto:
    model = sound()
    model.ir_version = 1 << 40
    return model


@_model
def no_ir_version() -> onnx.ModelProto:
    model = sound()
    model.ClearField("ir_version")
    return model


# ------------------------------------------------------------------------------ names and order


@_model
def duplicate_output() -> onnx.ModelProto:
    return sound([h.make_node("Relu", ["x"], ["y"]), h.make_node("Abs", ["x"], ["y"])])


@_model
def duplicate_output_in_one_node() -> onnx.ModelProto:
    return sound([h.make_node("Split", ["x"], ["y", "y"], axis=1)])


@_model
def output_overwrites_input() -> onnx.ModelProto:
    return sound([h.make_node("Relu", ["x"], ["x"]), h.make_node("Relu", ["x"], ["y"])])


@_model
def duplicate_initializer() -> onnx.ModelProto:
    model = sound()
    model.graph.initializer.append(model.graph.initializer[0])
    return model


@_model
def duplicate_input() -> onnx.ModelProto:
    model = sound()
    model.graph.input.append(model.graph.input[0])
    return model


@_model
def cycle() -> onnx.ModelProto:
    return sound(
        [h.make_node("Add", ["x", "b"], ["a"]), h.make_node("Relu", ["a"], ["b"])], output="b"
    )


@_model
def node_reads_itself() -> onnx.ModelProto:
    return sound([h.make_node("Add", ["x", "y"], ["y"])])


@_model
def cycle_through_a_subgraph() -> onnx.ModelProto:
    body = h.make_graph([h.make_node("Identity", ["y"], ["z"])], "b", [], [_value("z")])
    condition = h.make_tensor("c", TensorProto.BOOL, [], [True])
    node = h.make_node("If", ["c"], ["t"], then_branch=body, else_branch=body)
    return sound([node, h.make_node("Relu", ["t"], ["y"])], [condition])


@_model
def missing_input() -> onnx.ModelProto:
    return sound([h.make_node("Add", ["x", "nobody"], ["y"])])


@_model
def output_never_made() -> onnx.ModelProto:
    return sound([h.make_node("Relu", ["x"], ["a"])])


@_model
def no_outputs() -> onnx.ModelProto:
    model = sound()
    del model.graph.output[:]
    return model


@_model
def node_without_type() -> onnx.ModelProto:
    model = sound()
    model.graph.node[0].ClearField("op_type")
    return model


@_model
def invalid_utf8() -> bytes:
    return _bytes(sound()).replace(b"relu", b"\xff\xfe\xff\xff")


@_model
def invalid_utf8_value() -> bytes:
    model = sound([h.make_node("Relu", ["x"], ["yyyy"])], output="yyyy")
    return _bytes(model).replace(b"yyyy", b"\xc3\x28\xa0\xff")


@_model
def unknown_operator() -> onnx.ModelProto:
    return sound([h.make_node("NoSuchOperator", ["x"], ["y"])])


@_model
def unknown_domain() -> onnx.ModelProto:
    return sound([h.make_node("Relu", ["x"], ["y"], domain="evil.example")])


# ------------------------------------------------------------------------------ shapes and types


@_model
def negative_dimension() -> onnx.ModelProto:
    return sound(shape=[1, -4])


@_model
def open_dimension() -> onnx.ModelProto:
    return sound(shape=["batch", 4])


@_model
def input_without_type() -> onnx.ModelProto:
    model = sound()
    model.graph.input[0].ClearField("type")
    return model


@_model
def input_without_shape() -> onnx.ModelProto:
    model = sound()
    model.graph.input[0].type.tensor_type.ClearField("shape")
    return model


@_model
def undefined_input_type() -> onnx.ModelProto:
    model = sound()
    model.graph.input[0].type.tensor_type.elem_type = 0
    return model


@_model
def unknown_input_type() -> onnx.ModelProto:
    model = sound()
    model.graph.input[0].type.tensor_type.elem_type = 999
    return model


@_model
def huge_input() -> onnx.ModelProto:
    return sound([h.make_node("Relu", ["x"], ["y"])], shape=[1 << 40, 1 << 40])


@_model
def input_of_many_dimensions() -> onnx.ModelProto:
    return sound([h.make_node("Relu", ["x"], ["y"])], shape=[1] * 100_000)


@_model
def mismatched_matmul() -> onnx.ModelProto:
    return sound(shape=[1, 5])


@_model
def wrong_operand_type() -> onnx.ModelProto:
    model = sound([h.make_node("MatMul", ["x", "s"], ["y"])], [])
    model.graph.initializer.append(
        TensorProto(name="s", data_type=8, dims=[4], string_data=[b"a"] * 4)
    )
    return model


@_model
def data_dependent_shape() -> onnx.ModelProto:
    nodes = [h.make_node("NonZero", ["x"], ["i"]), h.make_node("Cast", ["i"], ["y"], to=FLOAT)]
    return sound(nodes)


# ------------------------------------------------------------------------------ tensors


@_model
def initializer_too_short() -> onnx.ModelProto:
    model = sound()
    model.graph.initializer[0].ClearField("float_data")
    model.graph.initializer[0].raw_data = bytes(60)
    return model


@_model
def initializer_too_long() -> onnx.ModelProto:
    model = sound()
    model.graph.initializer[0].float_data.append(1.0)
    return model


@_model
def initializer_in_the_wrong_field() -> onnx.ModelProto:
    model = sound()
    model.graph.initializer[0].ClearField("float_data")
    model.graph.initializer[0].int64_data.extend([1] * 16)
    return model


@_model
def initializer_with_two_payloads() -> onnx.ModelProto:
    model = sound()
    model.graph.initializer[0].raw_data = bytes(64)
    return model


@_model
def initializer_of_negative_size() -> onnx.ModelProto:
    model = sound()
    model.graph.initializer[0].dims[0] = -4
    return model


@_model
def initializer_of_unknown_type() -> onnx.ModelProto:
    model = sound()
    model.graph.initializer[0].data_type = 77
    return model


@_model
def gigantic_initializer_without_data() -> onnx.ModelProto:
    model = sound()
    model.graph.initializer[0].dims[:] = [1 << 20, 1 << 20]
    model.graph.initializer[0].ClearField("float_data")
    return model


@_model
def initializer_that_overflows() -> onnx.ModelProto:
    model = sound()
    model.graph.initializer[0].dims[:] = [1 << 32, 1 << 32]
    return model


@_model
def sparse_initializer() -> onnx.ModelProto:
    model = sound()
    sparse = onnx.SparseTensorProto(dims=[4])
    sparse.values.CopyFrom(h.make_tensor("s", FLOAT, [1], [1.0]))
    sparse.indices.CopyFrom(h.make_tensor("i", INT64, [1], [0]))
    model.graph.sparse_initializer.append(sparse)
    return model


@_model
def short_tensor_in_an_attribute() -> onnx.ModelProto:
    tensor = TensorProto(data_type=FLOAT, dims=[1000], raw_data=b"1234")
    return sound(
        [h.make_node("Constant", [], ["c"], value=tensor), h.make_node("Add", ["x", "c"], ["y"])]
    )


# ------------------------------------------------------------------------------ external data


def _external(folder: Path, **entries: str) -> Path:
    model = sound()
    tensor = model.graph.initializer[0]
    tensor.ClearField("float_data")
    tensor.data_location = TensorProto.EXTERNAL
    for key, value in entries.items():
        tensor.external_data.add(key=key, value=value)
    path = folder / "model.onnx"
    path.write_bytes(model.SerializeToString())
    return path


def _inside(folder: Path) -> Path:
    (folder / "weights.bin").write_bytes(bytes(64))
    inner = folder / "inner"
    inner.mkdir()
    return inner


@_case
def external_missing(folder: Path) -> Path:
    return _external(folder, location="weights.bin")


@_case
def external_without_location(folder: Path) -> Path:
    return _external(folder, offset="0")


@_case
def external_absolute(folder: Path) -> Path:
    return _external(_inside(folder), location=str(folder / "weights.bin"))


@_case
def external_traversal(folder: Path) -> Path:
    return _external(_inside(folder), location="../weights.bin")


@_case
def external_hidden_traversal(folder: Path) -> Path:
    return _external(_inside(folder), location="a/../../weights.bin")


@_case
def external_system_file(folder: Path) -> Path:
    return _external(folder, location="/etc/passwd")


@_case
def external_symlink_out(folder: Path) -> Path:
    inner = _inside(folder)
    (inner / "weights.bin").symlink_to(folder / "weights.bin")
    return _external(inner, location="weights.bin")


@_case
def external_symlinked_folder(folder: Path) -> Path:
    inner = _inside(folder)
    (inner / "data").symlink_to(folder)
    return _external(inner, location="data/weights.bin")


@_case
def external_hard_link(folder: Path) -> Path:
    inner = _inside(folder)
    (inner / "weights.bin").hardlink_to(folder / "weights.bin")
    return _external(inner, location="weights.bin")


@_case
def external_directory(folder: Path) -> Path:
    (folder / "weights").mkdir()
    return _external(folder, location="weights")


@_case
def external_pipe(folder: Path) -> Path:
    os.mkfifo(folder / "weights.bin")
    return _external(folder, location="weights.bin")


@_case
def external_device(folder: Path) -> Path:
    (folder / "weights.bin").symlink_to("/dev/zero")
    return _external(folder, location="weights.bin")


@_case
def external_too_short(folder: Path) -> Path:
    (folder / "weights.bin").write_bytes(bytes(63))
    return _external(folder, location="weights.bin")


@_case
def external_offset_beyond(folder: Path) -> Path:
    (folder / "weights.bin").write_bytes(bytes(64))
    return _external(folder, location="weights.bin", offset="9999999999999")


@_case
def external_negative_offset(folder: Path) -> Path:
    (folder / "weights.bin").write_bytes(bytes(64))
    return _external(folder, location="weights.bin", offset="-8")


@_case
def external_wrong_length(folder: Path) -> Path:
    (folder / "weights.bin").write_bytes(bytes(64))
    return _external(folder, location="weights.bin", length="32")


@_case
def external_absurd_number(folder: Path) -> Path:
    (folder / "weights.bin").write_bytes(bytes(64))
    return _external(folder, location="weights.bin", offset="9" * 5000)


@_case
def external_zero_byte_in_path(folder: Path) -> Path:
    return _external(folder, location="weights.bin\0.txt")


# ------------------------------------------------------------------------------ bombs


def _constant(name: str, values: list[int]) -> TensorProto:
    return h.make_tensor(name, INT64, [len(values)], values)


@_model
def bomb_constant_of_shape() -> onnx.ModelProto:
    nodes = [h.make_node("ConstantOfShape", ["s"], ["c"]), h.make_node("Add", ["x", "c"], ["y"])]
    return sound(nodes, [_constant("s", [10**6, 10**6, 4])])


@_model
def bomb_expand() -> onnx.ModelProto:
    nodes = [h.make_node("Expand", ["x", "s"], ["c"]), h.make_node("ReduceSum", ["c"], ["y"])]
    return sound(nodes, [_constant("s", [10**6, 10**6, 1, 4])])


@_model
def bomb_tile_chain() -> onnx.ModelProto:
    names = ["x", *(f"t{i}" for i in range(12))]
    nodes = [h.make_node("Tile", [a, "r"], [b]) for a, b in pairwise(names)]
    nodes.append(h.make_node("ReduceSum", [names[-1]], ["y"]))
    return sound(nodes, [_constant("r", [10, 10])])


@_model
def bomb_concat_of_shapes() -> onnx.ModelProto:
    """Shape values double with every node: data propagation would hold 2^40 of them."""
    names = ["s", *(f"t{i}" for i in range(40))]
    nodes = [h.make_node("Concat", [a, a], [b], axis=0) for a, b in pairwise(names)]
    nodes.append(h.make_node("Reshape", ["x", names[-1]], ["y"]))
    return sound(nodes, [_constant("s", [1, 2, 2])])


@_model
def bomb_pad() -> onnx.ModelProto:
    return sound([h.make_node("Pad", ["x", "p"], ["y"])], [_constant("p", [0, 0, 10**9, 10**9])])


@_model
def bomb_negative_pad() -> onnx.ModelProto:
    return sound([h.make_node("Pad", ["x", "p"], ["y"])], [_constant("p", [0, 0, -9, -9])])


@_model
def bomb_outer_product() -> onnx.ModelProto:
    nodes = [h.make_node("Transpose", ["x"], ["t"]), h.make_node("Mul", ["x", "t"], ["y"])]
    return sound(nodes, shape=[1, 10**7])


@_model
def bomb_of_functions() -> onnx.ModelProto:
    """Twenty functions, each calling the next eight times: 8^20 nodes once inlined."""
    opset = [h.make_opsetid("", 17), h.make_opsetid("f", 1)]
    functions: list[onnx.FunctionProto] = []
    for level in range(20):
        kind, domain = ("Relu", "") if level == 19 else (f"F{level + 1}", "f")
        names = ["a", *(f"v{i}" for i in range(8))]
        calls = [h.make_node(kind, [a], [b], domain=domain) for a, b in pairwise(names)]
        functions.append(h.make_function("f", f"F{level}", ["a"], ["v7"], calls, opset))
    return sound([h.make_node("F0", ["x"], ["y"], domain="f")], functions=functions)


@_model
def recursive_function() -> onnx.ModelProto:
    opset = [h.make_opsetid("", 17), h.make_opsetid("f", 1)]
    call = h.make_node("F", ["a"], ["b"], domain="f")
    function = h.make_function("f", "F", ["a"], ["b"], [call], opset)
    return sound([h.make_node("F", ["x"], ["y"], domain="f")], functions=[function])


@_model
def mutually_recursive_functions() -> onnx.ModelProto:
    opset = [h.make_opsetid("", 17), h.make_opsetid("f", 1)]
    functions = [
        h.make_function("f", a, ["a"], ["b"], [h.make_node(b, ["a"], ["b"], domain="f")], opset)
        for a, b in (("F", "G"), ("G", "F"))
    ]
    return sound([h.make_node("F", ["x"], ["y"], domain="f")], functions=functions)


@_model
def duplicate_function() -> onnx.ModelProto:
    opset = [h.make_opsetid("", 17)]
    body = [h.make_node("Relu", ["a"], ["b"])]
    function = h.make_function("f", "F", ["a"], ["b"], body, opset)
    return sound([h.make_node("F", ["x"], ["y"], domain="f")], functions=[function, function])


def _value(name: str) -> onnx.ValueInfoProto:
    return h.make_tensor_value_info(name, FLOAT, None)


@_model
def nested_subgraphs() -> onnx.ModelProto:
    """As deep as protobuf lets a file be, and no deeper than Lowtide's own bound says."""
    graph = h.make_graph([h.make_node("Relu", ["x"], ["y0"])], "g", [], [_value("y0")])
    for level in range(1, 30):
        node = h.make_node("If", ["c"], [f"y{level}"], then_branch=graph, else_branch=graph)
        if level > 1:
            del node.attribute[1:]
        graph = h.make_graph([node], "g", [], [_value(f"y{level}")])
    node = graph.node[0]
    return sound([node], [h.make_tensor("c", TensorProto.BOOL, [], [True])], output="y29")


@_model
def nested_beyond_protobuf() -> bytes:
    data = _bytes(h.make_graph([h.make_node("Relu", ["x"], ["y"])], "g", [], [_value("y")]))
    for _ in range(20_000):  # graph { node { attribute { g { ...
        attribute = b"\x32" + _varint(len(data)) + data
        node = b"\x2a" + _varint(len(attribute)) + attribute
        data = b"\x0a" + _varint(len(node)) + node
    return b"\x08\x08\x3a" + _varint(len(data)) + data


@_model
def subgraph_returns_outer_value() -> onnx.ModelProto:
    branch = h.make_graph([], "b", [], [_value("x")])
    node = h.make_node("If", ["c"], ["y"], then_branch=branch, else_branch=branch)
    return sound([node], [h.make_tensor("c", TensorProto.BOOL, [], [True])])


@_model
def absurd_attribute() -> onnx.ModelProto:
    return sound([h.make_node("Transpose", ["x"], ["y"], perm=[0] * 3_000_000)])


@_model
def attribute_twice() -> onnx.ModelProto:
    model = sound([h.make_node("Transpose", ["x"], ["y"], perm=[1, 0])])
    model.graph.node[0].attribute.append(model.graph.node[0].attribute[0])
    return model


@_model
def attribute_without_type() -> onnx.ModelProto:
    model = sound([h.make_node("Transpose", ["x"], ["y"], perm=[1, 0])])
    model.graph.node[0].attribute[0].ClearField("type")
    return model


@_model
def map_output() -> onnx.ModelProto:
    model = sound()
    model.graph.output[0].type.map_type.key_type = INT64
    return model


@_model
def wide_cycle() -> onnx.ModelProto:
    """Twenty thousand nodes on one cycle."""
    nodes = [h.make_node("Relu", [f"t{i}"], [f"t{(i + 1) % 20_000}"]) for i in range(20_000)]
    return sound([*nodes, h.make_node("Add", ["x", "t0"], ["y"])])


@_model
def bomb_inside_a_branch() -> onnx.ModelProto:
    nodes = [
        h.make_node("Constant", [], ["s"], value_ints=[10**6, 10**7]),
        h.make_node("ConstantOfShape", ["s"], ["k"]),
        h.make_node("ReduceSum", ["k"], ["r"]),
    ]
    branch = h.make_graph(nodes, "b", [], [_value("r")])
    node = h.make_node("If", ["c"], ["y"], then_branch=branch, else_branch=branch)
    return sound([node], [h.make_tensor("c", TensorProto.BOOL, [], [True])])


@_model
def name_of_a_megabyte() -> onnx.ModelProto:
    return sound([h.make_node("Add", ["x", "n" * (1 << 20)], ["y"])])


@_model
def name_with_terminal_codes() -> onnx.ModelProto:
    return sound([h.make_node("Add", ["x", "\x1b[2Jgone\nand\r\x00more"], ["y"])])


@_model
def operator_with_terminal_codes() -> onnx.ModelProto:
    return sound([h.make_node("\x1b[2J\n", ["x"], ["y"], name="\x1b[31m\n")])


@_model
def many_branches_in_a_large_graph() -> onnx.ModelProto:
    """Quadratic work, were every branch to copy the names around it."""
    branch = h.make_graph([h.make_node("Neg", ["x"], ["b"])], "b", [], [_value("b")])
    nodes = [
        h.make_node("If", ["c"], [f"t{i}"], then_branch=branch, else_branch=branch)
        for i in range(3000)
    ]
    nodes.append(h.make_node("Add", ["x", "nobody"], ["y"]))
    return sound(nodes, [h.make_tensor("c", TensorProto.BOOL, [], [True])])
