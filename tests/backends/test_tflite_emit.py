"""Emitted TFLite files: nothing is lost, the order is the plan's, and the runtimes agree."""

from __future__ import annotations

import io
import random
import struct
import zipfile
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, cast

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from lowtide.backends.tflite import PLAN, emit, write
from lowtide.backends.tflite.control import encode_control
from lowtide.bench.tflite_builder import (
    TfliteBuilder,
    branching,
    litert_schema,
    outside,
    pack,
    quantized,
    stateful,
)
from lowtide.errors import InputError, ModelError, PlanError
from lowtide.frontends.tflite import TfliteSource, TfliteSubgraph, import_graph, read
from lowtide.frontends.tflite.control import CONTROL, parse_control
from tests.tflite_objects import agree, everything, members

LITERT: Any = litert_schema()


def any_order(subgraph: TfliteSubgraph, seed: int) -> list[int]:
    """A random order that respects the dependencies."""
    rng = random.Random(seed)
    before = [set(p) for p in subgraph.predecessors()]
    order: list[int] = []
    while len(order) < len(before):
        ready = [i for i in range(len(before)) if i not in order and before[i] <= set(order)]
        order.append(rng.choice(ready))
    return order


def tree(value: Any) -> Any:
    """A `ModelT` as plain values."""
    if isinstance(value, list):
        return [tree(item) for item in cast("list[Any]", value)]
    if isinstance(value, np.ndarray):
        return value.tobytes()
    if hasattr(value, "__dict__"):
        return {name: tree(item) for name, item in members(value).items()}
    return repr(value)


def unpacked(data: bytes) -> Any:
    """What ai_edge_litert's own reader makes of a file."""
    return LITERT.ModelT.InitFromObj(LITERT.Model.GetRootAs(data, 0))


def expected(source: bytes, order: Sequence[int], metadata: Mapping[str, bytes]) -> Any:
    """The tree of the source after a permutation of the main subgraph, and with new metadata."""
    model = unpacked(source)
    main = model.subgraphs[0]
    main.operators = [main.operators[i] for i in order]
    for name, data in metadata.items():
        buffer = LITERT.BufferT()
        buffer.data = np.frombuffer(data, np.uint8)
        entries = cast("list[Any]", model.metadata or [])
        found = [m for m in entries if m.name == name.encode()]
        if found:
            model.buffers[found[0].buffer] = buffer
            continue
        entry = LITERT.MetadataT()
        entry.name, entry.buffer = name.encode(), len(model.buffers)
        model.metadata = [*(model.metadata or []), entry]
        model.buffers.append(buffer)
    return model


def run_litert(data: bytes, seed: int) -> list[bytes]:
    """The outputs of the reference kernels on random inputs."""
    from ai_edge_litert.interpreter import (  # type: ignore[import-untyped]
        Interpreter,
        OpResolverType,
    )

    interpreter: Any = Interpreter(
        model_content=data,
        experimental_op_resolver_type=OpResolverType.BUILTIN_REF,
        num_threads=1,
    )
    interpreter.allocate_tensors()
    rng = np.random.default_rng(seed)
    for detail in interpreter.get_input_details():
        shape, kind = cast("list[int]", detail["shape"]), cast("type[np.int8]", detail["dtype"])
        value: NDArray[Any]
        if detail["dtype"] == np.float32:
            value = rng.standard_normal(shape).astype(np.float32)
        else:
            value = rng.integers(-128, 128, shape).astype(kind)
        interpreter.set_tensor(detail["index"], value)
    interpreter.invoke()
    outputs = interpreter.get_output_details()
    return [interpreter.get_tensor(d["index"]).tobytes() for d in outputs]


# -------------------------------------------------------------------- nothing is lost


@pytest.mark.parametrize("metadata", [{}, {"added": b"\1\2\3"}, {"text 2": b"", "x": b"\0" * 9}])
def test_every_field_of_the_schema_survives(metadata: dict[str, bytes]) -> None:
    """Compared with the objects that the source was built from, and with ai_edge_litert's tree."""
    model = everything()
    data = pack(model)
    source = read(data)
    order = any_order(source.model.subgraphs[0], 3)
    result = emit(source, order, metadata=metadata)
    assert tree(unpacked(result)) == tree(expected(data, order, metadata))
    model.subgraphs[0].operators = [model.subgraphs[0].operators[i] for i in order]
    if not metadata:
        assert agree(read(result).model.table, model) > 3000


