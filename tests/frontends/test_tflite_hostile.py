"""Hostile TFLite files: refused with a message that names the place, or read; nothing else."""

from __future__ import annotations

import random
import struct
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from lowtide.backends.tflite.control import encode_control
from lowtide.bench.fuzz_tflite import mutate, seed_of, seeds, try_model
from lowtide.bench.tflite_builder import TfliteBuilder, litert_schema, pack, quantized, stateful
from lowtide.errors import InputError, ModelError
from lowtide.flatbuffer import Limits, Table, verify
from lowtide.frontends.tflite import import_graph, read
from lowtide.frontends.tflite.control import CONTROL
from lowtide.frontends.tflite.schema import tflite_schema

LITERT: Any = litert_schema()
SEEDS = seeds()


def chain() -> TfliteBuilder:
    """x -> RELU -> y -> ADD with w -> z."""
    build = TfliteBuilder()
    x, y, z = (build.tensor(n, [1, 2]) for n in "xyz")
    w = build.tensor("w", [1, 2], data=np.ones((1, 2), np.float32))
    build.op("RELU", [x], [y])
    build.op("ADD", [y, w], [z], "AddOptions")
    build.inputs(x)
    build.outputs(z)
    return build


Edit = Callable[[TfliteBuilder], None]


def main_of(build: TfliteBuilder) -> Any:
    return build.model.subgraphs[0]


def edit(path: str, value: object) -> Edit:
    """Set an attribute: `subgraphs.0.operators.1.inputs`."""

    def apply(build: TfliteBuilder) -> None:
        target: Any = build.model
        *steps, last = path.split(".")
        for step in steps:
            target = target[int(step)] if step.isdigit() else getattr(target, step)
        if last.isdigit():
            target[int(last)] = value
        else:
            setattr(target, last, value)

    return apply


OPS = "subgraphs.0.operators"
TENSORS = "subgraphs.0.tensors"
INVALID: dict[str, tuple[Edit, str]] = {
    "version": (edit("version", 4), "schema version 4 is not supported"),
    "no subgraph": (edit("subgraphs", []), "no subgraph"),
    "input index": (edit(f"{OPS}.0.inputs", [9]), r"\(RELU\): inputs: tensor 9 does not exist"),
    "negative index": (edit(f"{OPS}.0.inputs", [-2]), "tensor -2 does not exist"),
    "output index": (
        edit(f"{OPS}.0.outputs", [4]),
        "outputs: tensor 4 does not exist, there are 4",
    ),
    "intermediate": (edit(f"{OPS}.0.intermediates", [7]), "intermediates: tensor 7"),
    "opcode": (edit(f"{OPS}.1.opcodeIndex", 2), "operator 1: operator code 2 does not exist"),
    "graph input": (edit("subgraphs.0.inputs", [-1]), "inputs: tensor -1 does not exist"),
    "graph output": (edit("subgraphs.0.outputs", [4]), "outputs: tensor 4 does not exist"),
    "buffer": (edit(f"{TENSORS}.3.buffer", 2), r"tensor 3 \('w'\): buffer 2 does not exist"),
    "metadata buffer": (edit("metadataBuffer", [5]), "Model.metadata_buffer: buffer 5"),
    "type": (edit(f"{TENSORS}.0.type", 23), "element type 23 is unknown"),
    "buffer 0": (edit("buffers.0.data", [1] * 8), "buffer 0 means no data, yet it holds 8 bytes"),
    "negative type": (edit(f"{TENSORS}.0.type", -1), "element type -1 is unknown"),
    "dimension": (edit(f"{TENSORS}.1.shape", [1, -1]), "convert the model with fixed shapes"),
    "rank": (edit(f"{TENSORS}.1.shape", [1] * 33), "shape has 33 dimensions"),
    "product": (edit(f"{TENSORS}.1.shape", [2**31 - 1] * 3), "over 2\\^60"),
    "size": (edit(f"{TENSORS}.3.shape", [1, 3]), "takes 12 bytes, its buffer 1 holds 8"),
    "variable": (edit(f"{TENSORS}.3.isVariable", True), "a variable with a constant's data"),
    "made twice": (edit(f"{OPS}.1.outputs", [1]), r"tensor 1 is made twice: by operators 0 and 1"),
    "makes input": (edit(f"{OPS}.1.outputs", [0]), "makes tensor 0, which is an input"),
    "makes constant": (edit(f"{OPS}.0.outputs", [3]), "makes tensor 3, which is a constant"),
    "cycle": (
        edit(f"{OPS}.0.inputs", [2]),
        "reads tensor 2, which operator 1 makes: the operators ",
    ),
    "self loop": (edit(f"{OPS}.0.inputs", [1]), "reads tensor 1, which operator 0 makes"),
    "never made": (edit(f"{OPS}.0.outputs", []), "has no data, and is never made"),
    "no output": (edit(f"{OPS}.1.outputs", []), "the output, tensor 2, is never made"),
    "external": (edit(f"{TENSORS}.1.externalBuffer", 3), "no external buffer has the id 3"),
}