def test_the_plain_permutation_changes_the_operator_list_only() -> None:
    data = quantized(2)
    source = read(data)
    order = any_order(source.model.subgraphs[0], 1)
    assert order != sorted(order)
    result = emit(source, order)
    place = source.model.subgraphs[0].table.vector_place("operators") + 4
    assert len(result) == len(data)
    assert result[:place] == data[:place]
    assert result[place + 4 * len(order) :] == data[place + 4 * len(order) :]
    assert emit(source, sorted(order)) == data
    back = [order.index(i) for i in range(len(order))]
    assert emit(read(result), back) == data


@settings(max_examples=40)
@given(
    seed=st.integers(0, 10_000),
    operators=st.integers(1, 30),
    metadata=st.dictionaries(st.text(max_size=20), st.binary(max_size=100), max_size=3),
)
def test_random_graphs(seed: int, operators: int, metadata: dict[str, bytes]) -> None:
    metadata.pop(CONTROL, None)
    data = branching(seed, operators)
    source = read(data)
    order = any_order(source.model.subgraphs[0], seed)
    result = emit(source, order, metadata=metadata)
    assert tree(unpacked(result)) == tree(expected(data, order, metadata))
    again = read(result)
    kinds = [source.model.subgraphs[0].operators[i].kind for i in order]
    assert [op.kind for op in import_graph(again).graph.ops] == kinds
    for name, wanted in metadata.items():
        assert bytes(again.metadata(name) or b"missing") == wanted or not wanted
    assert emit(again, range(len(order)), metadata=metadata)[-64:] == result[-64:]


def test_metadata_is_replaced_in_its_buffer_and_old_bytes_go() -> None:
    data = emit(read(quantized(1)), range(7), metadata={PLAN: b"1" * 400})
    source = read(data)
    assert [m.name for m in source.model.metadata] == ["min_runtime_version", PLAN]
    result = emit(source, range(7), metadata={PLAN: b"2" * 400})
    again = read(result)
    assert [(m.name, m.buffer) for m in again.model.metadata] == [
        (m.name, m.buffer) for m in source.model.metadata
    ]
    assert bytes(again.metadata(PLAN) or b"") == b"2" * 400
    assert len(result) <= len(data)
    assert b"1" * 400 not in result


def test_metadata_in_a_shared_buffer_gets_its_own() -> None:
    build = TfliteBuilder()
    x, y = build.tensor("x", [2]), build.tensor("y", [2])
    weights = build.tensor("w", [2], data=np.ones(2, np.float32))
    build.op("ADD", [x, weights], [y], "AddOptions")
    build.inputs(x)
    build.outputs(y)
    for name in ("a", "b"):
        entry = LITERT.MetadataT()
        entry.name, entry.buffer = name, 1  # the buffer of the weights
        build.model.metadata.append(entry)
    source = read(build.data())
    again = read(emit(source, [0], metadata={"a": b"new"}))
    assert bytes(again.metadata("a") or b"") == b"new"
    assert bytes(again.metadata("b") or b"") == np.ones(2, np.float32).tobytes()
    assert bytes(again.buffer(1)) == np.ones(2, np.float32).tobytes()
    assert [m.buffer for m in again.model.metadata] == [2, 1]


def test_a_model_without_buffers_and_metadata_gets_both() -> None:
    model = LITERT.ModelT()
    model.version = 3
    subgraph = LITERT.SubGraphT()
    model.subgraphs = [subgraph]
    again = read(emit(read(pack(model)), [], metadata={"a": b"b"}))
    assert [(m.name, m.buffer) for m in again.model.metadata] == [("a", 1)]
    assert not again.model.buffers[0].stored  # number 0 stays the buffer of no data


@pytest.mark.parametrize("alignment", [16, 64])
def test_alignments_stay(alignment: int) -> None:
    """Constants keep their distance to multiples of 64, whatever goes in front."""
    source = read(quantized(5))
    before = [b.start % 64 for b in source.model.buffers]
    for size in range(0, 200, 13):
        again = read(emit(source, range(7), metadata={PLAN: b"x" * size}))
        after = [b.start for b in again.model.buffers]
        assert [start % alignment for start in after[:-1]] == [b % alignment for b in before]
        assert after[-1] % 16 == 0