@pytest.mark.parametrize("name", sorted(INVALID))
def test_wrong_models_are_refused(name: str) -> None:
    build = chain()
    assert read(build.data()).model.subgraphs[0].operators[0].kind == "RELU"
    change, message = INVALID[name]
    change(build)
    with pytest.raises(ModelError, match=message):
        read(build.data())


def test_sizes_that_overflow_together_are_refused() -> None:
    build = chain()
    for i in range(5):
        edit(f"{TENSORS}.1.shape", [2**29, 2**29])(build)
        main_of(build).tensors.append(main_of(build).tensors[1])
        build.op("RELU", [0], [4 + i])
    source = read(build.data())
    with pytest.raises(ModelError, match="over 2\\^60"):
        import_graph(source)


def test_operator_codes() -> None:
    build = chain()
    code = build.model.operatorCodes[0]
    code.builtinCode, code.deprecatedBuiltinCode = -5, -3
    with pytest.raises(ModelError, match="operator code 0 is -3"):
        read(build.data())
    code.builtinCode, code.deprecatedBuiltinCode = 32, 32
    with pytest.raises(ModelError, match="custom operator without a name"):
        read(build.data())
    code.builtinCode, code.deprecatedBuiltinCode = 19, 127  # larger than the 32-bit field
    assert read(build.data()).model.subgraphs[0].operators[0].builtin == 127
    code.builtinCode = 5000
    subgraph = read(build.data()).model.subgraphs[0]
    assert subgraph.operators[0].kind == "BUILTIN_5000"
    assert subgraph.stateful == {0}


def test_signatures_and_metadata_point_into_the_model() -> None:
    build = chain()
    signature = LITERT.SignatureDefT()
    signature.subgraphIndex = 1
    build.model.signatureDefs = [signature]
    with pytest.raises(ModelError, match="signature 0: subgraph 1 does not exist"):
        read(build.data())
    signature.subgraphIndex = 0
    signature.inputs = [LITERT.TensorMapT()]
    signature.inputs[0].tensorIndex = 4
    with pytest.raises(ModelError, match="signature 0: tensor 4 does not exist"):
        read(build.data())
    signature.inputs = []
    build.metadata("m", b"")
    build.model.metadata[0].buffer = 77
    with pytest.raises(ModelError, match="metadata 'm': buffer 77 does not exist"):
        read(build.data())


def test_subgraphs_that_call_themselves_are_refused() -> None:
    data = stateful()
    model = LITERT.ModelT.InitFromObj(LITERT.Model.GetRootAs(data, 0))
    model.subgraphs[0].operators[4].builtinOptions.thenSubgraphIndex = 3
    with pytest.raises(ModelError, match=r"operator 4 \(IF\): subgraph 3 does not exist"):
        read(pack(model))
    model.subgraphs[0].operators[4].builtinOptions.thenSubgraphIndex = 0
    with pytest.raises(ModelError, match="subgraph 0 calls itself"):
        read(pack(model))


def test_external_buffers() -> None:
    build = chain()
    tensor = main_of(build).tensors[3]
    tensor.buffer, tensor.externalBuffer = 0, 7
    external = LITERT.ExternalBufferT()
    external.id, external.length, external.packing = 7, 9, "unpacked"
    build.model.externalBuffers = [external]
    with pytest.raises(ModelError, match="external buffer 7: group 0 does not exist"):
        read(build.data())
    group = LITERT.ExternalBufferGroupT()
    group.name = "weights.bin"
    build.model.externalBufferGroups = [group]
    with pytest.raises(ModelError, match="takes 8 bytes, its buffer 0 holds 9"):
        read(build.data())
    external.length = 8
    source = read(build.data())
    assert source.model.subgraphs[0].tensors[3].constant
    assert "weights.bin" in source.notes[0]
    build.model.externalBuffers = [external, external]
    with pytest.raises(ModelError, match="two external buffers have the id 7"):
        read(build.data())


def test_data_beyond_the_end_of_the_file_is_refused() -> None:
    build = chain()
    buffer = build.model.buffers[1]
    buffer.data, buffer.offset, buffer.size = None, 1 << 33, 8
    with pytest.raises(
        ModelError, match="buffer 1 lies at 8589934592 with 8 bytes, beyond the end"
    ):
        read(build.data())
    buffer.offset, buffer.size = (1 << 64) - 8, (1 << 64) - 1
    with pytest.raises(ModelError, match="the file is truncated"):
        read(build.data())
    build = chain()
    op = main_of(build).operators[0]
    op.largeCustomOptionsOffset, op.largeCustomOptionsSize = 16, 1 << 40
    with pytest.raises(ModelError, match="its options lie at 16, beyond the end"):
        read(build.data())


@pytest.mark.parametrize(
    ("data", "message"),
    [
        (b"", "cut off"),
        (b"\2\0", "version 2"),
        (b"\1\xff\xff\xff\xff\x0f", "claims 4294967295 elements"),
        (b"\1\xff\xff\xff\xff\xff\xff", "cut off or damaged"),
        (encode_control([[], []]), "about 2 subgraphs"),
        (encode_control([[(0, 1)]]) + b"\0", "1 bytes too many"),
        (encode_control([[(1, 0)]]), "dependency of operator 0 on 1"),
        (encode_control([[(0, 2)]]), "dependency of operator 2 on 0"),
    ],
)
def test_damaged_control_dependencies_are_refused(data: bytes, message: str) -> None:
    build = chain()
    build.metadata(CONTROL, data)
    with pytest.raises(ModelError, match=message):
        read(build.data())


# -------------------------------------------------------------------- damaged flatbuffers


def word(data: bytearray, place: int, value: int) -> None:
    struct.pack_into("<I", data, place, value & 0xFFFFFFFF)