def test_fields_newer_than_the_schema_survive() -> None:
    """An operator with a field that the schema lacks: its table is moved, never rewritten."""
    data = bytearray(quantized(4))
    source = read(bytes(data))
    vtable, stop = source.model.subgraphs[0].operators[0].table.vtable_range()
    shorter = _without_last_field(data, vtable, stop)
    assert "Tensor field" not in str(read(bytes(data)).notes)
    newer = read(bytes(shorter))
    result = emit(newer, any_order(newer.model.subgraphs[0], 4), metadata={"a": b"b"})
    assert read(result).notes == newer.notes
    assert "kept as it is" in newer.notes[0]


def _without_last_field(data: bytearray, vtable: int, stop: int) -> bytearray:
    """Move the file's vtable into a longer one at the end, with a field in a slot of the future."""
    # The vtable's place is signed, so that it may lie behind its tables.
    root = read(bytes(data)).model
    data += bytes(-len(data) % 4)
    place = len(data)
    slots = (stop - vtable - 4) // 2
    body = data[vtable + 4 : stop] + bytes(2 * (40 - slots))
    data += struct.pack("<H", 4 + 2 * 41) + data[vtable + 2 : vtable + 4] + body
    data += struct.pack("<H", 4)  # slot 40: the table's first field
    data += bytes(-len(data) % 4)
    for op in root.subgraphs[0].operators:
        if op.table.vtable_range()[0] == vtable:
            struct.pack_into("<i", data, op.table.position, op.table.position - place)
    return data


def test_a_root_of_the_future_keeps_its_order_but_takes_no_metadata() -> None:
    data = bytearray(quantized(4))
    root = read(bytes(data)).model.table
    vtable, stop = root.vtable_range()
    place = len(data) + -len(data) % 4
    slots = (stop - vtable - 4) // 2
    table = data[vtable + 4 : stop] + bytes(2 * (20 - slots)) + struct.pack("<H", 4)
    data += bytes(-len(data) % 4) + struct.pack("<H", 4 + 42) + data[vtable + 2 : vtable + 4]
    data += table
    struct.pack_into("<i", data, root.position, root.position - place)
    source = read(bytes(data))
    order = any_order(source.model.subgraphs[0], 1)
    assert read(emit(source, order)).notes == source.notes
    with pytest.raises(ModelError, match="update lowtide"):
        emit(source, order, metadata={"a": b"b"})


# -------------------------------------------------------------------- data beyond the flatbuffer


def test_data_beyond_the_flatbuffer_moves_along() -> None:
    source = read(outside())
    assert source.model.buffers[1].outside
    result = emit(source, [1, 0], metadata={PLAN: b"12345678"})
    again = read(result)
    assert np.frombuffer(again.buffer(1), np.float32).tolist() == [3, 4]
    assert bytes(again.metadata("outside") or b"") == b"hello"
    custom = again.model.subgraphs[0].operators[0].table
    place = custom.integer("large_custom_options_offset")
    assert result[place : place + 3] == b"opt"
    assert again.model.buffers[1].start % 64 == 0
    assert emit(source, [0, 1]) == bytes(source.data)
    replaced = read(emit(again, [0, 1], metadata={"outside": b"new", PLAN: b"12345678"}))
    assert bytes(replaced.metadata("outside") or b"") == b"new"
    assert np.frombuffer(replaced.buffer(1), np.float32).tolist() == [3, 4]


def test_data_outside_that_lies_inside_is_refused() -> None:
    """A buffer's absolute position points at the place where that position is stored."""
    data = bytearray(outside())
    table = read(bytes(data)).model.buffers[1].table
    struct.pack_into("<Q", data, table.place("offset"), table.place("offset"))
    source = read(bytes(data))
    with pytest.raises(ModelError, match="lie over one another"):
        emit(source, [0, 1], metadata={PLAN: b""})
    assert emit(source, [0, 1]) == bytes(data)