def damaged(name: str, data: bytearray, root: Table) -> None:
    subgraph = root.tables("subgraphs")[0]
    tensor = subgraph.tables("tensors")[0]
    operator = subgraph.tables("operators")[1]
    vtable, _ = tensor.vtable_range()
    if name == "root":
        word(data, 0, len(data))
    elif name == "root misaligned":
        word(data, 0, root.position + 2)
    elif name == "count":
        word(data, subgraph.vector_place("tensors"), 1 << 30)
    elif name == "wrapping count":
        word(data, subgraph.vector_place("inputs"), (1 << 30) + 1)
    elif name == "offset 0":
        word(data, tensor.place("name"), 0)
    elif name == "offset far":
        word(data, tensor.place("shape"), (1 << 32) - 4)
    elif name == "string end":
        place = tensor.vector_place("name")
        data[place + 4 + data[place]] = 1
    elif name == "vtable far":
        word(data, tensor.position, -(1 << 30))
    elif name == "vtable before":
        word(data, tensor.position, tensor.position + 4)
    elif name == "vtable odd":
        struct.pack_into("<H", data, vtable, 7)
    elif name == "vtable long":
        struct.pack_into("<H", data, root.vtable_range()[0], 400)
    elif name == "vtable huge":
        struct.pack_into("<H", data, vtable, 0xFFFE)
    elif name == "table size":
        struct.pack_into("<H", data, vtable + 2, 0xFFFF)
    elif name == "field in the vtable's offset":
        struct.pack_into("<H", data, vtable + 4, 2)
    elif name == "field far":
        struct.pack_into("<H", data, vtable + 4, 0xFFF0)
    elif name == "scalar misaligned":
        tensor = subgraph.tables("tensors")[1]  # it has a buffer
        place = tensor.vtable_range()[0] + 4 + 2 * tensor.kind.by_name["buffer"].slot
        struct.pack_into("<H", data, place, tensor.place("buffer") - tensor.position + 1)
    elif name == "union":
        data[operator.place("builtin_options_type")] = 1  # AddOptions as Conv2DOptions
        word(data, operator.place("builtin_options"), len(data) - operator.place("builtin_options"))
    elif name == "identifier":
        data[4:8] = b"TFL2"
    else:
        raise AssertionError(name)


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("root", "Model: the offset"),
        ("root misaligned", "misaligned"),
        ("count", r"Model.subgraphs\[0\].tensors: the vector at \d+ claims 1073741824 elements"),
        ("wrapping count", r"inputs: the vector at \d+ claims 1073741825 elements of 4 bytes"),
        ("offset 0", r"tensors\[\d\].name: the offset 0 at"),
        ("offset far", r"tensors\[\d\].shape: the offset 4294967292"),
        ("string end", r"tensors\[\d\].name: the string at \d+ does not end with a zero"),
        ("vtable far", r"tensors\[\d\]: a vtable at \d+ is misaligned or outside"),
        ("vtable before", "a vtable at -4 is misaligned or outside"),
        ("vtable odd", "has 7 bytes, which do not fit"),
        ("vtable long", "has more than 64 fields"),
        ("vtable huge", "has 65534 bytes, which do not fit"),
        ("table size", "has 65535 bytes, which do not fit"),
        ("field in the vtable's offset", "lies outside its table"),
        ("field far", "lies outside its table"),
        ("scalar misaligned", r"buffer: the 4-byte value at \d+ is misaligned"),
        ("union", r"operators\[1\].builtin_options: the offset"),
        ("identifier", "file identifier is b'TFL2'"),
    ],
)
def test_damaged_flatbuffers_are_refused(name: str, message: str) -> None:
    good = quantized(1)
    data = bytearray(good)
    damaged(name, data, read(good).model.table)
    with pytest.raises(ModelError, match=message) as caught:
        read(bytes(data))
    assert "get the file again" in str(caught.value)


@pytest.mark.parametrize("length", [0, 1, 4, 8, 11, 12, 40, 500])
def test_truncated_files_are_refused(length: int) -> None:
    with pytest.raises(ModelError, match="damaged flatbuffer"):
        read(quantized(1)[:length])


def shared_tables(field: str, count: int) -> bytes:
    """A file whose vector names one empty table `count` times."""
    data = bytearray(chain().data())
    subgraph = read(bytes(data)).model.subgraphs[0].table
    data += bytes(-len(data) % 4)
    vector, table = len(data), len(data) + 4 + 4 * count + 4
    offsets = (table - (vector + 4 + 4 * i) for i in range(count))
    data += struct.pack(f"<I{count}I", count, *offsets) + struct.pack("<HHi", 4, 4, 4)
    word(data, subgraph.place(field), vector - subgraph.place(field))
    return bytes(data)


def test_shared_tables_are_counted_as_often_as_they_are_reached() -> None:
    limits = Limits(tables=1000)
    schema = tflite_schema()
    assert verify(memoryview(shared_tables("tensors", 900)), schema, limits=limits)
    with pytest.raises(ModelError, match="more than 1000 tables can be reached"):
        verify(memoryview(shared_tables("tensors", 1001)), schema, limits=limits)


def test_shared_vectors_may_not_unfold_to_many_times_the_file() -> None:
    """A hundred operators that name one long list."""
    build = TfliteBuilder()
    x = build.tensor("x", [2])
    for _ in range(100):
        build.op("RELU", [x] * 4, [])
    build.inputs(*[x] * 20_000)
    data = bytearray(build.data())
    subgraph = read(bytes(data)).model.subgraphs[0]
    place = len(data) + -len(data) % 4
    data += bytes(place - len(data)) + struct.pack("<I", 20_000) + bytes(80_000)
    for op in subgraph.operators:
        word(data, op.table.place("inputs"), place - op.table.place("inputs"))
    with pytest.raises(ModelError, match="unfold to more than 4 times the file"):
        read(bytes(data))


def test_long_lists_and_long_names_are_bounded() -> None:
    build = chain()
    main_of(build).operators[0].inputs = np.zeros(2_000_001, np.int32)
    with pytest.raises(ModelError, match="more than 2000000 indices"):
        read(build.data())
    build = chain()
    main_of(build).tensors[0].name = "n" * 100_000
    assert read(build.data()).model.subgraphs[0].tensors[0].name == "n" * 256


# -------------------------------------------------------------------- random damage


@settings(max_examples=400)
@given(st.integers(0, 2**32))
def test_random_damage_is_refused_or_harmless(number: int) -> None:
    """Accepted or exit code 2; and what is accepted, ai_edge_litert's reader unpacks as well."""
    rng = random.Random(number)
    data = mutate(rng, rng.choice(SEEDS))
    if try_model(data).startswith("accepted"):
        LITERT.ModelT.InitFromObj(LITERT.Model.GetRootAs(data, 0))


@settings(max_examples=100)
@given(st.binary(max_size=300), st.booleans())
def test_random_bytes_are_refused(noise: bytes, identified: bool) -> None:
    data = noise[:4] + b"TFL3" + noise[4:] if identified and len(noise) > 4 else noise
    with pytest.raises(ModelError):
        read(data)


def test_damage_reaches_both_verdicts() -> None:
    """The fuzzer is no fuzzer if all its cases end in the first check."""
    seed = seed_of("quantized", quantized(1))
    verdicts = [try_model(mutate(random.Random(i), seed)) for i in range(60)]
    assert {"accepted", "ModelError"} <= set(verdicts)


# -------------------------------------------------------------------- files


def test_files_that_are_no_models(tmp_path: Path) -> None:
    cases = {
        "empty.tflite": (b"", "is empty"),
        "lfs.tflite": (b"version https://git-lfs.github.com/spec/v1\n", "git lfs pull"),
        "other.tflite": (b"PK\3\4" * 20, "is not a TFLite model: bytes 4 to 8"),
    }
    for name, (data, message) in cases.items():
        path = tmp_path / name
        path.write_bytes(data)
        with pytest.raises(ModelError, match=message):
            read(path)
    with pytest.raises(ModelError, match="is a directory"):
        read(tmp_path)
    with pytest.raises(ModelError, match="cannot be read"):
        read(tmp_path / "none.tflite")
    huge = tmp_path / "huge.tflite"
    with huge.open("wb") as stream:
        stream.truncate(1 << 35)
    with pytest.raises(ModelError, match="models end at"):
        read(huge)
    with pytest.raises(InputError, match="a path or bytes"):
        read(5)  # type: ignore[arg-type] # pyright: ignore[reportArgumentType]


def test_what_was_checked_cannot_change() -> None:
    data = bytearray(quantized(1))
    source = read(data)
    data[:] = bytes(len(data))
    assert bytes(source.data) == quantized(1)
    assert read(memoryview(quantized(1))).sha256 == source.sha256


def test_messages_hold_no_control_characters() -> None:
    build = chain()
    main_of(build).tensors[3].name = "\x1b[2J\n"
    main_of(build).tensors[3].shape = [7]
    with pytest.raises(ModelError) as caught:
        read(build.data())
    assert str(caught.value).isprintable()