def test_an_archive_behind_the_model_stays_readable() -> None:
    """Metadata writers append files (labels) as a zip archive."""
    archive = io.BytesIO(quantized(1))
    with zipfile.ZipFile(archive, "a") as writer:
        writer.writestr("labels.txt", "cat")
    result = emit(read(archive.getvalue()), [2, 3, 0, 1, 4, 5, 6], metadata={PLAN: b"1234"})
    with zipfile.ZipFile(io.BytesIO(result)) as reader:
        assert reader.read("labels.txt") == b"cat"


def test_a_mapped_file_is_written_and_checked_without_being_held(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("lowtide.frontends.tflite.source._MAPPED_BYTES", 0)
    path = tmp_path / "large.tflite"
    path.write_bytes(outside())
    source = read(path)
    assert bytes(source.data) == path.read_bytes()
    made = write(source, [1, 0], tmp_path / "made.tflite", metadata={PLAN: b"1234"})
    assert made.read_bytes() == emit(source, [1, 0], metadata={PLAN: b"1234"})
    assert read(made).sha256 == read(made.read_bytes()).sha256
    assert sorted(p.name for p in tmp_path.iterdir()) == ["large.tflite", "made.tflite"]


# -------------------------------------------------------------------- the order


def test_control_dependencies_follow_the_operators() -> None:
    build = TfliteBuilder()
    x = build.tensor("x", [2])
    ends = [build.tensor(f"y{i}", [2]) for i in range(4)]
    for end in ends:
        build.op("RELU", [x], [end])
    build.inputs(x)
    build.outputs(*ends)
    build.metadata(CONTROL, encode_control([[(1, 3)]]))
    source = read(build.data())
    subgraph = source.model.subgraphs[0]
    assert subgraph.control == ((1, 3),)
    assert subgraph.stateful == {1, 3}
    with pytest.raises(PlanError, match=r"operator 3 \(RELU\) is ordered before operator 1"):
        emit(source, [3, 0, 1, 2])
    again = read(emit(source, [1, 2, 3, 0]))
    assert again.model.subgraphs[0].control == ((0, 2),)
    with pytest.raises(InputError, match="follows from the order"):
        emit(source, [0, 1, 2, 3], metadata={CONTROL: b""})


@given(
    st.lists(
        st.lists(st.tuples(st.integers(0, 2**31 - 1), st.integers(0, 2**31 - 1)), max_size=5),
        max_size=5,
    )
)
def test_control_dependencies_round_trip(edges: list[list[tuple[int, int]]]) -> None:
    assert [list(e) for e in parse_control(memoryview(encode_control(edges)))] == edges


@pytest.mark.parametrize(
    ("order", "message"),
    [
        ([0, 1, 2, 3, 4, 5], "not a permutation of the 7 operators"),
        ([0, 1, 2, 3, 4, 5, 5], "not a permutation"),
        ([0, 1, 2, 3, 4, 5, 7], "not a permutation"),
        ([1, 0, 2, 3, 4, 5, 6], r"operator 1 \(MAX_POOL_2D\) is ordered before operator 0"),
    ],
)
def test_wrong_orders_are_refused(order: list[int], message: str) -> None:
    with pytest.raises(PlanError, match=message):
        emit(read(quantized(1)), order)


def test_a_plan_for_the_old_order_is_not_carried_over() -> None:
    """TFLM does not check a plan: offsets for another order would overwrite live tensors."""
    offsets = [-1] * 10

    def planned(offset: int) -> TfliteSource:
        plan = struct.pack("<13i", 1, 0, 10, offset, *offsets[1:])
        return read(emit(read(quantized(1)), range(7), metadata={PLAN: plan}))

    order = [2, 0, 1, 3, 4, 5, 6]
    with pytest.raises(PlanError, match="for its present order"):
        emit(planned(0), order)
    assert emit(planned(0), range(7)) == bytes(planned(0).data)
    assert read(emit(planned(0), order, metadata={PLAN: b""})).metadata(PLAN) == b""
    assert emit(planned(-1), order)


def test_stateful_operators_keep_their_order() -> None:
    source = read(stateful())
    with pytest.raises(PlanError, match=r"operator 5 \(Unheard Of\) is ordered before operator 3"):
        emit(source, [0, 5, 1, 2, 3, 4, 6])  # the custom operator before the read
    assert read(emit(source, [6, 4, 0, 1, 2, 3, 5])).model.subgraphs[0].operators[0].kind == (
        "RANDOM_UNIFORM"
    )


def test_operators_of_another_subgraph() -> None:
    build = TfliteBuilder()
    build.subgraph("other")
    x, y, z = (build.tensor(n, [2], subgraph=1) for n in "xyz")
    build.op("RELU", [x], [y], subgraph=1)
    build.op("TANH", [x], [z], subgraph=1)
    build.inputs(x, subgraph=1)
    source = read(build.data())
    again = read(emit(source, [1, 0], subgraph=1))
    assert [op.kind for op in again.model.subgraphs[1].operators] == ["TANH", "RELU"]
    with pytest.raises(InputError, match="subgraph 2 does not exist"):
        emit(source, [], subgraph=2)


def test_an_operator_list_that_two_subgraphs_share_is_refused() -> None:
    build = TfliteBuilder()
    build.subgraph("other")
    for index in (0, 1):
        x, y, z = (build.tensor(n, [2], subgraph=index) for n in "xyz")
        build.op("RELU", [x], [y], subgraph=index)
        build.op("TANH", [x], [z], subgraph=index)
        build.inputs(x, subgraph=index)
    data = bytearray(build.data())
    tables = [s.table for s in read(bytes(data)).model.subgraphs]
    target = max(t.vector_place("operators") for t in tables)
    for table in tables:
        struct.pack_into("<I", data, table.place("operators"), target - table.place("operators"))
    source = read(bytes(data))
    with pytest.raises(ModelError, match="share bytes with other objects"):
        emit(source, [1, 0])
    assert emit(source, [0, 1]) == bytes(data)


# -------------------------------------------------------------------- the runtimes


def models() -> Iterator[tuple[str, bytes]]:
    for seed in range(4):
        yield f"branching {seed}", branching(seed, 14)
    for seed in range(2):
        yield f"quantized {seed}", quantized(seed)


@pytest.mark.parametrize(("name", "data"), list(models()), ids=lambda v: str(v)[:12])
def test_litert_computes_the_same(name: str, data: bytes) -> None:
    source = read(data)
    wanted = run_litert(data, 0)
    assert any(any(output) for output in wanted), name
    for seed in range(3):
        order = any_order(source.model.subgraphs[0], seed)
        assert run_litert(emit(source, order), 0) == wanted
        assert run_litert(emit(source, order, metadata={"note": b"n" * seed}), 0) == wanted


def test_tflm_follows_an_emitted_plan() -> None:
    """Stock TFLite Micro executes the permuted file under an offline plan of spread offsets."""
    from tflite_micro.python.tflite_micro import runtime  # type: ignore[import-untyped]

    source = read(quantized(3))
    subgraph = source.model.subgraphs[0]
    order = any_order(subgraph, 5)
    at, offsets = 0, list[int]()
    for tensor in subgraph.tensors:
        offsets.append(-1 if tensor.constant else at)
        at += 0 if tensor.constant else -(-tensor.nbytes // 16) * 16
    plan = struct.pack(f"<{3 + len(offsets)}i", 1, 0, len(offsets), *offsets)
    value = np.random.default_rng(0).integers(-128, 128, (1, 6, 6, 4)).astype(np.int8)

    def run(data: bytes) -> bytes:
        interpreter: Any = runtime.Interpreter.from_bytes(data)
        interpreter.set_input(value, 0)
        interpreter.invoke()
        return bytes(interpreter.get_output(0).tobytes())

    assert run(emit(source, order, metadata={PLAN: plan})) == run(bytes(source.data))


# -------------------------------------------------------------------- files


def test_files_are_protected(tmp_path: Path) -> None:
    path = tmp_path / "model.tflite"
    path.write_bytes(quantized(1))
    source: TfliteSource = read(path)
    with pytest.raises(InputError, match="never written to"):
        write(source, range(7), path, force=True)
    (tmp_path / "there").write_bytes(b"")
    with pytest.raises(InputError, match="exists already"):
        write(source, range(7), tmp_path / "there")
    assert write(source, range(7), tmp_path / "there", force=True).stat().st_size
    with pytest.raises(InputError, match="does not exist"):
        write(source, range(7), tmp_path / "no" / "there")
    with pytest.raises(InputError, match="is a folder"):
        write(source, range(7), tmp_path, force=True)
    assert path.read_bytes() == quantized(1)
